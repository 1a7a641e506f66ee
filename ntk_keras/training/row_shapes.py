"""The shape of a residual that TensorFlow does not know, and residuals in parts."""

from collections.abc import Mapping
from typing import Any

import tensorflow as tf

__all__ = ["RowShapes", "side_by_side"]


class RowShapes:
    """Gives residuals their static shapes.

    A graph knows nothing about what Python code returns to it. The number of rows is that of
    points; the shape of a row was seen when the residual was evaluated eagerly, as every one is
    first.
    """

    def __init__(self) -> None:
        self._seen: dict[int, tf.TensorShape] = {}

    def __call__(self, values: Any, points: Any) -> Any:
        """Returns the values with as much of their shape as is known; others unchanged.

        Args:
            values: result of a residual, a tensor or a list or tuple of components.
            points: points of the evaluation.

        Raises:
            ValueError: if nothing is known of a row.
        """
        if isinstance(values, tuple | list):
            shaped = [self._with_shape(i, value, points) for i, value in enumerate(values)]
            return type(values)(shaped) if type(values) in (tuple, list) else tuple(shaped)
        return self._with_shape(-1, values, points)

    def _with_shape(self, place: int, value: Any, points: Any) -> Any:
        if not tf.is_tensor(value):
            return value
        if value.shape.rank:
            self._seen[place] = value.shape[1:]
        if value.shape.is_fully_defined():
            return value
        row = self._seen.get(place)
        if row is None or not row.is_fully_defined():
            raise ValueError(
                "its shape is not known in a graph, as of values that tf.numpy_function or "
                "tf.py_function return. Say it where they come back, as in "
                "tf.ensure_shape(values, points.shape[:1])"
            )
        rows = tf.TensorShape(tf.nest.flatten(points)[0].shape[:1])
        return tf.ensure_shape(value, rows.concatenate(row))


def side_by_side(values: Any) -> Any:
    """Returns the components of a tuple as columns, ``[n, k]``; anything else unchanged.

    Args:
        values: result of a residual.

    Raises:
        ValueError: if components are by name, or one is complex, as casting would drop its
            imaginary part.
    """
    if isinstance(values, Mapping):
        raise ValueError(
            f"it returns its components by name, {list(values)}. Return them as a tuple, in the "
            "order of the names of Term.columns if each is to have a weight of its own."
        )
    if not isinstance(values, tuple | list):
        return values
    for index, value in enumerate(values):
        if tf.is_tensor(value) and value.dtype.is_complex:
            raise ValueError(
                f"component {index} of the residual is {value.dtype.name}, and components are real "
                "floats. Give its parts in its place, tf.math.real(c), tf.math.imag(c)."
            )
    return tf.concat([v if v.shape.rank == 2 else v[:, tf.newaxis] for v in values], axis=1)
