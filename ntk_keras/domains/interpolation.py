"""Functions given on a grid: measured forcing, coefficients and reference data."""

from collections.abc import Sequence
from typing import Any, Literal, get_args

import keras
import numpy as np
import tensorflow as tf

__all__ = ["GridInterpolator", "Method"]

Method = Literal["linear", "cubic"]

_DEGREES = {"linear": 1, "cubic": 3}


@keras.saving.register_keras_serializable("ntk_keras")
class GridInterpolator:
    """A function given by its values on a grid, evaluated at any points inside a graph.

    It uses the splines of SciPy's ``RegularGridInterpolator``: ``"linear"`` is continuous, and
    ``"cubic"`` has two continuous derivatives. The functions of :mod:`ntk_keras.derivatives`
    differentiate both with respect to their points. It works eagerly and in ``tf.function``, with
    and without XLA, in the dtype of the points.

    Args:
        axes: coordinates of the grid along each axis, as from ``Box.lines``, in any order and at
            any distances; for a table of one column the coordinates alone.
        values: values on the grid, with an axis for each of ``axes``; one more axis gives several
            functions side by side.
        method: ``"linear"``, or ``"cubic"``, which needs four coordinates along each axis.
        outside: values outside the grid: ``"nan"``, so that a residual there is refused, or
            ``"nearest"``, the value at the nearest point of the grid, as in ``np.interp``.

    Raises:
        ValueError: if values do not fit the axes or are not finite, coordinates are repeated or too
            few, or a choice is unknown.

    Example::

        wind = nk.domains.GridInterpolator([times, heights], speeds)  # [200, 30]

        def equation(u, points):
            return nk.derivatives.partial(u, points, 0)[:, 0] - wind(points)
    """

    def __init__(
        self,
        axes: Sequence[Any],
        values: Any,
        *,
        method: Method = "linear",
        outside: Literal["nan", "nearest"] = "nan",
    ):
        if method not in get_args(Method) or outside not in ("nan", "nearest"):
            raise ValueError(
                'A GridInterpolator takes method "linear" or "cubic", outside "nan" or "nearest". '
                f"Received method={method!r}, outside={outside!r}."
            )
        alone = np.ndim(axes[0]) == 0
        self.axes = [_as_floats("axes", axis) for axis in ([axes] if alone else axes)]
        self.values = _as_floats("values", values)
        self.method = method
        self.outside = outside
        self._degree = _DEGREES[method]
        self._knots, coefficients = self._spline()
        self._sizes = coefficients.shape[: len(self.axes)]
        self._width = coefficients.shape[len(self.axes) :]
        self._coefficients = coefficients.reshape(int(np.prod(self._sizes)), -1)

    def __call__(self, points: Any) -> tf.Tensor:
        """Returns the values at points.

        Args:
            points: floats ``[..., d]``, a column for each axis of the grid; for one axis also the
                coordinates alone, ``[n]``.

        Returns:
            ``[...]``, or ``[..., k]`` for several functions side by side.
        """
        points = tf.convert_to_tensor(points)
        dims = len(self.axes)
        if dims == 1 and points.shape.rank == 1:
            points = points[:, tf.newaxis]
        if points.shape[-1] != dims or not points.dtype.is_floating:
            raise ValueError(
                f"A GridInterpolator on {dims} axes takes points of floats with {dims} columns. "
                f"Received {points.dtype.name} of shape {points.shape}."
            )
        columns = tf.unstack(tf.reshape(points, [-1, dims]), axis=-1)
        places, weights = tf.zeros([1, 1], tf.int32), tf.ones([1, 1], points.dtype)
        inside = tf.constant(True)
        for axis, column in enumerate(columns):
            first, basis, within = self._basis(axis, column)
            inside &= within
            along = first[:, tf.newaxis] + tf.range(self._degree + 1)
            places = _pairs(places * self._sizes[axis], along, tf.add)
            weights = _pairs(weights, basis, tf.multiply)
        with tf.init_scope():  # captured by a graph, in which it would else be a constant
            coefficients = tf.constant(self._coefficients, points.dtype)
        values = tf.gather(coefficients, places)  # [n, stencil, k]
        values = tf.reduce_sum(weights[:, :, tf.newaxis] * values, axis=1)
        if self.outside == "nan":
            values = tf.where(inside[:, tf.newaxis], values, float("nan"))
        return tf.reshape(values, tf.concat([tf.shape(points)[:-1], self._width], axis=0))

    def __repr__(self) -> str:
        grid = " x ".join(str(len(axis)) for axis in self.axes)
        return f"GridInterpolator(on {grid} points, method={self.method!r})"

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments, for Keras."""
        arrays = {"axes": self.axes, "values": self.values}
        config = keras.saving.serialize_keras_object(arrays)
        return {**config, "method": self.method, "outside": self.outside}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "GridInterpolator":
        """Creates the function from its configuration, as Keras stores it."""
        return cls(**keras.saving.deserialize_keras_object(config))

    def _spline(self) -> tuple[list[np.ndarray], np.ndarray]:
        """Returns SciPy's knots along each axis, and the coefficients of B-spline products."""
        from scipy.interpolate import make_interp_spline  # slow to import

        sizes = tuple(len(axis) for axis in self.axes)
        if self.values.shape[: len(sizes)] != sizes or self.values.ndim > len(sizes) + 1:
            raise ValueError(
                f"A GridInterpolator needs a value for each point of its grid, {list(sizes)}, or "
                f"{[*sizes, 'k']} for k functions. Received values of shape "
                f"{list(self.values.shape)}."
            )
        knots, coefficients = [], self.values
        for number, axis in enumerate(self.axes):
            ordered = np.argsort(axis)
            if len(axis) <= self._degree or np.any(np.diff(axis[ordered]) == 0):
                raise ValueError(
                    f"Axis {number} of a GridInterpolator needs {self._degree + 1} coordinates or "
                    f"more for method={self.method!r}, none of them twice. Received {axis}."
                )
            values = np.take(coefficients, ordered, axis=number)
            spline = make_interp_spline(axis[ordered], values, self._degree, axis=number)
            knots.append(spline.t)
            # SciPy puts the axis that it interpolates along first.
            coefficients = np.moveaxis(spline.c, 0, number)
        return knots, coefficients

    def _basis(self, axis: int, x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Returns the first nonzero B-spline at x, the values, and whether x is on the axis.

        The recursion of Cox and de Boor gives ``[n]``, ``[n, degree + 1]`` and ``[n]``.
        """
        degree, knots = self._degree, tf.constant(self._knots[axis], x.dtype)
        lower, upper = knots[0], knots[-1]
        margin = 8 * np.finfo(x.dtype.as_numpy_dtype).eps * (tf.abs(lower) + tf.abs(upper))
        inside = (x >= lower - margin) & (x <= upper + margin)
        x = tf.clip_by_value(x, lower, upper)
        inner = knots[degree + 1 : -degree - 1]
        first = tf.searchsorted(inner, tf.stop_gradient(x), side="right")

        def knot(number: int) -> tf.Tensor:
            return tf.gather(knots, first + number)

        basis = [tf.ones_like(x)]
        for order in range(1, degree + 1):
            raised = [tf.zeros_like(x)] * (order + 1)
            for place, value in enumerate(basis):
                left, right = knot(degree + 1 - order + place), knot(degree + 1 + place)
                share = value / (right - left)
                raised[place] += (right - x) * share
                raised[place + 1] += (x - left) * share
            basis = raised
        return first, tf.stack(basis, axis=1), inside


def _pairs(one: tf.Tensor, other: tf.Tensor, operation: Any) -> tf.Tensor:
    """Applies an operation to all pairs in rows: ``[n, a]``, ``[n, b]`` to ``[n, a b]``."""
    pairs = operation(one[:, :, tf.newaxis], other[:, tf.newaxis, :])
    return tf.reshape(pairs, [tf.shape(other)[0], one.shape[1] * other.shape[1]])


def _as_floats(what: str, values: Any) -> np.ndarray:
    """Returns finite real numbers as an array of float64."""
    array = np.asarray(values)
    if array.dtype.kind not in "fiub" or not np.all(np.isfinite(array)):
        raise ValueError(
            f"The {what} of a GridInterpolator must be finite real numbers. Received {array!r}."
        )
    return array.astype(np.float64)
