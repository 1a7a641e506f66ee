"""The residuals ``S R`` of all blocks as one vector, where ``S^2`` are the loss weights."""

from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf

from ntk_keras.backend.graphs import run_with_xla
from ntk_keras.kernel import Linearization

__all__ = ["WeightedResiduals"]


class WeightedResiduals:
    """The residuals ``S R``, here and at other parameters.

    Attributes:
        scale: row scales S, ``[n]``, double.
        value: vector ``S R`` at the current parameters, ``[n]``, double.

    Args:
        linearization: residuals, recorded at the current parameters.
        weights: weights ``S^2`` by block, a scalar or ``[n_b]``.
        jit_compile: whether XLA compiles evaluations in a graph on a CPU.
    """

    def __init__(
        self, linearization: Linearization, weights: Mapping[str, Any], jit_compile: bool = True
    ):
        self._linearization = linearization
        self._jit_compile = jit_compile
        self.scale = tf.concat(
            [
                tf.sqrt(tf.cast(weights[name], tf.float64)) * tf.ones_like(r, tf.float64)
                for name, r in linearization.residuals.items()
            ],
            axis=0,
        )
        self.value = self._stacked(linearization.residuals)

    def at(self, parameters: Sequence[tf.Tensor]) -> tf.Tensor:
        """Returns ``S R`` at other parameters, ``[n]``.

        Args:
            parameters: one tensor for each variable.
        """
        return run_with_xla(
            lambda: self._stacked(self._linearization.residuals_at(parameters)),
            enabled=self._jit_compile,
        )

    def loss_at(self, parameters: Sequence[tf.Tensor]) -> tf.Tensor:
        """Returns the loss (1) at other parameters.

        Args:
            parameters: one tensor for each variable.
        """
        return tf.reduce_sum(self.at(parameters) ** 2) / 2

    @property
    def loss(self) -> tf.Tensor:
        """The loss (1) at the current parameters."""
        return tf.reduce_sum(self.value**2) / 2

    @property
    def size(self) -> tf.Tensor:
        """Their number n, double."""
        return tf.cast(tf.size(self.value), tf.float64)

    def _stacked(self, residuals: Mapping[str, tf.Tensor]) -> tf.Tensor:
        parts = [tf.cast(part, tf.float64) for part in residuals.values()]
        return self.scale * tf.concat(parts, axis=0)
