"""The benchmark of other packages: what workers and their host say to each other, and the table."""

import io
import json
import math
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks.peers import __main__ as command_line
from benchmarks.peers import problem, report
from benchmarks.peers.environments import DEFAULT_FOLDER, PEERS, REQUIREMENTS, is_installed
from benchmarks.peers.host import Series, Worker, WorkerError, prepare, take_turns, workers
from benchmarks.peers.problem import Setting
from benchmarks.peers.worker import Case, Contender, Server, timed_loop
from ntk_keras.problems import wave

TINY = Setting(8, 2, {"equation": 6, "velocity": 5, "initial": 4, "left": 3, "right": 2})


class Pretender(Contender):
    """Computes nothing, in no time."""

    cases = (Case("constant", "constant", "no"), Case("broken", "none", "no"))

    def residuals(self):
        return {term: np.ones(number) for term, number in self.setting.points.items()}

    def prepare(self, case):
        if case == "broken":
            raise RuntimeError("cannot be built")
        return timed_loop(lambda: None)


def conversation(*requests):
    """The answers of a server of the pretender."""
    answers = io.StringIO()
    lines = "".join(json.dumps(request) + "\n" for request in requests)
    Server(Pretender(TINY)).serve(io.StringIO(lines), answers)
    return [json.loads(line) for line in answers.getvalue().splitlines()]


def test_a_worker_answers_every_line():
    described, residuals, prepared, done = conversation(
        {"command": "describe"},
        {"command": "residuals"},
        {"command": "prepare", "case": "constant"},
        {"command": "run", "case": "constant", "steps": 7},
        {"command": "stop"},
        {"command": "describe"},
    )
    assert [case["name"] for case in described["cases"]] == ["constant", "broken"]
    assert {term: len(rows) for term, rows in residuals.items()} == TINY.points
    assert prepared["seconds"] >= 0
    assert done["steps"] == 7


def test_a_worker_that_fails_says_how_and_goes_on():
    failed, unknown, described = conversation(
        {"command": "prepare", "case": "broken"}, {"command": "dance"}, {"command": "describe"}
    )
    assert "cannot be built" in failed["error"]
    assert "dance" in unknown["error"]
    assert described["cases"]


def test_the_problem_is_that_of_the_package():
    assert Setting().points == wave.POINTS
    assert problem.SPEED == wave.SPEED
    paper = wave.PROBLEM.presets["paper"]
    assert (Setting().width, Setting().depth) == (paper.width, paper.depth)
    assert pytest.approx(1 / 12) == problem.DEVIATION**2
    for term in wave.terms(paper):
        ours = term.points.fixed(seed=0)
        theirs = problem.draw(term.name, len(ours), np.random.default_rng(0))
        fixed = np.ptp(ours, axis=0) == 0
        np.testing.assert_array_equal(np.ptp(theirs, axis=0) == 0, fixed)
        np.testing.assert_array_equal(theirs[:, fixed], ours[:, fixed])


def test_a_setting_survives_the_command_line():
    assert Setting.from_json(TINY.to_json()) == TINY


@pytest.mark.slow
def test_our_own_worker_trains_from_lines_and_fills_the_table(tmp_path):
    """The whole way, a process included, without any other package."""
    with workers(["ours"], tmp_path, TINY) as running:
        equal = report.check_equal(running)
        series = prepare(running, lambda case: case.name in ("taylor", "exact"))
        take_turns(running, series, rounds=2, seconds=1e-3, patience=1.0)
        with pytest.raises(WorkerError, match="failed at 'prepare'"):
            running["ours"].ask("prepare", case="unheard of")
    rows = report.rows_of(series, {"ours": "any"}, equal)
    assert [row["weights"] for row in rows] == ["constant", "NTK, exact, every step"]
    assert rows[0]["ratio"] == "1.00"
    assert all(float(row["ms"]) > 0 and row["turns"] == 2 for row in rows)
    report.figure(rows).savefig(tmp_path / "peers.png")
    assert (tmp_path / "peers.png").stat().st_size > 1000


def test_a_worker_that_ends_is_reported_with_its_last_words():
    worker = Worker(Path(sys.executable), "benchmarks.peers.nobody", TINY, {})
    try:
        with pytest.raises(WorkerError, match=r"(?s)ended at 'describe'.*No module named"):
            worker.ask("describe")
    finally:
        worker.close()


class Answers:
    """A worker that only has residuals."""

    def __init__(self, value):
        self.value = value

    def ask(self, command):
        return {"equation": [1.0, self.value]}


@pytest.mark.parametrize("value", [2 * (1 + 1e-4), math.nan])
def test_a_package_that_computes_something_else_is_refused(value):
    assert report.check_equal({"ours": Answers(2), "same": Answers(2 * (1 + 1e-6))})["same"] < 2e-6
    with pytest.raises(ValueError, match=r"differ from ours.*other"):
        report.check_equal({"ours": Answers(2), "other": Answers(value)})


def test_a_case_without_patience_has_fewer_turns():
    class Slow:
        def ask(self, command, case, steps):
            return {"seconds": 2.0 * steps, "steps": steps}

    series = [Series("ours", Case("constant", "constant", "no"), 2.0)]
    take_turns({"ours": Slow()}, series, rounds=5, seconds=1.0, patience=3.0)
    assert series[0].times == [2.0, 2.0]


def test_weights_that_change_seldom_cost_their_share():
    case = Case("ntk", "NTK, every step", "jit", (10,), "constant")
    series = [
        Series("ours", Case("taylor", "constant", "XLA"), 1.0, [1.0, 2.0]),
        Series("jax", Case("constant", "constant", "jit"), 1.0, [2.0, 4.0]),
        Series("jax", case, 1.0, [22.0, 24.0]),
    ]
    rows = report.rows_of(series, {"ours": "", "jax": ""}, {"ours": 0.0, "jax": 0.0})
    assert [row["ratio"] for row in rows] == ["1.00", "2.00", "17.00", "3.50"]
    assert rows[-1]["weights"] == "NTK, every 10 steps (computed)"


def test_every_peer_has_a_module_and_pinned_requirements():
    for peer in PEERS.values():
        assert (Path(command_line.__file__).parent / f"{peer.module.split('.')[-1]}.py").exists()
        if peer.requirements is not None:
            lines = (REQUIREMENTS / peer.requirements).read_text().splitlines()
            assert all("==" in line for line in lines if not line.startswith("#"))


@pytest.mark.parametrize("name", [name for name in PEERS if name != "ours"])
def test_a_package_computes_what_we_do(name):
    if not is_installed(name, DEFAULT_FOLDER):
        pytest.skip(f"{name} is not installed: python -m benchmarks.peers --install-only")
    with workers(["ours", name], DEFAULT_FOLDER, TINY) as running:
        report.check_equal(running)
