"""Figures of the estimators' cost: errors against the time of a step, and seconds to an error."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks import training
from benchmarks.contenders import CONTENDERS
from benchmarks.tables import read_csv
from ntk_keras.plots import style

# Columns of an accuracy table by axis label.
ERRORS = {
    "weights, median error, %": "median error, %",
    "one sample, relative\nstandard deviation": "spread at 3000",
}
NAMES = ("constant", *CONTENDERS)
# Marker and colour of each threshold. They can be told apart in grey, too.
LOOKS = [("o", "0.75"), ("s", "0.5"), ("D", style.COLORS[0]), ("^", style.COLORS[1])]
MARKS = dict(zip(training.THRESHOLDS, LOOKS, strict=True))


def error_against_overhead(out: Path, widths: tuple[int, ...]) -> Figure:
    """Draws the error of the worst group over the cost of a step, in a column for each width.

    Args:
        out: folder with ``step.csv`` and ``accuracy-<width>-0.01.csv``.
        widths: widths of the network.
    """
    figure, axes = style.panels(
        len(ERRORS), len(widths), 4.2 * len(widths), 2.8, sharex="col", sharey="row"
    )
    for column, width in zip(axes.T, widths, strict=True):
        rows = training.step_rows(out, width)
        ratios = {row["method"]: float(row["ratio"]) for row in rows}
        rows = read_csv(out / f"accuracy-{width}-0.01.csv")
        for ax, (label, name) in zip(column, ERRORS.items(), strict=True):
            worst = {row["estimator"]: max(map(float, row[name].split(","))) for row in rows}
            _scatter(ax, ratios, worst)
            ax.set_ylabel(label if ax.get_subplotspec().is_first_col() else "")
        column[0].set_title(f"3 x {width}")
        column[-1].set_xlabel("time of a step / nested tapes, constant weights")
    return figure


def seconds_to_error(out: Path) -> Figure:
    """Draws the seconds to each error by estimator, at its best rate, in a panel for each width.

    Args:
        out: folder with ``training.csv`` and ``step.csv``.
    """
    panels = {width: training.best_runs(out, width) for width in training.STUDIES}
    panels = {width: runs for width, runs in panels.items() if runs}
    figure, (axes,) = style.panels(1, len(panels), 4.6 * len(panels), 3.2, sharey=True)
    for ax, (width, runs) in zip(axes, panels.items(), strict=True):
        _seconds(ax, runs, training.times(out, width), training.STUDIES[width].thresholds)
        ax.set_title(f"3 x {width}")
    axes[0].set_yticks(range(len(NAMES)), NAMES)
    axes[0].set_ylim(len(NAMES) - 0.5, -0.5)
    figure.legend(
        *axes[0].get_legend_handles_labels(), title="relative L2", loc="outside right center"
    )
    return figure


def _seconds(
    ax: Axes,
    runs: Mapping[str, Sequence[Mapping[str, str]]],
    times: Mapping[str, float],
    thresholds: Sequence[float],
) -> None:
    """Draws a row for each estimator, with a point for every seed and threshold reached."""
    for threshold in thresholds:
        points = [
            (float(member[training.name_of(threshold)]) * times[name] / 1000, NAMES.index(name))
            for name, members in runs.items()
            for member in members
            if member[training.name_of(threshold)]
        ]
        marker, color = MARKS[threshold]
        label = f"{100 * threshold:g} %"
        ax.plot(*zip(*points, strict=True), marker, color=color, alpha=0.8, label=label)
    for name, members in runs.items():
        if not any(member[training.name_of(max(thresholds))] for member in members):
            ax.text(1, NAMES.index(name), f"never {100 * max(thresholds):g} %", va="center")
    ax.set_xlabel("seconds of training")
    ax.set_xlim(left=0)
    ax.grid(alpha=0.3)


def _scatter(ax: Axes, ratios: Mapping[str, float], errors: Mapping[str, float]) -> None:
    """Draws a labelled point for each estimator that has both a ratio and an error."""
    known = sorted((ratios[name], errors[name], name) for name in errors if name in ratios)
    ax.axvline(1, color="0.7", linewidth=1)
    for place, (ratio, error, name) in enumerate(known):
        ax.plot(ratio, error, "o", color=style.COLORS[int(name == "exact")])
        shift = (0, 6) if place % 2 else (0, -12)
        ax.annotate(
            name, (ratio, error), shift, textcoords="offset points", ha="center", fontsize="small"
        )
    ax.margins(0.2)
    ax.set_ylim(bottom=0)
    ax.grid(alpha=0.3)
