"""Pieces of shapes: images of a unit cube, so that any method of the cube can draw them.

All of it is computed by TensorFlow in float64, in a graph and eagerly.
"""

import dataclasses
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from ntk_keras.domains import unit_cube

__all__ = [
    "Piece",
    "Placed",
    "among",
    "both",
    "captured",
    "cells",
    "mixed",
    "product",
    "selected",
    "simplex_measures",
    "simplices",
]

# What a share is estimated by, and how many standard deviations too few are kept once in 1e10.
_SAMPLE, _DEVIATIONS = 2**16, 6.5


class Placed(NamedTuple):
    """Points of a piece.

    Attributes:
        points: coordinates ``[n, d]``.
        normals: outward unit normals ``[n, d]``; None inside a shape.
        kept: mask of the points that count, ``[n]``; None if all do.
    """

    points: tf.Tensor
    normals: tf.Tensor | None = None
    kept: tf.Tensor | None = None


@dataclasses.dataclass(frozen=True)
class Piece:
    """An interior or a part of a boundary.

    Attributes:
        dims: dimensions of the unit cube.
        measure: length, area or volume of what is kept.
        place: function from uniform points of the unit cube ``[n, dims]`` to points. Those that are
            kept are uniform on the piece.
        rate: share of points that are kept.
    """

    dims: int
    measure: float
    place: Callable[[tf.Tensor], Placed]
    rate: float = 1.0

    def num_candidates(self, num_points: int) -> int:
        """Returns how many points to place so that ``num_points`` are kept, but for once in 1e10.

        Args:
            num_points: number of points that are wanted.
        """
        if self.rate == 1:
            return num_points
        p = min(0.98 * self.rate, 0.999)  # an estimate
        spread = _DEVIATIONS * math.sqrt(1 - p)
        # Some more, as so few are not distributed normally.
        return 6 + math.ceil(((spread + math.sqrt(spread**2 + 4 * num_points)) / 2) ** 2 / p)

    def draw(self, unit: tf.Tensor, num_points: int) -> Placed:
        """Returns the first points that are kept, and repeats them if they are too few.

        Args:
            unit: points of the unit cube, ``[num_candidates, dims]`` in float64.
            num_points: number of points that are wanted.
        """
        points, normals, kept = self.place(unit)
        if kept is None:
            return Placed(points, normals)
        # Each that is kept goes to its place, all others to one more: XLA sorts far more slowly.
        place = tf.cumsum(tf.cast(kept, tf.int32)) - 1
        target = tf.where(kept & (place < num_points), place, num_points)
        order = tf.tensor_scatter_nd_update(
            tf.zeros([num_points + 1], tf.int32), target[:, tf.newaxis], tf.range(kept.shape[0])
        )
        rows = tf.gather(order, tf.range(num_points) % tf.maximum(place[-1] + 1, 1))
        return Placed(
            tf.gather(points, rows), normals if normals is None else tf.gather(normals, rows)
        )


def captured(array: np.ndarray) -> tf.Tensor:
    """Returns an array as an input of the graph that uses it, as a constant would be stored in it.

    Args:
        array: array of numbers.
    """
    with tf.init_scope():
        return tf.constant(array)


def simplices(corners: np.ndarray, normals: np.ndarray | None = None) -> Piece:
    """Returns segments, triangles or tetrahedra, each with its share by size.

    Args:
        corners: coordinates ``[m, k + 1, d]``.
        normals: normal of each, ``[m, d]``.
    """
    measures = simplex_measures(corners)
    stay, other = _aliases(measures)
    dims = corners.shape[1] - 1

    def place(unit: tf.Tensor) -> Placed:
        index = _chosen(unit[:, 0], captured(stay), captured(other))
        at = tf.gather(captured(corners), index)
        points, left = tf.zeros_like(at[:, 0]), tf.ones_like(unit[:, :1])
        for number in range(dims):  # the share of each corner, in what those before have left
            rest = unit[:, number + 1, tf.newaxis] ** (1 / (dims - number))
            points += left * (1 - rest) * at[:, number]
            left *= rest
        points += left * at[:, dims]
        return Placed(points, None if normals is None else tf.gather(captured(normals), index))

    return Piece(dims + 1, float(np.sum(measures)), place)


def simplex_measures(corners: np.ndarray) -> np.ndarray:
    """Returns the lengths, areas or volumes ``[m]`` of simplices.

    Args:
        corners: coordinates ``[m, k + 1, d]``.
    """
    edges = corners[:, 1:] - corners[:, :1]
    gram = edges @ np.swapaxes(edges, 1, 2)
    return np.sqrt(np.maximum(np.linalg.det(gram), 0)) / math.factorial(edges.shape[1])


def cells(
    lower: np.ndarray, width: np.ndarray, measure: float, inside: Callable[[tf.Tensor], tf.Tensor]
) -> Piece:
    """Returns the part of equal boxes that is inside a region.

    Args:
        lower: lower corner of each box, ``[m, d]``.
        width: width of every box, ``[d]``.
        measure: size of the part.
        inside: function that tells of points ``[n, d]`` whether they are inside, ``[n]``.
    """
    count, dims = lower.shape

    def place(unit: tf.Tensor) -> Placed:
        index = tf.minimum(tf.cast(unit[:, 0] * count, tf.int32), count - 1)
        points = tf.gather(captured(lower), index) + unit[:, 1:] * captured(width)
        return Placed(points, None, inside(points))

    return Piece(dims + 1, measure, place, measure / (count * float(np.prod(width))))


def product(first: Piece, second: Piece, width: int) -> Piece:
    """Returns points of two pieces side by side; a normal has zeros where its piece has none.

    Args:
        first: piece of the first columns.
        second: piece of the others.
        width: number of the first columns.
    """

    def place(unit: tf.Tensor) -> Placed:
        parts = first.place(unit[:, : first.dims]), second.place(unit[:, first.dims :])
        normals = None
        if any(part.normals is not None for part in parts):
            normals = tf.concat(
                [tf.zeros_like(p.points) if p.normals is None else p.normals for p in parts], axis=1
            )
        points = tf.concat([part.points for part in parts], axis=1)
        return Placed(points, normals, both(*(part.kept for part in parts)))

    measure, rate = first.measure * second.measure, first.rate * second.rate
    return Piece(first.dims + second.dims, measure, place, rate)


def selected(
    piece: Piece,
    select: Callable[[tf.Tensor, Any], tuple[tf.Tensor, tf.Tensor | None]],
    measure: float | None = None,
) -> Piece:
    """Returns the points of a piece that a function chooses.

    Args:
        piece: piece to choose from.
        select: function of points and normals that returns a mask ``[n]`` and the normals.
        measure: size of the chosen part; estimated by default.
    """

    def place(unit: tf.Tensor) -> Placed:
        points, normals, kept = piece.place(unit)
        chosen, normals = select(points, normals)
        return Placed(points, normals, both(kept, chosen))

    share = measure / piece.measure if measure is not None else _share_chosen(piece, select)
    # All of it, if nothing was left out; but another point may be.
    return Piece(piece.dims, piece.measure * share, place, piece.rate * min(share, 1 - 1e-9))


def among(inside: Callable[[tf.Tensor], tf.Tensor], wanted: bool) -> Callable[..., Any]:
    """Returns a function for :func:`selected` that chooses points inside a region or outside.

    Args:
        inside: function that tells of points ``[n, d]`` whether they are inside, ``[n]``.
        wanted: whether the inner points are chosen.
    """
    return lambda points, _: (inside(points) == wanted, None)


def mixed(first: Piece, second: Piece) -> Piece:
    """Returns the points of two pieces that do not overlap, each with its share.

    Args:
        first: one piece.
        second: the other piece.
    """
    candidates = [piece.measure / piece.rate for piece in (first, second)]
    share = candidates[0] / sum(candidates)

    def place(unit: tf.Tensor) -> Placed:
        parts = [piece.place(unit[:, 1 : 1 + piece.dims]) for piece in (first, second)]
        is_first = unit[:, 0] < share
        everywhere = tf.ones_like(is_first)
        kept = [everywhere if part.kept is None else part.kept for part in parts]
        points = tf.where(is_first[:, tf.newaxis], parts[0].points, parts[1].points)
        return Placed(points, None, tf.where(is_first, kept[0], kept[1]))

    measure = first.measure + second.measure
    return Piece(1 + max(first.dims, second.dims), measure, place, measure / sum(candidates))


def both(one: tf.Tensor | None, other: tf.Tensor | None) -> tf.Tensor | None:
    """Returns what two conditions keep, ``[n]``; None keeps all.

    Args:
        one: mask ``[n]``, or None.
        other: mask ``[n]``, or None.
    """
    if one is None or other is None:
        return other if one is None else one
    return one & other


def _share_chosen(piece: Piece, select: Callable[[tf.Tensor, Any], Any]) -> float:
    """Estimates the share of a piece that is chosen, by quasi-Monte Carlo."""
    chosen = total = 0
    unit = unit_cube.fixed("sobol", np.random.default_rng(0), _SAMPLE, piece.dims)
    for rows in np.split(unit, _SAMPLE // 2**13):
        points, normals, kept = piece.place(tf.constant(rows))
        among = np.ones(len(rows), bool) if kept is None else kept.numpy()
        chosen += np.sum(select(points, normals)[0].numpy() & among)
        total += np.sum(among)
    return float(chosen / total)


def _aliases(weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns Walker's tables for a choice by weights: when to stay, and where else to go, ``[m]``.

    The choice takes two look-ups, however many there are to choose from.
    """
    count = len(weights)
    stay = (weights * (count / np.sum(weights))).tolist()
    other = list(range(count))
    small = [k for k in range(count) if stay[k] < 1]
    large = [k for k in range(count) if stay[k] >= 1]
    while small and large:
        poor, rich = small.pop(), large[-1]
        other[poor] = rich
        stay[rich] -= 1 - stay[poor]
        if stay[rich] < 1:
            small.append(large.pop())
    for left in small + large:  # but for rounding they have their share
        stay[left] = 1.0
    return np.array(stay), np.array(other, np.int32)


def _chosen(unit: tf.Tensor, stay: tf.Tensor, other: tf.Tensor) -> tf.Tensor:
    """Returns an index for each number of [0, 1), ``[n]``."""
    count = stay.shape[0]
    scaled = unit * count
    index = tf.minimum(tf.cast(scaled, tf.int32), count - 1)
    within = scaled - tf.cast(index, unit.dtype)
    return tf.where(within < tf.gather(stay, index), index, tf.gather(other, index))
