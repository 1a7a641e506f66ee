"""Options of the command line that change settings, and L-BFGS after training."""

import dataclasses
import json

import keras
import pytest

from ntk_keras import cli, problems
from ntk_keras.callbacks import read_history
from ntk_keras.experiments import changes, runs


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """The current folder, in which dry runs leave nothing."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(runs, "writers", lambda *arguments: [])
    return tmp_path


def dry(capsys, *arguments):
    """The settings that a dry run prints."""
    assert cli.main(["run", *arguments, "--dry-run"]) == 0
    return json.loads(capsys.readouterr().out)


CHANGES = {
    "--depth 2": {"depth": 2},
    "--activation sin": {"activation": "sin"},
    "--dtype float64": {"dtype": "float64"},
    "--learning-rate 0.01": {"learning_rate": 0.01},
    "--jit": {"jit_compile": True},
    "--no-jit": {"jit_compile": False},
    "--lbfgs 50": {"lbfgs_steps": 50},
    "--points left=7 --points right=8": {
        "points": {"equation": 300, "velocity": 300, "initial": 100, "left": 7, "right": 8}
    },
}


@pytest.mark.parametrize("arguments", CHANGES)
def test_an_option_changes_its_setting(arguments, capsys, folder):
    usual = dry(capsys, "wave")
    assert usual == {**usual, "preset": "quick", "jit_compile": None, "lbfgs_steps": 0}
    assert dry(capsys, "wave", *arguments.split()) == {**usual, **CHANGES[arguments]}
    assert list(folder.iterdir()) == []


def test_printed_settings_can_be_given(capsys, folder):
    printed = dry(capsys, "wave", "--depth", "2", "--seed", "3")
    (folder / "mine.json").write_text(json.dumps(printed))
    assert dry(capsys, "--settings", "mine.json") == printed


REFUSED = {
    "no such term": ("wave --points middle=3", "needs numbers of points for"),
    "no points": ("wave --points left=0", "points of 'left' must be an integer of at least 1"),
    "a rate of zero": ("wave --learning-rate 0", "learning_rate must be positive"),
    "a rate without effect": (
        "wave --optimizer natural-gradient --learning-rate 1",
        "learning_rate: without effect under 'ntk' weights and the optimizer 'natural-gradient'",
    ),
    "no such dtype": ("wave --dtype float16", 'dtype must be "float32" or "float64"'),
    "no such activation": ("wave --activation sinus", "sinus"),
    "negative L-BFGS": ("wave --lbfgs -1", "lbfgs_steps must be an integer of at least 0"),
    "a network without depth": ("quadratic --depth 2", "'quadratic' does not use depth"),
    "points beside settings": ("--settings a.json --points left=3", "Leave out ['points']"),
}


@pytest.mark.parametrize(("arguments", "message"), REFUSED.values(), ids=REFUSED)
def test_options_that_do_not_fit_are_refused(arguments, message, capsys, folder):
    assert cli.main(["run", *arguments.split()]) == 1
    assert message in capsys.readouterr().err
    assert list(folder.iterdir()) == []


def test_points_are_whole_numbers(capsys):
    with pytest.raises(SystemExit):
        cli.main(["run", "wave", "--points", "left=many"])
    assert "expected NAME=N with a whole number, received 'left=many'" in capsys.readouterr().err


def test_a_network_of_a_problem_takes_the_settings_that_it_uses():
    def network(settings):
        return keras.Sequential([keras.Input([1]), keras.layers.Dense(settings.width)])

    problem = dataclasses.replace(problems.get("poisson"), network=network)
    assert changes.changed(problem, "quick", {"width": 7}).width == 7
    with pytest.raises(ValueError, match="does not use depth, activation"):
        changes.changed(problem, "quick", {"width": 7, "depth": 2, "activation": "sin"})


class Interrupt(keras.callbacks.Callback):
    """Ends a run during its L-BFGS iterations."""

    def on_train_batch_end(self, batch, logs=None):
        if self.model.optimizer.iterations.numpy() > 6:
            raise KeyboardInterrupt


def test_lbfgs_follows_training_and_is_resumed(folder, monkeypatch):
    monkeypatch.setattr(runs, "_write_results", lambda *arguments: None)  # figures
    options = {"steps": 4, "steps_per_epoch": 2, "width": 4, "lbfgs_steps": 5, "dtype": "float64"}
    options["weighting"] = "constant"
    settings = changes.changed(problems.get("poisson"), "quick", options)
    result = runs.run(settings, folder / "whole", verbose=0)
    rows = read_history(folder / "whole" / "history.csv")
    assert [row["step"] for row in rows] == [2, 4, 9]
    assert rows[-1]["loss"] < rows[-2]["loss"]
    assert result.relative_l2 == rows[-1]["val_relative_l2"]

    with pytest.raises(KeyboardInterrupt):
        runs.run(settings, folder / "killed", verbose=0, callbacks=[Interrupt()])
    assert len(read_history(folder / "killed" / "history.csv")) == 2
    again = runs.run(settings, folder / "killed", verbose=0, resume=True)
    assert (again.relative_l2, again.losses) == (result.relative_l2, result.losses)
    finished = runs.run(settings, folder / "killed", verbose=0, resume=True)
    assert finished.losses == result.losses
    assert len(read_history(folder / "killed" / "history.csv")) == 3
