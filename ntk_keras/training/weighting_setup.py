"""The weighting of a new model: its state, and the time columns of causal weights."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from ntk_keras.training.terms import Term
from ntk_keras.weighting.causal import columns_of_time, times_of

__all__ = ["find_times", "prepare_weighting", "sizes_of"]


def sizes_of(terms: Sequence[Term], found: dict[str, int]) -> dict[str, int | None]:
    """Returns the number of residual entries of every term, None if it may change.

    Args:
        terms: terms of the model.
        found: number of entries of the terms that have points.
    """
    return {term.name: None if term.redrawn else found.get(term.name) for term in terms}


def prepare_weighting(model: Any, sizes: dict[str, int]) -> None:
    """Creates the state of a model's weighting.

    Args:
        model: :class:`~ntk_keras.PINNModel` that is otherwise complete.
        sizes: number of residual entries of the terms that have points.

    Raises:
        ValueError: for what the weighting refuses, and as :func:`find_times` does.
    """
    model.weighting.prepare(
        {term.name: term.group for term in model.terms},
        model.parameter_dtype,
        sizes_of(model.terms, sizes),
    )
    find_times(model)


def find_times(model: Any) -> None:
    """Finds time columns and initial conditions, if there are causal weights.

    Args:
        model: :class:`~ntk_keras.PINNModel`.

    Raises:
        ValueError: if causal weights refer to an unknown term, to columns without such a name, or
            to points at a single time; or if initial conditions are not named and no term that
            waits has its own points.
    """
    causal, in_time = model.weighting.causal, model.weighting.in_time
    if causal is None:
        return
    axes = {term.name: model._residuals.axes_of(term) for term in model.terms}
    columns = columns_of_time(causal, axes)
    points = model._points({}, tf.constant([0, 0]))
    first, initial = _first_time(columns, points), causal.initial
    if initial is None:
        others = [name for name in axes if name not in columns]
        if others and np.isinf(first):
            raise ValueError(
                "Causal finds the initial conditions by the first time of the terms that wait, "
                f"{list(columns)}, whose points come with the data. Name those of {others} that "
                "are, as in Causal('equation', initial='start'), or give initial=() for none."
            )
        known = [name for name in others if name in points]
        initial = tuple(_at_time(first, causal.axis, known, axes, points))
    in_time.columns, in_time.initial = columns, initial


def _first_time(columns: Mapping[str, int], points: Mapping[str, Any]) -> float:
    """Returns the first time of the waiting terms, checked, as far as they have points."""
    first = -np.inf
    for name, column in columns.items():
        if name not in points:  # they come with the data
            continue
        times = np.asarray(times_of(name, points[name], column))
        if times.min() == times.max():
            raise ValueError(
                f"Causal makes the entries of term {name!r} wait for earlier ones, but all of its "
                f"points have the time {times[0]:g}, in column {column}. Name the terms of the "
                "equation, whose points have many times, or the axis that holds it."
            )
        first = times.min() if np.isinf(first) else min(first, times.min())
    return float(first)


def _at_time(
    first: float,
    axis: str | int,
    names: Iterable[str],
    axes: Mapping[str, Sequence[str] | None],
    points: Mapping[str, Any],
) -> list[str]:
    """Returns the terms whose points all have one time, which is not after the first."""
    found = []
    for name in names:
        known = list(axes[name] or ())
        column = known.index(axis) if isinstance(axis, str) and axis in known else axis
        matrices = [x for x in tf.nest.flatten(points[name]) if x.shape.rank == 2]
        if isinstance(column, str) or not matrices or column >= matrices[0].shape[1]:
            continue
        times = np.asarray(matrices[0][:, column])
        if times.min() == times.max() <= first:
            found.append(name)
    return found
