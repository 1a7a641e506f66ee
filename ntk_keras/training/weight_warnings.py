"""Warnings, once for each group, that a bound holds its weight or that its trace is zero."""

import warnings
from collections.abc import Callable, Mapping

import tensorflow as tf

from ntk_keras.backend import private_names
from ntk_keras.weighting import Adaptive, Weighting
from ntk_keras.weighting.base import by_name

__all__ = ["warn_in_step", "warn_of_bounds", "warn_of_held_weights", "warn_of_zero_traces"]

_INTERVAL = 1000  # steps of a custom loop from one look at the weights to the next

# Reasons for a zero trace, by whether the residuals are zero: True, False, or None if unknown.
_REASONS = {
    False: "the residuals of this group hardly depend on the network (a dead activation, an unused "
    "output), or too few samples were averaged",
    True: "its residuals are zero, or their squares underflow, at all points. Nothing of it is "
    "trained at present, as is right for an inequality that holds",
    None: "the residuals of this group hardly depend on the network (a dead activation, an unused "
    "output), too few samples were averaged, or it is an inequality that holds",
}


def warn_of_bounds(weighting: Weighting, sizes: Mapping[str, float]) -> list[str]:
    """Warns of weights that are not what their strategy would choose; not in a graph.

    Args:
        weighting: weighting with its state.
        sizes: sizes of the residuals by term, zero if all are; empty if none is known.

    Returns:
        The groups whose weight a bound currently holds.
    """
    if not isinstance(weighting, Adaptive) or not weighting.has_updated:
        return []
    traces = by_name(weighting.adapted, weighting.traces)
    zero = warn_of_zero_traces(
        weighting.warned,
        traces,
        lambda group: all(sizes[t] == 0 for t in weighting.terms_of(group)) if sizes else None,
    )
    held = weighting.held_weights()
    warn_of_held_weights(weighting.warned, held)
    return [group for group in weighting.adapted if group in zero or group in held]


def warn_of_zero_traces(
    warned: set[str], traces: Mapping[str, float], vanishes: Callable[[str], bool | None]
) -> list[str]:
    """Warns of traces that are not positive.

    Args:
        warned: groups that were warned of, which this extends.
        traces: traces by group.
        vanishes: whether all residuals of a group are zero; None if that is not known.

    Returns:
        The groups with such traces.
    """
    zero = [group for group, trace in traces.items() if trace <= 0]
    new = [group for group in zero if group not in warned]
    warned.update(new)
    causes = {group: vanishes(group) for group in new}
    for cause, reason in _REASONS.items():
        groups = [group for group in new if causes[group] is cause]
        if groups:
            warnings.warn(
                f"The kernel trace of {groups} is estimated as zero or less: {reason}. Its weight "
                "is bounded by the trace floor.",
                stacklevel=3,
            )
    return zero


def warn_of_held_weights(warned: set[str], held: Mapping[str, str]) -> None:
    """Warns of weights that a bound holds.

    Args:
        warned: groups that were warned of, which this extends.
        held: explanations by group.
    """
    for group, reason in held.items():
        if group not in warned:
            warned.add(group)
            warnings.warn(f"The weight of group {group!r} is held: {reason}", stacklevel=3)


def warn_in_step(weighting: Weighting, residuals: Mapping[str, tf.Tensor]) -> None:
    """Does the same from within a step of a custom loop: after its first update, then rarely.

    A step that XLA compiles cannot warn; the warning waits until the weights are read.

    Args:
        weighting: weighting after its update.
        residuals: residuals by term, each ``[n_b]``.
    """
    if not isinstance(weighting, Adaptive) or private_names.in_xla():
        return

    def look(*sizes: tf.Tensor) -> None:
        warn_of_bounds(weighting, dict(zip(residuals, map(float, sizes), strict=True)))

    def speak() -> tf.Operation:
        sizes = [tf.reduce_max(tf.abs(residual)) for residual in residuals.values()]
        return tf.group(tf.py_function(look, sizes, []))

    due = (weighting.num_steps.value - weighting.start_at) % _INTERVAL == 1
    tf.cond(due, speak, tf.no_op)
