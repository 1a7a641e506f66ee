"""Boxes, their faces, their grids and the points sampled from them."""

import math
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from ntk_keras.backend.autograph import unconverted
from ntk_keras.backend.checks import check_count
from ntk_keras.domains import unit_cube
from ntk_keras.domains.pieces import Piece, Placed
from ntk_keras.domains.samplers import PeriodicSampler, Sampler, UnionSampler
from ntk_keras.domains.shape_samplers import shares
from ntk_keras.domains.shapes import Shape

__all__ = ["Box", "BoxSampler"]


@keras.saving.register_keras_serializable("ntk_keras")
class Box(Shape):
    """A product of named intervals, ``Box(t=(0, 1), x=(-1, 1))``.

    The columns of points are in the order of the names.

    Attributes:
        axes: names of the axes.
        lower: smallest coordinate along each axis, ``[d]``.
        upper: largest coordinate along each axis, ``[d]``; equal to ``lower`` along a flat axis.

    Raises:
        ValueError: if there are no axes, or an interval is empty or not finite.

    Example::

        box = nk.domains.Box(t=(0, 1), x=(-1, 1))
        terms = [
            nk.Term("equation", equation, box.interior(1000)),
            nk.Term("initial", initial, box.face(t=0).sample(100)),
            nk.Term("walls", walls, box.boundary(100, axes=["x"])),
        ]
    """

    def __init__(self, **intervals: tuple[float, float]):
        if not intervals:
            raise ValueError("A Box needs at least one axis, as in Box(t=(0, 1), x=(0, 1)).")
        for axis, interval in intervals.items():
            if np.shape(interval) != (2,):
                raise ValueError(f"Axis {axis!r} needs bounds (lower, upper). Received {interval}.")
            lower, upper = interval
            if not (math.isfinite(lower) and math.isfinite(upper) and lower <= upper):
                raise ValueError(
                    f"Axis {axis!r} needs finite bounds (lower, upper) with lower <= upper. "
                    f"Received ({lower}, {upper})."
                )
        self.axes = tuple(intervals)
        self.lower = np.array([float(lower) for lower, _ in intervals.values()])
        self.upper = np.array([float(upper) for _, upper in intervals.values()])

    def __repr__(self) -> str:
        bounds = zip(self.axes, self.lower, self.upper, strict=True)
        return f"Box({', '.join(f'{axis}=({a:g}, {b:g})' for axis, a, b in bounds)})"

    def get_config(self) -> dict[str, Any]:
        """Returns the intervals by axis, for Keras."""
        bounds = zip(self.lower.tolist(), self.upper.tolist(), strict=True)
        return dict(zip(self.axes, map(list, bounds), strict=True))

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Box":
        """Creates the box from its configuration."""
        return cls(**config)

    def face(self, **coordinate: float) -> "Box":
        """Returns the face where an axis has a fixed value, as in ``box.face(t=0)``.

        Several fixed values give an edge.

        Raises:
            ValueError: if an axis is unknown or a value is outside the box.
        """
        intervals = {
            a: (lo, up) for a, lo, up in zip(self.axes, self.lower, self.upper, strict=True)
        }
        for axis, value in coordinate.items():
            lower, upper = intervals[self._named(axis)]
            if not lower <= value <= upper:
                raise ValueError(
                    f"Axis {axis!r} runs from {lower:g} to {upper:g}. Received {axis}={value}."
                )
            intervals[axis] = (value, value)
        return Box(**intervals)

    def sample(self, num_points: int, method: str = "uniform") -> "BoxSampler":
        """Returns a sampler of the box.

        Args:
            num_points: number of points.
            method: ``"uniform"``, ``"latin_hypercube"`` or ``"sobol"``.

        Raises:
            ValueError: if the number is not positive or the method is unknown.
        """
        return BoxSampler(self, num_points, method)

    def interior(self, num_points: int, method: str = "uniform") -> "BoxSampler":
        """Does the same as :meth:`sample`; it reads well beside faces and boundaries."""
        return self.sample(num_points, method)

    def boundary(
        self,
        num_points: int,
        method: str = "uniform",
        axes: Sequence[str] | None = None,
        *,
        parts: str | Sequence[str] | None = None,
        normals: bool = False,
    ) -> "Sampler":
        """Returns a sampler of all faces, each with its share by area and at least one point.

        Args:
            num_points: number of points on all faces together.
            method: sampling method, as in :meth:`sample`.
            axes: names of the axes whose two faces count; all by default. If time is an axis, give
                the spatial ones.
            parts: names of faces in place of axes, such as ``"x=0"``.
            normals: whether the residual receives ``(points, normals)``, each ``[num_points, d]``,
                with outward unit normals.

        Raises:
            ValueError: if an axis or face is unknown or flat, both axes and parts are given, or
                there are fewer points than faces.
        """
        num_points = check_count("num_points", num_points)
        if axes is not None and parts is not None:
            raise ValueError(f"Give axes or parts. Received axes={axes!r}, parts={parts!r}.")
        named = self._extended() if axes is None else [self._named(axis) for axis in axes]
        axes = list(dict.fromkeys(named))
        flat = [axis for axis in axes if axis not in self._extended()]
        if flat or not axes:
            raise ValueError(f"{self} has no two faces along {flat or 'any axis'}.")
        if parts is not None or normals:
            wanted = [part for part, (k, _) in self._faces().items() if self.axes[k] in axes]
            return super().boundary(num_points, method, parts=parts or wanted, normals=normals)
        faces = [
            self.face(**{axis: bound[self.axes.index(axis)]})
            for axis in axes
            for bound in (self.lower, self.upper)
        ]
        counts = shares(num_points, [face.measure() for face in faces])
        samplers = [face.sample(n, method) for face, n in zip(faces, counts, strict=True)]
        return UnionSampler(samplers)

    def periodic(self, axis: str, num_points: int, method: str = "uniform") -> "PeriodicSampler":
        """Returns a sampler of pairs on the two faces of an axis, equal in all other axes.

        Returns:
            A sampler of pairs ``(lower, upper)``, each ``[num_points, d]``.
        """
        index = self.axes.index(self._named(axis))
        if self.lower[index] == self.upper[index]:
            raise ValueError(f"{self} has no two faces along {axis!r}: it is flat there.")
        face = self.face(**{axis: self.lower[index]})
        return PeriodicSampler(face.sample(num_points, method), index, self.upper[index])

    def grid(self, *shape: int) -> np.ndarray:
        """Returns equispaced points, both ends included, in C order.

        Args:
            *shape: number of points along each axis.

        Returns:
            ``[prod(shape), d]`` in float64.
        """
        lines = self.lines(*shape)
        return np.stack(np.meshgrid(*lines, indexing="ij"), axis=-1).reshape(-1, len(shape))

    def measure(self) -> float:
        """The length, area or volume, over the axes along which the box is not flat."""
        widths = self.upper - self.lower
        return float(np.prod(widths[widths > 0]))

    @property
    def parts(self) -> tuple[str, ...]:
        """Names of the faces along the axes that are not flat, such as ``x=0``."""
        return tuple(self._faces())

    def inside(self, points: tf.Tensor) -> tf.Tensor:
        return tf.reduce_all((points >= self.lower) & (points <= self.upper), axis=1)

    def _piece(self, part: str | None) -> Piece:
        lower, upper = self.lower.copy(), self.upper.copy()
        normal = None
        if part is not None:
            axis, bound = self._faces()[part]
            lower[axis] = upper[axis] = bound
            normal = np.zeros(len(lower))
            normal[axis] = 1.0 if bound == self.upper[axis] else -1.0

        def place(unit: tf.Tensor) -> Placed:
            points = lower + unit * (upper - lower)
            return Placed(points, None if normal is None else normal + tf.zeros_like(points))

        widths = upper - lower
        return Piece(len(lower), float(np.prod(widths[widths > 0])), place)

    def _faces(self) -> dict[str, tuple[int, float]]:
        """Returns the axis and the coordinate of each face, by name."""
        return {
            f"{self.axes[k]}={bound[k]:g}": (k, bound[k])
            for k in range(len(self.axes))
            for bound in (self.lower, self.upper)
            if self.upper[k] > self.lower[k]
        }

    def _extended(self) -> list[str]:
        widths = self.upper - self.lower
        return [axis for axis, width in zip(self.axes, widths, strict=True) if width > 0]

    def _named(self, axis: str) -> str:
        if axis not in self.axes:
            raise ValueError(f"{self} has no axis {axis!r}. Its axes are {list(self.axes)}.")
        return axis


@keras.saving.register_keras_serializable("ntk_keras")
class BoxSampler(Sampler):
    """A sampler of a box: uniform points, a Latin hypercube, or a shifted Sobol sequence."""

    def __init__(self, box: Box, num_points: int, method: str = "uniform"):
        unit_cube.check_method(method)
        self.box = box
        self.axes = box.axes
        self.method = method
        self._num_points = check_count("num_points", num_points)

    @property
    def num_points(self) -> int:
        return self._num_points

    @unconverted
    def draw(self, seed: tf.Tensor, dtype: str = "float32") -> tf.Tensor:
        unit = unit_cube.draw(
            self.method, seed, self.num_points, len(self.box.axes), tf.as_dtype(dtype)
        )
        lower, upper, width = (
            tf.constant(x, dtype)
            for x in (self.box.lower, self.box.upper, self.box.upper - self.box.lower)
        )
        return tf.clip_by_value(lower + unit * width, lower, upper)  # for rounding leaves the box

    def fixed(self, seed: int | np.random.Generator | None = None) -> np.ndarray:
        unit = unit_cube.fixed(
            self.method, np.random.default_rng(seed), self.num_points, len(self.box.axes)
        )
        lower, upper = self.box.lower, self.box.upper
        return np.clip(lower + unit * (upper - lower), lower, upper)

    def get_config(self) -> dict[str, Any]:
        """The arguments, for Keras."""
        box = keras.saving.serialize_keras_object(self.box)
        return {"box": box, "num_points": self.num_points, "method": self.method}
