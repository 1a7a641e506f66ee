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
    loss_at: Callable[[tf.Tensor, tf.Tensor], tf.Tensor], loss: tf.Tensor, longest: tf.Tensor
) -> Choice:
    """The candidate of the least loss; none where none lowers it.

    Args:
        loss_at: of a length and whether the step is curved.
        loss: at the present parameters.
        longest: what the lengths are multiples of.
    """
    grid = tf.constant([(e, c) for e in LENGTHS for c in (0.0, 1.0)], tf.float64)
    grid *= tf.stack([tf.cast(longest, tf.float64), 1.0])
    losses = map_one_by_one(lambda pair: loss_at(pair[0], pair[1]), grid, tf.float64)
    losses = tf.where(tf.math.is_finite(losses), losses, np.inf)
    best = tf.argmin(losses)
    lower = losses[best] < loss
    length, curved = tf.unstack(grid[best])
    return Choice(tf.where(lower, length, 0.0), curved, tf.where(lower, losses[best], loss))


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
