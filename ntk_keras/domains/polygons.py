"""Polygons with holes, cut into triangles by shapely."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np

from ntk_keras.backend.optional import optional
from ntk_keras.domains.axes import axes_of
from ntk_keras.domains.faceted import Faceted, as_points, check_flat, numbered_parts
from ntk_keras.domains.pieces import Piece, simplices

__all__ = ["Polygon"]


@keras.saving.register_keras_serializable("ntk_keras")
class Polygon(Faceted):
    """A polygon, with optional holes.

    Edge k leads from corner k to the next one; those of the first hole follow. Corners may run in
    either direction, and the last one is joined to the first.

    Args:
        vertices: corners ``[n, 2]``, with n at least 3.
        holes: corners of each hole.
        parts: numbers of edges by the name of a part of the boundary. All others are in parts
            ``outer``, ``hole_1``, ``hole_2`` and so on.
        axes: names of the two columns.

    Raises:
        ValueError: if corners are not points or too few, edges have no length, the boundary crosses
            itself, or parts name other edges.
        ImportError: if shapely is missing.

    Example::

        room = Polygon([(0, 0), (2, 0), (2, 1), (0, 1)], parts={"inlet": [3], "outlet": [1]})
        walls = room.boundary(200, parts="outer", normals=True)
    """

    def __init__(
        self,
        vertices: Any,
        holes: Sequence[Any] = (),
        *,
        parts: Mapping[str, Any] | None = None,
        axes: Sequence[str] = ("x", "y"),
    ):
        self.axes = axes_of(2, axes)
        rings = [_ring("The corners of a polygon", vertices)]
        rings += [
            _ring(f"Holes are lists of corners: those of hole {k + 1}", hole)
            for k, hole in enumerate(holes)
        ]
        self.vertices, self.holes = rings[0], rings[1:]
        edges = [np.stack([ring, np.roll(ring, -1, axis=0)], axis=1) for ring in rings]
        ends = np.cumsum([0, *map(len, edges)])
        defaults = {
            f"hole_{k}" if k else "outer": np.arange(start, end)
            for k, (start, end) in enumerate(itertools.pairwise(ends))
        }
        named = numbered_parts(parts, defaults)
        self._triangles = _triangles(self.vertices, self.holes)
        self._close(np.concatenate(edges), named)

    def __repr__(self) -> str:
        holes = f", {len(self.holes)} holes" if self.holes else ""
        return f"Polygon({len(self.vertices)} corners{holes})"

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments, for Keras."""
        return {
            "vertices": self.vertices.tolist(),
            "holes": [hole.tolist() for hole in self.holes],
            "parts": {name: edges.tolist() for name, edges in self._part_of.items()},
            "axes": list(self.axes),
        }

    def _interior(self) -> Piece:
        return simplices(self._triangles)


def _ring(what: str, corners: Any) -> np.ndarray:
    ring = as_points(what, corners, (2,))
    if len(ring) > 1 and np.array_equal(ring[0], ring[-1]):
        ring = ring[:-1]
    if len(ring) < 3:
        raise ValueError(
            f"{what} must be three or more, not counting the first one again. Received "
            f"{len(ring)}, which enclose nothing."
        )
    edges = np.stack([ring, np.roll(ring, -1, axis=0)], axis=1)
    check_flat(f"Edges between the corners, of which two are the same: {what.lower()}", edges)
    return ring


def _triangles(vertices: np.ndarray, holes: Sequence[np.ndarray]) -> np.ndarray:
    """Returns triangles ``[m, 3, 2]`` that make up a polygon."""
    shapely = optional("shapely", "A Polygon")
    polygon = shapely.Polygon(vertices, holes)
    if not polygon.is_valid:
        raise ValueError(
            "The boundary of a polygon must not cross or touch itself, and holes lie within it and "
            f"apart. Shapely says: {shapely.is_valid_reason(polygon)}. Check the order of the "
            "corners, which go round the polygon one after the other; parts that are apart are "
            "united by `|`."
        )
    cut = shapely.constrained_delaunay_triangles(polygon).geoms
    return np.array([triangle.exterior.coords[:3] for triangle in cut])[..., :2]
