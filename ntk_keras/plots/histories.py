"""Figures of training histories: weights, losses and errors over steps or seconds."""

import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

__all__ = ["comparison", "history"]

# Rows, one per epoch; values by name; or the result of `fit`, whose `history` holds such values.
History = Iterable[Mapping[str, float]] | Mapping[str, Sequence[float]] | Any

_LINE_STYLES = ("-", "--", ":", "-.")


def history(rows: History) -> Figure:
    """Draws weights, losses and the relative L2 error over steps, or epochs if steps are unknown.

    Args:
        rows: result of ``fit``, its ``history``, rows of a ``HistoryFile``, or a data frame of
            them, with the names that ``PINNModel`` logs.

    Raises:
        TypeError: for anything else, such as the path of a file.
        ValueError: if the history has no epochs.

    Warns:
        UserWarning: if there are fewer values than epochs, and nothing says which epochs they
            belong to, as in ``history`` alone. They are drawn if a single ``validation_freq`` fits,
            and otherwise left out.
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
    """Draws the relative L2 error over steps, with a colour for each label and a line for each run.

    The legend is ordered by the final errors. Beyond twenty labels, colours repeat with other line
    styles.

    Args:
        histories: histories of several runs, by label. They are drawn over ``seconds in training``
            if the rows contain them.
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


def _plot_error(
    ax: Axes, rows: Sequence[Mapping[str, float]], label: str | None, **style: Any
) -> Line2D:
    (line,) = ax.semilogy(*_series(rows, "val_relative_l2"), label=label, **style)
    ax.set(ylabel="relative L2 error", xlabel=_label(rows))
    ax.locator_params(axis="x", nbins=5)
    return line


def _rows(history: History) -> Sequence[Mapping[str, float]]:
    """Returns a history as rows, one per epoch, without empty entries.

    Raises:
        TypeError: if the value is not a history.
    """
    values: Any = getattr(history, "history", history)
    if hasattr(values, "to_dict"):  # a data frame, with NaN for missing values
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
    """Returns values by name as rows, each value in the row of the epoch that logged it."""
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
    """Returns the epochs of values that some epochs lack, if just one ``validation_freq`` fits."""
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
    """Returns the label of the horizontal axis: time or steps if all rows have it, or epochs."""
    known = ("seconds in training", "step")
    return next((name for name in known if rows and all(name in row for row in rows)), "epoch")


def _series(rows: Sequence[Mapping[str, float]], name: str) -> tuple[list[float], list[float]]:
    """Returns the positions where values of a name were logged, and the values."""
    label = _label(rows)
    shown = [(row.get(label, number), row[name]) for number, row in enumerate(rows) if name in row]
    return [place for place, _ in shown], [value for _, value in shown]
