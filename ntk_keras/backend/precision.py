"""Mixed precision: what a network computes in, and how far its gradients are scaled."""

from typing import Any

import keras
import tensorflow as tf

from ntk_keras.backend.private_names import sublayers

__all__ = [
    "SMALLEST_SCALE",
    "finds_scale",
    "half_precision",
    "needs_scale",
    "parameter_dtype",
    "scales",
    "scaling",
]

# A gradient that overflows float16 at this scale, its smallest number, is no matter of scale.
SMALLEST_SCALE = 2.0**-24


def parameter_dtype(network: Any) -> str:
    """Dtype of the parameters of a network, the first of those that are trained; of any if none is.

    Args:
        network: a Keras model or layer.
    """
    # A Sequential made of float64 layers calls itself float32: the parameters know better.
    variables = network.trainable_variables or network.variables
    return variables[0].dtype if variables else network.variable_dtype


def half_precision(network: Any) -> tf.DType | None:
    """The coarsest dtype of 16 bits that a network computes in; None if there is none.

    Args:
        network: a Keras model or layer.
    """
    dtypes = _computes_in(network)
    return next((d for d in (tf.bfloat16, tf.float16) if d.name in dtypes), None)


def needs_scale(network: Any) -> bool:
    """Whether gradients may be too small for the range of a dtype that a network computes in.

    Args:
        network: a Keras model or layer.
    """
    return "float16" in _computes_in(network)


def scales(optimizer: Any) -> bool:
    """Whether an optimizer finds out how far to scale the loss, and skips steps that overflow.

    Args:
        optimizer: of a model.
    """
    return isinstance(optimizer, keras.optimizers.LossScaleOptimizer)


def scaling(optimizer: Any) -> keras.optimizers.Optimizer:
    """An optimizer that does so, made of another where needed.

    Args:
        optimizer: any, or its name or configuration.
    """
    optimizer = keras.optimizers.get(optimizer)
    return optimizer if scales(optimizer) else keras.optimizers.LossScaleOptimizer(optimizer)


def finds_scale(optimizer: Any) -> tf.Tensor:
    """Whether a smaller scale may still fix a gradient that is not finite.

    Args:
        optimizer: one that scales, built.
    """
    return optimizer.dynamic_scale.value > SMALLEST_SCALE


def _computes_in(network: Any) -> set[str]:
    return {layer.compute_dtype for layer in sublayers(network)}
