"""The smallest share of the total that a trace may have, so that no weight is noise or infinite."""

from collections.abc import Collection, Mapping

import numpy as np
import tensorflow as tf

__all__ = ["SAMPLED", "held_weights", "smallest"]

# Of sampled traces: noise makes small ones smaller, and negative. It also bounds the weight of a
# group whose trace is zero, which no ratio could.
SAMPLED = 1e-5


def smallest(dtype: tf.DType) -> float:
    """The share with which losses stay finite: 3e-33 in float32, the floor of exact traces.

    The largest weight is a millionth of the largest number; the rest is left to the squares of the
    residuals.

    Args:
        dtype: of the traces.
    """
    return min(SAMPLED, 2.0**20 / float(dtype.max))


def held_weights(
    traces: Mapping[str, np.floating], floor: float | None, sampled: Collection[str]
) -> dict[str, str]:
    """What to tell of the groups whose positive traces are below the floor.

    Args:
        traces: by group.
        floor: of all groups; None for what each needs.
        sampled: the groups whose traces are not exact.
    """
    total = float(sum(max(float(trace), 0) for trace in traces.values()))
    held = {}
    for group, trace in traces.items():
        least = SAMPLED if group in sampled else smallest(tf.as_dtype(trace.dtype))
        allowed, share = floor or least, float(trace) / (total or 1)
        if 0 < share < allowed:
            held[group] = (
                f"its kernel trace is {share:.1e} of the total, below the trace floor "
                f"{allowed:.1e}, so its weight is {1 / allowed:.1e} and not {1 / share:.1e}. "
                f"{_mend(allowed, least, group in sampled)}"
            )
    return held


def _mend(floor: float, least: float, sampled: bool) -> str:
    if sampled:
        return (
            "A floor keeps the noise of sampled traces out of the weights: take exact ones, as "
            '"diagonal" does of factored Jacobians and "exact" of all, or lower `trace_floor`.'
        )
    if floor > least:
        return "Leave out `trace_floor`, which exact traces do not need, or lower it."
    return (
        "The dtype holds no larger weight together with the loss: multiply the residual by a "
        "constant, or make the network in float64."
    )
