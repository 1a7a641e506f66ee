"""Rows that are chosen with probabilities of their own, none twice, within a graph."""

import tensorflow as tf

__all__ = ["chosen_rows", "probabilities_of"]

# Rounds in which probabilities above one are cut and the others raised: three or four are used.
_ROUNDS = 10


def probabilities_of(scores: tf.Tensor, count: int) -> tf.Tensor:
    """min(1, a scores) with the a for which they add up to ``count``, or one for each above zero.

    Args:
        scores: ``[m]``, not negative, m at least ``count``.
        count: how many are to be chosen.
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
    """Rows that are chosen each with its probability, none twice: systematic sampling.

    On a line where every row has its probability as length, those are chosen that the marks
    ``shift``, ``shift + 1``, ... lie on. All of them once more if they are too few.

    Args:
        probabilities: ``[m]``, at most one.
        count: what they add up to.
        shift: uniform in [0, 1).

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
