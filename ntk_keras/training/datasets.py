"""What is looked at in data before Keras iterates over it."""

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

__all__ = [
    "check_ends",
    "check_validation",
    "first_of",
    "length",
    "unrounded",
    "yields_pairs",
]


def first_of(dataset: tf.data.Dataset) -> Mapping[str, Any]:
    """The points by term of a dataset's first step.

    Args:
        dataset: yields dicts from term names to points.

    Raises:
        ValueError: for a dataset that is empty, yields anything else, or does not know how many
            axes its tensors have.
    """
    specs = tf.nest.flatten(dataset.element_spec)
    if any(spec.shape.rank is None for spec in specs):
        raise ValueError(
            "A dataset for PINNModel.fit must know how many axes its tensors have. Received "
            f"{dataset.element_spec}. Say it, as in tf.data.Dataset.from_generator(..., "
            "output_signature={'equation': tf.TensorSpec((None, 2))})."
        )
    element = next(iter(dataset.take(1)), None)
    if element is None:
        raise ValueError("A dataset for PINNModel.fit must yield points. Received an empty one.")
    if not isinstance(element, Mapping):
        raise ValueError(
            "A dataset for PINNModel.fit must yield dicts from term names to points. "
            f"Received elements of type {type(element).__name__}."
        )
    return element


def check_ends(argument: str, data: Any, steps: int | None, by: str) -> None:
    """Refuses a dataset without end where nothing says how much of it to take.

    Args:
        argument: that the data was given as, for the message.
        data: a dataset, or anything else.
        steps: how many of its elements are taken, None for all.
        by: the argument that would say so.

    Raises:
        ValueError: for an endless dataset that is to be taken whole.
    """
    if steps is None and _is_endless(data):
        raise ValueError(
            f"{argument} is a dataset that never ends, so neither would the first epoch. Say how "
            f"much of it to take, as in {by}=100, or leave out its `repeat()`."
        )


def yields_pairs(data: Any) -> bool:
    """Whether a dataset yields inputs with values, as validation takes them.

    Args:
        data: a dataset, or anything else.
    """
    return isinstance(data, tf.data.Dataset) and isinstance(data.element_spec, tuple)


def check_validation(data: Any, steps: int | None) -> None:
    """Checks what is given to validate with.

    Args:
        data: ``(points, values)``, a dataset of such pairs, points by term, or None.
        steps: how many of a dataset's elements are taken, None for all.

    Raises:
        ValueError: for anything else, or a dataset without end.
    """
    check_ends("validation_data", data, steps, "validation_steps")
    if isinstance(data, Mapping) or (isinstance(data, tuple) and len(data) in (2, 3)):
        return
    if data is not None and not isinstance(
        data, tf.data.Dataset | tf.distribute.DistributedDataset | keras.utils.PyDataset
    ):
        raise ValueError(
            "validation_data must be (points, values), a dataset of such pairs, or points by term. "
            f"Received {type(data).__name__}."
        )


def length(validation_data: Any) -> int | None:
    """The number of validation points, where they are arrays.

    Args:
        validation_data: as for ``fit``.
    """
    if not isinstance(validation_data, tuple):
        return None
    return len(tf.nest.flatten(validation_data[0])[0])


def unrounded(data: tuple, dtype: str, batch_size: int | None) -> tf.data.Dataset | None:
    """Batches of arrays where Keras, that makes ``floatx`` of them, would lose digits; else None.

    Args:
        data: ``(x,)``, ``(x, y)`` or ``(x, y, sample_weight)``, nests of arrays or not.
        dtype: of the parameters.
        batch_size: points at a time; Keras' 32 if None.
    """
    present = keras.tree.lists_to_tuples(tuple(part for part in data if part is not None))
    arrays = all(isinstance(leaf, np.ndarray | tf.Tensor) for leaf in tf.nest.flatten(present))
    if not arrays or tf.as_dtype(dtype).size <= tf.as_dtype(keras.config.floatx()).size:
        return None
    return tf.data.Dataset.from_tensor_slices(present).batch(batch_size or 32)


def _is_endless(data: Any) -> bool:
    if isinstance(data, keras.utils.PyDataset):
        return data.num_batches is None
    return isinstance(data, tf.data.Dataset) and bool(
        data.cardinality() == tf.data.INFINITE_CARDINALITY
    )
