"""What the figures share: colours, sizes, logarithmic axes, and labels that do not overlap."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.ticker import LogFormatter, LogLocator

__all__ = [
    "BASELINE",
    "COLORS",
    "ERRORS",
    "LINE_STYLES",
    "SMALL",
    "VALUES",
    "WIDTH",
    "block_labels",
    "by_name",
    "color_bar",
    "edge_labels",
    "log_axis",
    "panels",
    "spread",
]

# Colours that people with colour-blindness can tell apart: those of Okabe and Ito that stand out
# against white, then wine and olive of Paul Tol.
COLORS = (
    *("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9"),
    *("#882255", "#999933"),
)
BASELINE = "0.35"  # grey of what others are compared with
LINE_STYLES = ("-", "--", ":", "-.")
VALUES, ERRORS = "RdBu_r", "PuOr_r"  # colour maps with white at zero
WIDTH = 10.0  # inches of a row of three panels: text of 10 points stays readable on a page
SMALL = 8.5  # points


def panels(
    rows: int, columns: int, width: float, height: float, **kwargs: Any
) -> tuple[Figure, np.ndarray]:
    """Returns a figure that belongs to no window, and its axes.

    Args:
        rows: number of rows.
        columns: number of columns.
        width: inches of the figure.
        height: inches of each row.
        **kwargs: arguments for ``Figure.subplots``, such as ``sharex``.

    Returns:
        The figure, and the axes ``[rows, columns]``.
    """
    figure = Figure(figsize=(width, rows * height), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False, **kwargs)
    for ax in axes.flat:
        ax.set_prop_cycle(color=COLORS)
        ax.tick_params(labelsize=SMALL, which="both")
    return figure, axes


def by_name(names: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Returns a colour and line style for each name; beyond eight, colours repeat as dashes."""
    count = len(COLORS)
    return {
        name: {
            "color": COLORS[number % count],
            "linestyle": LINE_STYLES[number // count % len(LINE_STYLES)],
        }
        for number, name in enumerate(dict.fromkeys(names))
    }


class _Labels(LogFormatter):
    """Labels such as 0.2, 1 and 50, and powers of ten for very small and very large numbers."""

    def __call__(self, x: float, pos: int | None = None) -> str:
        if not super().__call__(x, pos):  # not every tick has a label
            return ""
        exponent = int(np.floor(np.log10(x) + 1e-9))
        if -3 <= exponent < 4:
            return f"{x:.6g}"
        factor = round(x / 10.0**exponent)
        times = "" if factor == 1 else rf"{factor} \times "
        return f"${times}10^{{{exponent}}}$"


def log_axis(ax: Axes) -> None:
    """Makes the vertical axis logarithmic, with a grid and plain numbers at its ticks."""
    ax.set_yscale("log", nonpositive="mask")
    ax.yaxis.set_major_locator(LogLocator(numticks=8))
    ax.yaxis.set_major_formatter(_Labels())
    ax.yaxis.set_minor_formatter(_Labels(minor_thresholds=(2, 0.5)))
    ax.grid(alpha=0.3, linewidth=0.6)
    ax.spines[["top", "right"]].set_visible(False)
    ax.locator_params(axis="x", nbins=5)


def color_bar(image: Any, axes: Any, **kwargs: Any) -> None:
    """Draws the colour bar of an image beside one or several axes.

    Args:
        image: image or mesh.
        axes: axes that share the colours.
        **kwargs: arguments for ``Figure.colorbar``.
    """
    bar = image.figure.colorbar(image, ax=axes, pad=0.02, **kwargs)
    bar.ax.tick_params(labelsize=SMALL)
    bar.minorticks_off()


def spread(places: Sequence[float] | np.ndarray, gap: float) -> np.ndarray:
    """Returns places moved apart as little as possible, by the sum of squared distances.

    Args:
        places: places between 0 and 1, in any order.
        gap: smallest distance between two of them. If they do not fit, they are spread evenly.

    Returns:
        The moved places in the given order, which is kept along the axis.
    """
    order = np.argsort(places, kind="stable")
    gap = min(gap, 1 / max(len(order) - 1, 1))
    offsets = gap * np.arange(len(order))
    # With the gaps subtracted, places must not decrease: neighbours that do are averaged.
    pools: list[tuple[float, int]] = []
    for place in np.asarray(places, float)[order] - offsets:
        pools.append((place, 1))
        while len(pools) > 1 and pools[-2][0] > pools[-1][0]:
            (late, n), (early, m) = pools.pop(), pools.pop()
            pools.append(((m * early + n * late) / (m + n), m + n))
    means = np.repeat([mean for mean, _ in pools], [count for _, count in pools])
    moved = np.empty(len(order))
    moved[order] = np.clip(means, 0, 1 - gap * max(len(order) - 1, 0)) + offsets
    return moved


def edge_labels(
    ax: Axes, ends: Sequence[tuple[float, float]], texts: Sequence[str], colors: Sequence[str]
) -> None:
    """Writes labels at the right edge, apart from each other, with lines to the ends of curves.

    Args:
        ax: axes with their final limits.
        ends: last point of each curve, in data coordinates.
        texts: labels.
        colors: colours of the labels.
    """
    height = 0.85 * _points_high(ax)  # without the horizontal axis
    inside = ax.transAxes.inverted().transform(ax.transData.transform(np.reshape(ends, (-1, 2))))
    moved = spread(inside[:, 1], 1.3 * SMALL / height)
    leaders = [[(x, y), (1, y), (1.03, place)] for (x, y), place in zip(inside, moved, strict=True)]
    shared: dict[str, Any] = {"transform": ax.transAxes, "clip_on": False}
    ax.add_collection(
        LineCollection(leaders, colors=colors, linewidths=0.6, linestyles=":", **shared),
        autolim=False,
    )
    for place, text, color in zip(moved, texts, colors, strict=True):
        ax.text(1.035, place, text, color=color, fontsize=SMALL, va="center", **shared)


def block_labels(ax: Axes, centres: Sequence[float] | np.ndarray, names: Sequence[str]) -> None:
    """Names the blocks of a square matrix at its rows and columns, the names apart.

    Args:
        ax: axes of the matrix, whose first row is at the top.
        centres: middles of the blocks, as fractions of the matrix.
        names: names of the blocks.
    """
    height = 0.75 * _points_high(ax)  # without the names of columns
    moved = spread(centres, 1.2 * SMALL / height)
    ax.set(xticks=[], yticks=[])
    shared: dict[str, Any] = {"xycoords": "axes fraction", "textcoords": "axes fraction"}
    shared |= {"fontsize": SMALL, "arrowprops": {"arrowstyle": "-", "linewidth": 0.5, "shrinkA": 0}}
    for centre, place, name in zip(centres, moved, names, strict=True):
        ax.annotate(name, (0, 1 - centre), (-0.04, 1 - place), ha="right", va="center", **shared)
        ax.annotate(name, (centre, 0), (place, -0.04), ha="center", va="top", rotation=90, **shared)


def _points_high(ax: Axes) -> float:
    """Returns the height of the figure of some axes in points."""
    figure: Any = ax.figure
    return 72 * float(figure.get_size_inches()[1])
