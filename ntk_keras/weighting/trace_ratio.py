"""Equations (5) and (12): the one place that turns traces of the kernel's blocks into weights."""

import tensorflow as tf

__all__ = ["weights_from_traces"]


def weights_from_traces(traces: tf.Tensor, floor: float = 0.0) -> tf.Tensor:
    """Loss weights lambda_b = Tr K / Tr K_bb, equations (5) and (12).

    A trace is never negative, but an estimate of one can be; such a trace, and one that is zero, is
    raised to ``floor`` times the total, so that every weight is finite and at most ``1 / floor``
    (up to what the raising adds to the total).

    Args:
        traces: Tr K_bb, ``[groups]``.
        floor: smallest share of the total that a trace may have.

    Returns:
        ``[groups]``. The inverses of the weights sum to one. If no trace is positive, all weights
        are equal.
    """
    positive = tf.maximum(traces, 0)
    positive = tf.math.divide_no_nan(positive, tf.reduce_max(positive))  # nothing overflows below
    total = tf.reduce_sum(positive)
    floored = tf.maximum(positive, tf.cast(floor, traces.dtype) * total)
    floored = tf.where(total > 0, floored, tf.ones_like(traces))
    return tf.reduce_sum(floored) / floored
