"""Errors over seconds, in a panel for each problem."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ntk_keras.plots import style

__all__ = ["error_panels"]

COLUMNS = 3


def error_panels(
    curves: Mapping[str, Mapping[str, Sequence[tuple[Sequence[float], Sequence[float]]]]],
) -> Figure:
    """Draws relative L2 errors over seconds, in a panel for each problem, a line for each run.

    Args:
        curves: by problem and by way to train, the seconds and errors of each run.

    Raises:
        ValueError: if there is no problem.
    """
    if not curves:
        raise ValueError("There is nothing to draw. Received no problem.")
    columns = min(COLUMNS, len(curves))
    figure, axes = style.panels(
        -(-len(curves) // columns), columns, style.WIDTH * columns / COLUMNS, 2.8
    )
    looks = style.by_name(way for ways in curves.values() for way in ways)
    for ax, (problem, ways) in zip(axes.flat, curves.items(), strict=False):
        for way, runs in ways.items():
            for seconds, errors in runs:
                ax.plot(seconds, np.asarray(errors), **looks[way], linewidth=1.2)
        ax.set_title(problem, fontsize=10)
        style.log_axis(ax)
    for ax in axes.flat[len(curves) :]:
        ax.remove()
    for ax in axes[:, 0]:
        ax.set_ylabel("relative L2 error")
    figure.supxlabel("seconds in training", fontsize=10)
    handles = [Line2D([], [], **look, label=way) for way, look in looks.items()]
    figure.legend(handles=handles, loc="outside upper center", ncols=len(looks), frameon=False)
    return figure
