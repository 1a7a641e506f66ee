"""Figures of solutions, training histories and kernels.

Every function returns a matplotlib ``Figure`` that belongs to no window and no global state.
"""

import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import SymLogNorm
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

__all__ = ["comparison", "curves", "directors", "history", "kernel", "solution", "to_array"]

# Rows, one an epoch; values by name; or what `fit` returns, which holds such values as `history`.
History = Iterable[Mapping[str, float]] | Mapping[str, Sequence[float]] | Any

_LINE_STYLES = ("-", "--", ":", "-.")


def solution(
    lines: Sequence[np.ndarray],
    prediction: np.ndarray,
    truth: np.ndarray,
    labels: Sequence[str],
) -> Figure:
    """Prediction, truth and error on a grid of one or two dimensions (Figure 9 of the paper).

    Where a value is NaN, infinite or masked, as outside of a domain, nothing is drawn.

    Args:
        lines: coordinates along each axis.
        prediction: values on the grid, one axis for each line, or at its points in order, ``[m]``
            or ``[m, 1]``.
        truth: the same for the exact solution.
        labels: names of the axes.

    Raises:
        ValueError: for more than two axes, values of several outputs or of another grid, and
            complex ones.
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


def history(rows: History) -> Figure:
    """Weights, losses and the relative L2 error over steps, or over epochs where steps are unknown.

    Args:
        rows: what ``fit`` returns, its ``history``, the rows of a ``HistoryFile``, or a frame of
            them, with the names that ``PINNModel`` logs.

    Raises:
        TypeError: for anything else, as the path of a file.
        ValueError: for a history of no epochs.

    Warns:
        UserWarning: if values are fewer than epochs and nothing says at which they were logged, as
            in the ``history`` alone. They are drawn where just one ``validation_freq`` fits, else
            left out.
    """
    rows = _rows(rows)
    if not rows:
        raise ValueError("There is no epoch to draw. Received an empty history.")
    figure = Figure(figsize=(12, 3.6), layout="constrained")
    weights, losses, error = figure.subplots(1, 3)
    label = _label(rows)
    names = dict.fromkeys(name for row in rows for name in row)
    for ax, prefix, title in ((weights, "weights/", "loss weights"), (losses, "loss/", "losses")):
        shown = [n for n in names if n.startswith(prefix)] or [n for n in names if n == prefix[:-1]]
        for name in shown:
            ax.semilogy(*_series(rows, name), label=name.removeprefix(prefix))
        ax.set(title=title, xlabel=label)
        ax.locator_params(axis="x", nbins=5)
        if shown:
            ax.legend()
    _plot_error(error, rows, None)
    return figure


def comparison(histories: Mapping[str, Sequence[History]]) -> Figure:
    """Relative L2 error over steps, a colour for each label and a line for each of its runs.

    The legend has the order of the errors at the end. Beyond twenty labels colours come again, with
    other line styles.

    Args:
        histories: of several runs, by label; drawn over ``seconds in training`` if rows have it.
    """
    many = len(histories) > 4
    figure = Figure(figsize=(9, 5) if many else (6, 4), layout="constrained")
    ax = figure.subplots()
    colors: list[Any] = [f"C{number}" for number in range(10)]
    if len(histories) > 10:
        colors = [matplotlib.colormaps["tab20"](number) for number in range(20)]
    firsts = []
    for number, (label, runs) in enumerate(histories.items()):
        style = {
            "color": colors[number % len(colors)],
            "linestyle": _LINE_STYLES[number // len(colors) % 4],
        }
        lines = [_plot_error(ax, _rows(rows), label, **style) for rows in runs]
        ends = [float(np.asarray(line.get_ydata())[-1]) for line in lines]
        firsts.append((-float(np.median(ends)), number, lines[0]))
    legend = {"handles": [line for *_, line in sorted(firsts)]}
    figure.legend(loc="outside right upper", **legend) if many else ax.legend(**legend)
    return figure


def curves(
    steps: np.ndarray, exact: Mapping[str, np.ndarray], estimated: Mapping[str, np.ndarray]
) -> Figure:
    """Exact (dashed) and estimated (solid) loss weights over steps (Figure 8 of the paper).

    Args:
        steps: ``[m]``.
        exact: weights by group, each ``[m]``.
        estimated: the same, estimated.
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
    """The kernel as a heat map, blocks marked, on a scale that is logarithmic in both signs.

    Args:
        matrix: K, ``[n, n]``.
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
    """Light through a liquid crystal and its directors, moment after moment (Figure 10).

    Args:
        lines: coordinates x and y.
        light: by field, ``[moments, nx, ny]``; one scale for all.
        angles: of the directors from the x axis in radians, likewise; a director has no sign, and
            is drawn as a stroke without a head.
        titles: of the moments, at the left.
    """
    figure = Figure(figsize=(3.2 * len(light) + 1, 3 * len(titles)), layout="constrained")
    axes = figure.subplots(len(titles), len(light), sharex=True, sharey=True, squeeze=False)
    levels = MaxNLocator(12).tick_values(0, max(_largest(v) for v in light.values()))
    # The scale goes on beyond the largest value, so that strokes stand out where light is.
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
    """The picture of a figure, ``[height, width, 4]`` in 0 to 255."""
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


def _plot_error(
    ax: Axes, rows: Sequence[Mapping[str, float]], label: str | None, **style: Any
) -> Line2D:
    (line,) = ax.semilogy(*_series(rows, "val_relative_l2"), label=label, **style)
    ax.set(ylabel="relative L2 error", xlabel=_label(rows))
    ax.locator_params(axis="x", nbins=5)
    return line


def _rows(history: History) -> Sequence[Mapping[str, float]]:
    """A history as rows, one an epoch; entries that are empty are left out.

    Raises:
        TypeError: for what is no history.
    """
    values: Any = getattr(history, "history", history)
    if hasattr(values, "to_dict"):  # a frame, which has NaN where there is nothing
        values = [{k: v for k, v in row.items() if v == v} for row in values.to_dict("records")]
    if isinstance(values, Mapping) and all(hasattr(v, "__len__") for v in values.values()):
        return _by_epoch(history, values)
    rows: list[Any] = [None]
    if isinstance(values, Iterable) and not isinstance(values, str):
        rows = list(values)
    if not all(isinstance(row, Mapping) for row in rows):
        raise TypeError(
            "A history is what `fit` returns, its `history`, or rows by name, one an epoch. "
            f"Received {history!r}. Of a file give ntk_keras.callbacks.read_history(path)."
        )
    return [
        {name: float(value) for name, value in row.items() if value not in (None, "")}
        for row in rows
    ]


def _by_epoch(history: History, values: Mapping[str, Sequence[float]]) -> list[dict[str, float]]:
    """Rows of values by name; of some epochs only, they are put where they were logged."""
    count = max(map(len, values.values()), default=0)
    epochs = list(getattr(history, "epoch", range(count)))
    epochs = epochs[len(epochs) - count :]
    rows: dict[int, dict[str, float]] = {epoch: {"epoch": epoch} for epoch in epochs}
    for name, series in values.items():
        logged = getattr(history, "epochs_by_name", {}).get(name)
        if logged is None:
            logged = epochs if len(series) == count else _guessed(name, len(series), epochs)
        for epoch, value in zip(logged, series, strict=False):
            rows[epoch][name] = float(value)
    return list(rows.values())


def _guessed(name: str, count: int, epochs: Sequence[int]) -> Sequence[int]:
    """The epochs of values that only some have, as of a ``validation_freq`` if just one fits."""
    fitting: dict[tuple[int, ...], int] = {}
    for frequency in range(2, max(epochs) + 2):
        logged = tuple(epoch for epoch in epochs if (epoch + 1) % frequency == 0)
        if len(logged) == count > 0:
            fitting[logged] = frequency
    drawn: tuple[int, ...] = ()
    shown = "left out"
    if len(fitting) == 1:
        ((drawn, frequency),) = fitting.items()
        shown = f"drawn as of validation_freq={frequency}"
    warnings.warn(
        f"{name!r} has {count} values for {len(epochs)} epochs, and nothing says which: {shown}. "
        "What PINNModel.fit returns says it, as do the rows of a HistoryFile.",
        stacklevel=5,
    )
    return drawn


def _label(rows: Sequence[Mapping[str, float]]) -> str:
    """What rows are numbered by: time or steps, if they say so."""
    known = ("seconds in training", "step")
    return next((name for name in known if rows and all(name in row for row in rows)), "epoch")


def _series(rows: Sequence[Mapping[str, float]], name: str) -> tuple[list[float], list[float]]:
    """Where a value was logged, and the value."""
    label = _label(rows)
    shown = [(row.get(label, number), row[name]) for number, row in enumerate(rows) if name in row]
    return [place for place, _ in shown], [value for _, value in shown]


def _on_grid(name: str, values: Any, lines: Sequence[np.ndarray]) -> np.ndarray:
    """Values as they lie along the lines, NaN where there is none."""
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
    """Values with NaN wherever they are not finite or masked."""
    filled = np.ma.filled(np.ma.asarray(values, np.float64), np.nan)
    return np.where(np.isfinite(filled), filled, np.nan)


def _largest(values: Any) -> float:
    """The largest finite absolute value, 1 if there is none but zeros."""
    return float(np.max(np.abs(np.nan_to_num(_finite(values))), initial=0.0)) or 1.0
