"""The terminal: help, version, silence of TensorFlow."""

import argparse
import os
import subprocess
import sys
from pathlib import Path

import pytest

import ntk_keras_cli
from ntk_keras import cli, estimators, problems, weighting
from ntk_keras.experiments import bench, comparison, reproduction
from ntk_keras_cli import names

ROOT = Path(__file__).parents[2]
COMMANDS = ("list", "run", "compare", "new", "bench", "reproduce")


def shell(code, *arguments, **environment):
    """A process of its own, as the console script starts it."""
    command = [sys.executable, "-c", code, *arguments]
    usual = {k: v for k, v in os.environ.items() if k != "TF_CPP_MIN_LOG_LEVEL"}
    variables = {**usual, "PYTHONPATH": str(ROOT), **environment}
    return subprocess.run(command, capture_output=True, text=True, env=variables)


WITHOUT_TENSORFLOW = """
import sys, ntk_keras_cli
try:
    ntk_keras_cli.main()
finally:
    print({"tensorflow", "keras", "ntk_keras", "numpy"} & set(sys.modules), file=sys.stderr)
"""


@pytest.mark.parametrize(
    "arguments", [["--help"], ["run", "--help"], ["--version"], ["new", "heat.py"]]
)
def test_help_version_and_new_do_not_import_tensorflow(arguments, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = shell(WITHOUT_TENSORFLOW, *arguments, COLUMNS="100")
    assert (done.returncode, done.stderr) == (0, "set()\n")
    assert "ntk-keras" in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 100


def test_a_run_in_double_precision_writes_no_line_of_tensorflow(tmp_path):
    options = "--optimizer natural-gradient --steps 10 --width 4 --points equation=100"
    code = "import sys, ntk_keras_cli; sys.exit(ntk_keras_cli.main())"
    done = shell(code, "run", "poisson", *options.split(), "--logdir", str(tmp_path))
    assert (done.returncode, done.stderr) == (0, "")
    assert "relative L2 error" in done.stdout


def test_every_problem_has_a_line_in_the_list(capsys):
    assert cli.main(["list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(problems.PROBLEMS)


WRITES = """
import os, sys, ntk_keras_cli
with ntk_keras_cli.without_start_up_lines():
    os.write(2, b"I0000 00:00:1 1 port.cc:153] oneDNN custom operations are on.\\n")
    os.write(2, b"E0000 00:00:1 1 driver.cc:1] an error\\n")
    print("UserWarning: mind this", file=sys.stderr)
    if sys.argv[1] == "fails":
        raise ImportError("libdevice")
print("later", os.environ["TF_CPP_MIN_LOG_LEVEL"], file=sys.stderr)
"""


def test_only_lines_about_the_machine_are_held_back():
    lines = shell(WRITES, "works").stderr.splitlines()
    expected = ["E0000 00:00:1 1 driver.cc:1] an error", "UserWarning: mind this", "later 2"]
    assert lines == expected
    assert shell(WRITES, "works", TF_CPP_MIN_LOG_LEVEL="1").stderr.splitlines()[-1] == "later 1"


@pytest.mark.parametrize(
    ("way", "environment"), [("fails", {}), ("works", {"TF_CPP_MIN_LOG_LEVEL": "0"})]
)
def test_all_lines_follow_a_failed_import_or_a_wish(way, environment):
    error = shell(WRITES, way, **environment).stderr
    assert error.index("oneDNN") < error.index("an error") < error.index("mind this")
    assert ("ImportError: libdevice" in error) == (way == "fails")


def subparsers():
    (action,) = (
        action
        for action in ntk_keras_cli.parser()._actions
        if isinstance(action, argparse._SubParsersAction)
    )
    return action.choices


def test_the_parser_knows_what_the_package_has():
    assert set(names.PROBLEMS) == set(problems.PROBLEMS)
    for problem in problems.PROBLEMS.values():
        assert set(problem.presets) <= set(names.PRESETS)
    assert tuple(problems.base.OPTIMIZERS) == names.OPTIMIZERS
    assert tuple(weighting.WEIGHTINGS) == names.WEIGHTINGS
    assert tuple(comparison.VARIANTS) == names.COMPARISONS
    assert tuple(estimators.ESTIMATORS) == names.ESTIMATORS
    assert tuple(reproduction.FIGURES) == names.FIGURES
    assert tuple(bench.WAYS) == names.BENCH_WAYS
    assert names.FIGURE_PRESETS == reproduction.PRESETS
    assert set(subparsers()) == set(cli._COMMANDS) == set(COMMANDS)


@pytest.mark.parametrize(
    ("problem", "message"),
    [
        ("gone.py", "there is no file 'gone.py'. `ntk-keras new gone.py` writes one"),
        ("gone.py:HEAT", "there is no file 'gone.py'"),
        ("waev", "unknown problem 'waev'. Expected one of "),
    ],
)
def test_a_problem_that_does_not_exist_is_refused_by_the_parser(problem, message, capsys):
    with pytest.raises(SystemExit):
        ntk_keras_cli.parser().parse_args(["run", problem])
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_has_help_with_its_default(command):
    parser = subparsers()[command]
    assert "ntk-keras " + command in parser.epilog
    for action in parser._actions[1:]:  # the first is --help
        assert action.help, action.dest
        if action.option_strings and action.dest not in ("settings", "problem"):
            assert "default: " in action.help, action.dest
        for choice in action.choices or ():
            shown = action.help if action.metavar else parser.format_usage()
            assert str(choice) in shown


def test_tensorboard_is_named_so_that_the_shell_finds_it(monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setattr(cli.shutil, "which", lambda name: None)
    assert cli._tensorboard("my logs") == "tensorboard --logdir 'my logs'"
    (tmp_path / "tensorboard").touch()
    assert cli._tensorboard("logs") == f"{tmp_path}/tensorboard --logdir logs"
    monkeypatch.setattr(cli.shutil, "which", lambda name: str(tmp_path / name))
    assert cli._tensorboard("logs") == "tensorboard --logdir logs"
