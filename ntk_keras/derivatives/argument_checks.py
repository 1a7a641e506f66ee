"""Checks of the arguments of derivative functions."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from ntk_keras.derivatives.axis_names import columns_of
from ntk_keras.derivatives.channels import SecondOrder

__all__ = ["as_axes", "as_points", "as_second_order"]


def as_points(points: Any) -> tf.Tensor:
    """Returns points as a tensor of floats ``[n, d]``, with ``d`` known.

    Args:
        points: array, tensor or variable.

    Raises:
        ValueError: if the shape or kind is another one.
    """
    points = tf.convert_to_tensor(points)
    if points.shape.rank != 2 or points.shape[1] is None:
        raise ValueError(
            "Derivatives need points of shape [n, d], d known. Received points of shape "
            f"{tuple(points.shape)}. Reshape a single column [n] to [n, 1]."
        )
    if points.dtype.is_complex:
        raise ValueError(
            "Derivatives are taken by real inputs, of outputs that may be complex. Received points "
            f"of dtype {points.dtype.name}. Give real and imaginary part as two columns."
        )
    if not points.dtype.is_floating:
        raise ValueError(
            f"Derivatives need floating-point points. Received dtype {points.dtype.name}. "
            "Cast them to the dtype of the network."
        )
    return points


def as_axes(axes: Any, points: tf.Tensor, u: Any) -> list[int]:
    """Returns columns as a list; all of them by default.

    Args:
        axes: names or indices of inputs, or one of them.
        points: points ``[n, d]``.
        u: function that is differentiated.

    Raises:
        ValueError: if an axis is not an input, or a name is used where there are none.
    """
    return list(range(points.shape[1])) if axes is None else columns_of(axes, points, u)


def as_second_order(coefficients: Any, points: tf.Tensor, u: Any) -> SecondOrder:
    """Returns the channel ``sum_k c_k d_k^2`` of these coefficients.

    Args:
        coefficients: numbers or tensors ``[d]`` or ``[n, d]``; or a sequence of d numbers and
            tensors, each a scalar or ``[n]``; or these by axis, others being zero.
        points: points ``[n, d]``.
        u: function that is differentiated.

    Raises:
        ValueError: unless there is one real coefficient for each input, at least one of them not
            zero.
    """
    if isinstance(coefficients, Mapping):
        coefficients = _in_order(coefficients, points, u)
    given = coefficients if isinstance(coefficients, list | tuple) else [coefficients]
    if any(map(_is_complex, given)):
        raise ValueError(
            "A second-order operator needs real coefficients. Received complex ones. Multiply the "
            "columns of hessian_diagonal(u, points) by them, and add."
        )
    if isinstance(coefficients, list | tuple) and any(map(_is_computed, coefficients)):
        return _mixed(coefficients, points)
    computed = _is_computed(coefficients)
    if computed:
        coefficients = tf.cast(tf.convert_to_tensor(coefficients), points.dtype)
    else:
        coefficients = np.asarray(coefficients, points.dtype.as_numpy_dtype)
    _check_coefficients(coefficients.shape, points)
    if not computed and len(coefficients.shape) == 1:
        if not np.any(coefficients):
            raise ValueError(
                "A second-order operator needs at least one coefficient that is not zero. "
                f"Received {coefficients.tolist()}."
            )
        return SecondOrder(tuple(coefficients.tolist()))
    columns = tf.reshape(tf.convert_to_tensor(coefficients), [-1, points.shape[1]])
    return SecondOrder(tuple(c.ref() for c in tf.split(columns, points.shape[1], axis=1)))


def _in_order(coefficients: Mapping[Any, Any], points: tf.Tensor, u: Any) -> list[Any]:
    """Returns coefficients by axis as one for each input."""
    places = columns_of(list(coefficients), points, u)
    if len(set(places)) < len(places):
        raise ValueError(
            "A second-order operator takes one coefficient for an axis. Received several for one "
            f"column, by the keys {list(coefficients)}."
        )
    known = dict(zip(places, coefficients.values(), strict=True))
    return [known.get(k, 0.0) for k in range(points.shape[1])]


def _is_complex(value: Any) -> bool:
    dtype = getattr(value, "dtype", None)
    return np.iscomplexobj(value) if dtype is None else tf.as_dtype(dtype).is_complex


def _is_computed(value: Any) -> bool:
    """Whether it is a tensor or variable, whose value may be unknown or differentiated by."""
    return tf.is_tensor(value) or hasattr(value, "__tf_tensor__")


def _mixed(coefficients: Sequence[Any], points: tf.Tensor) -> SecondOrder:
    """Keeps numbers as numbers, so that zeros cost nothing, and tensors differentiable."""
    tensors = [
        tf.cast(tf.convert_to_tensor(c), points.dtype) if _is_computed(c) else float(c)
        for c in coefficients
    ]
    for c in tensors:
        rows = [] if isinstance(c, float) else c.shape
        _check_coefficients([*rows, len(coefficients)], points)
    return SecondOrder(
        tuple(c if isinstance(c, float) else tf.reshape(c, [-1, 1]).ref() for c in tensors)
    )


def _check_coefficients(shape: Sequence[int | None], points: tf.Tensor) -> None:
    count, width = points.shape
    counted = None not in (count, *shape[:-1])
    if (
        len(shape) not in (1, 2)
        or shape[-1] != width
        or (counted and tuple(shape[:-1]) not in ((), (count,)))
    ):
        raise ValueError(
            f"Coefficients must have shape [d] or [n, d] for points of shape {tuple(points.shape)},"
            f" one for each input. Received shape {tuple(shape)}."
        )
