"""Boxes: their faces, their grids and the points drawn from them."""

import math
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from ntk_keras.backend.autograph import unconverted
from ntk_keras.backend.checks import check_count
from ntk_keras.domains import unit_cube
from ntk_keras.domains.samplers import PeriodicSampler, Sampler, UnionSampler

__all__ = ["Box", "BoxSampler"]


@keras.saving.register_keras_serializable("ntk_keras")
class Box:
    """The product of intervals with names, ``Box(t=(0, 1), x=(-1, 1))``.

    Columns of points are in the order of the names given.

    Attributes:
        axes: names of the axes.
        lower: smallest coordinate along each axis.
        upper: largest coordinate along each axis; equal to ``lower`` where the box is flat.

    Raises:
        ValueError: for no axes, or an interval that is empty or not finite.
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
        """The intervals by axis, for Keras."""
        bounds = zip(self.lower.tolist(), self.upper.tolist(), strict=True)
        return dict(zip(self.axes, map(list, bounds), strict=True))

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Box":
        """The box of a configuration."""
        return cls(**config)

    def face(self, **coordinate: float) -> "Box":
        """The face where one axis has a fixed value, ``box.face(t=0)``, or several do (an edge).

        Raises:
            ValueError: for an unknown axis or a value outside the box.
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
        """Points of the box.

        Args:
            num_points: number of points.
            method: ``"uniform"``, ``"latin_hypercube"`` or ``"sobol"``.

        Raises:
            ValueError: for a count that is not positive or an unknown method.
        """
        return BoxSampler(self, num_points, method)

    def interior(self, num_points: int, method: str = "uniform") -> "BoxSampler":
        """:meth:`sample` by the name that reads well beside faces and boundary."""
        return self.sample(num_points, method)

    def boundary(
        self, num_points: int, method: str = "uniform", axes: Sequence[str] | None = None
    ) -> "UnionSampler":
        """Points of all faces, each with its share by area, and at least one.

        Args:
            num_points: number of points on all faces together.
            method: as in :meth:`sample`.
            axes: the axes whose two faces count, all by default; where time is an axis, name the
                spatial ones.

        Raises:
            ValueError: for an unknown or flat axis, or fewer points than faces.
        """
        num_points = check_count("num_points", num_points)
        named = self._extended() if axes is None else [self._named(axis) for axis in axes]
        axes = list(dict.fromkeys(named))
        flat = [axis for axis in axes if axis not in self._extended()]
        if flat or not axes:
            raise ValueError(f"{self} has no two faces along {flat or 'any axis'}.")
        faces = [
            self.face(**{axis: bound[self.axes.index(axis)]})
            for axis in axes
            for bound in (self.lower, self.upper)
        ]
        counts = _shares(num_points, [face.measure() for face in faces])
        samplers = [face.sample(n, method) for face, n in zip(faces, counts, strict=True)]
        return UnionSampler(samplers)

    def periodic(self, axis: str, num_points: int, method: str = "uniform") -> "PeriodicSampler":
        """Pairs of points on the two faces of an axis that differ in nothing else.

        Returns:
            A sampler of pairs ``(lower, upper)``, each ``[num_points, d]``.
        """
        index = self.axes.index(self._named(axis))
        if self.lower[index] == self.upper[index]:
            raise ValueError(f"{self} has no two faces along {axis!r}: it is flat there.")
        face = self.face(**{axis: self.lower[index]})
        return PeriodicSampler(face.sample(num_points, method), index, self.upper[index])

    def grid(self, *shape: int) -> np.ndarray:
        """Equispaced points, both ends included, in C order.

        Args:
            *shape: number of points along each axis.

        Returns:
            ``[prod(shape), d]`` in float64.
        """
        lines = self.lines(*shape)
        return np.stack(np.meshgrid(*lines, indexing="ij"), axis=-1).reshape(-1, len(shape))

    def lines(self, *shape: int) -> list[np.ndarray]:
        """The coordinates of :meth:`grid` along each axis, both ends included.

        Args:
            *shape: number of points along each axis.

        Raises:
            ValueError: for more or fewer numbers than axes.
        """
        if len(shape) != len(self.axes):
            raise ValueError(f"{self} needs {len(self.axes)} numbers of points. Received {shape}.")
        return [np.linspace(*ends) for ends in zip(self.lower, self.upper, shape, strict=True)]

    def measure(self) -> float:
        """Length, area or volume, over the axes along which the box is not flat."""
        widths = self.upper - self.lower
        return float(np.prod(widths[widths > 0]))

    def _extended(self) -> list[str]:
        widths = self.upper - self.lower
        return [axis for axis, width in zip(self.axes, widths, strict=True) if width > 0]

    def _named(self, axis: str) -> str:
        if axis not in self.axes:
            raise ValueError(f"{self} has no axis {axis!r}. Its axes are {list(self.axes)}.")
        return axis


@keras.saving.register_keras_serializable("ntk_keras")
class BoxSampler(Sampler):
    """Points of a box: independent and uniform, a Latin hypercube, or a shifted Sobol sequence."""

    def __init__(self, box: Box, num_points: int, method: str = "uniform"):
        if method not in unit_cube.METHODS:
            raise ValueError(
                f"method must be one of {unit_cube.METHODS}. Received method={method!r}."
            )
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


def _shares(total: int, measures: Sequence[float]) -> list[int]:
    """Splits ``total`` in proportion to ``measures``, at least one each, by largest remainders."""
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
