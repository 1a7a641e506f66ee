"""Corollary 2: weights that may change only as fast as the gradients can follow."""

import dataclasses
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from ntk_keras.backend import saving

__all__ = ["Gate"]

# Where a growth function is looked at before training: steps, and powers of ten beyond.
_TIMES = [0.0, 1.0, 2.0, 10.0, 1e2, 1e4, 1e6, 1e9]


@keras.saving.register_keras_serializable("ntk_keras")
def square_root(time: tf.Tensor) -> tf.Tensor:
    """Returns the growth ``t^(1/2)``."""
    return tf.sqrt(time)


@keras.saving.register_keras_serializable("ntk_keras")
@dataclasses.dataclass(frozen=True)
class Gate:
    """Rule (11): weights change while ``S(t) + lambda_max(new - old) ||R||^2 <= h(t)``.

    ``S(t)`` is the sum of the accepted changes. With ``h(t) = o(t)`` the time average of the
    gradients of the loss still goes to zero, whatever the strategy proposes.

    Attributes:
        constant: factor c in ``h(t) = c growth(t)``; by default ``||R||^2`` of the first step.
        growth: function of the number of steps, from a scalar tensor to a scalar tensor, that is
            never negative, never decreases, and is ``o(t)``. The square root by default.

    Raises:
        ValueError: if the constant is not positive, or the growth violates its conditions.
        TypeError: if the growth is not a function.

    Reference:
        Corollary 2.
    """

    constant: float | None = None
    growth: Callable[[tf.Tensor], tf.Tensor] = square_root

    def __post_init__(self) -> None:
        if self.constant is not None and not 0 < self.constant < float("inf"):
            raise ValueError(
                "constant must be positive and finite, or None for the squared norm of the first "
                f"residual. Received constant={self.constant}."
            )
        if not callable(self.growth):
            raise TypeError(
                "growth must be a function of the number of steps, as lambda t: t**0.5. "
                f"Received {self.growth!r}."
            )
        values = [float(self.growth(tf.constant(time, tf.float64))) for time in _TIMES]
        known = dict(zip(_TIMES, values, strict=True))
        if not (np.all(np.isfinite(values)) and min(values) >= 0 and np.all(np.diff(values) >= 0)):
            raise ValueError(
                "growth must be finite, never negative and never falling. Received a function "
                f"with the values {known}. Example: lambda t: t**0.5."
            )
        # From 1e6 to 1e9 steps t^0.999 falls by 0.7% beside t, but t + sqrt(t) by 0.1% only.
        if not values[-1] / _TIMES[-1] <= 0.998 * values[-2] / _TIMES[-2]:
            raise ValueError(
                "growth must be slower than linear, growth(t) / t -> 0, or Corollary 2 promises "
                f"nothing. Received a function with the values {known}. Example: lambda t: t**0.5."
            )

    def bound(self, time: tf.Tensor, constant: tf.Tensor) -> tf.Tensor:
        """Returns ``h(t) = c growth(t)``, in the dtype of c."""
        return constant * tf.cast(self.growth(tf.cast(time, tf.float64)), constant.dtype)

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments, for Keras. Raises ValueError for an unregistered growth."""
        growth = saving.serialize("Gate: its growth", self.growth)
        return {"constant": self.constant, "growth": growth}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Gate":
        """Creates the gate from its configuration, as Keras stores it."""
        growth = saving.deserialize("Gate: its growth", config["growth"])
        return cls(config["constant"], growth)
