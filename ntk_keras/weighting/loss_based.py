"""Weights from the history of the losses: larger where a loss falls slowly or grows."""

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from typing_extensions import Unpack

from ntk_keras.backend.checks import check_range
from ntk_keras.kernel.linearization import Linearization
from ntk_keras.weighting.adaptive import Adaptive, UpdateRules

__all__ = ["ReLoBRaLo", "SoftAdapt"]


class LossBased(Adaptive):
    """A strategy that compares the losses ``L_b = 1/2 ||R_b||^2`` with earlier ones."""

    def build_state(self, sizes: Mapping[str, int | None]) -> None:
        super().build_state(sizes)
        self.num_updates = self.add_state("num_updates", [], dtype="int64")
        self.initial_losses = self.add_state("initial_losses", [len(self.adapted)])
        self.previous_losses = self.add_state("previous_losses", [len(self.adapted)])

    def measure(self, linearization: Linearization, seed: tf.Tensor) -> tf.Tensor:
        """Returns the losses, ``[adapted]``."""
        squares = {name: tf.reduce_sum(r**2) / 2 for name, r in linearization.residuals.items()}
        return self.pool(squares)

    def propose(self, measured: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """Returns the current weights at first, as there is no earlier loss to compare with."""
        first = self.num_updates.value == 0
        self.initial_losses.assign(tf.where(first, measured, self.initial_losses.value))
        proposed = tf.where(first, self.current_weights(), self.compare(measured, seed))
        self.previous_losses.assign(measured)
        self.num_updates.assign_add(1)
        return proposed

    def compare(self, losses: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """Returns new weights ``[adapted]`` from the losses ``[adapted]``, now and earlier."""
        raise NotImplementedError


@keras.saving.register_keras_serializable("ntk_keras")
class SoftAdapt(LossBased):
    """``lambda = softmax(beta s)``, with s the change of each loss since the last update.

    Args:
        temperature: factor beta; if positive, losses that fall least get large weights, and if
            negative, those that fall most.
        normalized: whether s is divided by the sum of its magnitudes, which makes beta independent
            of the size of the losses (the paper's normalized variant).
        loss_weighted: whether the exponentials are multiplied by the losses before normalization
            (the paper's loss-weighted variant).
        **rules: rules of :class:`Adaptive`.

    Reference:
        Heydari, Thompson, Mehmood, "SoftAdapt: Techniques for Adaptive Loss Weighting of Neural
        Networks with Multi-Part Loss Functions", arXiv:1912.12355.
    """

    def __init__(
        self,
        temperature: float = 0.1,
        normalized: bool = True,
        loss_weighted: bool = False,
        **rules: Unpack[UpdateRules],
    ):
        super().__init__(**rules)
        self.temperature = temperature
        self.normalized = normalized
        self.loss_weighted = loss_weighted

    def compare(self, losses: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """Returns the softmax of the losses' changes."""
        change = losses - self.previous_losses.value
        if self.normalized:
            change = tf.math.divide_no_nan(change, tf.reduce_sum(tf.abs(change)))
        exponent = self.temperature * change
        if self.loss_weighted:
            exponent += tf.math.log(tf.maximum(losses, np.finfo(losses.dtype.as_numpy_dtype).tiny))
        return tf.nn.softmax(exponent)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "temperature": self.temperature,
            "normalized": self.normalized,
            "loss_weighted": self.loss_weighted,
        }


@keras.saving.register_keras_serializable("ntk_keras")
class ReLoBRaLo(LossBased):
    """Relative loss balancing with random lookback.

    With ``balance(t, t') = m softmax_b(L_b(t) / (T L_b(t')))`` over m groups, the weights are
    ``lambda(t) = alpha (rho lambda(t - 1) + (1 - rho) balance(t, 0)) + (1 - alpha) balance(t, t -
    1)``. Here rho is one with probability ``memory`` and otherwise zero, which looks back to the
    start.

    Args:
        temperature: temperature T; the larger, the more equal the weights.
        decay: fraction alpha in [0, 1] of the weights that is kept from step to step.
        memory: expectation of rho, in [0, 1].
        **rules: rules of :class:`Adaptive`.

    Raises:
        ValueError: if an argument is out of range.

    Reference:
        Bischof, Kraus, "Multi-Objective Loss Balancing for Physics-Informed Deep Learning",
        arXiv:2110.09813.
    """

    def __init__(
        self,
        temperature: float = 0.1,
        decay: float = 0.999,
        memory: float = 0.999,
        **rules: Unpack[UpdateRules],
    ):
        super().__init__(**rules)
        self.temperature = check_range("temperature", temperature, "(0, inf)")
        self.decay = check_range("decay", decay, "[0, 1]")
        self.memory = check_range("memory", memory, "[0, 1]")

    def compare(self, losses: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """Returns the weights of this update from the last ones and both balances."""
        remember = tf.random.stateless_uniform([], seed, alg="philox") < self.memory
        from_start = self._balance(losses, self.initial_losses.value)
        history = tf.where(remember, self.current_weights(), from_start)
        recent = self._balance(losses, self.previous_losses.value)
        return self.decay * history + (1 - self.decay) * recent

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "temperature": self.temperature,
            "decay": self.decay,
            "memory": self.memory,
        }

    def _balance(self, losses: tf.Tensor, earlier: tf.Tensor) -> tf.Tensor:
        ratios = tf.math.divide_no_nan(losses, self.temperature * earlier)
        return len(self.adapted) * tf.nn.softmax(ratios)
