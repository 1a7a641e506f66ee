"""The derivatives that residuals call, propagated forward by a view or taken by tapes."""

import warnings
from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from ntk_keras.backend.autograph import unconverted
from ntk_keras.derivatives import tapes
from ntk_keras.derivatives.argument_checks import as_axes, as_points, as_second_order
from ntk_keras.derivatives.axis_names import Axis
from ntk_keras.derivatives.channels import Biharmonic, Channel
from ntk_keras.derivatives.smoothness import is_of_second_order, piecewise_linear_part
from ntk_keras.derivatives.tapes import Network

__all__ = [
    "biharmonic",
    "divergence",
    "gradient",
    "hessian_diagonal",
    "jacobian",
    "laplacian",
    "partial",
    "second_order",
]

Axes = Sequence[Axis] | Axis | None


@unconverted
def gradient(u: Network, points: tf.Tensor, axes: Axes = None) -> tf.Tensor:
    """Returns first derivatives of every output with respect to all or some inputs.

    Args:
        u: function from points ``[n, d]`` to outputs ``[n, outputs]``.
        points: points ``[n, d]``.
        axes: inputs to differentiate by, names or indices; all by default.

    Returns:
        ``[n, outputs, d]``; entry ``[i, j, k]`` is the derivative of output ``j`` with respect to
        input ``k``, or ``axes[k]``, at point ``i``.

    Raises:
        ValueError: if the points are not ``[n, d]``, the outputs not ``[n, outputs]``, an axis is
            not an input, or there is none.
    """
    points = as_points(points)
    places = _some_axes("A gradient", axes, points, u)
    channels = _channels(u, points, [(k,) for k in places])
    if channels is not None:
        return tf.stack(channels, axis=-1)
    slopes = tapes.gradient(u, points)
    return slopes if axes is None else tf.gather(slopes, places, axis=-1)


jacobian = gradient


@unconverted
def hessian_diagonal(u: Network, points: tf.Tensor, axes: Axes = None) -> tf.Tensor:
    """Returns unmixed second derivatives of every output with respect to all or some inputs.

    If only a linear combination of them is needed, :func:`second_order` is cheaper.

    Args:
        u: function from points ``[n, d]`` to outputs ``[n, outputs]``.
        points: points ``[n, d]``.
        axes: inputs to differentiate by, names or indices; all by default.

    Returns:
        ``[n, outputs, d]``; entry ``[i, j, k]`` is the second derivative of output ``j`` with
        respect to input ``k``, or ``axes[k]``, at point ``i``.

    Raises:
        ValueError: if the points are not ``[n, d]``, the outputs not ``[n, outputs]``, an axis is
            not an input, or there is none.
    """
    points = as_points(points)
    places = _some_axes("A Hessian's diagonal", axes, points, u)
    channels = _channels(u, points, [(k, k) for k in places])
    if channels is not None:
        return tf.stack(channels, axis=-1)
    return tapes.hessian_diagonal(u, points, places)


@unconverted
def second_order(u: Network, points: tf.Tensor, coefficients: Any) -> tf.Tensor:
    """Returns a second-order operator ``sum_k c_k d^2 u / dx_k^2`` of every output.

    In forward mode the combination is one channel whatever the number of inputs (Li et al., forward
    Laplacian, 2024): (value, d first derivatives, 1) instead of (value, d first, d second).

    Args:
        u: function from points ``[n, d]`` to outputs ``[n, outputs]``.
        points: points ``[n, d]``.
        coefficients: coefficients c, ``[d]``, or ``[n, d]`` if they vary between points. They are
            numbers or tensors, or a sequence of both, as in ``[1, -c**2]`` with an unknown c; or a
            dict by name or index of the input, as in ``{"t": 1, "x": -c**2}``, where missing ones
            are zero. Inputs with the number zero cost nothing.

    Returns:
        ``[n, outputs]``.

    Raises:
        ValueError: if the points are not ``[n, d]``, the outputs not ``[n, outputs]``, there is not
            one coefficient for each input, an axis is not an input, or all are zero.
    """
    points = as_points(points)
    operator = as_second_order(coefficients, points, u)
    channels = _channels(u, points, [operator])
    return tapes.second_order(u, points, operator) if channels is None else channels[0]


@unconverted
def laplacian(u: Network, points: tf.Tensor, axes: Axes = None) -> tf.Tensor:
    """Returns the sum of the unmixed second derivatives of every output over ``axes``.

    Args:
        u: function from points ``[n, d]`` to outputs ``[n, outputs]``.
        points: points ``[n, d]``.
        axes: inputs to sum over, names or indices; all by default. If time is one of the inputs,
            give the spatial ones.

    Returns:
        ``[n, outputs]``.

    Raises:
        ValueError: if the points are not ``[n, d]``, the outputs not ``[n, outputs]``, an axis is
            not an input, or there is none.
    """
    points = as_points(points)
    places = _some_axes("A Laplacian", axes, points, u)
    return second_order(u, points, [float(places.count(k)) for k in range(points.shape[1])])


@unconverted
def biharmonic(u: Network, points: tf.Tensor, axes: Axes = None) -> tf.Tensor:
    """Returns the Laplacian of the Laplacian of every output, for plates and stream functions.

    In forward mode it takes 9 channels in two dimensions, while the separate fourth derivatives
    take 13.

    Args:
        u: function from points ``[n, d]`` to outputs ``[n, outputs]``.
        points: points ``[n, d]``.
        axes: inputs to sum over, names or indices, all by default, none twice. If time is one of
            the inputs, give the spatial ones.

    Returns:
        ``[n, outputs]``.

    Raises:
        ValueError: if the points are not ``[n, d]``, the outputs not ``[n, outputs]``, an axis is
            not an input or named twice, or there is none.
    """
    points = as_points(points)
    places = sorted(as_axes(axes, points, u))
    if not places or len(set(places)) < len(places):
        raise ValueError(
            "A biharmonic operator needs at least one axis to sum over, and none of them twice. "
            f"Received axes={axes}."
        )
    channels = _channels(u, points, [Biharmonic(tuple(places))])
    return tapes.biharmonic(u, points, places) if channels is None else channels[0]


@unconverted
def divergence(u: Network, points: tf.Tensor, axes: Axes = None) -> tf.Tensor:
    """Returns the divergence of a field: the derivatives of output ``j`` along ``axes[j]``, summed.

    Args:
        u: function from points ``[n, d]`` to a field ``[n, len(axes)]``.
        points: points ``[n, d]``.
        axes: input of each output, names or indices, all in order by default. If time is one of the
            inputs, give the spatial ones.

    Returns:
        ``[n]``.

    Raises:
        ValueError: if there is not exactly one output for each axis, or an axis is not an input.
    """
    points = as_points(points)
    places = as_axes(axes, points, u)
    channels = _channels(u, points, [(k,) for k in places]) if places else None
    if channels is None:
        return tapes.divergence(u, points, places)
    tapes.check_field(channels[0].shape[1], places)
    return tf.add_n([channel[:, j] for j, channel in enumerate(channels)])


@unconverted
def partial(u: Network, points: tf.Tensor, *axes: Axis) -> tf.Tensor:
    """Returns a partial derivative of any order; axes ``"x", "x", "y"`` give ``d^3 u / dx^2 dy``.

    Args:
        u: function from points ``[n, d]`` to outputs ``[n, outputs]``.
        points: points ``[n, d]``.
        *axes: input of each differentiation in turn, a name or an index; none returns the outputs.

    Returns:
        ``[n, outputs]``.

    Raises:
        ValueError: if the points are not ``[n, d]``, the outputs not ``[n, outputs]``, or an axis
            is not an input.
    """
    points = as_points(points)
    places = as_axes(axes, points, u)
    channels = _channels(u, points, [tuple(sorted(places))])
    return tapes.partial(u, points, places) if channels is None else channels[0]


def _some_axes(operator: str, axes: Axes, points: tf.Tensor, u: Any) -> list[int]:
    places = as_axes(axes, points, u)
    if not places:
        raise ValueError(f"{operator} needs at least one axis. Received axes={axes}.")
    return places


def _channels(u: Any, points: tf.Tensor, channels: Sequence[Channel]) -> list[tf.Tensor] | None:
    """Returns the view's answer; None for other callables or if the view cannot propagate."""
    if not callable(u):
        raise TypeError(
            "Derivatives are taken of the network, as in gradient(u, points), not of its values. "
            f"Received an object of type {type(u).__name__}, which is not callable."
        )
    ask = getattr(u, "derivative_channels", None)
    if ask is not None:
        return ask(points, channels)
    if isinstance(u, keras.layers.Layer) and any(map(is_of_second_order, channels)):
        part = piecewise_linear_part(u) if u.built else None
        if part is not None:
            warnings.warn(
                f"Second derivatives of {u.name!r} leave out the bends of {part}, which is "
                "piecewise linear: where nothing else curves, they are zero.",
                stacklevel=3,
            )
    return None
