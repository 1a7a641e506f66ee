"""What documents say of the benchmarks follows from the files that these wrote."""

import re
from pathlib import Path

import pytest

from benchmarks import report, training
from benchmarks.contenders import CONTENDERS
from benchmarks.tables import RESULTS, read_csv, write_csv

ROOT = Path(__file__).parents[2]
DASHES = {"never": "-", "": "-"}
# The estimators of the page's table by its first column.
ESTIMATORS = {
    "constant weights, forward derivatives": "constant",
    "`diagonal` of all points, or `exact`": "exact",
    "`diagonal`, 3 points": "diagonal-3",
    **{f"`{name}`": name for name in CONTENDERS},
}


def table(page: str, head: str) -> list[list[str]]:
    """The rows of the Markdown table that begins with the head."""
    lines = (ROOT / page).read_text().split("\n")
    start = next(number for number, line in enumerate(lines) if line.startswith(head))
    rows = []
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip().replace("*", "") for cell in line.strip("|").split("|")])
    return rows


def number(text: str) -> str:
    """``"9 500 (31 s)"`` and ``"9500"`` alike."""
    return re.sub(r"\s", "", re.sub(r"\(.*\)", "", text))


def steps_to_error() -> dict[tuple[str, str, str], dict[str, str]]:
    rows = read_csv(RESULTS / "steps-to-error.csv")
    return {(row["network"], row["estimator"], row["rate"]): row for row in rows}


@pytest.mark.parametrize("width", [50, 500])
def test_the_page_on_estimators_gives_the_step_times_measured(width):
    measured = {row["method"]: row["ratio"] for row in training.step_rows(RESULTS, width)}
    measured["constant"] = measured["taylor"]
    column = {500: 2, 50: 3}[width]
    rows = table("docs/estimators.md", "| estimator |")
    stated = {ESTIMATORS[row[0]]: row[column] for row in rows}
    assert stated.keys() == {"constant", *CONTENDERS}
    assert stated == {name: measured[name] for name in stated}


def test_the_page_on_estimators_gives_steps_and_seconds_to_an_error_at_the_best_rate():
    known = steps_to_error()
    best = training.best_runs(RESULTS, 100)
    for first, _, _, _, rate, *reached in table("docs/estimators.md", "| estimator |"):
        name = ESTIMATORS[first]
        assert not rate or float(rate) == float(best[name][0]["rate"])
        kinds = [(f"3 x {w}", name, f"{float(rate):g}" if rate else "-") for w in (100, 500)]
        rows = [known.get(kind, {"steps to 5 %": "not run"}) for kind in kinds]
        assert [re.sub(r"(\d) (?=\d)", r"\1", DASHES.get(cell, cell)) for cell in reached] == [
            row["steps to 5 %"] for row in rows
        ]


def test_the_page_on_estimators_gives_the_steps_to_an_error():
    known = steps_to_error()
    rows = table("docs/estimators.md", "| estimator, 3 × 100 | rate |")
    assert len(rows) > 10
    for first, rate, *reached in rows:
        name = "constant" if first == "constant weights" else first
        names = [n for n in CONTENDERS if n != "exact"] if first.startswith("any but") else [name]
        for each in names:
            row = known["3 x 100", ESTIMATORS.get(each, each), f"{float(rate):g}" if rate else "-"]
            measured = [number(row[training.name_of(t)]) for t in training.THRESHOLDS]
            assert [number(cell) for cell in reached] == measured


def test_the_page_on_estimators_gives_every_run_at_the_size_of_the_paper():
    runs = training.best_runs(RESULTS, 500)
    known = steps_to_error()
    rows = table("docs/estimators.md", "| estimator, 3 × 500 | rate |")
    for first, rate, *seeds, seconds in rows:
        name = ESTIMATORS.get(first, "constant")
        members = runs.pop(name)
        assert not rate or float(rate) == float(members[0]["rate"])
        assert [number(cell) for cell in seeds] == [row["steps to 5 %"] or "-" for row in members]
        median = known["3 x 500", name, f"{float(rate):g}" if rate else "-"]["steps to 5 %"]
        assert seconds == (re.search(r"\((.*) s\)", median) or ["", "-"])[1]
    assert not runs


def test_the_readme_gives_the_step_times_of_other_packages():
    rows = read_csv(RESULTS / "peers.csv")
    known = {
        (row["package"], row["weights"], row["compiled"]): [
            f"{float(row['ms']):.0f}",
            f"{float(row['ratio']):.3g}" if float(row["ratio"]) > 10 else row["ratio"],
        ]
        for row in rows
    }
    ours, jax = "ntk_keras", "JAX in jaxpi's style"
    cases = [
        (ours, "constant", "XLA"),
        (ours, "NTK, exact, every step", "XLA"),
        (ours, "NTK, the paper's estimate, every step", "XLA"),
        (jax, "constant", "jit"),
        (jax, "NTK, exact diagonal, every step", "jit"),
        (jax, "NTK, exact diagonal, every 1000 steps (computed)", "jit"),
        ("PINA", "constant", "no"),
        ("PINA", "its NTK weighting (gradient norms), every step", "no"),
        ("DeepXDE on TensorFlow", "constant", "XLA"),
        ("DeepXDE on PyTorch", "constant", "no"),
    ]
    stated = [numbers for _, *numbers in table("README.md", "| | ms per step |")]
    assert stated == [known[case] for case in cases]


def test_the_note_on_forward_derivatives_gives_the_ratios_measured():
    measured = {(r["case"], r["xla"]): r["ratio"] for r in read_csv(RESULTS / "derivatives.csv")}
    for first, *stated in table("docs/decisions/0006-forward-derivatives.md", "| | XLA |"):
        (case,) = {case for case, _ in measured if case.startswith(first.split(", whole")[0])}
        assert stated == [measured[case, xla] for xla in ("yes", "no")]


def test_the_page_on_estimators_gives_the_memory_measured():
    columns = ["constant", "exact", "diagonal-3", "reverse", "predictor", "product"]
    known = {row["estimator"]: row for row in read_csv(RESULTS / "memory.csv")}
    for (points, *stated), count in zip(
        table("docs/estimators.md", "| | constant |"), ("900", "20000"), strict=True
    ):
        assert number(points).startswith(count)
        assert stated == [known[name][f"GB, {count} residuals"] for name in columns]


def row(estimator: str, rate: str, seed: int, steps: int | str) -> dict[str, str]:
    labels = {"width": "100", "estimator": estimator, "rate": rate, "seed": str(seed)}
    reached = {training.name_of(t): str(steps) for t in training.THRESHOLDS}
    return labels | {"steps": "20000"} | reached | {"relative_l2": "0.02"}


def test_the_best_rate_is_that_of_the_smallest_median(tmp_path):
    rows = [row("exact", "0.01", seed, n) for seed, n in enumerate((900, 1000, 5000))]
    rows += [row("exact", "1", seed, n) for seed, n in enumerate((100, 1100, 1200))]
    rows += [row("reverse", "1", seed, n) for seed, n in enumerate(("", "", 100))]
    write_csv(tmp_path / "training.csv", rows)
    best = training.best_runs(tmp_path, 100)
    assert best == {"exact": rows[:3], "reverse": rows[6:]}
    lines = {(line["estimator"], line["rate"]): line for line in training.report(tmp_path)}
    assert lines["exact", "0.01"]["steps to 5 %"] == "1000"
    assert lines["reverse", "1"]["steps to 5 %"] == "-"


def test_the_figure_of_seconds_has_a_point_for_each_run_that_got_there(tmp_path):
    rows = [row("exact", "0.01", seed, 1000) for seed in (0, 1)] + [row("constant", "", 0, "")]
    write_csv(tmp_path / "training.csv", rows)
    case = {"equation": "wave, 2-D", "network": "3 x 100", "residuals": "900"}
    write_csv(tmp_path / "step.csv", [case | {"method": "exact", "ms": "2"}])
    (ax,) = report.seconds_to_error(tmp_path).axes
    assert [list(line.get_xdata()) for line in ax.lines] == [[2.0, 2.0]] * 4
    assert [text.get_text() for text in ax.texts] == ["never 20 %"]


def test_steps_to_an_error_are_those_of_the_first_epoch_below_it():
    history = [
        {"step": 10.0 * n, "val_relative_l2": e} for n, e in enumerate((0.5, 0.1, 0.2, 0.04))
    ]
    assert training.steps_to(history, (0.2, 0.1, 0.05, 0.02)) == [10, 10, 30, None]


def test_runs_of_both_widths_are_the_presets_with_the_weights_asked_for():
    settings = training.Job(500, "exact", 1e-2, 1, 20_000).settings
    assert (settings.preset, settings.width, settings.seed) == ("paper", 500, 1)
    assert (settings.weighting, settings.estimator, settings.averaging_rate) == (
        "ntk",
        "exact",
        0.01,
    )
    assert training.Job(100, "constant", None, 0, 20_000).settings.weighting == "constant"


def test_the_page_on_coefficients_gives_the_coverage_measured():
    known = [list(row.values()) for row in read_csv(RESULTS / "uncertainty.csv")]
    assert table("docs/how-to/inverse.md", "| neurons | points | u(0) given") == known
