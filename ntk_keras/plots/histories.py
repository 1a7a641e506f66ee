"""Figures of training histories: weights, losses and errors over steps or seconds."""

import itertools
import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ntk_keras.plots import style

__all__ = ["comparison", "history"]

# Rows, one per epoch; values by name; or the result of `fit`, whose `history` holds such values.
History = Iterable[Mapping[str, float]] | Mapping[str, Sequence[float]] | Any

_PANELS = {"losses": "loss/", "loss weights": "weights/", "kernel traces": "traces/"}
_ERROR = "val_relative_l2"
_FEW = 6  # labels that can be told apart by colour


def history(rows: History) -> Figure:
    """Draws losses, weights, traces and the error over steps, or epochs if steps are unknown.

    A name has the same colour in all panels, and panels without values are left out. The last
    error is written at the end of its curve.

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
    names = list(dict.fromkeys(name for row in rows for name in row))
    shown = {title: _members(names, prefix) for title, prefix in _PANELS.items()}
    shown = {title: members for title, members in shown.items() if members}
    # Terms come first, as groups may combine several of them.
    looks = style.by_name([*shown.get("losses", ()), *itertools.chain(*shown.values())])
    known = _ERROR in names or not shown
    figure, axes = style.panels(1, len(shown) + known, style.WIDTH, 3.2)
    for ax, (title, members) in zip(axes[0], shown.items(), strict=False):
        for label, name in members.items():
            _plot_series(ax, rows, name, **looks[label], label=label)
        ax.set(title=title, xlabel=_label(rows))
        style.log_axis(ax)
    if known:
        _plot_error(axes[0, -1], rows)
    if looks:
        handles = [Line2D([], [], **look, label=label) for label, look in looks.items()]
        figure.legend(handles=handles, loc="outside lower center", ncols=7, frameon=False)
    return figure


def comparison(histories: Mapping[str, Sequence[History]]) -> Figure:
    """Draws the relative L2 error over steps: the median of the runs of a label, and their range.

    Labels and final errors are written at the ends of the curves. The first label is grey: the
    others are compared with it. If no run has an error, the sum of its losses, without weights,
    is drawn in its place. Of more than six labels, only the first and the one with the
    smallest final error are drawn thick, and labels that agree up to a comma, such as
    ``"ntk, exact"`` and ``"ntk, diagonal"``, share a colour.

    Args:
        histories: histories of several runs, by label. They are drawn over ``seconds in training``
            if the rows contain them. Of runs of one label, the epochs that all have validated are
            drawn.
    """
    runs_by_label = {label: list(map(_rows, runs)) for label, runs in histories.items()}
    known = any(_ERROR in row for runs in runs_by_label.values() for rows in runs for row in rows)
    if not known:
        runs_by_label = {n: list(map(_with_losses, runs)) for n, runs in runs_by_label.items()}
    curves = {label: _median(runs) for label, runs in runs_by_label.items()}
    figure, axes = style.panels(1, 1, 8, 3.8 if len(curves) <= _FEW else 5)
    ax = axes[0, 0]
    looks = _looks({label: _end(curve)[1] for label, curve in curves.items()})
    for label, (places, low, median, high) in curves.items():
        ax.plot(places, median, **looks[label], label=label)
        if len(runs_by_label[label]) > 1 and looks[label]["linewidth"] > 1:
            ax.fill_between(places, low, high, color=looks[label]["color"], alpha=0.2, linewidth=0)
    rows = next((rows for runs in runs_by_label.values() for rows in runs), [])
    ax.set(xlabel=_label(rows), ylabel="relative L2 error" if known else "sum of losses")
    style.log_axis(ax)
    ends = {label: _end(curve) for label, curve in curves.items() if np.isfinite(_end(curve)[1])}
    texts = [f"{label}  {error:.3g}" for label, (_, error) in ends.items()]
    style.edge_labels(ax, list(ends.values()), texts, [looks[label]["color"] for label in ends])
    count = max(map(len, runs_by_label.values()), default=1)
    if count > 1:
        ax.set_title(f"median and range of {count} runs", loc="left", fontsize=style.SMALL)
    return figure


def _looks(ends: Mapping[str, float]) -> dict[str, dict[str, Any]]:
    """Returns colour, line style, width and order of the curve of each label.

    Args:
        ends: final error by label.
    """
    few = len(ends) <= _FEW
    families = {label: label if few else label.split(",")[0] for label in ends}
    first, *others = dict.fromkeys(families.values())
    colors = {first: style.BASELINE} | {n: s["color"] for n, s in style.by_name(others).items()}
    thick = set(ends) if few else {next(iter(ends)), min(ends, key=lambda label: ends[label])}
    looks: dict[str, dict[str, Any]] = {}
    for label, family in families.items():
        place = [families[other] for other in looks].count(family)
        looks[label] = {
            "color": colors[family],
            "linestyle": style.LINE_STYLES[place % len(style.LINE_STYLES)],
            "linewidth": 2.0 if label in thick else 0.9,
            "zorder": 3 if label in thick else 2,
        }
    return looks


def _median(runs: Sequence[Sequence[Mapping[str, float]]]) -> tuple[np.ndarray, ...]:
    """Returns positions, and smallest, median and largest errors, at the epochs common to all."""
    series = [
        {
            row.get("step", row.get("epoch", number)): (row.get(_label(rows), number), row[_ERROR])
            for number, row in enumerate(rows)
            if _ERROR in row
        }
        for rows in runs
    ]
    common = sorted(set(series[0]).intersection(*series)) if series else []
    if not common:
        return (np.empty(0),) * 4
    values = np.array([[run[key] for key in common] for run in series])
    errors = np.where(np.isnan(values[..., 1]), np.inf, values[..., 1])
    places = np.median(values[..., 0], axis=0)
    return places, np.min(errors, axis=0), np.median(errors, axis=0), np.max(errors, axis=0)


def _end(curve: Sequence[np.ndarray]) -> tuple[float, float]:
    """Returns the last position with a finite median error, and that error; infinite if none."""
    places, _, median, _ = curve
    finite = np.flatnonzero(np.isfinite(median))
    return (places[finite[-1]], median[finite[-1]]) if len(finite) else (np.inf, np.inf)


def _with_losses(rows: Sequence[Mapping[str, float]]) -> list[dict[str, float]]:
    """Returns rows with the sum of the losses of all terms in place of the error."""
    return [
        {**row, _ERROR: sum(value for name, value in row.items() if name.startswith("loss/"))}
        for row in rows
    ]


def _plot_error(ax: Axes, rows: Sequence[Mapping[str, float]]) -> None:
    """Draws the error, with its last value at the end of the curve."""
    places, errors = _series(rows, _ERROR)
    _plot_series(ax, rows, _ERROR, color="black")
    ax.set(title="relative L2 error", xlabel=_label(rows))
    style.log_axis(ax)
    if errors:
        style.edge_labels(ax, [(places[-1], errors[-1])], [f"{errors[-1]:.3g}"], ["black"])


def _plot_series(ax: Axes, rows: Sequence[Mapping[str, float]], name: str, **look: Any) -> None:
    """Draws the values of a name as a curve, or as a dot if there is only one."""
    places, values = _series(rows, name)
    ax.plot(places, values, marker="o" if len(values) == 1 else "", **look)


def _members(names: Iterable[str], prefix: str) -> dict[str, str]:
    """Returns names that begin with a prefix, by what follows it; or the name without a slash."""
    found = {name.removeprefix(prefix): name for name in names if name.startswith(prefix)}
    return found or {name: name for name in names if name == prefix.rstrip("/")}


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
