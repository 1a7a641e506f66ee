"""Mixed precision: the dtypes that a network computes in, and the scale of its gradients."""

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

# The smallest positive float16. If a gradient overflows even at this scale, no scale can fix it.
SMALLEST_SCALE = 2.0**-24


def parameter_dtype(network: Any) -> str:
    """Returns the dtype of a network's parameters.

    It is that of the first trainable parameter, or of the first one if none is trainable.

    Args:
        network: Keras model or layer.
    """
    # A Sequential model of float64 layers reports float32, so the parameters decide.
    variables = network.trainable_variables or network.variables
    return variables[0].dtype if variables else network.variable_dtype


def half_precision(network: Any) -> tf.DType | None:
    """Returns the coarsest 16-bit dtype that a network computes in; None if there is none.

    Args:
        network: Keras model or layer.
    """
    dtypes = _computes_in(network)
    return next((d for d in (tf.bfloat16, tf.float16) if d.name in dtypes), None)


def needs_scale(network: Any) -> bool:
    """Whether gradients may be too small for the range of a dtype that a network computes in.

    Args:
        network: Keras model or layer.
    """
    return "float16" in _computes_in(network)


def scales(optimizer: Any) -> bool:
    """Whether an optimizer chooses a scale for the loss, and skips steps that overflow.

    Args:
        optimizer: optimizer of a model.
    """
    return isinstance(optimizer, keras.optimizers.LossScaleOptimizer)


def scaling(optimizer: Any) -> keras.optimizers.Optimizer:
    """Returns an optimizer that scales the loss, by wrapping the given one if needed.

    Args:
        optimizer: any optimizer, or its name or configuration.
    """
    optimizer = keras.optimizers.get(optimizer)
    return optimizer if scales(optimizer) else keras.optimizers.LossScaleOptimizer(optimizer)


def finds_scale(optimizer: Any) -> tf.Tensor:
    """Whether a smaller scale may still fix a gradient that is not finite.

    Args:
        optimizer: built optimizer that scales the loss.
    """
    return optimizer.dynamic_scale.value > SMALLEST_SCALE


def _computes_in(network: Any) -> set[str]:
    return {layer.compute_dtype for layer in sublayers(network)}
