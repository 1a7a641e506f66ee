"""Detects from values whether rows of a residual depend on other points than their own."""

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from ntk_keras.backend.variables import Unassigned
from ntk_keras.kernel.block import Block

__all__ = ["are_close", "is_coupled", "moved_by_others"]

_FEW = 256  # points of a block that are looked at


def is_coupled(block: Block) -> bool:
    """Whether rows of a block with points depend on other points, among its first few.

    Args:
        block: residual block to examine; what its layers assign is not kept.
    """
    points = tf.nest.map_structure(lambda x: tf.convert_to_tensor(x)[:_FEW], block.points)
    count = tf.nest.flatten(points)[0].shape[0]

    def rows(at: Any) -> tf.Tensor:
        with Unassigned():
            return tf.reshape(block.at(at), [tf.shape(tf.nest.flatten(at)[0])[0], -1])

    evaluate = tf.function(rows, autograph=False)
    whole = evaluate(points)
    alone = evaluate(tf.nest.map_structure(lambda x: x[:1], points))
    return not are_close(whole[:1], alone, whole) or (
        count > 1 and moved_by_others(evaluate, points, whole)
    )


def moved_by_others(evaluate: Callable[[Any], tf.Tensor], points: Any, whole: tf.Tensor) -> bool:
    """Whether rows change when other points do: every two points are in different halves once.

    Args:
        evaluate: residual as a function of points.
        points: nest of tensors.
        whole: residual at the points, a row for each point.
    """
    count, relative = len(whole), 64 * np.finfo(whole.dtype.as_numpy_dtype).eps
    numbers = np.random.default_rng(0).permutation(count)
    for half in range(2 * (count - 1).bit_length()):
        kept = np.flatnonzero(numbers >> half // 2 & 1 == half % 2)
        if len(kept):
            index = np.full(count, kept[0])
            index[kept] = kept
            moved = evaluate(tf.nest.map_structure(lambda x, at=index: tf.gather(x, at), points))
            if not are_close(tf.gather(whole, kept), tf.gather(moved, kept), whole, relative):
                return True
    return False


def are_close(
    one: tf.Tensor,
    other: tf.Tensor,
    scale_of: tf.Tensor | None = None,
    relative: float | None = None,
) -> bool:
    """Whether two residuals are equal, up to sums taken in another order.

    Args:
        one: one residual.
        other: another residual.
        scale_of: residual that sets the scale; the first by default.
        relative: relative tolerance; half of the digits by default.
    """
    if one.shape != other.shape:
        return False
    size = np.max(np.abs(one if scale_of is None else scale_of))
    scale = size * (relative or np.sqrt(np.finfo(one.dtype.as_numpy_dtype).eps))
    return not np.any(np.abs(one - other) > scale)  # NaN is met in training, and named there
