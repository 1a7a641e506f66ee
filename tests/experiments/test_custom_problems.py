"""Custom problems from the command line: the template, its runs and comparisons."""

import dataclasses
import json
import re

import numpy as np
import pytest
import tensorflow as tf

import ntk_keras as nk
import ntk_keras_cli
from ntk_keras import cli, problems
from ntk_keras.experiments import comparison, runs
from ntk_keras_cli import new

SHORT = ["--steps", "4", "--steps-per-epoch", "2", "--width", "4", "--verbose", "0"]


@pytest.fixture
def rod(tmp_path, monkeypatch):
    """A new problem in the current folder."""
    monkeypatch.chdir(tmp_path)
    new.write("rod.py")
    return problems.get("rod.py")


@pytest.fixture
def no_events(monkeypatch):
    """Runs without TensorBoard's events and pictures, which take half of a short run's time."""
    monkeypatch.setattr(runs, "writers", lambda *arguments: [])


def test_a_new_problem_is_named_after_its_file(rod):
    assert rod.name == "rod"
    assert {settings.problem for settings in rod.presets.values()} == {"rod"}


def test_the_solution_of_the_template_solves_its_equation(rod):
    def solution(points):
        t, x = points[:, :1], points[:, 1:]
        return tf.exp(-0.1 * np.pi**2 * t) * tf.sin(np.pi * x)

    solution.axes = ("t", "x")
    for term in rod.terms(rod.presets["quick"]):
        points = term.points_at(tf.constant([1, 2]), "float64")
        np.testing.assert_allclose(solution(points), rod.solution(points.numpy()), atol=1e-14)
        np.testing.assert_allclose(term.residual(solution, points), 0, atol=1e-12)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("rod.py", "rod.py exists, and is not overwritten"),
        ("wave.py", "'wave' is the name of a built-in problem. .* as in my_wave.py"),
        ("rod.txt", "ends in .py, as in heat.py. Received 'rod.txt'"),
        ("my rod.py", "Received 'my rod.py'"),
    ],
)
def test_a_new_problem_needs_a_new_name(rod, name, message, capsys):
    assert ntk_keras_cli.main(["new", name]) == 1
    assert re.search(message, capsys.readouterr().err)


def test_a_run_of_a_file_is_found_again_from_its_settings(rod, tmp_path, monkeypatch, capsys):
    assert cli.main(["run", "rod.py", *SHORT, "--weighting", "constant"]) == 0
    (folder,) = (tmp_path / "logs").iterdir()
    assert folder.name == "rod-quick-steps=4-width=4-steps_per_epoch=2-constant-seed0"
    assert {path.name for path in folder.iterdir()} >= {"solution.png", "history.png"}
    assert "relative L2 error" in capsys.readouterr().out
    settings = folder / "settings.json"
    assert json.loads(settings.read_text())["source"] == f"{tmp_path / 'rod.py'}:PROBLEM"
    monkeypatch.chdir("/")
    again = ["run", "--settings", str(settings), "--logdir", str(folder.parent), "--resume"]
    before = json.loads((folder / "result.json").read_text())
    assert cli.main(again) == 0
    assert json.loads((folder / "result.json").read_text()) == before
    (tmp_path / "rod.py").unlink()
    assert cli.main(again) == 1
    assert "There is no file" in capsys.readouterr().err


def test_the_template_is_trained_by_natural_gradients(rod, tmp_path, no_events):
    assert cli.main(["run", "rod.py", *SHORT, "--optimizer", "natural-gradient"]) == 0
    (folder,) = (tmp_path / "logs").iterdir()
    assert folder.name.startswith("rod-natural-gradient-")


def test_the_template_is_compared(rod, monkeypatch):
    """Without training."""
    compared = []
    monkeypatch.setattr(comparison, "compare", lambda variants, *_, **__: compared.extend(variants))
    monkeypatch.setattr(comparison, "table", lambda results: "")
    assert cli.main(["compare", "rod.py", "--optimizer", "natural-gradient"]) == 0
    assert [(s.preset, s.weighting) for s in compared] == [
        (preset, weighting)
        for preset in ("quick", "natural-gradient")
        for weighting in ("constant", "ntk")
    ]


def test_a_problem_without_a_solution_is_trained_and_compared(rod, tmp_path, capsys):
    """With events and figures; losses stand for the errors."""
    text = (tmp_path / "rod.py").read_text()
    (tmp_path / "rod.py").write_text(text.replace("solution=solution,", "solution=None,"))
    arguments = ["rod.py", *SHORT, "--depth", "1", "--seeds", "5"]
    assert cli.main(["compare", *arguments]) == 0
    printed = capsys.readouterr().out
    assert "Sum of losses at the end of training, rod" in printed
    results = [json.loads(path.read_text()) for path in tmp_path.glob("logs/*/result.json")]
    assert [result["relative_l2"] for result in results] == [None, None]
    assert all(f"{sum(result['losses'].values()):.3g}" in printed for result in results)
    for name in ("history.png", "solution.png", "history.csv"):
        assert len(list(tmp_path.glob(f"logs/*/{name}"))) == 2
    assert cli.main(["run", *arguments[:-2], "--seed", "5", "--resume"]) == 0
    assert "sum of losses" in capsys.readouterr().out


def test_of_three_axes_the_last_two_are_drawn_at_the_end_of_the_first(rod):
    box = nk.domains.Box(t=(0, 1), x=(0, 1), y=(0, 1))
    problem = dataclasses.replace(rod, box=box, grid=(2, 3, 4))
    values = np.arange(24.0).reshape(2, 3, 4, 1)
    ax = runs.solution_figure(problem, values, None).axes[0]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("x", "y")
    np.testing.assert_array_equal(ax.collections[0].get_array(), values[1, ..., 0].T)
