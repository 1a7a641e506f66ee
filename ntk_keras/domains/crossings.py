"""Tests of points against a closed boundary, by how often it lies above them."""

import numpy as np
import tensorflow as tf

from ntk_keras.domains.pieces import captured

__all__ = ["Crossings"]

# Entries of the table of columns, and pairs of points and facets that are looked at together.
_LARGEST_TABLE, _AT_ONCE = 2**22, 2**21


class Crossings:
    """Counts the segments (2-D) or triangles (3-D) of a closed boundary above a point.

    Space is cut into columns along the last axis. A point is compared only to what crosses its own
    column, so a test of n points takes n times the fullest column, not n times the boundary.

    Args:
        facets: corners of segments or triangles, ``[m, d, d]`` with d 2 or 3.
    """

    def __init__(self, facets: np.ndarray):
        flat = facets[:, :, :-1]
        self._lower, upper = flat.min(axis=(0, 1)), flat.max(axis=(0, 1))
        per_axis = round(4 * len(facets) ** (1 / flat.shape[2]))
        self._bins = min(per_axis, 4096 if flat.shape[2] == 1 else 256)
        while True:
            self._width = (upper - self._lower) / self._bins
            self._table = self._columns(flat)
            if self._table.size <= _LARGEST_TABLE or self._bins == 1:
                break
            self._bins = (self._bins + 1) // 2
        numbers = _segments(facets) if facets.shape[2] == 2 else _triangles(facets)
        # The last one crosses nothing: it fills the table.
        self._facets = np.pad(numbers, [(0, 0), (0, 1)])

    def inside(self, points: tf.Tensor) -> tf.Tensor:
        """Whether points are inside, ``[n]``; on the boundary itself either may be returned.

        Args:
            points: points ``[n, d]`` in float64.
        """
        count, dims = points.shape
        at_once = max(_AT_ONCE // self._table.shape[1], 1)
        if count is None or count <= at_once:
            return self._inside(points)
        # In turn, for each pair takes some 200 bytes.
        turns = -(-count // at_once)
        padded = tf.pad(points, [(0, turns * at_once - count), (0, 0)])
        parts = tf.reshape(padded, [turns, at_once, dims])
        found = tf.map_fn(self._inside, parts, fn_output_signature=tf.bool, parallel_iterations=1)
        return tf.reshape(found, [-1])[:count]

    def _inside(self, points: tf.Tensor) -> tf.Tensor:
        place = tf.floor((points[:, :-1] - self._lower) / self._width)
        place = tf.cast(tf.clip_by_value(place, 0, self._bins - 1), tf.int32)
        column = place[:, 0]
        for axis in range(1, place.shape[1]):
            column = column * self._bins + place[:, axis]
        facets = tf.gather(captured(self._table), column)  # [n, k]
        numbers = tf.unstack(tf.gather(captured(self._facets), facets, axis=1))
        coordinates = tf.unstack(points[:, :, tf.newaxis], axis=1)
        above = _segments_above if points.shape[1] == 2 else _triangles_above
        crossed = tf.cast(above(numbers, *coordinates), tf.int32)
        return tf.reduce_sum(crossed, axis=1) % 2 == 1

    def _columns(self, flat: np.ndarray) -> np.ndarray:
        """Returns the facets of each column, ``[columns, k]``, padded by the number of facets."""
        ends = [(end - self._lower) / self._width for end in (flat.min(axis=1), flat.max(axis=1))]
        # A column more than need be at either end costs little, one less would be wrong.
        first, last = (
            np.clip(np.floor(end + shift), 0, self._bins - 1).astype(int)
            for end, shift in zip(ends, (-1e-9, 1e-9), strict=True)
        )
        owner, column = np.arange(len(flat)), np.zeros(len(flat), int)
        for axis in range(flat.shape[2]):
            extent = (last - first)[owner, axis] + 1
            within = np.arange(extent.sum()) - np.repeat(np.cumsum(extent) - extent, extent)
            owner, column = np.repeat(owner, extent), np.repeat(column, extent)
            column = column * self._bins + first[owner, axis] + within
        order = np.argsort(column, kind="stable")
        owner, column = owner[order], column[order]
        counts = np.bincount(column, minlength=self._bins ** flat.shape[2])
        table = np.full((len(counts), counts.max()), len(flat), np.int32)
        table[column, np.arange(len(column)) - (np.cumsum(counts) - counts)[column]] = owner
        return table


def _segments(ends: np.ndarray) -> np.ndarray:
    """Ends in x, height at the left one and slope of segments ``[m, 2, 2]``, ``[4, m]``.

    Neighbours that share an edge find the same numbers to the last bit, for its ends are put in
    order: no point falls between them.
    """
    swapped = (ends[:, 0, 0] > ends[:, 1, 0])[:, np.newaxis]
    left, right = np.where(swapped, ends[:, 1], ends[:, 0]), np.where(swapped, *ends.swapaxes(0, 1))
    run, rise = (right - left).T
    slope = np.divide(rise, run, out=np.zeros_like(run), where=run > 0)
    return np.stack([left[:, 0], right[:, 0], left[:, 1], slope])


def _triangles(corners: np.ndarray) -> np.ndarray:
    """The edges of triangles ``[m, 3, 3]``, as x over y, and their plane, ``[15, m]``."""
    edges = [_segments(corners[:, pair, 1::-1]) for pair in ([0, 1], [1, 2], [2, 0])]
    normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    upright = np.abs(normal[:, 2]) <= 1e-12 * np.linalg.norm(normal, axis=1)
    safe = np.where(upright, 1.0, normal[:, 2])
    slopes = -normal[:, :2].T / safe
    height = corners[:, 0, 2] - slopes[0] * corners[:, 0, 0] - slopes[1] * corners[:, 0, 1]
    height = np.where(upright, -np.inf, height)  # above nothing
    return np.concatenate([*edges, [*slopes, height]])


def _segments_above(numbers: list[tf.Tensor], x: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
    """Whether segments lie above points, ``[n, k]``."""
    left, right, height, slope = numbers
    return (left <= x) & (x < right) & (height + (x - left) * slope > y)


def _triangles_above(
    numbers: list[tf.Tensor], x: tf.Tensor, y: tf.Tensor, z: tf.Tensor
) -> tf.Tensor:
    """Whether triangles lie above points, ``[n, k]``."""
    # A point under a triangle has an odd number of its edges to the right.
    one, two, three = (_segments_above(numbers[k : k + 4], y, x) for k in (0, 4, 8))
    in_x, in_y, height = numbers[12:]
    return (one ^ two ^ three) & (height + in_x * x + in_y * y > z)
