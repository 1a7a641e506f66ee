"""The choice of a step length along a path, by the loss at some lengths."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from ntk_keras.backend.graphs import map_one_by_one

__all__ = ["LENGTHS", "Choice", "longest_fair", "next_damping"]

# Of the direction, which solves the linearized equations at 1.
LENGTHS = (1.0, 0.7, 0.5, 0.35, 0.25, 0.17, 0.12, 0.08, 0.06, 0.04, 0.02, 0.01, 0.003)
# The least decrease of the loss that is fair, as a part of what linear residuals would have, and
# the same where they would not lose nearly all of it: the rest may be noise of the points drawn.
FAIR, FAIR_OF_NOISE, NEARLY_ALL = 0.15, 0.5, 0.995
# Lengths from which on the linear model holds well, and well enough, and below which it does not.
LONG, GOOD, SHORT = 0.35, 0.12, 0.03


class Choice(NamedTuple):
    """A candidate.

    Attributes:
        length: length of the step, zero if none lowers the loss.
        curved: 1 for the step with its acceleration, 0 for a straight one.
        loss: loss at its end.
    """

    length: tf.Tensor
    curved: tf.Tensor
    loss: tf.Tensor


def longest_fair(
    loss_at: Callable[[tf.Tensor, tf.Tensor], tf.Tensor],
    predicted_at: Callable[[tf.Tensor], tf.Tensor],
    loss: tf.Tensor,
    longest: tf.Tensor,
    last: tf.Tensor,
) -> Choice:
    """Returns the longest candidate that lowers the loss by a fair part of the prediction.

    From the last length it proceeds to longer ones while they are fair, or else to shorter ones
    until one is, so that only a few candidates are evaluated. If none that is evaluated is fair it
    takes the one with the least loss; if none lowers the loss, none.

    Args:
        loss_at: function of a length and whether the step is curved that returns the loss.
        predicted_at: function of a length that returns the loss of the linearized residuals.
        loss: loss at the current parameters.
        longest: unit of the lengths.
        last: length that served before, as a fraction of the longest.
    """
    parts = tf.constant(LENGTHS, tf.float64)
    lengths = tf.cast(longest, tf.float64) * parts
    both = tf.constant([0.0, 1.0], tf.float64)

    def at(index: tf.Tensor) -> Choice:
        """Returns the better of both candidates of a length."""
        losses = map_one_by_one(lambda curved: loss_at(lengths[index], curved), both, tf.float64)
        losses = tf.where(tf.math.is_finite(losses), losses, np.inf)
        return Choice(lengths[index], both[tf.argmin(losses)], tf.reduce_min(losses))

    def goes_on(index: tf.Tensor, towards: tf.Tensor, best: Choice) -> tf.Tensor:
        return (index >= 0) & (index < len(LENGTHS))

    def go(index: tf.Tensor, towards: tf.Tensor, best: Choice) -> tuple:
        new = at(index)
        gain, predicted = loss - new.loss, loss - predicted_at(new.length)
        fair = (gain > 0) & (gain >= least_part * predicted)  # a loss may be predicted to grow
        longer, shorter = fair & (towards <= 0), ~fair & (towards >= 0)
        kept = fair | (shorter & (new.loss <= best.loss))
        best = Choice(*(tf.where(kept, *pair) for pair in zip(new, best, strict=True)))
        end = -tf.ones_like(index)
        index = tf.where(longer, index - 1, tf.where(shorter, index + 1, end))
        return index, tf.where(longer, -1, 1), best

    explained = 1 - predicted_at(tf.ones_like(loss)) / loss
    fairs = tf.constant([FAIR_OF_NOISE, FAIR], tf.float64)
    least_part = fairs[tf.cast(explained > NEARLY_ALL, tf.int32)]
    start = tf.argmin(tf.abs(tf.math.log(parts / last)))
    zero = tf.zeros_like(loss)
    none = Choice(zero, zero, zero + np.inf)
    *_, best = tf.while_loop(goes_on, go, (start, tf.constant(0), none))
    return best._replace(length=tf.where(best.loss < loss, best.length, 0.0))


def next_damping(damping: tf.Tensor, length: tf.Tensor, least: float) -> tf.Tensor:
    """Returns a quarter or half of the damping after long steps, twice as much after a short one.

    After a rejected step it is ten times as much.

    Args:
        damping: damping of the step.
        length: length that was taken, as a fraction of the longest.
        least: least damping that rounding allows.
    """
    factor = tf.where(length > 0, 2.0, 10.0)
    for least_length, less in ((SHORT, 1.0), (GOOD, 0.5), (LONG, 0.25)):
        factor = tf.where(length >= least_length, less, factor)
    return tf.clip_by_value(damping * tf.cast(factor, damping.dtype), least, 1.0)
