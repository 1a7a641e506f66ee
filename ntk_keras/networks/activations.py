"""An activation for natural gradients, which Keras lacks."""

from collections.abc import Iterator
from typing import Any

import keras
import tensorflow as tf

from ntk_keras.derivatives import register_activation
from ntk_keras.derivatives.activations import sin, tanh

__all__ = ["sin_tanh"]


@keras.saving.register_keras_serializable("ntk_keras")
def sin_tanh(x: Any) -> Any:
    """Applies the sine to the first half of the neurons, and tanh to the others.

    A sine network learns waves fast and steep fronts slowly, a tanh network the other way round.
    With both, natural gradients solve both kinds of problems.

    Args:
        x: pre-activation ``[..., width]``.

    Returns:
        A tensor of the same shape.
    """
    half = x.shape[-1] // 2
    parts = [keras.ops.sin(x[..., :half]), keras.ops.tanh(x[..., half:])]
    return keras.ops.concatenate(parts, axis=-1)


def _derivatives(z: tf.Tensor) -> Iterator[tf.Tensor]:
    half = z.shape[-1] // 2
    for left, right in zip(sin(z[..., :half]), tanh(z[..., half:]), strict=False):
        yield tf.concat([left, right], axis=-1)


register_activation(sin_tanh, _derivatives)
