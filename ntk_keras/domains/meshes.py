"""Meshes of triangles and tetrahedra, and bodies inside closed surfaces."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from ntk_keras.backend.optional import optional
from ntk_keras.domains.axes import axes_of
from ntk_keras.domains.faceted import (
    Faceted,
    as_indices,
    as_points,
    check_flat,
    numbered_parts,
)
from ntk_keras.domains.pieces import Piece, cells, simplices

__all__ = ["Body", "Mesh"]

# Number of boxes along the longest side of a body, from which its points are drawn.
_RESOLUTION = 32


@keras.saving.register_keras_serializable("ntk_keras")
class Mesh(Faceted):
    """A mesh of triangles in a plane or of tetrahedra in space.

    Args:
        vertices: coordinates ``[n, 2]`` or ``[n, 3]``.
        cells: indices of vertices, ``[m, 3]`` or ``[m, 4]``.
        parts: parts of the boundary by name, as rows of vertices ``[k, 2]`` or ``[k, 3]``. The rest
            is the part ``boundary``.
        axes: names of the columns.

    Raises:
        ValueError: if vertices do not exist, cells are flat, more than two cells share a side, or a
            part is not on the boundary.
    """

    def __init__(
        self,
        vertices: Any,
        cells: Any,
        *,
        parts: Mapping[str, Any] | None = None,
        axes: Sequence[str] | None = None,
    ):
        self.vertices = as_points("The vertices of a mesh", vertices, (2, 3))
        dims = self.vertices.shape[1]
        self.axes = axes_of(dims, axes)
        self.cells = as_indices("The cells of a mesh", cells, dims + 1, len(self.vertices))
        check_flat("The cells of a mesh", self.vertices[self.cells])
        facets = _boundary(self.cells)
        numbers = {
            name: _find(name, as_indices(f"Part {name!r}", part, dims, len(self.vertices)), facets)
            for name, part in (parts or {}).items()
        }
        self._facets = facets
        named = numbered_parts(numbers, {"boundary": np.arange(len(facets))})
        self._close(self.vertices[facets], named)

    @classmethod
    def from_file(cls, path: str | os.PathLike[str], **options: Any) -> "Mesh":
        """Creates the mesh from a file that meshio reads: ``.msh``, ``.vtu``, ``.inp`` and others.

        Args:
            path: path of the file.
            **options: ``parts`` and ``axes``, as for a Mesh.

        Raises:
            ImportError: if meshio is missing.
            ValueError: as :meth:`from_meshio` does.
        """
        return cls.from_meshio(optional("meshio", "Mesh.from_file").read(path), **options)

    @classmethod
    def from_meshio(cls, mesh: Any, **options: Any) -> "Mesh":
        """Creates a mesh from the tetrahedra of a ``meshio.Mesh``, or else its triangles.

        Physical groups of Gmsh and cell sets of segments or triangles on the boundary become parts.

        Args:
            mesh: mesh read by meshio.
            **options: ``parts`` and ``axes``, as for a Mesh.

        Raises:
            ValueError: if there are no triangles or tetrahedra, or triangles are not in the plane
                of x and y.
        """
        kinds = {block.type for block in mesh.cells}
        dims = 3 if "tetra" in kinds else 2
        cell, facet = ("tetra", "triangle") if dims == 3 else ("triangle", "line")
        points = np.asarray(mesh.points)
        if cell not in kinds or (dims == 2 and np.any(points[:, 2:] != 0)):
            raise ValueError(
                "A Mesh has tetrahedra, or triangles whose third coordinate is 0. Received cells "
                f"{sorted(kinds)} with coordinates up to {np.abs(points).max(axis=0).tolist()}. "
                "Split other cells into such; a closed surface is a Body, Body.from_file(path)."
            )
        parts = {}
        for name, sets in mesh.cell_sets_dict.items():
            if facet in sets:
                parts[name] = mesh.cells_dict[facet][sets[facet]]
        groups = mesh.cell_data_dict.get("gmsh:physical", {}).get(facet)
        for name, (number, group_dims) in mesh.field_data.items():
            if groups is not None and group_dims == dims - 1 and np.any(groups == number):
                parts[name] = mesh.cells_dict[facet][groups == number]
        used, cells = np.unique(mesh.cells_dict[cell], return_inverse=True)
        place = np.full(len(points), -1)
        place[used] = np.arange(len(used))
        options.setdefault("parts", {name: place[part] for name, part in parts.items()})
        return cls(points[used, :dims], cells.reshape(-1, dims + 1), **options)

    @classmethod
    def from_skfem(cls, mesh: Any, **options: Any) -> "Mesh":
        """Creates a mesh from one of scikit-fem, ``MeshTri`` or ``MeshTet``.

        Args:
            mesh: mesh of scikit-fem, whose named boundaries become parts.
            **options: ``parts`` and ``axes``, as for a Mesh.

        Raises:
            ValueError: if it has other cells.
        """
        if mesh.t.shape[0] != mesh.p.shape[0] + 1:
            raise ValueError(
                f"A Mesh has triangles or tetrahedra. Received a {type(mesh).__name__}. Convert "
                "it, as by mesh.to_meshtri()."
            )
        named = mesh.boundaries or {}
        parts = {name: mesh.facets[:, np.asarray(part)].T for name, part in named.items()}
        options.setdefault("parts", parts)
        return cls(mesh.p.T, mesh.t.T, **options)

    def __repr__(self) -> str:
        kind = "triangles" if len(self.axes) == 2 else "tetrahedra"
        return f"Mesh({len(self.cells)} {kind})"

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments, for Keras."""
        return {
            "vertices": self.vertices.tolist(),
            "cells": self.cells.tolist(),
            "parts": {name: self._facets[rows].tolist() for name, rows in self._part_of.items()},
            "axes": list(self.axes),
        }

    def _interior(self) -> Piece:
        return simplices(self.vertices[self.cells])


@keras.saving.register_keras_serializable("ntk_keras")
class Body(Faceted):
    """The inside of a closed surface of triangles, as in an STL file.

    Points are drawn from small boxes that the body fills or touches, more than needed, and those
    inside are chosen, so they are uniform. A second surface within the first bounds a cavity.
    Whether a surface crosses itself is not checked.

    Args:
        vertices: coordinates ``[n, 3]``; vertices at the same place count as one.
        triangles: indices of vertices ``[m, 3]``, in either orientation.
        parts: numbers of triangles by the name of a part of the boundary. All others are the part
            ``surface``.
        axes: names of the columns.

    Raises:
        ValueError: if the surface is not closed, triangles are flat, or parts name other triangles.
    """

    def __init__(
        self,
        vertices: Any,
        triangles: Any,
        *,
        parts: Mapping[str, Any] | None = None,
        axes: Sequence[str] | None = None,
    ):
        self.axes = axes_of(3, axes)
        points = as_points("The vertices of a body", vertices, (3,))
        rows = as_indices("The triangles of a body", triangles, 3, len(points))
        self.vertices, joined = np.unique(points, axis=0, return_inverse=True)
        self.triangles = joined.reshape(-1)[rows]
        check_flat("The triangles of a body", self.vertices[self.triangles])
        _check_closed(self.vertices, self.triangles)
        named = numbered_parts(parts, {"surface": np.arange(len(self.triangles))})
        self._close(self.vertices[self.triangles], named)

    @classmethod
    def from_file(cls, path: str | os.PathLike[str], **options: Any) -> "Body":
        """Creates the body from a file that trimesh reads: ``.stl``, ``.obj``, ``.ply`` and others.

        Args:
            path: path of the file.
            **options: ``parts`` and ``axes``, as for a Body.

        Raises:
            ImportError: if trimesh is missing.
            ValueError: as a Body does.
        """
        trimesh = optional("trimesh", "Body.from_file")
        return cls.from_trimesh(trimesh.load_mesh(path), **options)

    @classmethod
    def from_trimesh(cls, mesh: Any, **options: Any) -> "Body":
        """Creates the body inside a ``trimesh.Trimesh``.

        Args:
            mesh: mesh of trimesh.
            **options: ``parts`` and ``axes``, as for a Body.

        Raises:
            ValueError: as a Body does.
        """
        return cls(np.asarray(mesh.vertices), np.asarray(mesh.faces), **options)

    def __repr__(self) -> str:
        return f"Body({len(self.triangles)} triangles)"

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments, for Keras."""
        return {
            "vertices": self.vertices.tolist(),
            "triangles": self.triangles.tolist(),
            "parts": {name: rows.tolist() for name, rows in self._part_of.items()},
            "axes": list(self.axes),
        }

    def _interior(self) -> Piece:
        extent = self.upper - self.lower
        counts = np.ceil(_RESOLUTION * extent / extent.max()).astype(int)
        width = extent / counts
        ends = [
            np.clip((edge(self._corners, axis=1) - self.lower) / width + shift, 0, counts - 1)
            for edge, shift in ((np.min, -1e-9), (np.max, 1e-9))
        ]
        taken = np.zeros(counts, bool)
        for first, last in zip(*(end.astype(int) for end in ends), strict=True):
            taken[tuple(map(slice, first, last + 1))] = True
        lower = self.lower + np.moveaxis(np.indices(tuple(counts)), 0, -1).reshape(-1, 3) * width
        taken = taken.ravel() | self.inside(tf.constant(lower + width / 2)).numpy()
        return cells(lower[taken], width, self._volume(), self.inside)


def _boundary(cells: np.ndarray) -> np.ndarray:
    """Returns the sides that belong to one cell only, ``[k, d]``."""
    corners = range(cells.shape[1])
    sides = np.concatenate([np.delete(cells, corner, axis=1) for corner in corners])
    sides, counts = np.unique(np.sort(sides, axis=1), axis=0, return_counts=True)
    if counts.max() > 2:
        raise ValueError(
            f"A side of a mesh belongs to two cells at most. {np.sum(counts > 2)} belong to more, "
            f"the first has the vertices {sides[counts > 2][0].tolist()}. Remove cells that are "
            "there twice or overlap."
        )
    return sides[counts == 1]


def _find(name: str, part: np.ndarray, facets: np.ndarray) -> np.ndarray:
    """Returns the numbers of rows of vertices among the facets of a boundary."""
    known = {tuple(row): number for number, row in enumerate(facets.tolist())}
    numbers = [known.get(tuple(row), -1) for row in np.sort(part, axis=1).tolist()]
    if -1 in numbers:
        raise ValueError(
            f"Part {name!r} must lie on the boundary of the mesh. {numbers.count(-1)} of its "
            f"{len(part)} rows do not, the first is {part[numbers.index(-1)].tolist()}. There are "
            "outward normals on the boundary only; make a mesh of each side of an interface."
        )
    return np.array(numbers)


def _check_closed(vertices: np.ndarray, triangles: np.ndarray) -> None:
    """Raises ValueError for a surface with an edge that does not belong to two triangles."""
    edges = np.sort(np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, ::2]]))
    edges, counts = np.unique(edges, axis=0, return_counts=True)
    open_edges = edges[counts % 2 == 1]
    if len(open_edges):
        raise ValueError(
            "The surface of a body must be closed: an edge belongs to two triangles. "
            f"{len(open_edges)} edges do not, the first is from "
            f"{vertices[open_edges[0, 0]].tolist()} to {vertices[open_edges[0, 1]].tolist()}. Fill "
            "the holes, as by trimesh.repair.fill_holes, or export the surface anew."
        )
