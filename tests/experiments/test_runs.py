"""Runs and the command line: files, tables, resuming, TensorBoard."""

import contextlib
import csv
import dataclasses
import gc
import json
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

import keras
import numpy as np
import pytest
from tensorboard.backend.event_processing.data_provider import MultiplexerDataProvider
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer
from tensorboard.context import RequestContext
from tensorboard.plugins.base_plugin import TBContext
from tensorboard.plugins.hparams import api_pb2, backend_context, list_session_groups

from ntk_keras import cli, estimators, problems, weighting
from ntk_keras.experiments import comparison, runs

SIZE = ["--width", "8", "--steps", "60", "--steps-per-epoch", "20", "--verbose", "0"]
NAME = "wave-quick-steps=60-width=8-steps_per_epoch=20"
TAGS = {
    *(f"loss/{name}" for name in ("total", "equation", "velocity", "initial", "left", "right")),
    *(f"weights/{group}" for group in ("equation", "velocity", "boundary")),
    *(f"weights_log10/{group}" for group in ("equation", "velocity", "boundary")),
    *(f"traces/{group}" for group in ("total", "equation", "velocity", "boundary")),
    *(f"traces_standard_error/{group}" for group in ("equation", "velocity", "boundary")),
    "validation/relative_l2",
    "current_learning_rate",
}
FINAL = {"final/relative_l2"}


@pytest.fixture(autouse=True)
def short_collections():
    """A comparison collects after each run; what earlier tests left, graphs of many runs, stays."""
    yield
    gc.freeze()


@pytest.fixture(scope="module", autouse=True)
def one_hidden_layer():
    """Quick presets that are traced, and compiled, in a third of the time."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("wave", "liquid_crystal"):
            presets = problems.get(name).presets
            patch.setitem(presets, "quick", dataclasses.replace(presets["quick"], depth=1))
        yield


@pytest.fixture
def no_events(monkeypatch):
    """Runs without TensorBoard's events and pictures, which take half of a short run's time."""
    monkeypatch.setattr(runs, "writers", lambda *arguments: [])


def state_of(folder):
    """All variables in a run's last checkpoint, with traces, random state and optimizer."""
    settings = runs.load_settings(folder / "settings.json")
    model = problems.build_model(problems.get(settings.problem), settings)
    model.optimizer.build(model.trainable_variables)
    model.load_weights(folder / runs.CHECKPOINT)
    variables = [*model.variables, *model.optimizer.variables]
    return [(v.name, v.value.numpy()) for v in variables]


def assert_same_state(one, other):
    pairs = zip(state_of(one), state_of(other), strict=True)
    for (name, value), (_, expected) in pairs:
        np.testing.assert_array_equal(value, expected, err_msg=name)


def history_of(folder):
    with open(folder / "history.csv", newline="") as file:
        return [{k: v for k, v in row.items() if k != "seconds"} for row in csv.DictReader(file)]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished run of the wave problem, small."""
    logdir = tmp_path_factory.mktemp("logs")
    assert cli.main(["run", "wave", *SIZE, "--logdir", str(logdir)]) == 0
    return logdir / f"{NAME}-ntk-seed0"


def test_list_names_every_problem(capsys):
    assert cli.main(["list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(problems.PROBLEMS)
    assert "paper (3 x 500, " in lines[list(problems.PROBLEMS).index("wave")]
    assert "quick (10000 steps)" in lines[list(problems.PROBLEMS).index("quadratic")]


def test_a_run_leaves_everything_in_its_folder(finished):
    names = {path.name for path in finished.iterdir() if "tfevents" not in path.name}
    assert names == {
        "checkpoint.weights.h5",
        "history.csv",
        "history.png",
        "network.keras",
        "result.json",
        "settings.json",
        "solution.png",
    }


def test_a_run_draws_kernel_and_solution_in_the_one_events_file(finished):
    (file,) = finished.glob("*tfevents*")
    events = EventAccumulator(str(file), {"tensors": 0}).Reload()
    assert [event.step for event in events.Tensors("kernel")] == [20, 40, 60]
    assert [events.Tensors("solution")[end].step for end in (0, -1)] == [20, 60]


def test_the_history_has_a_row_for_each_epoch(finished):
    rows = history_of(finished)
    assert [float(row["step"]) for row in rows] == [20, 40, 60]
    assert [float(row["epoch"]) for row in rows] == [0, 1, 2]


def test_the_result_is_that_of_the_saved_network(finished):
    result = json.loads((finished / "result.json").read_text())
    points, values = problems.get("wave").validation_data()
    network = keras.models.load_model(finished / "network.keras")
    prediction = network.predict(points, batch_size=len(points), verbose=0)
    error = np.linalg.norm(prediction - values) / np.linalg.norm(values)
    assert error == pytest.approx(result["relative_l2"], rel=1e-5)  # float32 sums of 1e4 numbers
    assert sum(1 / w for w in result["weights"].values()) == pytest.approx(1, rel=1e-5)


def test_the_table_shows_error_losses_weights_and_times(tmp_path, capsys):
    arguments = ["run", "poisson", "--steps", "20", "--steps-per-epoch", "10", "--verbose", "0"]
    assert cli.main([*arguments, "--width", "8", "--logdir", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    for words in ("relative L2 error", "loss, equation", "weight, boundary", "ms per step"):
        assert words in printed


def test_a_run_that_is_there_is_not_overwritten_unasked(finished, capsys):
    arguments = ["run", "wave", *SIZE, "--logdir", str(finished.parent)]
    before = (finished / "history.csv").read_bytes()
    assert cli.main(arguments) == 1
    assert "--resume" in capsys.readouterr().err
    assert (finished / "history.csv").read_bytes() == before


REFUSED = {
    "unknown estimator": (["run", "poisson", "--estimator", "foo"], "Unknown estimator 'foo'"),
    "no steps": (["run", "poisson", "--steps", "0"], "steps must be an integer of at least 1"),
    "empty epochs": (["run", "poisson", "--steps-per-epoch", "0"], "steps_per_epoch must be"),
    "one seed twice": (["compare", "poisson", "--seeds", "0", "0"], "Received --seeds"),
    "a flag without effect": (
        ["run", "poisson", "--weighting", "exact-ntk", "--averaging-rate", "0.5"],
        "averaging_rate: without effect under 'exact-ntk' weights",
    ),
    "constant against constant": (["compare", "wave", "--weighting", "constant"], "compare sets"),
    "points redrawn under weights for each": (
        ["run", "poisson", "--weighting", "self-adaptive"],
        "--no-redrawn",
    ),
    "an unknown parameter": (
        ["run", "liquid_crystal", "--parameter", "b=1"],
        "has no parameters ['b']. Its parameters: ['a', 'c', ",
    ),
    "a parameter out of range": (
        ["run", "liquid_crystal", "--parameter", "elasticity=0"],
        "elasticity must be positive",
    ),
    "a parameter of another kind": (
        ["run", "liquid_crystal", "--parameter", "elasticity=abc"],
        "'elasticity' of problem 'liquid_crystal' must be a float, such as 0.1. Received 'abc'",
    ),
    "a negative seed of data": (
        ["run", "quadratic", "--parameter", "data_seed=-1"],
        "data_seed must be an integer of at least 0",
    ),
    "one estimator of all": (
        ["compare", "wave", "--weighting", "estimators", "--estimator", "exact"],
        "Leave --estimator out",
    ),
    "no problem": (["compare"], "Which problem? Name one of ['advection_diffusion', "),
    "the width of a model without": (
        ["run", "quadratic", "--width", "8"],
        "'quadratic' does not use width",
    ),
    "unknown preset": (["run", "wave", "--preset", "slow"], "Unknown preset 'slow'"),
}


@pytest.mark.parametrize("case", REFUSED.values(), ids=REFUSED)
def test_bad_arguments_leave_no_folder(case, tmp_path, capsys):
    arguments, message = case
    assert cli.main([*arguments, "--logdir", str(tmp_path)]) == 1
    assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


REFERENCE = ["--parameter", "cells=16", "--parameter", "time_steps=16"]


def test_a_run_of_the_liquid_crystal_is_held_against_finite_elements(tmp_path):
    arguments = ["run", "liquid_crystal", *SIZE, *REFERENCE, "--logdir", str(tmp_path)]
    assert cli.main([*arguments, "--parameter", "initial=sequential"]) == 0
    (folder,) = tmp_path.iterdir()
    assert folder.name == (
        "liquid_crystal-quick-cells=16-time_steps=16-initial=sequential"
        "-steps=60-width=8-steps_per_epoch=20-ntk-seed0"
    )
    settings = runs.load_settings(folder / "settings.json")
    assert settings.parameters == {"cells": 16, "time_steps": 16, "initial": "sequential"}
    points, values = problems.of(settings).validation_data()
    network = keras.models.load_model(folder / "network.keras")
    prediction = network.predict(points, batch_size=len(points), verbose=0)
    error = np.linalg.norm(prediction - values) / np.linalg.norm(values)
    result = json.loads((folder / "result.json").read_text())
    assert error == pytest.approx(result["relative_l2"], rel=1e-5)
    assert (folder / "solution.png").stat().st_size > 10_000


def test_a_run_of_the_quadratic_predictor_fits_its_data(tmp_path):
    arguments = ["run", "quadratic", "--steps", "3000", "--num-initial-probes", "5"]
    arguments += ["--verbose", "0", "--logdir", str(tmp_path)]
    assert cli.main([*arguments, "--parameter", "noise=0"]) == 0
    folder = tmp_path / "quadratic-quick-noise=0-steps=3000-num_initial_probes=5-ntk-seed0"
    result = json.loads((folder / "result.json").read_text())
    assert result["relative_l2"] < 1e-5  # 9.0e-7 when it was written
    assert result["weights"] == {"data": 1.0}


def test_a_missing_package_leaves_no_folder(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "skfem", None)
    arguments = ["run", "liquid_crystal", *SIZE, "--parameter", "time_steps=8"]
    assert cli.main([*arguments, "--logdir", str(tmp_path)]) == 1
    assert 'pip install "ntk_keras[fem]"' in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_parameters_are_names_and_values(capsys):
    with pytest.raises(SystemExit):
        cli.main(["run", "liquid_crystal", "--parameter", "initial"])
    assert "expected NAME=VALUE, received 'initial'" in capsys.readouterr().err


def test_a_run_is_resumed_or_replaced_not_both(capsys):
    with pytest.raises(SystemExit):
        cli.main(["run", "wave", "--resume", "--overwrite"])
    assert "not allowed with" in capsys.readouterr().err


@pytest.mark.parametrize("way", ["resume", "overwrite"])
def test_a_run_is_neither_resumed_nor_replaced_with_other_settings(finished, way):
    settings = runs.load_settings(finished / "settings.json")
    other = dataclasses.replace(settings, averaging_rate=0.5)
    before = sorted(finished.iterdir())
    with pytest.raises(ValueError, match=r"other settings.*averaging_rate.*None, 0\.5.*neither"):
        runs.run(other, finished, verbose=0, **{way: True})
    assert sorted(finished.iterdir()) == before


def test_a_run_of_another_size_has_a_folder_of_its_own(no_events, tmp_path):
    """Whatever is an option of the command line; and replacing one leaves the other."""
    small = ["run", "poisson", "--steps", "2", "--steps-per-epoch", "1", "--verbose", "0"]
    small += ["--logdir", str(tmp_path)]
    assert cli.main([*small, "--width", "4"]) == 0
    (first,) = tmp_path.iterdir()
    written = (first / "result.json").stat().st_mtime_ns
    assert cli.main([*small, "--width", "5", "--overwrite"]) == 0
    assert cli.main([*small, "--width", "5"]) == 1
    assert len(list(tmp_path.iterdir())) == 2
    assert (first / "result.json").stat().st_mtime_ns == written


def test_names_tell_every_setting_apart():
    usual = problems.get("wave").presets["quick"]
    assert runs.run_name(usual) == "wave-quick-ntk-seed0"
    changes = {
        "points": {name: 7 for name in usual.points},
        "optimizer": "sgd",
        "estimator": {"name": "diagonal", "num_points": 3},
        "reduction": "mean",
        "dtype": "float64",
        "average": "kernel",
        "redrawn": not usual.redrawn,
        "weighting": "constant",
        "learning_rate": 0.5,
        "activation": "sin",
        "jit_compile": False,
        "input_scale": 2.0,
        "equation_scale": 2.0,
    }
    for name in ("steps", "width", "depth", "seed", "decay_rate", "decay_steps"):
        changes[name] = 1000 * (getattr(usual, name) + 1)
    for name in ("averaging_rate", "num_initial_probes", "update_every", "lbfgs_steps"):
        changes[name] = 5
    changes["steps_per_epoch"] = 1
    named = {field.name for field in dataclasses.fields(usual)} - {
        "problem",
        "preset",
        "parameters",
        "source",
    }
    assert set(changes) == named
    names = {runs.run_name(dataclasses.replace(usual, **{k: v})) for k, v in changes.items()}
    assert len(names | {runs.run_name(usual)}) == len(changes) + 1
    assert not any("/" in name or " " in name for name in names)
    # What a weighting does not look at is left out, so that comparisons may be extended.
    constant = dataclasses.replace(usual, weighting="constant", averaging_rate=0.5)
    assert runs.run_name(constant) == "wave-quick-constant-seed0"


def test_overwriting_leaves_a_folder_alone_that_holds_no_run(no_events, tmp_path):
    (tmp_path / "notes.txt").touch()
    settings = problems.get("poisson").presets["quick"]
    settings = dataclasses.replace(settings, width=4, steps=1, steps_per_epoch=1)
    runs.run(settings, tmp_path, overwrite=True, verbose=0)
    assert (tmp_path / "notes.txt").exists()


def test_a_comparison_may_be_extended(no_events, tmp_path):
    """What constant weights do not look at may differ."""
    settings = problems.get("poisson").presets["quick"]
    settings = dataclasses.replace(settings, width=4, steps=2, steps_per_epoch=1)
    constant = dataclasses.replace(settings, weighting="constant")
    first = runs.run(constant, tmp_path / "run", verbose=0)
    other = dataclasses.replace(constant, estimator="predictor", averaging_rate=0.1)
    again = runs.run(other, tmp_path / "run", resume=True, verbose=0)
    assert again.relative_l2 == first.relative_l2


def test_a_folder_without_settings_is_no_run_to_resume(no_events, tmp_path):
    settings = problems.get("poisson").presets["quick"]
    settings = dataclasses.replace(settings, width=4, steps=2, steps_per_epoch=1)
    before = runs.run(settings, tmp_path / "run", verbose=0)
    (tmp_path / "run" / "settings.json").unlink()
    other = dataclasses.replace(settings, averaging_rate=0.5, seed=1)
    with pytest.raises(ValueError, match="whose settings.json is gone"):
        runs.run(other, tmp_path / "run", resume=True, verbose=0)
    assert runs.run(other, tmp_path / "run", overwrite=True).relative_l2 != before.relative_l2
    assert runs.load_settings(tmp_path / "run" / "settings.json") == other


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"preset": "zz"}, "Unknown preset 'zz' of problem 'wave'"),
        ({"points": {"equation": 3}}, "needs numbers of points for .*Received .'equation'"),
        ({"dtype": "float31"}, "settings.json holds no settings of a run: dtype must be"),
        ({"color": "red"}, "settings.json holds no settings of a run: .*'color'"),
    ],
)
def test_settings_that_were_changed_by_hand_are_checked(
    finished, tmp_path, capsys, change, message
):
    settings = json.loads((finished / "settings.json").read_text()) | change
    (tmp_path / "settings.json").write_text(json.dumps(settings))
    arguments = ["run", "--settings", str(tmp_path / "settings.json")]
    assert cli.main([*arguments, "--logdir", str(tmp_path / "logs")]) == 1
    assert re.search(message, capsys.readouterr().err)


@pytest.mark.parametrize("command", [["run", "poisson"], ["reproduce", "1"]])
def test_a_folder_that_cannot_be_made_ends_with_a_message(command, tmp_path, capsys):
    (tmp_path / "file").touch()
    assert cli.main([*command, "--logdir", str(tmp_path / "file")]) == 1
    error = capsys.readouterr().err
    assert error.startswith("ntk-keras: ")
    assert str(tmp_path / "file") in error


KILLED = """
import dataclasses, gc, os, runpy, signal
gc.disable()  # a short life, which collections would take a third of
import keras
from ntk_keras import problems
from ntk_keras.experiments import runs

presets = problems.get("wave").presets
presets["quick"] = dataclasses.replace(presets["quick"], depth=1)  # as in this file

class Kill(keras.callbacks.Callback):
    def on_train_batch_end(self, batch, logs=None):
        if self.model.optimizer.iterations > 20:
            os.kill(os.getpid(), signal.SIGKILL)

usual = runs.writers
runs.writers = lambda *arguments: [*usual(*arguments), Kill()]
runpy.run_module("ntk_keras.cli", run_name="__main__")
"""


def test_a_killed_run_resumes_to_the_same_result(finished, tmp_path):
    """``kill -9`` in the second epoch loses nothing but that epoch, which is run again.

    Equal settings give equal runs, too: the first epoch is that of another process.
    """
    killed = tmp_path / finished.name
    arguments = ["run", "wave", *SIZE, "--logdir", str(tmp_path)]
    command = [sys.executable, "-c", KILLED, *arguments]
    assert subprocess.run(command, stderr=subprocess.DEVNULL).returncode == -signal.SIGKILL
    assert len(history_of(killed)) == 1
    assert cli.main([*arguments, "--resume"]) == 0
    assert_same_state(killed, finished)
    assert history_of(killed) == history_of(finished)


def results_of(logdir):
    """Errors by folder."""
    paths = logdir.glob("*/result.json")
    return {p.parent.name: json.loads(p.read_text())["relative_l2"] for p in paths}


def table_of(capsys):
    """The cells of the printed table, without its heading."""
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("|")]
    assert len({len(line) for line in lines}) == 1  # aligned
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def hparams_page(logdir):
    """What TensorBoard's page shows of the runs in a folder, sorted by their final errors."""
    runs_read = EventMultiplexer().AddRunsFromDirectory(str(logdir)).Reload()
    provider = MultiplexerDataProvider(runs_read, str(logdir))
    error = api_pb2.ColParams(
        metric=api_pb2.MetricName(tag="final/relative_l2"), order=api_pb2.ORDER_ASC
    )
    request = api_pb2.ListSessionGroupsRequest(
        slice_size=100, col_params=[error], allowed_statuses=api_pb2.Status.values()
    )
    context = backend_context.Context(TBContext(data_provider=provider))
    groups = list_session_groups.Handler(RequestContext(), context, "", request).run()
    names = ("weighting", "estimator", "averaging_rate", "seed")
    return [
        (
            [getattr(group.hparams[n], group.hparams[n].WhichOneof("kind")) for n in names],
            *(v.value for v in group.metric_values if v.name.tag == "final/relative_l2"),
        )
        for group in groups.session_groups
    ]


RATES = {"constant": "", "ntk": "-averaging_rate=0.5"}


def test_compare_sets_constant_weights_beside_others(tmp_path, capsys):
    arguments = ["compare", "poisson", *SIZE, "--seeds", "7", "--logdir", str(tmp_path)]
    arguments += ["--averaging-rate", "0.5"]
    assert cli.main(arguments) == 0
    table, results = table_of(capsys), results_of(tmp_path)
    size = NAME.replace("wave", "poisson")
    folders = {name: f"{size}{rate}-{name}-seed7" for name, rate in RATES.items()}
    errors = {name: results[folder] for name, folder in folders.items()}
    for row, error in zip(table, errors.values(), strict=True):
        assert row[1:4] == [f"{error:.3g}"] * 2 + [f"{errors['constant'] / error:.1f}"]
    assert [row[0] for row in table] == ["constant", "ntk, diagonal"]
    assert (tmp_path / f"compare-{size}-averaging_rate=0.5.png").stat().st_size > 10_000
    expected = [([name, "diagonal", 0.5, 7], error) for name, error in errors.items()]
    assert hparams_page(tmp_path) == sorted(expected, key=lambda row: row[1])


def test_compare_can_set_every_weighting_side_by_side(tmp_path, capsys, monkeypatch):
    """With runs that take no time; each weighting's own training is tested elsewhere."""

    def run(settings, folder, **kwargs):
        folder.mkdir(parents=True)
        (folder / "history.csv").write_text("epoch,step,val_relative_l2\n0,2,0.5\n1,4,0.25\n")
        error = 0.5 if settings.weighting == "constant" else 0.25
        return runs.Result(settings, folder, error, {}, {}, 1.0, 2.0)

    monkeypatch.setattr(comparison, "run", run)
    arguments = ["compare", "wave", "--seeds", "3", "4", "--weighting"]
    assert cli.main([*arguments, "estimators", "--logdir", str(tmp_path / "estimators")]) == 0
    names = [row[0] for row in table_of(capsys)]
    assert names == ["constant", *(f"ntk, {name}" for name in estimators.ESTIMATORS)]

    assert cli.main([*arguments, "all", "--logdir", str(tmp_path)]) == 0
    table = table_of(capsys)
    assert table[0] == ["constant", "0.5", "0.5", "0.5", "1.0", "2.0", "1"]
    names = [row[0] for row in table]
    assert {f"ntk, {name}" for name in estimators.ESTIMATORS} < set(names)
    shown = {name.removesuffix(", fixed points") for name in names}
    assert set(weighting.WEIGHTINGS) - shown == {"ntk"}
    assert {name for name in names if "fixed" in name} == {
        f"{name}, fixed points" for name in ("constant", "self-adaptive", "residual-attention")
    }
    assert len(list(tmp_path.glob("*/history.csv"))) == 2 * len(names) == 2 * len(set(names))
    assert (tmp_path / "compare-wave-quick.png").stat().st_size > 10_000


def test_the_error_of_diverging_training_reaches_the_shell(tmp_path, monkeypatch, capsys):
    problem = problems.get("poisson")
    wild = dataclasses.replace(problem.presets["paper"], learning_rate=1e30, steps=20)
    monkeypatch.setitem(problem.presets, "wild", wild)
    arguments = ["run", "poisson", "--preset", "wild", "--verbose", "0"]
    assert cli.main([*arguments, "--logdir", str(tmp_path)]) == 1
    message = capsys.readouterr().err
    assert "became infinite" in message
    assert "lower the learning rate" in message


@contextlib.contextmanager
def tensorboard(logdir):
    """The address of a TensorBoard on ``logdir``, started as a user starts it."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", str(logdir)]
    board = subprocess.Popen(
        [*command, "--port", str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        yield f"http://localhost:{port}/"
    finally:
        board.terminate()
        board.wait()


def test_tensorboard_serves_the_promised_tags(finished):
    """A real TensorBoard on the run's folder, asked over HTTP."""
    with tensorboard(finished.parent) as url:

        def get(path):
            with urllib.request.urlopen(url + path, timeout=10) as response:
                return json.loads(response.read())

        def loaded_tags():
            try:
                return get("data/plugin/scalars/tags").get(finished.name, {})
            except urllib.error.URLError:  # not listening yet
                return {}

        deadline = time.monotonic() + 120
        while not (tags := loaded_tags()):
            assert time.monotonic() < deadline, "TensorBoard loaded nothing"
            time.sleep(0.2)

        assert set(tags) == TAGS | FINAL
        for tag in TAGS:
            series = get(f"data/plugin/scalars/scalars?tag={tag}&run={finished.name}")
            steps = [step for _, step, _ in series]
            assert (steps[0], steps[-1]) == (20, 60), tag  # between them as time allows
        (category,) = get("data/plugin/custom_scalars/layout")["category"]
    charts = {chart["title"]: chart["multiline"]["tag"] for chart in category["chart"]}
    assert charts["loss weights"] == ["weights/.*"]
