"""The bench: runs with a budget of seconds, resumed, in one table, one CSV file and one figure."""

import csv
import dataclasses

import pytest
from matplotlib.figure import Figure

from ntk_keras import plots, problems
from ntk_keras.experiments import bench
from ntk_keras.experiments.bench import WAYS, Run, TimeLimit

ERRORS = {"adam-constant": 0.5, "adam-ntk": 0.25, "natural-gradient": 1e-6}


@pytest.fixture
def started(monkeypatch):
    """Runs that take no time: each call adds epochs of 4 s until its limit stops it."""
    calls = []

    class Model:
        stop_training = False

    def run(settings, folder, *, resume, verbose, callbacks):
        calls.append(folder.name)
        path = folder / "history.csv"
        folder.mkdir(parents=True, exist_ok=True)
        lines = path.read_text().splitlines() if path.exists() else ["step,seconds,val_relative_l2"]
        (limit,) = callbacks
        limit.set_model(Model())
        error = next(error for way, error in ERRORS.items() if way in folder.name)
        while not limit.model.stop_training:
            lines.append(f"{10 * len(lines)},4.0,{error * (1 + settings.seed)}")
            limit.on_epoch_end(0, {"seconds": 4.0, "val_relative_l2": error})
        path.write_text("\n".join(lines) + "\n")

    monkeypatch.setattr(bench.runs, "run", run)
    return calls


def test_every_problem_is_trained_in_every_way(started, tmp_path, capsys, monkeypatch):
    drawn = []
    monkeypatch.setattr(plots, "error_panels", lambda curves: drawn.append(curves) or Figure())
    made = bench.bench(["poisson", "wave"], list(WAYS), [0, 1], 10.0, tmp_path)
    assert len(made) == len(started) == 12
    assert started[:3] == [f"poisson-{way}-seed0" for way in WAYS]
    assert started[6] == "poisson-adam-constant-seed1"
    lines = (tmp_path / "bench.md").read_text().splitlines()
    assert lines[0].endswith("after 10 s of training, median of 2 seeds (smallest to largest)")
    cells = [cell.strip() for cell in lines[-1].strip("|").split("|")]
    assert cells == [
        "wave",
        "7.5e-01 (5.0e-01 to 1.0e+00)",
        "3.8e-01 (2.5e-01 to 5.0e-01)",
        "1.5e-06 (1.0e-06 to 2.0e-06)",
    ]
    with open(tmp_path / "bench.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["seconds"] for row in rows[:3]] == ["4.00", "8.00", "12.00"]
    assert (tmp_path / "bench.png").exists()
    assert list(drawn[-1]) == ["poisson", "wave"]
    assert drawn[-1]["wave"]["adam-ntk"][0] == ([4, 8, 12], 3 * [0.25])
    printed = capsys.readouterr().out
    assert "12 runs of 10 s: 0 finished, 12 to do" in printed
    assert "[12 of 12] wave, natural-gradient, seed 1  L2 error 2e-06" in printed
    assert "next: poisson, adam-ntk, seed 0; about " in printed


def test_finished_runs_are_kept_and_others_continue(started, tmp_path, monkeypatch):
    monkeypatch.setattr(plots, "error_panels", lambda curves: Figure())
    bench.bench(["poisson"], ["adam-ntk"], [0], 10.0, tmp_path, verbose=0)
    bench.bench(["poisson"], ["adam-ntk", "natural-gradient"], [0], 10.0, tmp_path, verbose=0)
    assert started == ["poisson-adam-ntk-seed0", "poisson-natural-gradient-seed0"]
    longer = bench.bench(["poisson"], ["adam-ntk"], [0], 20.0, tmp_path, verbose=0)
    assert [run.spent for run in longer] == [20]
    assert started[2:] == ["poisson-adam-ntk-seed0"]


def test_a_real_run_stops_after_its_seconds(tmp_path, monkeypatch):
    presets = problems.get("poisson").presets
    size = {"steps_per_epoch": 2, "width": 4, "depth": 1, "points": {"equation": 8}}
    monkeypatch.setitem(presets, "quick", dataclasses.replace(presets["quick"], **size))
    monkeypatch.setattr(bench.runs, "writers", lambda *arguments: [])  # TensorBoard takes seconds
    given = (["poisson"], ["adam-constant"], [3], 1e-3, tmp_path)
    one, hundred = bench.bench(*given, scales=[1.0, 100.0], verbose=0)
    for run in (one, hundred):
        assert len(run.rows) == 1
        assert (run.folder / "result.json").exists()
    # After few small steps, both networks are nearly those of the same seed.
    ratio = hundred.rows[0]["loss/equation"] / one.rows[0]["loss/equation"]
    assert ratio == pytest.approx(1e4, rel=0.1)


def test_every_scale_is_a_way_of_its_own(started, tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(plots, "error_panels", lambda curves: drawn.append(curves) or Figure())
    given = (["poisson"], ["adam-ntk"], [0], 10.0, tmp_path)
    bench.bench(*given, verbose=0)
    made = bench.bench(*given, scales=[1.0, 1e-3], verbose=0)
    assert started == ["poisson-adam-ntk-seed0", "poisson-adam-ntk-scale0.001-seed0"]
    assert [run.settings().equation_scale for run in made] == [1, 1e-3]
    heads = (tmp_path / "bench.md").read_text().splitlines()[2].split("|")
    assert [head.strip() for head in heads[2:-1]] == ["adam-ntk", "adam-ntk-scale0.001"]
    assert list(drawn[-1]["poisson"]) == ["adam-ntk", "adam-ntk-scale0.001"]
    with open(tmp_path / "bench.csv", newline="") as file:
        ways = [row["way"] for row in csv.DictReader(file)]
    assert ways == 3 * ["adam-ntk"] + 3 * ["adam-ntk-scale0.001"]


def test_only_epochs_that_end_within_the_budget_count(tmp_path):
    run = Run(problems.get("poisson"), "adam-ntk", 0, tmp_path)
    rows = "step,seconds,val_relative_l2\n10,4.0,0.5\n20,4.0,0.25\n30,4.0,0.125\n"
    (tmp_path / "history.csv").write_text(rows)
    cells = [bench.table([run], seconds).split("|")[-2].strip() for seconds in (3, 8, 11, 12)]
    assert cells == ["", "2.5e-01", "2.5e-01", "1.2e-01"]


def test_ways_differ_in_weights_and_optimizer(tmp_path):
    settings = {way: Run(problems.get("wave"), way, 2, tmp_path).settings() for way in WAYS}
    found = {way: (s.optimizer, s.weighting, s.seed) for way, s in settings.items()}
    assert found == {
        "adam-constant": ("adam", "constant", 2),
        "adam-ntk": ("adam", "ntk", 2),
        "natural-gradient": ("natural-gradient", "ntk", 2),
    }


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"names": ["wave", "nothing"]}, "Unknown problem 'nothing'"),
        ({"ways": ["adam"]}, r"Unknown ways \['adam'\]. Known: \['adam-constant'"),
        ({"seconds": 0.0}, "positive number of seconds"),
        ({"seeds": []}, "needs problems, ways and seeds"),
        ({"scales": [1.0, 0.0]}, r"scales must be positive numbers. Received \[1.0, 0.0\]"),
    ],
)
def test_mistakes_are_refused(change, words, tmp_path):
    given = {"names": ["wave"], "ways": ["adam-ntk"], "seeds": [0], "seconds": 1.0}
    with pytest.raises(ValueError, match=words):
        bench.bench(**{**given, **change}, logdir=tmp_path)


def test_a_problem_without_a_solution_is_refused(monkeypatch, tmp_path):
    unknown = dataclasses.replace(problems.get("wave"), solution=None)
    monkeypatch.setattr(bench.problems, "get", lambda name: unknown)
    with pytest.raises(ValueError, match="compares errors, but wave has no solution"):
        bench.bench(["wave"], ["adam-ntk"], [0], 1.0, tmp_path)


def test_progress_names_seconds_and_error():
    shown = []
    limit = TimeLimit(10, 3, shown.append)
    limit.set_model(type("Model", (), {"stop_training": False})())
    limit.on_epoch_end(0, {"seconds": 4.0, "val_relative_l2": 0.123456})
    assert shown == ["7 of 10 s  L2 error 0.123"]
    assert not limit.model.stop_training


def test_a_panel_for_each_problem():
    curve = ([1.0, 2.0], [0.5, 0.1])
    names = ["a", "b", "c", "d"]
    figure = plots.error_panels({name: {"one": [curve, curve], "two": [curve]} for name in names})
    assert [ax.get_title() for ax in figure.axes] == names
    assert all(len(ax.lines) == 3 for ax in figure.axes)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["one", "two"]
    with pytest.raises(ValueError, match="Received no problem"):
        plots.error_panels({})
