"""Disks and balls of any dimension, by exact formulas."""

import math
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from ntk_keras.backend.checks import check_range
from ntk_keras.domains.axes import axes_of
from ntk_keras.domains.pieces import Piece, Placed
from ntk_keras.domains.shapes import Shape

__all__ = ["Ball", "Disk"]


@keras.saving.register_keras_serializable("ntk_keras")
class Ball(Shape):
    """All points within a distance of a centre, in any dimension.

    Args:
        center: coordinates ``[d]``.
        radius: positive number, in the units of the coordinates.
        axes: names of the columns; x, y, z by default, and x1, x2, ... for more than three.
        part: name of its boundary.

    Raises:
        ValueError: if the centre is not a point, or the radius is not positive.
    """

    def __init__(
        self,
        center: Sequence[float] = (0.0, 0.0, 0.0),
        radius: float = 1.0,
        *,
        axes: Sequence[str] | None = None,
        part: str = "sphere",
    ):
        self.center = np.asarray(center, np.float64)
        if self.center.ndim != 1 or not self.center.size or not np.all(np.isfinite(self.center)):
            raise ValueError(
                "The center of a ball is a point, as in Ball((0, 0, 0), radius=1). Received "
                f"center={center!r}."
            )
        self.radius = check_range("radius", float(radius), "(0, inf)")
        if math.isinf(self.radius):
            raise ValueError("radius must be finite. Received radius=inf.")
        self.axes = axes_of(len(self.center), axes)
        self.part = part
        self.lower, self.upper = self.center - self.radius, self.center + self.radius

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.center.tolist()}, radius={self.radius:g})"

    @property
    def parts(self) -> tuple[str, ...]:
        return (self.part,)

    def inside(self, points: tf.Tensor) -> tf.Tensor:
        return tf.reduce_sum((points - self.center) ** 2, axis=1) <= self.radius**2

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments, for Keras."""
        return {
            "center": self.center.tolist(),
            "radius": self.radius,
            "axes": list(self.axes),
            "part": self.part,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Ball":
        """Creates the ball from its configuration."""
        return cls(**config)

    def _piece(self, part: str | None) -> Piece:
        d = len(self.center)
        directions = 1 if d == 2 else d
        area = 2 * math.pi ** (d / 2) / math.gamma(d / 2) * self.radius ** (d - 1)

        def on_sphere(unit: tf.Tensor) -> Placed:
            normals = _directions(unit, d)
            return Placed(self.center + self.radius * normals, normals)

        def within(unit: tf.Tensor) -> Placed:
            distance = self.radius * unit[:, :1] ** (1 / d)
            return Placed(self.center + distance * _directions(unit[:, 1:], d))

        if part is None:
            return Piece(directions + 1, area * self.radius / d, within)
        return Piece(directions, area, on_sphere)


@keras.saving.register_keras_serializable("ntk_keras")
class Disk(Ball):
    """All points of a plane within a distance of a centre.

    Args:
        center: coordinates ``[2]``.
        radius: positive number, in the units of the coordinates.
        axes: names of the two columns.
        part: name of its boundary.

    Raises:
        ValueError: if the centre is not a point of a plane, or the radius is not positive.
    """

    def __init__(
        self,
        center: Sequence[float] = (0.0, 0.0),
        radius: float = 1.0,
        *,
        axes: Sequence[str] = ("x", "y"),
        part: str = "circle",
    ):
        if np.shape(center) != (2,):
            raise ValueError(
                f"The center of a disk has two coordinates. Received center={center!r}. In other "
                "dimensions take a Ball."
            )
        super().__init__(center, radius, axes=axes, part=part)


def _directions(unit: tf.Tensor, d: int) -> tf.Tensor:
    """Returns uniform directions ``[n, d]`` from points of the unit cube."""
    if d == 2:
        angle = 2 * math.pi * unit
        return tf.concat([tf.cos(angle), tf.sin(angle)], axis=1)
    if d == 1:
        return tf.where(unit < 0.5, -tf.ones_like(unit), tf.ones_like(unit))
    # Of a standard normal vector, whose density has no direction. Zero would be infinitely far.
    normal = tf.math.ndtri(tf.maximum(unit, 2.0**-54))
    return normal / tf.norm(normal, axis=1, keepdims=True)
