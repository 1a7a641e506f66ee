"""Weights as inverse variances, learned with the network by maximum likelihood."""

from collections.abc import Mapping
from typing import Any

import keras
import tensorflow as tf
from typing_extensions import Unpack

from ntk_keras.kernel.linearization import Linearization
from ntk_keras.weighting.adaptive import Adaptive, UpdateRules

__all__ = ["Uncertainty"]


@keras.saving.register_keras_serializable("ntk_keras")
class Uncertainty(Adaptive):
    """``lambda_b = 1 / sigma_b^2``, with sigma_b the noise that best explains the residuals.

    The residuals of group b are treated as samples of ``N(0, sigma_b^2)``. Each update takes one
    optimizer step on ``s_b = log sigma_b^2`` down the negative log-likelihood of one entry,
    ``1/2 e^{-s_b} MSE_b + 1/2 s_b``. At rest ``sigma_b^2 = MSE_b``, the group's mean squared
    residual.

    Args:
        optimizer: name or Keras optimizer of the log-variances; Adam(1e-3) by default.
        **rules: rules of :class:`Adaptive`. Initial weights are initial inverse variances.

    Reference:
        Kendall, Gal, Cipolla, "Multi-Task Learning Using Uncertainty to Weigh Losses for Scene
        Geometry and Semantics", CVPR 2018; for residuals of differential equations Xiang, Peng,
        Liu, Yao, "Self-adaptive loss balanced Physics-informed neural networks",
        Neurocomputing 496 (2022).
    """

    distributes = False  # its optimizer would add up the steps of all replicas

    def __init__(
        self, optimizer: str | keras.optimizers.Optimizer = "adam", **rules: Unpack[UpdateRules]
    ):
        super().__init__(**rules)
        self.optimizer = keras.optimizers.get(optimizer)

    def build_state(self, sizes: Mapping[str, int | None]) -> None:
        super().build_state(sizes)
        self.log_variances = self.add_state("log_variances", [len(self.adapted)])
        self.log_variances.assign(-tf.math.log(self.current_weights()))
        self.optimizer.build([self.log_variances])

    def measure(self, linearization: Linearization, seed: tf.Tensor) -> tf.Tensor:
        """Returns the mean squared residual of every group, ``[adapted]``."""
        residuals = linearization.residuals
        scales = {name: block.scale for name, block in linearization.blocks.items()}
        # From the residuals before the mean convention scales them.
        squares = self.pool({n: tf.reduce_sum((r / scales[n]) ** 2) for n, r in residuals.items()})
        return squares / self.pool({name: tf.size(r) for name, r in residuals.items()})

    def propose(self, measured: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """Takes one step of the log-variances."""
        gradient = (1 - tf.exp(-self.log_variances.value) * measured) / 2
        self.optimizer.apply([gradient], [self.log_variances])
        return tf.exp(-self.log_variances.value)

    @property
    def state(self) -> list[keras.Variable]:
        return [*super().state, *self.optimizer.variables]

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        return {**config, "optimizer": keras.optimizers.serialize(self.optimizer)}
