"""The sampler of all shapes but the box: points of its interior, or of parts of its boundary."""

import functools
from collections.abc import Sequence
from typing import Any, Protocol

import keras
import numpy as np
import tensorflow as tf

from ntk_keras.backend.autograph import unconverted
from ntk_keras.backend.checks import check_count
from ntk_keras.backend.graphs import run_with_xla
from ntk_keras.backend.seeds import fold_in
from ntk_keras.domains import unit_cube
from ntk_keras.domains.pieces import Piece, Placed
from ntk_keras.domains.samplers import Sampler

__all__ = ["ShapeSampler", "shares"]


class HasPieces(Protocol):
    """What is asked of a shape here."""

    axes: tuple[str, ...]

    def piece(self, part: str | None = None) -> Piece: ...


@keras.saving.register_keras_serializable("ntk_keras")
class ShapeSampler(Sampler):
    """A sampler that is uniform by length, area or volume.

    Args:
        shape: shape in which the points lie.
        num_points: number of points.
        method: ``"uniform"``, ``"latin_hypercube"`` or ``"sobol"``.
        parts: names of parts of the boundary, each of which gets its share by size and at least one
            point; None for the interior.
        normals: whether a draw is ``(points, normals)``.

    Raises:
        ValueError: if the number is not positive, the method is unknown, there are fewer points
            than parts, or normals of an interior are requested.
    """

    def __init__(
        self,
        shape: HasPieces,
        num_points: int,
        method: str = "uniform",
        parts: Sequence[str] | None = None,
        normals: bool = False,
    ):
        unit_cube.check_method(method)
        if normals and parts is None:
            raise ValueError(
                f"There are normals on a boundary only. Received the interior of {shape!r}. Take "
                "them from shape.boundary(num_points, normals=True)."
            )
        self.shape = shape
        self.axes = shape.axes
        self.method = method
        self.parts = None if parts is None else tuple(parts)
        self.normals = normals
        self._num_points = check_count("num_points", num_points)
        self._pieces = [shape.piece(part) for part in ((None,) if parts is None else parts)]
        self._counts = shares(num_points, [piece.measure for piece in self._pieces])

    @property
    def num_points(self) -> int:
        return self._num_points

    @unconverted
    def draw(self, seed: tf.Tensor, dtype: str = "float32") -> Any:
        placed = []
        for index, (piece, count) in enumerate(zip(self._pieces, self._counts, strict=True)):
            # In double precision, which distinguishes a million elements.
            unit = unit_cube.draw(
                *(self.method, fold_in(seed, index), piece.num_candidates(count), piece.dims),
                tf.float64,
            )
            # It is many operations on small tensors.
            placed.append(run_with_xla(functools.partial(piece.draw, unit, count)))
        return tf.nest.map_structure(lambda x: tf.cast(x, dtype), self._joined(placed))

    def fixed(self, seed: int | np.random.Generator | None = None) -> Any:
        generator = np.random.default_rng(seed)
        placed = []
        for piece, count in zip(self._pieces, self._counts, strict=True):
            candidates = piece.num_candidates(count)
            unit = unit_cube.fixed(self.method, generator, candidates, piece.dims)
            placed.append(piece.draw(tf.constant(unit, tf.float64), count))
        return tf.nest.map_structure(lambda x: x.numpy(), self._joined(placed))

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments, for Keras."""
        return {
            "shape": keras.saving.serialize_keras_object(self.shape),
            "num_points": self.num_points,
            "method": self.method,
            "parts": None if self.parts is None else list(self.parts),
            "normals": self.normals,
        }

    def _joined(self, placed: Sequence[Placed]) -> Any:
        points = tf.concat([one.points for one in placed], axis=0)
        if not self.normals:
            return points
        return points, tf.concat([one.normals for one in placed], axis=0)


def shares(total: int, measures: Sequence[float]) -> list[int]:
    """Splits ``total`` in proportion to ``measures``, at least one each, by largest remainders.

    Args:
        total: number of points.
        measures: sizes of the parts.

    Raises:
        ValueError: if there are fewer points than parts.
    """
    if total < len(measures):
        raise ValueError(
            f"The boundary has {len(measures)} faces and needs a point on each. Received "
            f"num_points={total}."
        )
    ideal = total * np.array(measures) / sum(measures)
    counts = np.floor(ideal).astype(int)
    counts[np.argsort(counts - ideal, kind="stable")[: total - counts.sum()]] += 1
    for empty in np.flatnonzero(counts == 0):
        counts[np.argmax(counts)] -= 1
        counts[empty] = 1
    return counts.tolist()
