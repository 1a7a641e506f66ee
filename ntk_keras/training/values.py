"""Inputs of the network and reference values, as ``evaluate`` and ``predict`` take them."""

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from ntk_keras.training.points import check_numbers, is_array_like

__all__ = [
    "BATCH_SIZE",
    "as_arrays",
    "batch_size_for",
    "check_arrays",
    "check_batch",
    "for_values",
    "num_points",
    "unrounded",
]

# The default number of points at a time. Keras' 32 take two hundred times as long; more than this
# gains nothing for networks from 3 x 20 to 3 x 500. It bounds the memory.
BATCH_SIZE = 8192


def for_values(
    x: Any, y: Any, arguments: Mapping[str, Any], dtype: str
) -> tuple[Any, Any, dict[str, Any]]:
    """Returns inputs and reference values for ``keras.Model.evaluate`` at full precision.

    Args:
        x: inputs of the network.
        y: reference values at ``x``.
        arguments: other arguments of ``evaluate``, by keyword.
        dtype: dtype of the parameters.
    """
    check_arrays(x, y, arguments.get("sample_weight"))
    values = x, y, weight = as_arrays((x, y, arguments.get("sample_weight")))
    arguments = {
        **arguments,
        "sample_weight": weight,
        "batch_size": batch_size_for(x, arguments.get("batch_size")),
    }
    batches = unrounded(values, dtype, arguments["batch_size"])
    if batches is None:
        return x, y, arguments
    return batches, None, {**arguments, "sample_weight": None, "batch_size": None}


def check_arrays(x: Any, y: Any = None, sample_weight: Any = None) -> None:
    """Checks inputs of the network and values at these inputs.

    Args:
        x: inputs, a nest of arrays and tensors, or anything else that Keras takes.
        y: values at ``x``.
        sample_weight: weights of the points, ``[n]``.

    Raises:
        ValueError: if inputs are complex, lists of numbers, or not numbers.
    """
    for name, part in {"x": x, "y": y, "sample_weight": sample_weight}.items():
        if any(isinstance(leaf, bool | int | float | complex) for leaf in tf.nest.flatten(part)):
            raise ValueError(
                f"{name} must be an array, or a nest of arrays. Received lists of numbers, which "
                "Keras takes for several inputs. Make an array of them, as in np.array(x)."
            )
        check_numbers(name, part, real=name != "y")


def check_batch(x: Any, y: Any = None, sample_weight: Any = None) -> None:
    """Checks what ``test_on_batch`` and ``train_on_batch`` take, before it becomes tensors.

    Args:
        x: inputs with values ``y``, or points by term.
        y: values at ``x``.
        sample_weight: weights of the points, ``[n]``.

    Raises:
        ValueError: as :func:`check_arrays` does; complex points of a term pass.
    """
    if y is None and isinstance(x, Mapping):
        for name, points in x.items():
            check_numbers(f"Term {name!r}: points", points)
    else:
        check_arrays(x, y, sample_weight)


def as_arrays(x: Any) -> Any:
    """Replaces data frames by arrays, as Keras may not know their dtypes; a series is a column.

    Args:
        x: arrays, tensors, pandas frames, or anything else, which is returned unchanged.
    """

    def convert(value: Any) -> Any:
        if isinstance(value, keras.Variable):
            return value.numpy()
        if not is_array_like(value):
            return value
        array = np.asarray(value)
        return array[:, np.newaxis] if array.ndim == 1 else array

    return tf.nest.map_structure(convert, x)


def num_points(x: Any) -> int | None:
    """Returns the number of points in arrays or a dataset, if it is known.

    Args:
        x: inputs.
    """
    if isinstance(x, tf.data.Dataset):
        return 0 if int(x.cardinality()) == 0 else None
    shapes: list[Any] = [getattr(leaf, "shape", ()) for leaf in tf.nest.flatten(x)]
    return shapes[0][0] if all(shapes) and shapes else None


def batch_size_for(x: Any, batch_size: int | None) -> int | None:
    """Returns the number of points evaluated at a time, for arrays.

    Args:
        x: inputs.
        batch_size: requested number; None for a fast one.
    """
    arrays = all(hasattr(leaf, "__array__") for leaf in tf.nest.flatten(x))
    return BATCH_SIZE if batch_size is None and arrays else batch_size


def unrounded(data: tuple, dtype: str, batch_size: int | None) -> tf.data.Dataset | None:
    """Returns batches of arrays if Keras, which casts to ``floatx``, would lose digits; else None.

    Args:
        data: ``(x,)``, ``(x, y)`` or ``(x, y, sample_weight)``, possibly nests of arrays.
        dtype: dtype of the parameters.
        batch_size: number of points at a time.
    """
    present = keras.tree.lists_to_tuples(tuple(part for part in data if part is not None))
    arrays = all(isinstance(leaf, np.ndarray | tf.Tensor) for leaf in tf.nest.flatten(present))
    if not arrays or tf.as_dtype(dtype).size <= tf.as_dtype(keras.config.floatx()).size:
        return None
    return tf.data.Dataset.from_tensor_slices(present).batch(batch_size or BATCH_SIZE)
