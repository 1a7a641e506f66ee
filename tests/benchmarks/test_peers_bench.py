"""The peers' bench: its tasks, table and what is run again. The packages are not installed here."""

import ast

import numpy as np
import pytest

from benchmarks.bench import PROBLEMS
from benchmarks.peers.bench import __main__ as command_line
from benchmarks.peers.bench.curve import Curve
from benchmarks.peers.environments import REQUIREMENTS
from benchmarks.tables import read_csv, write_csv

FOLDER = REQUIREMENTS.parent / "bench"


def row(problem, contender, seed, error, seconds=1.0):
    head = {"problem": problem, "contender": contender, "seed": str(seed)}
    return head | {"seconds": seconds, "step": 10, "relative_l2": error}


def test_a_task_has_the_points_of_the_standard_configuration(tmp_path):
    task = command_line.task_of("heat_1d", "lbfgs", 3, 300.0, tmp_path / "reference.npz")
    assert (task.num_inside, task.num_boundary) == (4800, 3 * 480)
    assert (task.width, task.depth, task.seed) == (30, 3, 3)
    assert task.points.shape == (101 * 101, 2)
    start = task.points[:, 0] == 0
    np.testing.assert_allclose(
        task.truth[start, 0], np.sin(np.pi * task.points[start, 1]), atol=1e-14
    )


def test_a_curve_has_relative_errors():
    curve = Curve(100.0, np.array([[3.0], [4.0]]))
    curve.add(7, np.array([3.0, 4.5]))
    assert curve.rows[0]["step"] == 7
    assert curve.rows[0]["relative_l2"] == pytest.approx(0.1)
    assert not curve.is_due()


def test_the_table_has_last_errors_and_medians():
    curves = [
        row("kdv", "jinns", 0, "0.5"),
        row("kdv", "jinns", 0, "0.1"),
        row("burgers", "deepxde", 0, "0.1"),
        row("burgers", "deepxde", 1, "0.3"),
    ]
    ours = [{"problem": "kdv", "way": "natural-gradient", "seed": "0", "relative_l2": "1e-5"}]
    burgers, kdv = command_line.table(curves, ours)
    titles = command_line.TITLES
    assert burgers == dict.fromkeys(burgers, "") | {
        "problem": "burgers",
        titles["deepxde"]: "2.0e-01 (2)",
    }
    assert (kdv[titles["jinns"]], kdv["ntk_keras, natural gradient"]) == ("1.0e-01", "1.0e-05")


def test_finished_runs_are_not_made_again(tmp_path, monkeypatch):
    write_csv(tmp_path / "peers-bench-curves.csv", [row("kdv", "jinns", 0, 0.1)])
    monkeypatch.setattr(command_line.environments, "install", lambda *_: None)
    made = []

    def run(contender, problem, seed, seconds, folder):
        made.append((contender, problem, seed))
        return [row(problem, contender, seed, 0.2)] if problem != "wave" else []

    monkeypatch.setattr(command_line, "run", run)
    options = ["--peers", "jinns", "--problems", "kdv", "burgers", "wave", "--out", str(tmp_path)]
    command_line.main(options)
    assert made == [("jinns", "burgers", 0), ("jinns", "wave", 0)]
    kept = read_csv(tmp_path / "peers-bench-curves.csv")
    assert [(r["problem"], r["relative_l2"]) for r in kept] == [("kdv", "0.1"), ("burgers", "0.2")]
    assert "burgers" in (tmp_path / "peers-bench.md").read_text()


@pytest.mark.parametrize("name", ["deepxde", "jinns"])
def test_cases_are_problems_of_the_bench(name):
    functions = {
        node.name
        for node in ast.parse((FOLDER / f"{name}.py").read_text()).body
        if isinstance(node, ast.FunctionDef) and ast.unparse(node.returns or node) == "Case"
    }
    assert functions - {"evolution", "stationary"} <= set(PROBLEMS)
    assert len(functions) > 8
