"""Random choice of distinct rows with given probabilities, within a graph."""

import tensorflow as tf

__all__ = ["chosen_rows", "probabilities_of"]

# Rounds in which probabilities above one are cut and the others raised: three or four suffice.
_ROUNDS = 10


def probabilities_of(scores: tf.Tensor, count: int) -> tf.Tensor:
    """Returns ``min(1, a scores)`` with a sum of ``count``, or one for each positive score.

    Args:
        scores: scores ``[m]``, not negative, with m at least ``count``.
        count: number of rows to choose.
    """
    found = count * scores / tf.reduce_sum(scores)
    for _ in range(_ROUNDS):
        sure = found >= 1
        others = tf.where(sure, tf.zeros_like(found), found)
        left = count - tf.reduce_sum(tf.cast(sure, found.dtype))
        raised = others * tf.math.divide_no_nan(left, tf.reduce_sum(others))
        found = tf.where(sure, tf.ones_like(found), raised)
    return tf.minimum(found, 1)


def chosen_rows(probabilities: tf.Tensor, count: int, shift: tf.Tensor) -> tf.Tensor:
    """Returns distinct rows, each chosen with its probability: systematic sampling.

    Every row has its probability as length on a line, and those are chosen that contain the marks
    ``shift``, ``shift + 1``, ... If these are too few, they are repeated.

    Args:
        probabilities: probabilities ``[m]``, at most one.
        count: sum of the probabilities.
        shift: uniform number in [0, 1).

    Returns:
        ``[count]``.
    """
    ends = tf.cumsum(probabilities)
    marks = tf.cast(tf.clip_by_value(tf.math.ceil(ends - shift), 0, count), tf.int32)
    before = tf.concat([[0], marks[:-1]], axis=0)
    # Each that is chosen goes to its place, all others to one more: XLA sorts far more slowly.
    place = tf.where(marks > before, marks - 1, count)
    order = tf.tensor_scatter_nd_update(
        tf.zeros([count + 1], tf.int32), place[:, tf.newaxis], tf.range(marks.shape[0])
    )
    return tf.gather(order, tf.range(count) % tf.maximum(marks[-1], 1))
