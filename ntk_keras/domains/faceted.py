"""Shapes whose boundary is made of segments or triangles."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from ntk_keras.domains.crossings import Crossings
from ntk_keras.domains.pieces import Piece, simplex_measures, simplices
from ntk_keras.domains.shapes import Shape

__all__ = ["Faceted", "as_indices", "as_points", "check_flat", "numbered_parts"]


class Faceted(Shape):
    """A shape given by its boundary, segments in a plane or triangles in space."""

    _corners: np.ndarray
    _part_of: dict[str, np.ndarray]

    def _close(self, corners: np.ndarray, part_of: Mapping[str, np.ndarray]) -> None:
        """Takes the facets ``[m, d, d]`` of a closed boundary, and the facets of each part."""
        self.lower, self.upper = corners.min(axis=(0, 1)), corners.max(axis=(0, 1))
        self._corners = corners
        self._part_of = dict(part_of)
        self._crossings = Crossings(corners)
        normals = _normals(corners)
        step = 1e-7 * np.linalg.norm(self.upper - self.lower)
        inwards = self.inside(tf.constant(corners.mean(axis=1) + step * normals)).numpy()
        self._normals = np.where(inwards[:, np.newaxis], -normals, normals)

    @property
    def parts(self) -> tuple[str, ...]:
        return tuple(self._part_of)

    def inside(self, points: tf.Tensor) -> tf.Tensor:
        return self._crossings.inside(points)

    def _piece(self, part: str | None) -> Piece:
        if part is None:
            return self._interior()
        rows = self._part_of[part]
        return simplices(self._corners[rows], self._normals[rows])

    def _interior(self) -> Piece:
        raise NotImplementedError

    def _volume(self) -> float:
        """By the divergence theorem."""
        heights = np.sum(self._normals * (self._corners.mean(axis=1) - self.lower), axis=1)
        return float(np.sum(heights * simplex_measures(self._corners)) / len(self.lower))

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Faceted":
        """Creates the shape from its configuration."""
        return cls(**keras.saving.deserialize_keras_object(config))


def as_points(what: str, points: Any, dims: Sequence[int]) -> np.ndarray:
    """Returns finite points ``[n, d]`` in float64.

    Args:
        what: name of the points, for the message.
        points: points as given.
        dims: allowed values of d.

    Raises:
        ValueError: for anything else.
    """
    try:
        array = np.asarray(points, np.float64)
    except (TypeError, ValueError):
        array = np.empty(0)
    if array.ndim != 2 or array.shape[1] not in dims or not np.all(np.isfinite(array)):
        allowed = " or ".join(f"[n, {d}]" for d in dims)
        raise ValueError(
            f"{what} must be finite points {allowed}. Received an array of shape "
            f"{list(np.shape(array))}."
        )
    return array


def as_indices(what: str, indices: Any, width: int, count: int) -> np.ndarray:
    """Returns rows of vertex indices, ``[m, width]``.

    Args:
        what: name of the indices, for the message.
        indices: indices as given.
        width: width of a row.
        count: number of vertices.

    Raises:
        ValueError: for anything else, or a vertex that does not exist.
    """
    array = np.asarray(indices)
    fits = array.ndim == 2 and array.shape[1] == width and array.dtype.kind in "iu"
    if not fits or not array.size or array.min() < 0 or array.max() >= count:
        raise ValueError(
            f"{what} must be rows of {width} numbers of vertices, from 0 to {count - 1}. Received "
            f"{array.dtype.name} of shape {list(array.shape)}"
            + (f" from {array.min()} to {array.max()}." if fits and array.size else ".")
        )
    return array.astype(np.int64)


def check_flat(what: str, corners: np.ndarray) -> None:
    """Raises ValueError for simplices without length, area or volume.

    Args:
        what: name of the simplices, for the message.
        corners: coordinates ``[m, k + 1, d]``.
    """
    longest = np.max(np.linalg.norm(corners - np.roll(corners, 1, axis=1), axis=2), axis=1)
    dims = corners.shape[1] - 1
    flat = np.flatnonzero(simplex_measures(corners) <= 1e-7 * longest**dims)
    if flat.size:
        raise ValueError(
            f"{what} must not be flat. {flat.size} are, the first is number {flat[0]} with corners "
            f"{corners[flat[0]].tolist()}. Remove what lies on a line or in a plane, and join its "
            "neighbours."
        )


def numbered_parts(
    given: Mapping[str, Any] | None, defaults: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """Returns facets by part: those given, and the rest of the defaults.

    Args:
        given: numbers of facets by name.
        defaults: all facets by name.

    Raises:
        ValueError: if a number does not exist, or belongs to two parts.
    """
    count = sum(map(len, defaults.values()))
    named: dict[str, np.ndarray] = {}
    for name, numbers in (given or {}).items():
        array = np.atleast_1d(np.asarray(numbers))
        taken = np.concatenate([np.empty(0, int), *named.values()])
        whole = array.ndim == 1 and array.size and array.dtype.kind in "iu"
        if not whole or array.min() < 0 or array.max() >= count or np.isin(array, taken).any():
            raise ValueError(
                f"Part {name!r} needs numbers from 0 to {count - 1} of what the boundary is made "
                f"of, each in one part only. Received {numbers!r}."
            )
        named[name] = np.unique(array).astype(np.int64)
    taken = np.concatenate([np.empty(0, int), *named.values()])
    for name, numbers in defaults.items():
        left = np.setdiff1d(numbers, taken)
        if left.size:
            named[name] = np.union1d(named.get(name, left), left)
    return named


def _normals(corners: np.ndarray) -> np.ndarray:
    """Unit normals of segments or triangles ``[m, d, d]``, to either side."""
    edges = corners[:, 1:] - corners[:, :1]
    if corners.shape[2] == 2:
        normals = np.stack([edges[:, 0, 1], -edges[:, 0, 0]], axis=1)
    else:
        normals = np.cross(edges[:, 0], edges[:, 1])
    return normals / np.linalg.norm(normals, axis=1, keepdims=True)
