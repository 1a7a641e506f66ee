"""Images of shapes under functions of points: bends, sectors, twisted bodies."""

import itertools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from ntk_keras.backend import saving
from ntk_keras.domains import pieces, unit_cube
from ntk_keras.domains.axes import axes_of
from ntk_keras.domains.pieces import Piece, Placed
from ntk_keras.domains.shapes import Shape

__all__ = ["Mapped"]

# Points that sizes are estimated from, how often more are placed around those of largest density
# and around the outermost, how far around, and what is added to the largest density.
_SAMPLE, _SEARCHES, _REACH, _MARGIN = 2**14, 3, 4.0 ** -np.arange(2, 6), 1.05
# Of the size of a shape: how well an inverse leads back, how far away another branch of it is, and
# lengths that count as nothing.
_INVERTED, _BRANCH, _NOTHING = 1e-6, 1e-4, 1e-7


class _Probe(NamedTuple):
    """Images of points of a piece, those that are kept.

    Attributes:
        points: of the shape, ``[n, d]``.
        images: of them, ``[n, d]``.
        normals: of the image, ``[n, d]``; None inside.
        density: how much length, area or volume grows around each, ``[n]``.
        unit: what they were placed by, ``[n, dims]``.
    """

    points: np.ndarray
    images: np.ndarray
    normals: np.ndarray | None
    density: np.ndarray
    unit: np.ndarray


class _Estimates(NamedTuple):
    """What is known of the image of a piece.

    Attributes:
        probe: of uniform points.
        ends: the smallest and the largest coordinates, ``[2, d]``.
        mean: density.
        largest: density.
    """

    probe: _Probe
    ends: np.ndarray
    mean: float
    largest: float


@keras.saving.register_keras_serializable("ntk_keras")
class Mapped(Shape):
    """The image of a shape under a smooth one-to-one function of points.

    ``Mapped(Box(r=(1, 2), angle=(0, 1.5)), polar, inverse, axes=("x", "y"))`` is a bend. The parts
    of its boundary have the names of the shape's. Parts that the function joins, such as both ends
    of a full turn, or shrinks to nothing, such as the face ``r=0``, are not part of the image's
    boundary.

    Points are uniform by length, area or volume of the image: more than needed are drawn and kept
    with probability density / largest density. The densities, ``|det J|`` inside and
    ``|det J| |J^-T n|`` on the boundary, and the normals are exact, by derivatives of the function.
    If the density is constant, as under an affine function, ``measure`` is as exact as the shape's.
    Otherwise it is estimated from 16384 points, as are the shares of parts: to six digits for a
    bend, to two if the density has narrow peaks. The largest density is the largest at these and
    4096 points on edges and corners, and in a search around the best of them, plus 5 %. It is not a
    bound: where the density exceeds it, points are drawn too rarely. The extent of the image comes
    from the same points.

    Args:
        shape: shape that is mapped.
        function: function from points ``[n, d]`` to points ``[n, d]``, both in float64, each by
            itself, made of TensorFlow operations. It may reverse the orientation. Register it by
            ``keras.saving.register_keras_serializable`` to save a model with its points.
        inverse: function that maps the image back. Elsewhere it may return anything, even NaN.
        axes: names of the columns of the image; those of the shape by default.

    Raises:
        ValueError: if the shape is flat along an axis; if functions do not return ``[n, d]`` in
            float64, do not use TensorFlow or are not finite; if the inverse does not lead back; if
            a determinant is zero or changes its sign; or if the largest density exceeds a thousand
            times the mean.
    """

    def __init__(
        self,
        shape: Shape,
        function: Callable[[tf.Tensor], tf.Tensor],
        inverse: Callable[[tf.Tensor], tf.Tensor],
        axes: Sequence[str] | None = None,
    ):
        flat = [a for a, x, y in zip(shape.axes, shape.lower, shape.upper, strict=True) if x >= y]
        if flat:
            raise ValueError(
                f"A shape that is mapped is not flat. Received {shape}, flat along {flat}. Map it "
                "without these axes and multiply: Box(t=(0, 0)) * Mapped(...)."
            )
        self.shape = shape
        self.function = function
        self.inverse = inverse
        self.axes = axes_of(len(shape.axes), shape.axes if axes is None else axes)
        self._orientation = self._checked_orientation()
        parts = (None, *shape.parts)
        known = {part: one for part in parts if (one := self._estimates(part)) is not None}
        ends = np.concatenate([one.ends for one in known.values()])
        self.lower, self.upper = ends.min(axis=0), ends.max(axis=0)
        images = {part: self._image(part, estimates) for part, estimates in known.items()}
        self._images = {part: image for part, image in images.items() if image is not None}

    def __repr__(self) -> str:
        return f"Mapped({self.shape}, {_name(self.function)})"

    @property
    def parts(self) -> tuple[str, ...]:
        return tuple(part for part in self._images if part is not None)

    def inside(self, points: tf.Tensor) -> tf.Tensor:
        back = self.inverse(points)
        # An inverse by a root or an angle leads in from elsewhere too, but not back there.
        off = tf.norm(self.function(back) - points, axis=1)
        found = off <= _BRANCH * np.linalg.norm(self.upper - self.lower)  # NaN is not
        back = tf.where(found[:, tf.newaxis], back, self.shape.lower)
        return found & self.shape.inside(back)

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments, for Keras. Raises ValueError for unregistered functions."""
        return {
            "shape": keras.saving.serialize_keras_object(self.shape),
            "function": saving.serialize(f"{self}: its function", self.function),
            "inverse": saving.serialize(f"{self}: its inverse", self.inverse),
            "axes": list(self.axes),
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Mapped":
        """Creates the shape from its configuration."""
        functions = {
            name: saving.deserialize(f"A mapped shape: its {name}", config[name])
            for name in ("function", "inverse")
        }
        shape = keras.saving.deserialize_keras_object(config["shape"])
        return cls(shape, axes=config["axes"], **functions)

    def _piece(self, part: str | None) -> Piece:
        return self._images[part]

    def _map(self, placed: Placed) -> tuple[Placed, tf.Tensor]:
        """Returns the images of points, and the density at each, ``[n]``."""
        with tf.GradientTape(persistent=True) as tape:
            tape.watch(placed.points)
            images = self.function(placed.points)
            columns = tf.unstack(images, axis=1)
        jacobian = [
            tf.unstack(tape.gradient(column, placed.points, unconnected_gradients="zero"), axis=1)
            for column in columns
        ]
        if placed.normals is None:
            return placed._replace(points=images), self._orientation * _determinant(jacobian)
        # Nanson's formula: areas grow by det(J) J^-T n. Its row k is the determinant of J with n in
        # place of row k, which needs no inverse of J.
        normal = tf.unstack(placed.normals, axis=1)
        rows = [
            _determinant([*jacobian[:k], normal, *jacobian[k + 1 :]]) for k in range(len(columns))
        ]
        outward = self._orientation * tf.stack(rows, axis=1)
        density = tf.norm(outward, axis=1)
        return placed._replace(points=images, normals=outward / density[:, tf.newaxis]), density

    def _probe(self, part: str | None, unit: np.ndarray) -> _Probe:
        """Maps points of the unit cube. Raises ValueError if their images are not finite."""
        placed = self.shape.piece(part).place(tf.constant(unit))
        (images, normals, kept), density = self._map(placed)
        rows = np.arange(len(unit)) if kept is None else np.flatnonzero(kept)
        points, images, density = (x.numpy()[rows] for x in (placed.points, images, density))
        lost = ~np.isfinite(density) | ~np.all(np.isfinite(images), axis=1)
        if lost.any():
            raise ValueError(
                f"{self}: its function and the derivatives must be finite. At "
                f"{points[lost][0].tolist()} the function is {images[lost][0].tolist()}, and sizes "
                f"grow {abs(density[lost][0]):g} times. Map a shape without such points."
            )
        outward = None if normals is None else normals.numpy()[rows]
        return _Probe(points, images, outward, density, unit[rows])

    def _estimates(self, part: str | None) -> _Estimates | None:
        """Examines the image of the interior or of a part of the boundary; None if it is lost.

        Of combined shapes a part may be left that is too small to be hit.
        """
        generator, top = np.random.default_rng(0), 1 - 2.0**-53
        unit = unit_cube.fixed("sobol", generator, _SAMPLE, self.shape.piece(part).dims)
        probe = self._probe(part, unit)
        count = min(8, len(probe.unit))
        if not count:
            return None
        # Half of the coordinates at an end: faces, edges and corners of the cube.
        probes = [probe, self._probe(part, np.clip(2 * unit[: _SAMPLE // 4] - 0.5, 0, top))]
        for _ in range(_SEARCHES):
            of_each = [[one.density, *one.images.T, *-one.images.T] for one in probes]
            highest = np.argpartition(np.concatenate(of_each, axis=1), -count)[:, -count:]
            best = np.concatenate([one.unit for one in probes])[highest.ravel()]
            near = np.repeat(best, 16, axis=0)
            reach = np.tile(_REACH, len(near) // len(_REACH))[:, np.newaxis]
            near += reach * generator.uniform(-1, 1, near.shape)
            probes.append(self._probe(part, np.clip(near, 0, top)))
        images = np.concatenate([one.images for one in probes])
        ends = np.stack([images.min(axis=0), images.max(axis=0)])
        largest = max(np.max(one.density, initial=0) for one in probes)
        return _Estimates(probe, ends, float(np.mean(probe.density)), float(largest))

    def _image(self, part: str | None, estimates: _Estimates) -> Piece | None:
        """Returns the image of the interior or of a boundary part; None if it has no size."""
        base, (probe, _, mean, largest) = self.shape.piece(part), estimates
        if part is not None and mean <= 1e-9 * self._growth() ** (len(self.axes) - 1):
            return None
        if mean < 1e-3 * largest:
            raise ValueError(
                f"{self}: the largest density is {largest / mean:.3g} times the mean, so that as "
                "many points would be drawn for one that is kept. Map parts of the shape, each "
                "of which is stretched more evenly, and unite them by |."
            )
        even = _is_even(probe)

        def place(unit: tf.Tensor) -> Placed:
            placed, density = self._map(base.place(unit if even else unit[:, :-1]))
            if even:
                return placed
            kept = unit[:, -1] * (_MARGIN * largest) < density
            return placed._replace(kept=pieces.both(placed.kept, kept))

        dims, share = (base.dims, 1.0) if even else (base.dims + 1, mean / (_MARGIN * largest))
        image = Piece(dims, base.measure * mean, place, base.rate * share)
        return image if part is None else self._open(image, probe)

    def _open(self, image: Piece, probe: _Probe) -> Piece | None:
        """Returns a part of the boundary without what the function joins to another."""
        step = _NOTHING * np.linalg.norm(self.upper - self.lower)

        def select(points: tf.Tensor, normals: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            return ~self.inside(points + step * normals), normals

        images, normals = (tf.constant(x)[: _SAMPLE // 4] for x in (probe.images, probe.normals))
        share = np.mean(select(images, normals)[0])
        if share < 1e-3:
            return None
        return image if share > 1 - 1e-3 else pieces.selected(image, select)

    def _growth(self) -> float:
        """Returns how much longer the image is than the shape."""
        widths = self.upper - self.lower, self.shape.upper - self.shape.lower
        return float(np.linalg.norm(widths[0]) / np.linalg.norm(widths[1]))

    def _checked_orientation(self) -> float:
        """Returns the sign of the determinant. Raises ValueError if the functions do not fit."""
        self._orientation = 1.0
        piece = self.shape.piece()
        unit = unit_cube.fixed("sobol", np.random.default_rng(0), _SAMPLE, piece.dims)
        self._applied("function", piece.place(tf.constant(unit)).points)
        points, images, _, density, _ = self._probe(None, unit)
        scale = np.prod(np.ptp(images, axis=0) / np.ptp(points, axis=0))
        signs = np.where(np.abs(density) > 1e-12 * max(scale, np.max(np.abs(density))), density, 0)
        one, other = np.argmin(signs), np.argmax(signs)
        if np.mean(signs == 0) > 0.01 or signs[one] < 0 < signs[other]:
            raise ValueError(
                f"{self}: the function must be one-to-one. The determinant of its derivatives is "
                f"{signs[one]:.3g} at {points[one].tolist()} and {signs[other]:.3g} at "
                f"{points[other].tolist()}. Map a part of the shape where it has one sign."
            )
        back = self._applied("inverse", tf.constant(images)).numpy()
        off = np.max(np.abs(back - points), axis=1)
        worst = np.argmax(off)  # NaN, if there is any
        if not off[worst] <= _INVERTED * np.linalg.norm(self.shape.upper - self.shape.lower):
            raise ValueError(
                f"{self}: the inverse must lead back. It maps {images[worst].tolist()}, the image "
                f"of {points[worst].tolist()}, to {back[worst].tolist()}. The largest error is "
                f"{off[worst]:.3g}."
            )
        return 1.0 if signs[other] > 0 else -1.0

    def _applied(self, name: str, points: tf.Tensor) -> tf.Tensor:
        """Applies the function or its inverse to points, in a graph, as samplers do."""
        function, d = getattr(self, name), len(self.axes)
        what = f"{self}: its {name} {_name(function)} must map points [n, {d}] in float64 to such"
        try:
            images = tf.function(function, autograph=False)(points)
        except Exception as error:
            reason = (str(error).strip().splitlines() or [""])[0]
            raise ValueError(
                f"{what}, by operations of TensorFlow in a graph. It ended in "
                f"{type(error).__name__}: {reason}"
            ) from error
        if not tf.is_tensor(images):
            raise ValueError(f"{what}, as by tf.stack(columns, axis=1). It gave {type(images)}.")
        if images.shape != points.shape or images.dtype != points.dtype:
            raise ValueError(
                f"{what}, as by tf.stack(columns, axis=1). Of shape {list(points.shape)} it made "
                f"{list(images.shape)} in {images.dtype.name}."
            )
        return images


def _is_even(probe: _Probe) -> bool:
    """Whether the density is the same at all points, up to rounding."""
    return bool(np.ptp(probe.density) <= 1e-9 * np.max(probe.density))


def _name(function: Any) -> str:
    return getattr(function, "__name__", None) or repr(function)


def _determinant(rows: Sequence[Sequence[tf.Tensor]]) -> tf.Tensor:
    """Computes it by minors of rows of columns ``[n]``, as XLA has no determinant."""
    columns = range(len(rows))
    minors: dict[tuple[int, ...], Any] = {(): 1.0}
    for number, row in enumerate(rows):
        minors = {
            chosen: sum(
                (-1.0) ** (number - k) * row[c] * minors[chosen[:k] + chosen[k + 1 :]]
                for k, c in enumerate(chosen)
            )
            for chosen in itertools.combinations(columns, number + 1)
        }
    return minors[tuple(columns)]
