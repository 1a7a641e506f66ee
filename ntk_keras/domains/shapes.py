"""The base class of shapes, and unions, intersections, differences and products of shapes."""

import abc
import functools
import itertools
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from ntk_keras.domains import pieces
from ntk_keras.domains.axes import bounds_of, joined_axes, same_axes
from ntk_keras.domains.pieces import Piece
from ntk_keras.domains.samplers import Sampler
from ntk_keras.domains.shape_samplers import ShapeSampler

__all__ = ["Combination", "Product", "Shape"]

# Lengths below this are treated as zero, relative to the size of the shape.
_NOTHING = 1e-7


class Shape(abc.ABC):
    """A region whose points can be drawn, with a boundary in named parts.

    Shapes combine by ``|`` (union), ``&`` (intersection), ``-`` (difference) and ``*`` (product),
    as in ``Box(t=(0, 1)) * Disk()``. A subclass has the attributes below and defines its pieces
    (``_piece``) and what is inside.

    Attributes:
        axes: names of the columns of points.
        lower: lower corner of the smallest box around the shape, ``[d]``.
        upper: upper corner of the same box, ``[d]``.
    """

    axes: tuple[str, ...]
    lower: np.ndarray
    upper: np.ndarray

    @property
    @abc.abstractmethod
    def parts(self) -> tuple[str, ...]:
        """Names of the parts of the boundary."""

    @abc.abstractmethod
    def inside(self, points: tf.Tensor) -> tf.Tensor:
        """Whether points are inside, ``[n]``, in a graph; on the boundary either may be returned.

        Args:
            points: points ``[n, d]`` in float64.
        """

    @abc.abstractmethod
    def _piece(self, part: str | None) -> Piece:
        """Returns the interior, or one part of the boundary."""

    def piece(self, part: str | None = None) -> Piece:
        """Returns the piece from which points are drawn.

        Args:
            part: part of the boundary; None for the interior.

        Raises:
            ValueError: if the part does not exist.
        """
        if part is not None and part not in self.parts:
            raise ValueError(
                f"{self} has no part {part!r}. The parts of its boundary are {list(self.parts)}."
            )
        known = vars(self).setdefault("_pieces", {})
        if part not in known:
            known[part] = self._piece(part)
        return known[part]

    def interior(self, num_points: int, method: str = "uniform") -> Sampler:
        """Returns a sampler that is uniform by length, area or volume.

        Args:
            num_points: number of points.
            method: ``"uniform"``, ``"latin_hypercube"`` or ``"sobol"``.

        Raises:
            ValueError: if the number is not positive or the method is unknown.
        """
        return ShapeSampler(self, num_points, method)

    def sample(self, num_points: int, method: str = "uniform") -> Sampler:
        """Returns the same as :meth:`interior`, under the name used by a :class:`Box`."""
        return self.interior(num_points, method)

    def boundary(
        self,
        num_points: int,
        method: str = "uniform",
        *,
        parts: str | Sequence[str] | None = None,
        normals: bool = False,
    ) -> Sampler:
        """Returns a sampler of the boundary, each part with its share by size, and at least one.

        Args:
            num_points: number of points on all parts together.
            method: sampling method, as in :meth:`interior`.
            parts: names of the parts that count; all by default.
            normals: whether the residual receives ``(points, normals)``, each ``[num_points, d]``,
                with outward unit normals.

        Raises:
            ValueError: if a part is unknown, or there are fewer points than parts.
        """
        parts = self.parts if parts is None else (parts,) if isinstance(parts, str) else parts
        if not parts:
            raise ValueError(f"{self} has no boundary. Take points of it by `interior`.")
        return ShapeSampler(self, num_points, method, tuple(dict.fromkeys(parts)), normals)

    def contains(self, points: Any) -> Any:
        """Tells which points belong to the shape, its boundary included to seven digits.

        Args:
            points: points ``[n, d]``, an array, or a tensor in a graph.

        Returns:
            ``[n]``, of the same kind.

        Raises:
            ValueError: if points have another dimension.
        """
        if np.ndim(points) != 2 or np.shape(points)[1] != len(self.axes):
            raise ValueError(
                f"{self} takes points [n, {len(self.axes)}]. Received shape {np.shape(points)}."
            )
        # By NumPy, as TensorFlow would first round Python's numbers to single precision.
        given = tf.cast(points if tf.is_tensor(points) else np.asarray(points), tf.float64)
        # A point of the boundary is inside once it moves a little one way, or to the middle.
        shifts = [0 * given, (self.lower + self.upper) / 2 - given]
        if len(self.axes) <= 4:
            signs = itertools.product((-1.0, 1.0), repeat=len(self.axes))
            shifts += [(self.upper - self.lower) * sign for sign in signs]
        found = functools.reduce(
            tf.logical_or, [self.inside(given + _NOTHING * shift) for shift in shifts]
        )
        return found if tf.is_tensor(points) else found.numpy()

    def measure(self) -> float:
        """The length, area or volume: exact, except that an overlap of shapes is estimated."""
        return self.piece().measure

    def lines(self, *shape: int) -> list[np.ndarray]:
        """Returns the coordinates of :meth:`grid` along each axis, both ends included.

        Args:
            *shape: number of points along each axis.

        Raises:
            ValueError: if there are more or fewer numbers than axes.
        """
        if len(shape) != len(self.axes):
            raise ValueError(f"{self} needs {len(self.axes)} numbers of points. Received {shape}.")
        return [np.linspace(*ends) for ends in zip(self.lower, self.upper, shape, strict=True)]

    def grid(self, *shape: int) -> np.ndarray:
        """Returns equispaced points of the smallest box, in C order; NaN outside of the shape.

        A network is NaN there too, and figures leave it blank.

        Args:
            *shape: number of points along each axis.

        Returns:
            ``[prod(shape), d]`` in float64.
        """
        lines = self.lines(*shape)
        points = np.stack(np.meshgrid(*lines, indexing="ij"), axis=-1).reshape(-1, len(shape))
        return np.where(self.contains(points)[:, np.newaxis], points, np.nan)

    def __or__(self, other: "Shape") -> "Shape":
        return _combined(self, other, "|")

    def __and__(self, other: "Shape") -> "Shape":
        return _combined(self, other, "&")

    def __sub__(self, other: "Shape") -> "Shape":
        return _combined(self, other, "-")

    def __mul__(self, other: "Shape") -> "Shape":
        return Product(self, other) if isinstance(other, Shape) else NotImplemented


class _Pair(Shape):
    """A shape made of two."""

    def __init__(self, first: Shape, second: Shape):
        self.first = first
        self.second = second

    def _named(self) -> dict[str, tuple[Shape, str]]:
        """Returns the owner and its name of each named part; a number tells equal ones apart."""
        named = {part: (self.first, part) for part in self.first.parts}
        for part in self.second.parts:
            names = itertools.chain([part], (f"{part}_{number}" for number in itertools.count(2)))
            named[next(name for name in names if name not in named)] = self.second, part
        return named

    def get_config(self) -> dict[str, Any]:
        """Returns the shapes, for Keras."""
        return {
            "first": keras.saving.serialize_keras_object(self.first),
            "second": keras.saving.serialize_keras_object(self.second),
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Shape":
        """Creates the shape from its configuration."""
        return cls(**keras.saving.deserialize_keras_object(config))


@keras.saving.register_keras_serializable("ntk_keras")
class Combination(_Pair):
    """A union ``|``, an intersection ``&`` or a difference ``-`` of two shapes.

    More points than needed are drawn from the shapes, and those that count are chosen, so they are
    as uniform as those of the shapes. The remaining boundary keeps its names; if both shapes have a
    name, the second's gets a number, as in ``circle_2``.

    Args:
        first: one shape.
        second: another with the same axes.
        operation: ``"|"``, ``"&"`` or ``"-"``.

    Raises:
        ValueError: if the axes differ, the operation is unknown, or (nearly) nothing is left.
    """

    def __init__(self, first: Shape, second: Shape, operation: str):
        super().__init__(first, second)
        self.operation = operation
        if operation not in ("|", "&", "-"):
            raise ValueError(f'operation is "|", "&" or "-". Received {operation!r}.')
        self.axes = same_axes(first, second)
        self.lower, self.upper = first.lower, first.upper
        if operation != "-":
            least, most = (np.minimum, np.maximum) if operation == "|" else (np.maximum, np.minimum)
            self.lower = least(first.lower, second.lower)
            self.upper = most(first.upper, second.upper)
        if self.measure() == 0 or self.piece().rate < 1e-3:
            raise ValueError(
                f"{self} is empty, or less than a thousandth of what it is made of. Check where "
                f"the two lie: {bounds_of(first)}, {bounds_of(second)}."
            )

    def __repr__(self) -> str:
        return f"({self.first} {self.operation} {self.second})"

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments, for Keras."""
        return super().get_config() | {"operation": self.operation}

    @property
    def parts(self) -> tuple[str, ...]:
        if "_parts" not in vars(self):
            self._left = {n: self._part(*of) for n, of in self._named().items()}
            self._parts = tuple(name for name, piece in self._left.items() if piece.measure > 0)
        return self._parts

    def inside(self, points: tf.Tensor) -> tf.Tensor:
        first, second = self.first.inside(points), self.second.inside(points)
        if self.operation == "|":
            return first | second
        return first & second if self.operation == "&" else first & ~second

    def _piece(self, part: str | None) -> Piece:
        if part is not None:
            return self._left[part]
        small, large = self.first, self.second
        if small.measure() > large.measure():
            small, large = large, small
        overlap = pieces.selected(small.piece(), pieces.among(large.inside, True))
        if self.operation == "&":
            return overlap
        if self.operation == "-":
            left = self.first.measure() - overlap.measure
            return pieces.selected(
                self.first.piece(), pieces.among(self.second.inside, False), left
            )
        left = small.measure() - overlap.measure
        rest = pieces.selected(small.piece(), pieces.among(large.inside, False), left)
        return pieces.mixed(large.piece(), rest) if left > 0 else large.piece()

    def _part(self, owner: Shape, part: str) -> Piece:
        """Returns what is left of a part of the boundary of one of the two."""
        step = _NOTHING * np.linalg.norm(self.upper - self.lower)

        def select(points: tf.Tensor, normals: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            out, back = points + step * normals, points - step * normals
            inner = self.inside(back)
            kept = inner != self.inside(out)
            if owner is self.second:  # what both have is the first's
                kept &= self.first.inside(back) == self.first.inside(out)
            return kept, tf.where(inner[:, tf.newaxis], normals, -normals)

        return pieces.selected(owner.piece(part), select)


@keras.saving.register_keras_serializable("ntk_keras")
class Product(_Pair):
    """All pairs of points of two shapes, such as a cylinder, or a shape through time.

    Its boundary has the parts of both: those of ``Box(t=(0, 1)) * Disk()`` are ``t=0``, ``t=1`` and
    ``circle``.

    Args:
        first: shape of the first columns.
        second: shape of the others.

    Raises:
        ValueError: if both have an axis of the same name.
    """

    def __init__(self, first: Shape, second: Shape):
        super().__init__(first, second)
        self.axes = joined_axes(first, second)
        self.lower = np.concatenate([first.lower, second.lower])
        self.upper = np.concatenate([first.upper, second.upper])

    def __repr__(self) -> str:
        return f"{self.first} * {self.second}"

    @property
    def parts(self) -> tuple[str, ...]:
        return tuple(self._named())

    def inside(self, points: tf.Tensor) -> tf.Tensor:
        count = len(self.first.axes)
        return self.first.inside(points[:, :count]) & self.second.inside(points[:, count:])

    def _piece(self, part: str | None) -> Piece:
        owner, name = (None, None) if part is None else self._named()[part]
        first, second = (s.piece(name if s is owner else None) for s in (self.first, self.second))
        return pieces.product(first, second, len(self.first.axes))


def _combined(first: Shape, second: Any, operation: str) -> Any:
    return Combination(first, second, operation) if isinstance(second, Shape) else NotImplemented
