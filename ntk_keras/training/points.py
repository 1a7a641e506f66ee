"""Points and data as they are given: checked, and made tensors."""

from collections.abc import Iterable, Mapping
from typing import Any, Protocol

import numpy as np
import tensorflow as tf

from ntk_keras.domains import Box, Sampler

__all__ = ["as_tensors", "check_names", "check_points", "points_by_term", "tensors_by_term"]


class HasPoints(Protocol):
    """What is asked of a term here."""

    name: str
    points: Any


def check_points(name: str, points: Any) -> None:
    """Checks a nest of fixed points.

    Args:
        name: of the term, for the message.
        points: a nest of arrays or tensors.

    Raises:
        ValueError: if it is empty, its tensors differ in length, or a value is not finite.
    """
    if isinstance(points, Sampler):
        raise ValueError(
            f"Term {name!r}: data holds points, not samplers. Received {points!r}. Give the "
            "sampler to the Term, or its points, as in box.interior(100).fixed(seed=0)."
        )
    if isinstance(points, Box):
        raise ValueError(
            f"Term {name!r}: points must be points or a sampler. Received {points!r}. Say how many "
            "to draw from it, as in box.interior(100)."
        )
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
                "Remove such rows, or mend what made them."
            )


def check_names(terms: Iterable[HasPoints], data: Mapping[str, Any]) -> None:
    """Raises ValueError for data with a key that is no term's name.

    Args:
        terms: of the model.
        data: points by term.
    """
    names = {term.name for term in terms}
    unknown = sorted(set(data) - names)
    if unknown:
        raise ValueError(
            f"The data's keys must be names of terms. Unknown: {unknown}. Terms: {sorted(names)}."
        )


def points_by_term(terms: Iterable[HasPoints], data: Mapping[str, Any]) -> Mapping[str, Any]:
    """Points by term, checked to name only terms and to leave none without points.

    Args:
        terms: of the model.
        data: points by term.

    Raises:
        ValueError: for a key that is no term, or a term left without points.
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
    """Points by term as tensors, all of them checked.

    Args:
        terms: of the model.
        data: points by term.
        dtype: of points that are floats.

    Raises:
        ValueError: as :func:`points_by_term` and :func:`check_points` do.
    """
    points_by_term(terms, data)
    for name, points in data.items():
        check_points(name, points)
    return {name: as_tensors(points, dtype) for name, points in data.items()}


def as_tensors(points: Any, dtype: str) -> Any:
    """A nest of points as tensors.

    Args:
        points: a nest of arrays, tensors and numbers.
        dtype: of those that are floats.
    """
    return tf.nest.map_structure(lambda x: _tensor(x, dtype), points)


def _tensor(value: Any, dtype: str) -> tf.Tensor:
    """Floats as a tensor of ``dtype``, complex numbers of its parts; all else as it is."""
    if not tf.is_tensor(value):
        # By NumPy: TensorFlow would round Python's numbers to single precision first.
        value = np.asarray(value)
    given = tf.as_dtype(value.dtype)
    if given.is_complex:
        dtype = "complex128" if dtype == "float64" else "complex64"
    elif not given.is_floating:
        return tf.convert_to_tensor(value)
    if tf.is_tensor(value):
        return tf.cast(tf.convert_to_tensor(value), dtype)  # of a variable what it holds now
    return tf.constant(value, dtype)
