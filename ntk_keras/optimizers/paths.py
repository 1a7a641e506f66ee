"""Paths of a step: along a direction, straight or curved by its acceleration."""

from collections.abc import Sequence

import tensorflow as tf

from ntk_keras.optimizers.system import Solve, System
from ntk_keras.optimizers.weighted_residuals import WeightedResiduals

__all__ = ["Path"]

# Between which parts of the direction the second derivative is taken, near the last length.
_DIFFERENCE = 1e-2, 0.1


class Path:
    """The parameters ``theta - e d - c e^2 / 2 a`` by length e, straight or curved (c = 0 or 1).

    The direction d solves the damped equations for the residuals. The acceleration a solves them
    for the residuals' second derivative along d (geodesic acceleration), which is a difference of
    two values.

    Args:
        parameters: parameters theta, one tensor for each variable.
        residuals: residuals ``S R`` at theta and elsewhere.
        system: the equations.
        solve: function that solves them, with their damping.
        last_length: length near which the difference is taken.
    """

    def __init__(
        self,
        parameters: Sequence[tf.Tensor],
        residuals: WeightedResiduals,
        system: System,
        solve: Solve,
        last_length: tf.Tensor,
    ):
        self._parameters = parameters
        self._residuals = residuals
        solution = solve(residuals.value)
        self._direction = system.direction(solution)
        self._pushed = system.pushed(solution)  # S J d
        h = tf.clip_by_value(last_length, *_DIFFERENCE)
        nearby = residuals.at(self._bent(h, [tf.zeros_like(d) for d in self._direction]))
        second = 2 / h**2 * (nearby - residuals.value + h * self._pushed)
        self._acceleration = system.direction(solve(second))

    def at(self, length: tf.Tensor, curved: tf.Tensor) -> list[tf.Tensor]:
        """Returns the parameters at a length, one tensor for each variable.

        Args:
            length: length e.
            curved: flag c.
        """
        return self._bent(length, [curved * length**2 / 2 * a for a in self._acceleration])

    def loss_at(self, length: tf.Tensor, curved: tf.Tensor) -> tf.Tensor:
        """Returns the loss (1) at a length.

        Args:
            length: length e.
            curved: flag c.
        """
        return self._residuals.loss_at(self.at(length, curved))

    def predicted_at(self, length: tf.Tensor) -> tf.Tensor:
        """Returns the loss (1) at a length if residuals were linear.

        Args:
            length: length e.
        """
        return tf.reduce_sum((self._residuals.value - length * self._pushed) ** 2) / 2

    def _bent(self, length: tf.Tensor, bend: Sequence[tf.Tensor]) -> list[tf.Tensor]:
        return [
            p - tf.cast(length * d + b, p.dtype)
            for p, d, b in zip(self._parameters, self._direction, bend, strict=True)
        ]
