"""Figures of solutions, points and kernels."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import SymLogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

__all__ = ["curves", "directors", "kernel", "points", "solution", "to_array"]


def solution(
    lines: Sequence[np.ndarray],
    prediction: np.ndarray,
    truth: np.ndarray,
    labels: Sequence[str],
) -> Figure:
    """Draws prediction, truth and error on a grid of one or two dimensions (Figure 9 of the paper).

    Nothing is drawn where a value is NaN, infinite or masked, as outside of a domain.

    Args:
        lines: coordinates along each axis.
        prediction: values on the grid, one axis for each line, or at its points in order, ``[m]``
            or ``[m, 1]``.
        truth: values of the exact solution, of the same shape.
        labels: names of the axes.

    Raises:
        ValueError: if there are more than two axes, or values are complex, have several outputs or
            belong to another grid.
    """
    if len(lines) not in (1, 2) or any(np.ndim(line) != 1 for line in lines):
        raise ValueError(
            "A solution is drawn along one or two axes, whose coordinates are a list of arrays, "
            f"[x] or [x, y]. Received shapes {[np.shape(line) for line in lines]}. Of more axes "
            "take a slice, as in box.face(t=0.5).grid(1, 50, 50) for the points."
        )
    if len(labels) != len(lines):
        raise ValueError(f"{len(lines)} axes need as many labels. Received {labels!r}.")
    prediction = _on_grid("prediction", prediction, lines)
    truth = _on_grid("truth", truth, lines)
    if len(lines) == 1:
        return _solution_on_a_line(lines[0], prediction, truth, labels[0])
    figure = Figure(figsize=(12, 3.6), layout="constrained")
    axes = figure.subplots(1, 3, sharey=True)
    largest, error = _largest(truth), prediction - truth
    panels = {
        "prediction": (prediction, largest),
        "truth": (truth, largest),
        "error": (error, _largest(error)),
    }
    for ax, (title, (values, limit)) in zip(axes, panels.items(), strict=True):
        image = ax.pcolormesh(
            *lines, values.T, vmin=-limit, vmax=limit, cmap="RdBu_r", shading="nearest"
        )
        figure.colorbar(image, ax=ax)
        ax.set(title=title, xlabel=labels[0])
    axes[0].set_ylabel(labels[1])
    return figure


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
    figure = Figure(figsize=(max(6, 4 * len(pairs)), 3.6), layout="constrained")
    axes = figure.subplots(1, max(1, len(pairs)), squeeze=False)[0]
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
    figure = Figure(figsize=(9, 4), layout="constrained")
    ax = figure.subplots()
    for number, group in enumerate(exact):
        ax.semilogy(steps, estimated[group], color=f"C{number}", label=f"{group}, estimated")
        ax.semilogy(steps, exact[group], "--", color=f"C{number}", label=f"{group}, exact")
    ax.set(xlabel="step", ylabel="loss weight")
    figure.legend(loc="outside right upper")
    return figure


def kernel(matrix: np.ndarray, sizes: Mapping[str, int]) -> Figure:
    """Draws the kernel as a heat map with blocks marked, on a symmetric logarithmic scale.

    Args:
        matrix: kernel K, ``[n, n]``.
        sizes: rows of each block, in order.
    """
    figure = Figure(figsize=(6, 5), layout="constrained")
    ax = figure.subplots()
    largest = _largest(matrix)
    norm = SymLogNorm(linthresh=1e-4 * largest, vmin=-largest, vmax=largest)
    figure.colorbar(ax.imshow(matrix, norm=norm, cmap="RdBu_r"), ax=ax)
    ends = np.cumsum(list(sizes.values()))
    for end in ends[:-1]:
        ax.axhline(end - 0.5, color="black", linewidth=0.5)
        ax.axvline(end - 0.5, color="black", linewidth=0.5)
    centres = ends - np.array(list(sizes.values())) / 2 - 0.5
    ax.set_xticks(centres, list(sizes), rotation=45, ha="right")
    ax.set_yticks(centres, list(sizes))
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
    figure = Figure(figsize=(3.2 * len(light) + 1, 3 * len(titles)), layout="constrained")
    axes = figure.subplots(len(titles), len(light), sharex=True, sharey=True, squeeze=False)
    levels = MaxNLocator(12).tick_values(0, max(_largest(v) for v in light.values()))
    # The scale extends beyond the largest value, so that strokes stand out against the light.
    style = {"levels": levels, "vmin": 0, "vmax": 1.6 * levels[-1], "cmap": "YlOrBr"}
    every = max(1, len(lines[0]) // 12)
    x, y = np.meshgrid(*(line[::every] for line in lines), indexing="ij")
    for column, name in zip(axes.T, light, strict=True):
        column[0].set_title(name)
        for ax, values, turned in zip(column, light[name], angles[name], strict=True):
            image = ax.contourf(*lines, values.T, **style)
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


def _solution_on_a_line(
    line: np.ndarray, prediction: np.ndarray, truth: np.ndarray, label: str
) -> Figure:
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    values, error = figure.subplots(1, 2)
    values.plot(line, truth, "--", color="black", label="truth")
    values.plot(line, prediction, label="prediction")
    values.legend()
    error.plot(line, prediction - truth)
    error.set(title="error", xlabel=label)
    values.set(xlabel=label)
    return figure


def _on_grid(name: str, values: Any, lines: Sequence[np.ndarray]) -> np.ndarray:
    """Returns values in the shape of the grid, with NaN where there are none."""
    grid = tuple(map(len, lines))
    shape, count = np.shape(values), int(np.prod(grid))
    if shape not in (grid, (*grid, 1), (count,), (count, 1)):
        raise ValueError(
            f"The {name} needs real values on the grid {grid}, or [{count}] in the order of "
            f"box.grid{grid}. Received shape {shape}. Draw outputs one by one, as in values[:, 0]."
        )
    if np.iscomplexobj(values):
        raise ValueError(f"The {name} is complex. Draw values.real, values.imag or abs(values).")
    return _finite(values).reshape(grid)


def _finite(values: Any) -> np.ndarray:
    """Returns values with NaN wherever they are masked or not finite."""
    filled = np.ma.filled(np.ma.asarray(values, np.float64), np.nan)
    return np.where(np.isfinite(filled), filled, np.nan)


def _largest(values: Any) -> float:
    """Returns the largest finite absolute value, or 1 if all are zero."""
    return float(np.max(np.abs(np.nan_to_num(_finite(values))), initial=0.0)) or 1.0
