"""Weights that make the gradients of the terms equally large."""

from collections.abc import Mapping
from typing import Any

import keras
import tensorflow as tf
from typing_extensions import Unpack

from ntk_keras.backend.checks import check_range
from ntk_keras.kernel.linearization import Linearization
from ntk_keras.weighting.adaptive import Adaptive, Rules

__all__ = ["GradientNorm"]


@keras.saving.register_keras_serializable("ntk_keras")
class GradientNorm(Adaptive):
    """``lambda_b -> (1 - alpha) lambda_b + alpha max|grad L_r| / mean|grad L_b|``.

    The maximum and the mean are over the parameters, ``L_b = 1/2 ||R_b||^2`` has no weight, and r
    is the group, usually that of the equation, whose weight stays one. An update costs one reverse
    pass over each group. At rest every weighted mean equals the maximum. (The authors' code divides
    by the mean gradient of the weighted loss ``lambda_b L_b`` and so rests at the root of the
    ratio.)

    Args:
        reference: name of the group r; the first by default.
        averaging_rate: rate alpha, in (0, 1].
        update_every: number of steps from one update to the next.
        **rules: rules of :class:`Adaptive`.

    Raises:
        ValueError: if the averaging rate is out of range, or, from the model, the reference is not
            a group or excluded.

    Reference:
        Wang, Teng, Perdikaris, "Understanding and Mitigating Gradient Flow Pathologies in
        Physics-Informed Neural Networks", SIAM J. Sci. Comput. 43 (2021), Algorithm 1.
    """

    differentiates = True

    def __init__(
        self,
        reference: str | None = None,
        averaging_rate: float = 0.1,
        update_every: int = 10,
        **rules: Unpack[Rules],
    ):
        super().__init__(update_every=update_every, **rules)
        self.reference = reference
        self.averaging_rate = check_range("averaging_rate", averaging_rate, "(0, 1]")

    def build_state(self, sizes: Mapping[str, int | None]) -> None:
        super().build_state(sizes)
        if self.reference is not None and self.reference not in self.adapted:
            raise ValueError(
                f"reference must be one of the groups {list(self.adapted)}. "
                f"Received reference={self.reference!r}."
            )

    def measure(self, linearization: Linearization, seed: tf.Tensor) -> list[tf.Tensor]:
        """Returns the gradient of every group's loss, each ``[p]``."""
        return [self._gradient(linearization, group) for group in self.adapted]

    def propose(self, measured: list[tf.Tensor], seed: tf.Tensor) -> tf.Tensor:
        """Takes one step of the moving average; the reference keeps the weight one."""
        reference = self.adapted.index(self.reference or self.adapted[0])
        means = tf.stack([tf.reduce_mean(tf.abs(gradient)) for gradient in measured])
        largest = tf.reduce_max(tf.abs(measured[reference]))
        present = self.current_weights()
        # A group without a gradient, whose ratio is infinite, keeps its weight.
        ratios = tf.where(means > 0, largest / means, present)
        moved = (1 - self.averaging_rate) * present + self.averaging_rate * ratios
        return tf.where(tf.range(len(self.adapted)) == reference, tf.ones_like(moved), moved)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "reference": self.reference,
            "averaging_rate": self.averaging_rate,
        }

    def _gradient(self, linearization: Linearization, group: str) -> tf.Tensor:
        """Returns the gradient of ``L_b``, ``[p]``."""
        return tf.cast(linearization.loss_gradient(*self.terms_of(group)), self.state_dtype)
