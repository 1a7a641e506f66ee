"""Figures of solutions, points and kernels."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import QuadMesh
from matplotlib.colors import SymLogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ntk_keras.plots import style

__all__ = ["curves", "directors", "kernel", "points", "solution", "to_array"]


def solution(
    lines: Sequence[np.ndarray],
    prediction: np.ndarray,
    truth: np.ndarray | None,
    labels: Sequence[str],
    outputs: Sequence[str] = (),
) -> Figure:
    """Draws prediction, truth and error on a grid of one or two dimensions (Figure 9 of the paper).

    Each output has a row. The title of its error is the relative L2 error,
    ``||prediction - truth|| / ||truth||`` over the points of the grid. Nothing is drawn where a
    value is NaN, infinite or masked, as outside of a domain, and the error leaves it out.

    Args:
        lines: coordinates along each axis.
        prediction: values on the grid, one axis for each line, or at its points in order, ``[m]``.
            Several outputs are a further axis, as in ``[m, outputs]``.
        truth: values of the exact solution, of the same shape; None if it is unknown, which leaves
            the prediction alone, with a panel for each output.
        labels: names of the axes.
        outputs: names of the outputs; by default none for one, and ``u1``, ``u2``, ... for several.

    Raises:
        ValueError: if there are more than two axes, or values are complex or belong to another
            grid.
    """
    if len(lines) not in (1, 2) or any(np.ndim(line) != 1 for line in lines):
        raise ValueError(
            "A solution is drawn along one or two axes, whose coordinates are a list of arrays, "
            f"[x] or [x, y]. Received shapes {[np.shape(line) for line in lines]}. Of more axes "
            "take a slice, as in box.face(t=0.5).grid(1, 50, 50) for the points."
        )
    if len(labels) != len(lines):
        raise ValueError(f"{len(lines)} axes need as many labels. Received {labels!r}.")
    values = _on_grid("prediction", prediction, lines)
    count = len(values)
    names = list(outputs) or ([""] if count == 1 else [f"u{k + 1}" for k in range(count)])
    if len(names) != count:
        raise ValueError(f"{count} outputs need as many names. Received {names!r}.")
    if truth is None:
        return _prediction_alone(lines, values, labels, names)
    pairs = list(zip(values, _on_grid("truth", truth, lines), strict=True))
    draw = _rows_in_the_plane if len(lines) == 2 else _rows_on_a_line
    return draw(lines, pairs, labels, names)


def points(places: np.ndarray, labels: Sequence[str]) -> Figure:
    """Draws points in a panel for each pair of axes, or their density along a single axis.

    Args:
        places: points ``[n, d]``.
        labels: names of the d axes, one to four.

    Raises:
        ValueError: if points have another shape, or more than four axes.
    """
    places = np.asarray(places)
    if places.ndim != 2 or places.shape[1] != len(labels) or not 1 <= len(labels) <= 4:
        raise ValueError(
            "Points are drawn along one to four axes, [n, d] with d labels. Received shape "
            f"{places.shape} and labels {list(labels)}. Choose some of the axes."
        )
    pairs = list(itertools.combinations(range(len(labels)), 2))
    columns = max(1, len(pairs))
    figure, rows = style.panels(1, columns, max(5, 3.2 * columns), 3)
    axes = rows[0]
    if not pairs:
        axes[0].hist(places[:, 0], bins=50)
        axes[0].set(xlabel=labels[0], ylabel="points")
    for ax, (first, second) in zip(axes, pairs, strict=False):
        ax.plot(places[:, first], places[:, second], ".", markersize=2)
        ax.set(xlabel=labels[first], ylabel=labels[second])
    return figure


def curves(
    steps: np.ndarray, exact: Mapping[str, np.ndarray], estimated: Mapping[str, np.ndarray]
) -> Figure:
    """Draws exact (dashed) and estimated (solid) loss weights over steps (Figure 8 of the paper).

    Args:
        steps: step numbers ``[m]``.
        exact: exact weights by group, each ``[m]``.
        estimated: estimated weights by group, each ``[m]``.
    """
    figure, axes = style.panels(1, 1, 8, 3.8)
    ax = axes[0, 0]
    for group, color in zip(exact, itertools.cycle(style.COLORS)):
        ax.plot(steps, estimated[group], color=color, label=f"{group}, estimated")
        ax.plot(steps, exact[group], "--", color=color, label=f"{group}, exact")
    ax.set(xlabel="step", ylabel="loss weight")
    style.log_axis(ax)
    figure.legend(loc="outside right upper", frameon=False)
    return figure


def kernel(matrix: np.ndarray, sizes: Mapping[str, int]) -> Figure:
    """Draws the kernel as a heat map with blocks marked, on a symmetric logarithmic scale.

    Args:
        matrix: kernel K, ``[n, n]``.
        sizes: rows of each block, in order.
    """
    figure, axes = style.panels(1, 1, 6, 4.8)
    ax = axes[0, 0]
    largest = _largest(matrix)
    # Blocks of values are often 1e4 times smaller than those of second derivatives.
    norm = SymLogNorm(linthresh=1e-6 * largest, vmin=-largest, vmax=largest)
    powers = 10.0 ** (np.floor(np.log10(largest)) - [0, 2, 4])  # ticks, apart from zero
    image = ax.imshow(matrix, norm=norm, cmap=style.VALUES)
    style.color_bar(image, ax, label="kernel $K_{ij}$", ticks=[*-powers, 0, *powers])
    counts = np.array(list(sizes.values()))
    ends = np.cumsum(counts)
    for end in ends[:-1]:
        ax.axhline(end - 0.5, color="black", linewidth=0.5)
        ax.axvline(end - 0.5, color="black", linewidth=0.5)
    style.block_labels(ax, (ends - counts / 2) / ends[-1], list(sizes))
    return figure


def directors(
    lines: Sequence[np.ndarray],
    light: Mapping[str, np.ndarray],
    angles: Mapping[str, np.ndarray],
    titles: Sequence[str],
) -> Figure:
    """Draws the light through a liquid crystal, and its directors, at several times (Figure 10).

    Args:
        lines: coordinates x and y.
        light: light by field, ``[times, nx, ny]``, drawn on one scale.
        angles: angles of the directors from the x axis in radians, by field. A director has no
            sign, and is drawn as a stroke without a head.
        titles: titles of the times, drawn at the left.
    """
    figure, axes = style.panels(
        len(titles), len(light), 3 * len(light) + 1, 2.8, sharex=True, sharey=True
    )
    levels = MaxNLocator(12).tick_values(0, max(_largest(v) for v in light.values()))
    # The scale extends beyond the largest value, so that strokes stand out against the light.
    look = {"levels": levels, "vmin": 0, "vmax": 1.6 * levels[-1], "cmap": "YlOrBr"}
    every = max(1, len(lines[0]) // 12)
    x, y = np.meshgrid(*(line[::every] for line in lines), indexing="ij")
    for column, name in zip(axes.T, light, strict=True):
        column[0].set_title(name)
        for ax, values, turned in zip(column, light[name], angles[name], strict=True):
            image = ax.contourf(*lines, values.T, **look)
            strokes = turned[::every, ::every]
            ax.quiver(
                *(x, y, np.cos(strokes), np.sin(strokes)),
                **{"color": "navy", "pivot": "mid", "scale": 18, "width": 0.006},
                **{"headwidth": 0, "headlength": 0, "headaxislength": 0},
            )
            ax.set(aspect="equal", xticks=lines[0][[0, -1]], yticks=lines[1][[0, -1]])
    for ax, title in zip(axes[:, 0], titles, strict=True):
        ax.set_ylabel(f"{title}\ny")
    for ax in axes[-1]:
        ax.set_xlabel("x")
    figure.colorbar(image, ax=axes, label="light, $|\\lambda_1 v_1 \\cdot e_x|$", shrink=0.6)
    return figure


def to_array(figure: Figure) -> np.ndarray:
    """Returns the image of a figure, ``[height, width, 4]`` from 0 to 255."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.array(canvas.buffer_rgba())


def _prediction_alone(
    lines: Sequence[np.ndarray],
    predictions: Sequence[np.ndarray],
    labels: Sequence[str],
    names: Sequence[str],
) -> Figure:
    """Draws a panel for each output."""
    figure, axes = style.panels(1, len(names), 1 + 4 * len(names), 3.2)
    for ax, values, name in zip(axes[0], predictions, names, strict=True):
        if len(lines) == 1:
            ax.plot(lines[0], values)
        else:
            style.color_bar(_image(ax, lines, values, _largest(values), style.VALUES), ax)
            ax.set_ylabel(labels[1])
        ax.set(title=f"prediction of {name}" if name else "prediction", xlabel=labels[0])
    return figure


def _image(
    ax: Axes, lines: Sequence[np.ndarray], values: np.ndarray, limit: float, colors: str
) -> QuadMesh:
    """Draws values ``[n, m]`` in colours from ``-limit`` to ``limit``."""
    return ax.pcolormesh(*lines, values.T, vmin=-limit, vmax=limit, cmap=colors, shading="nearest")


def _rows_in_the_plane(
    lines: Sequence[np.ndarray],
    pairs: Sequence[tuple[np.ndarray, np.ndarray]],
    labels: Sequence[str],
    names: Sequence[str],
) -> Figure:
    """Draws a row for each pair of prediction and truth, which share their colours."""
    figure, rows = style.panels(len(pairs), 3, style.WIDTH, 3, sharex=True, sharey=True)
    for axes, (prediction, truth), name in zip(rows, pairs, names, strict=True):
        title = f"error, relative L2 {_relative_l2(prediction, truth):.3g}"
        shown = {"prediction": prediction, "truth": truth, title: prediction - truth}
        largest = _largest(truth)
        for ax, (title, values) in zip(axes, shown.items(), strict=True):
            error = ax is axes[2]
            limit = _largest(values) if error else largest
            image = _image(ax, lines, values, limit, style.ERRORS if error else style.VALUES)
            ax.set_title(f"{title} of {name}" if name and not error else title)
            if ax is not axes[0]:
                beyond = "both" if _largest(prediction) > 1.001 * limit and not error else "neither"
                style.color_bar(image, axes[2] if error else axes[:2], extend=beyond)
        axes[0].set_ylabel(labels[1])
    for ax in rows[-1]:
        ax.set_xlabel(labels[0])
    return figure


def _rows_on_a_line(
    lines: Sequence[np.ndarray],
    pairs: Sequence[tuple[np.ndarray, np.ndarray]],
    labels: Sequence[str],
    names: Sequence[str],
) -> Figure:
    """Draws a row for each pair of prediction and truth, which share a panel."""
    figure, rows = style.panels(len(pairs), 2, 8, 3, sharex=True)
    for (values, error), (prediction, truth), name in zip(rows, pairs, names, strict=True):
        values.plot(lines[0], truth, "--", color="black", label="truth")
        values.plot(lines[0], prediction, label="prediction")
        error.plot(lines[0], prediction - truth, color=style.COLORS[1])
        error.set_title(f"error, relative L2 {_relative_l2(prediction, truth):.3g}")
        values.set_title(name or "solution")
    for ax in rows[-1]:
        ax.set_xlabel(labels[0])
    handles = rows[0, 0].lines
    figure.legend(handles=handles, loc="outside lower center", ncols=2, frameon=False)
    return figure


def _relative_l2(prediction: np.ndarray, truth: np.ndarray) -> float:
    """Returns ``||prediction - truth|| / ||truth||`` over values that are not NaN."""
    size = float(np.sqrt(np.nansum(truth**2)))
    return float(np.sqrt(np.nansum((prediction - truth) ** 2))) / size if size else np.nan


def _on_grid(name: str, values: Any, lines: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Returns the values of each output on the grid, with NaN where there are none."""
    grid = tuple(map(len, lines))
    shape, count = np.shape(values), int(np.prod(grid))
    known = [shape == points or shape[:-1] == points for points in (grid, (count,))]
    if not any(known) or not shape or 0 in shape:
        raise ValueError(
            f"The {name} needs real values on the grid {grid}, or [{count}] in the order of "
            f"box.grid{grid}, or one such array for each output along a last axis. Received shape "
            f"{shape}."
        )
    if np.iscomplexobj(values):
        raise ValueError(f"The {name} is complex. Draw values.real, values.imag or abs(values).")
    return list(np.moveaxis(_finite(values).reshape(*grid, -1), -1, 0))


def _finite(values: Any) -> np.ndarray:
    """Returns values with NaN wherever they are masked or not finite."""
    filled = np.ma.filled(np.ma.asarray(values, np.float64), np.nan)
    return np.where(np.isfinite(filled), filled, np.nan)


def _largest(values: Any) -> float:
    """Returns the largest finite absolute value, or 1 if all are zero."""
    return float(np.max(np.abs(np.nan_to_num(_finite(values))), initial=0.0)) or 1.0
