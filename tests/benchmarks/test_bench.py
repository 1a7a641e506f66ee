"""The bench that is spread over days: finished runs are restored from its table."""

from benchmarks import bench
from benchmarks.tables import read_csv, write_csv


def test_runs_of_the_table_are_not_made_again(tmp_path, monkeypatch):
    made = []

    def run(settings, folder, **kwargs):
        made.append((settings.problem, settings.seed))
        rows = [{"step": 10, "seconds": 12.0, "val_relative_l2": 0.25}]
        write_csv(folder / "history.csv", rows)

    monkeypatch.setattr(bench.bench.runs, "run", run)
    places = ["--out", str(tmp_path), "--images", str(tmp_path), "--seconds", "10"]
    options = ["--problems", "wave", "poisson_2d", "--ways", "natural-gradient", *places]
    bench.main([*options, "--seeds", "1"])
    assert made == [("wave", 1), ("poisson_2d", 1)]
    bench.main([*options, "--seeds", "0", "1"])
    assert made[2:] == [("wave", 0), ("poisson_2d", 0)]
    rows = read_csv(tmp_path / "bench.csv")
    found = [(r["problem"], r["seed"], float(r["seconds"]), r["relative_l2"]) for r in rows]
    assert found[:2] == [("wave", "0", 12.0, "0.25"), ("wave", "1", 12.0, "0.25")]
    assert len(found) == 4
    assert (tmp_path / "bench.png").exists()
