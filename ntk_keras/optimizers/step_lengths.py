"""How far to go along a direction: by the loss at a few lengths, straight and along a curve."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from ntk_keras.backend.graphs import map_one_by_one

__all__ = ["LENGTHS", "Choice", "best_length", "changed", "next_damping"]

# Of the direction, which solves the linearized equations at 1.
LENGTHS = (1.0, 0.7, 0.5, 0.35, 0.25, 0.17, 0.12, 0.08, 0.06, 0.04, 0.02, 0.01, 0.003)
# Lengths from which on the linear model holds well, and well enough, and below which it does not.
_LONG, _GOOD, _SHORT = 0.35, 0.12, 0.03


class Choice(NamedTuple):
    """What serves best among the candidates.

    Attributes:
        length: of the step, zero if none lowers the loss.
        curved: 1 for the step with its acceleration, 0 for a straight one.
        loss: at its end.
    """

    length: tf.Tensor
    curved: tf.Tensor
    loss: tf.Tensor


def changed(
    parameters: Sequence[tf.Tensor],
    direction: Sequence[tf.Tensor],
    acceleration: Sequence[tf.Tensor],
    length: tf.Tensor,
    curved: tf.Tensor,
) -> list[tf.Tensor]:
    """Theta - e d - c e^2 / 2 a.

    Args:
        parameters: theta, one tensor for each variable.
        direction: d.
        acceleration: a.
        length: e.
        curved: c, 1 or 0.
    """
    bend = curved * length**2 / 2
    return [
        p - tf.cast(length * d + bend * a, p.dtype)
        for p, d, a in zip(parameters, direction, acceleration, strict=True)
    ]


def best_length(
    loss_at: Callable[[tf.Tensor, tf.Tensor], tf.Tensor],
    loss: tf.Tensor,
    longest: tf.Tensor,
    last: tf.Tensor,
) -> Choice:
    """The candidate of the least loss near the last length; none where none lowers it.

    From the last length it goes on to shorter ones while they lower the loss, or else to longer
    ones, so that a few of all candidates are evaluated.

    Args:
        loss_at: of a length and whether the step is curved.
        loss: at the present parameters.
        longest: what the lengths are multiples of.
        last: the length that served before, as a part of the longest.
    """
    parts = tf.constant(LENGTHS, tf.float64)
    lengths = tf.cast(longest, tf.float64) * parts

    both = tf.constant([0.0, 1.0], tf.float64)

    def at(index: tf.Tensor) -> Choice:
        """The better one of both of a length."""
        losses = map_one_by_one(lambda curved: loss_at(lengths[index], curved), both, tf.float64)
        losses = tf.where(tf.math.is_finite(losses), losses, np.inf)
        return Choice(lengths[index], both[tf.argmin(losses)], tf.reduce_min(losses))

    start = tf.minimum(tf.argmin(tf.abs(tf.math.log(parts / last))), len(LENGTHS) - 2)
    one = tf.ones_like(start)

    def goes_on(tried: tf.Tensor, index: tf.Tensor, towards: tf.Tensor, best: Choice) -> tf.Tensor:
        return (index >= 0) & (index < len(LENGTHS))

    def go(tried: tf.Tensor, index: tf.Tensor, towards: tf.Tensor, best: Choice) -> tuple:
        new = at(index)
        lower = new.loss <= best.loss  # Where both are infinite, a shorter one may not be.
        best = Choice(*(tf.where(lower, *pair) for pair in zip(new, best, strict=True)))
        turns = ~lower & (tried == 1)
        towards = tf.where(turns, -one, towards)
        # Where the first shorter one is worse, longer ones are tried; else a worse one ends it.
        index = tf.where(lower, index + towards, tf.where(turns, start - 1, -one))
        return tried + 1, index, towards, best

    zero = tf.zeros_like(loss)
    none = Choice(zero, zero, zero + np.inf)
    *_, best = tf.while_loop(goes_on, go, (tf.constant(0), start, one, none))
    return best._replace(length=tf.where(best.loss < loss, best.length, 0.0))


def next_damping(damping: tf.Tensor, length: tf.Tensor, least: float) -> tf.Tensor:
    """A quarter or half of the damping after long steps, twice as much after a short one.

    After none it is ten times as much.

    Args:
        damping: of the step.
        length: that was taken, as a part of the longest.
        least: the least damping that rounding allows.
    """
    factor = tf.where(length > 0, 2.0, 10.0)
    for least_length, less in ((_SHORT, 1.0), (_GOOD, 0.5), (_LONG, 0.25)):
        factor = tf.where(length >= least_length, less, factor)
    return tf.clip_by_value(damping * tf.cast(factor, damping.dtype), least, 1.0)
