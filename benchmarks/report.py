"""What the estimators cost against what they err, from the tables of the other benchmarks."""

from collections.abc import Mapping
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.tables import read_csv

# By axis label, the column of an accuracy table.
ERRORS = {
    "weights, median error, %": "median error, %",
    "one sample, relative\nstandard deviation": "spread at 3000",
}


def error_against_overhead(out: Path, widths: tuple[int, ...]) -> Figure:
    """Error of the worst group over the price of a step, one column of panels for each width.

    Args:
        out: folder with ``step-<width>.csv`` and ``accuracy-<width>-0.01.csv``.
        widths: of the network.
    """
    size = (4.2 * len(widths), 2.8 * len(ERRORS))
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots(len(ERRORS), len(widths), sharex="col", sharey="row", squeeze=False)
    for column, width in zip(axes.T, widths, strict=True):
        times = read_csv(out / f"step-{width}.csv")
        ratios = {row["method"]: float(row["ratio"]) for row in times}
        rows = read_csv(out / f"accuracy-{width}-0.01.csv")
        for ax, (label, name) in zip(column, ERRORS.items(), strict=True):
            worst = {row["estimator"]: max(map(float, row[name].split(","))) for row in rows}
            _scatter(ax, ratios, worst)
            ax.set_ylabel(label if ax.get_subplotspec().is_first_col() else "")
        column[0].set_title(f"3 x {width}")
        column[-1].set_xlabel("time of a step / nested tapes, constant weights")
    return figure


def _scatter(ax: Axes, ratios: Mapping[str, float], errors: Mapping[str, float]) -> None:
    """One named point for each estimator that both know; neighbours' names take turns."""
    known = sorted((ratios[name], errors[name], name) for name in errors if name in ratios)
    ax.axvline(1, color="0.7", linewidth=1)
    for place, (ratio, error, name) in enumerate(known):
        ax.plot(ratio, error, "o", color="C3" if name == "exact" else "C0")
        shift = (0, 6) if place % 2 else (0, -12)
        ax.annotate(
            name, (ratio, error), shift, textcoords="offset points", ha="center", fontsize="small"
        )
    ax.set_ylim(bottom=0)
    ax.margins(0.15)
    ax.grid(alpha=0.3)
