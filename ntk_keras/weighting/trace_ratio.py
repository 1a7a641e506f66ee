"""Equations (5) and (12): the one place that turns traces of kernel blocks into weights."""

import tensorflow as tf

from ntk_keras.backend.autograph import unconverted
from ntk_keras.weighting import floors

__all__ = ["weights_from_traces"]


@unconverted
def weights_from_traces(traces: tf.Tensor, floor: float | tf.Tensor = 0.0) -> tf.Tensor:
    """Returns loss weights ``lambda_b = Tr K / Tr K_bb``, equations (5) and (12).

    A trace below ``floor`` times the total is raised to that value, so its weight is at most
    ``1 / floor`` (up to the increase of the total). Without a floor, positive traces are raised
    only as far as the dtype requires. A trace that is not positive, such as an estimate or that of
    a group without influence, is raised to 1e-5 of the total.

    Args:
        traces: traces ``Tr K_bb``, ``[groups]``.
        floor: smallest share of the total that a trace may have, a scalar or ``[groups]``.

    Returns:
        Finite weights ``[groups]``, whose inverses sum to one. If no trace is positive, all weights
        are equal.
    """
    positive = tf.maximum(traces, 0)
    positive = tf.math.divide_no_nan(positive, tf.reduce_max(positive))  # nothing overflows below
    total = tf.reduce_sum(positive)
    floor = tf.convert_to_tensor(floor, traces.dtype)
    least = [tf.constant(x, traces.dtype) for x in (floors.smallest(traces.dtype), floors.SAMPLED)]
    floor = tf.maximum(floor, tf.where((traces > 0) | (floor > 0), *least))
    floored = tf.maximum(positive, floor * total)
    floored = tf.where(total > 0, floored, tf.ones_like(traces))
    return tf.reduce_sum(floored) / floored
