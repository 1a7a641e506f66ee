"""Points and data as given by users: checked, and converted to tensors."""

from collections.abc import Iterable, Mapping
from typing import Any, Protocol

import numpy as np
import tensorflow as tf

from ntk_keras.domains import Sampler, Shape

__all__ = [
    "as_tensors",
    "check_names",
    "check_numbers",
    "check_points",
    "is_array_like",
    "points_by_term",
    "tensors_by_term",
]


class HasPoints(Protocol):
    """The part of a term that is used here."""

    name: str
    points: Any


def check_points(name: str, points: Any) -> None:
    """Checks a nest of fixed points.

    Args:
        name: name of the term, for the message.
        points: nest of arrays or tensors.

    Raises:
        ValueError: if it is empty, its tensors differ in length, or a value is not a finite number.
    """
    if isinstance(points, Sampler):
        raise ValueError(
            f"Term {name!r}: data holds points, not samplers. Received {points!r}. Give the "
            "sampler to the Term, or its points, as in box.interior(100).fixed(seed=0)."
        )
    if isinstance(points, Shape):
        raise ValueError(
            f"Term {name!r}: points must be points or a sampler. Received {points!r}. Say how many "
            "to draw from it, as in box.interior(100)."
        )
    check_numbers(f"Term {name!r}: points", points)
    tensors = [np.asarray(x) for x in tf.nest.flatten(points)]
    if len(tensors) > 1 and not any(x.ndim for x in tensors):
        raise ValueError(
            f"Term {name!r}: points are a nest of {len(tensors)} single numbers, as a list of "
            "lists is taken for. Pass one array, as in np.array(points)."
        )
    lengths = [x.shape[0] if x.ndim else None for x in tensors]
    if not tensors or None in lengths or 0 in lengths or len(set(lengths)) > 1:
        raise ValueError(
            f"Term {name!r}: points must be one tensor, or a nest of tensors, that share a first "
            f"axis of positive length. Received shapes {[x.shape for x in tensors]}."
        )
    for x in tensors:
        if np.issubdtype(x.dtype, np.inexact) and not np.all(np.isfinite(x)):
            row = int(np.argwhere(~np.isfinite(x))[0][0])
            raise ValueError(
                f"Term {name!r}: points must be finite. Row {row} holds {x[row]}. "
                "Remove such rows, or fix what made them."
            )


def check_numbers(what: str, values: Any, real: bool = False) -> None:
    """Checks that arrays, tensors and datasets hold numbers; other values pass.

    Args:
        what: name of the values, for the message.
        values: nest of arrays and tensors, or a dataset of such.
        real: whether complex numbers are refused.

    Raises:
        ValueError: for text, dates, Python objects, masked entries, complex numbers if they are
            refused, or tensors that are not dense.
    """
    if isinstance(values, tf.data.Dataset):
        values = values.element_spec
    for value in tf.nest.flatten(values):
        if isinstance(value, tf.RaggedTensor | tf.SparseTensor):
            raise ValueError(
                f"{what} must be dense. Received a {type(value).__name__}. Make it a tensor, by "
                "`to_tensor()` or tf.sparse.to_dense, and leave out what is no point."
            )
        if np.ma.is_masked(value):
            raise ValueError(
                f"{what} must have a value everywhere. {np.ma.count_masked(value)} are masked. "
                "Remove their rows, as in x[~np.ma.getmaskarray(x).any(axis=1)]."
            )
        if not (tf.is_tensor(value) or hasattr(value, "__array__") or hasattr(value, "dtype")):
            continue
        dtype = _dtype_of(value)
        if real and dtype.kind == "c":
            raise ValueError(
                f"{what} must be real. Received {dtype.name}. Give real and imaginary parts as "
                "columns, as in np.stack([z.real, z.imag], axis=-1)."
            )
        if dtype.kind in "OSUMm":
            raise ValueError(
                f"{what} must be numbers. Received {value!r} of dtype {dtype.name}. Leave out "
                "columns of text, count dates in days or seconds, and make the rest floats, as in "
                "np.asarray(x, float) or frame.astype(float)."
            )


def is_array_like(value: Any) -> bool:
    """Whether a value such as a pandas frame, neither array nor tensor, can become an array.

    Args:
        value: anything.
    """
    known = isinstance(value, np.ndarray | np.generic | tf.Variable) or tf.is_tensor(value)
    return hasattr(value, "__array__") and not known


def check_names(terms: Iterable[HasPoints], data: Mapping[str, Any]) -> None:
    """Raises ValueError for data that is not by term, or has a key that is not a term's name.

    Args:
        terms: terms of the model.
        data: points by term.
    """
    if not isinstance(data, Mapping):
        raise ValueError(
            "Points come as a dict by term name, as in {'equation': points}. Received "
            f"{type(data).__name__}. Of a dataset give one element: next(iter(dataset))."
        )
    names = {term.name for term in terms}
    unknown = sorted(set(data) - names)
    if unknown:
        raise ValueError(
            f"The data's keys must be names of terms. Unknown: {unknown}. Terms: {sorted(names)}."
        )


def points_by_term(terms: Iterable[HasPoints], data: Mapping[str, Any]) -> Mapping[str, Any]:
    """Returns points by term, after checking that keys are terms and no term lacks points.

    Args:
        terms: terms of the model.
        data: points by term.

    Raises:
        ValueError: if a key is not a term, or a term has no points.
    """
    check_names(terms, data)
    missing = sorted(t.name for t in terms if t.points is None and t.name not in data)
    if missing:
        raise ValueError(
            f"Terms without points: {missing}. Give them points when constructing the Term, or "
            "pass `fit` a dict, or a dataset of dicts, with their names as keys."
        )
    return data


def tensors_by_term(
    terms: Iterable[HasPoints], data: Mapping[str, Any], dtype: str
) -> dict[str, Any]:
    """Returns points by term as tensors, all of them checked.

    Args:
        terms: terms of the model.
        data: points by term.
        dtype: dtype of points that are floats.

    Raises:
        ValueError: as :func:`points_by_term` and :func:`check_points` do.
    """
    points_by_term(terms, data)
    for name, points in data.items():
        check_points(name, points)
    return {name: as_tensors(points, dtype) for name, points in data.items()}


def as_tensors(points: Any, dtype: str, *, with_variables: bool = False) -> Any:
    """Returns a nest of points as tensors.

    Columns of integers ``[n, d]`` become floats too, as do integers without other points. Other
    integers stay unchanged, as they may count or name something.

    Args:
        points: nest of arrays, tensors and numbers.
        dtype: dtype of those that are floats.
        with_variables: whether a ``tf.Variable`` is kept instead of its current value.
    """
    alone = not tf.nest.is_nested(points)

    def convert(value: Any) -> Any:
        if with_variables and isinstance(value, tf.Variable):
            return value
        return _tensor(value, dtype, alone)

    return tf.nest.map_structure(convert, points)


def _dtype_of(value: Any) -> np.dtype:
    """Returns the dtype of an array, tensor or specification of one."""
    if isinstance(value, tf.Variable | tf.TypeSpec) or tf.is_tensor(value):
        return np.dtype(tf.as_dtype(value.dtype).as_numpy_dtype)  # a name of Keras' variables
    return np.asarray(value).dtype


def _tensor(value: Any, dtype: str, alone: bool) -> tf.Tensor:
    """Casts numbers to a dtype, complex ones by parts; leaves integers that count and all else.

    Args:
        value: leaf of points.
        dtype: dtype of floats.
        alone: whether there are no other points.
    """
    if not tf.is_tensor(value):
        # By NumPy, as TensorFlow would first round Python's numbers to single precision.
        value = np.asarray(value)
    kind, rank = _dtype_of(value).kind, tf.TensorShape(value.shape).rank
    if kind == "c":
        dtype = "complex128" if dtype == "float64" else "complex64"
    elif kind == "b" or (kind in "iu" and not alone and rank == 1):
        return tf.convert_to_tensor(value)
    if tf.is_tensor(value):
        return tf.cast(tf.convert_to_tensor(value), dtype)  # of a variable what it holds now
    return tf.constant(value, dtype)
