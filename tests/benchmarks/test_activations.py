"""The benchmark of activations, at a size that takes seconds."""

import dataclasses

import pytest

from benchmarks import activations
from benchmarks.tables import read_csv
from ntk_keras import problems


@pytest.fixture
def small(monkeypatch):
    presets = problems.get("poisson_2d").presets
    usual = presets["natural-gradient"]
    few = dict.fromkeys(usual.points, 20)
    changed = dataclasses.replace(usual, points=few, width=4, depth=1)
    monkeypatch.setitem(presets, "natural-gradient", changed)


def test_runs_that_the_table_has_are_not_made_again(small, tmp_path, monkeypatch):
    options = ["--problems", "poisson_2d", "--marks", "1", "2", "--out", str(tmp_path)]
    activations.main([*options, "--activations", "sin"])
    first = read_csv(tmp_path / "activations.csv")
    rows = activations.main([*options, "--activations", "sin", "sin_tanh"])
    assert [row["activation"] for row in rows] == ["sin", "sin_tanh"]
    assert first == rows[:1]
    assert rows[0]["2 steps"] != rows[1]["2 steps"]
    monkeypatch.setattr(activations, "errors", None)
    assert activations.main([*options, "--activations", "sin"]) == rows
