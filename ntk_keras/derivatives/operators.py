"""What residuals call: each function asks a view to carry it forward, or falls back to tapes."""

import warnings
from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from ntk_keras.backend.autograph import unconverted
from ntk_keras.derivatives import tapes
from ntk_keras.derivatives.argument_checks import as_axes, as_points, as_second_order
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


@unconverted
def gradient(u: Network, points: tf.Tensor) -> tf.Tensor:
    """First derivatives of every output with respect to every input.

    Args:
        u: maps points ``[n, d]`` to outputs ``[n, outputs]``.
        points: ``[n, d]``.

    Returns:
        ``[n, outputs, d]``; entry ``[i, j, k]`` is the derivative of output ``j`` with respect to
        input ``k`` at point ``i``.

    Raises:
        ValueError: if the points are not ``[n, d]`` or the outputs not ``[n, outputs]``.
    """
    points = as_points(points)
    channels = _channels(u, points, [(k,) for k in range(points.shape[1])])
    return tapes.gradient(u, points) if channels is None else tf.stack(channels, axis=-1)


jacobian = gradient


@unconverted
def hessian_diagonal(u: Network, points: tf.Tensor) -> tf.Tensor:
    """Unmixed second derivatives of every output with respect to every input.

    Where only a linear combination of them is needed, :func:`second_order` is cheaper.

    Args:
        u: maps points ``[n, d]`` to outputs ``[n, outputs]``.
        points: ``[n, d]``.

    Returns:
        ``[n, outputs, d]``; entry ``[i, j, k]`` is the second derivative of output ``j`` with
        respect to input ``k`` at point ``i``.

    Raises:
        ValueError: if the points are not ``[n, d]`` or the outputs not ``[n, outputs]``.
    """
    points = as_points(points)
    channels = _channels(u, points, [(k, k) for k in range(points.shape[1])])
    return tapes.hessian_diagonal(u, points) if channels is None else tf.stack(channels, axis=-1)


@unconverted
def second_order(u: Network, points: tf.Tensor, coefficients: Any) -> tf.Tensor:
    """A second-order operator sum_k c_k d^2 u / dx_k^2 of every output.

    Forward, the combination is one channel whatever the number of inputs (Li et al., forward
    Laplacian, 2024): (value, d first derivatives, 1) instead of (value, d first, d second).

    Args:
        u: maps points ``[n, d]`` to outputs ``[n, outputs]``.
        points: ``[n, d]``.
        coefficients: c, ``[d]`` or, at every point its own, ``[n, d]``. Numbers or tensors, or a
            sequence of both, as in ``[1, -c**2]`` with an unknown c; inputs with the number zero
            cost nothing.

    Returns:
        ``[n, outputs]``.

    Raises:
        ValueError: if the points are not ``[n, d]``, the outputs not ``[n, outputs]``, there is not
            one coefficient for each input, or all are zero.
    """
    points = as_points(points)
    operator = as_second_order(coefficients, points)
    channels = _channels(u, points, [operator])
    return tapes.second_order(u, points, operator) if channels is None else channels[0]


@unconverted
def laplacian(u: Network, points: tf.Tensor, axes: Sequence[int] | None = None) -> tf.Tensor:
    """Sum of the unmixed second derivatives of every output over ``axes``.

    Args:
        u: maps points ``[n, d]`` to outputs ``[n, outputs]``.
        points: ``[n, d]``.
        axes: the inputs to sum over, all by default. Where time is one of the inputs, name the
            spatial ones.

    Returns:
        ``[n, outputs]``.

    Raises:
        ValueError: if the points are not ``[n, d]``, the outputs not ``[n, outputs]``, an axis is
            not an input, or there is none.
    """
    points = as_points(points)
    axes = as_axes(axes, points)
    if not axes:
        raise ValueError("A Laplacian needs at least one axis to sum over. Received axes=[].")
    return second_order(u, points, [float(axes.count(k)) for k in range(points.shape[1])])


@unconverted
def biharmonic(u: Network, points: tf.Tensor, axes: Sequence[int] | None = None) -> tf.Tensor:
    """The Laplacian of the Laplacian of every output over ``axes``: plates, stream functions.

    Forward, it takes 9 channels in two dimensions where the fourth derivatives one by one take 13.

    Args:
        u: maps points ``[n, d]`` to outputs ``[n, outputs]``.
        points: ``[n, d]``.
        axes: the inputs to sum over, all by default, none twice. Where time is one of the inputs,
            name the spatial ones.

    Returns:
        ``[n, outputs]``.

    Raises:
        ValueError: if the points are not ``[n, d]``, the outputs not ``[n, outputs]``, an axis is
            not an input or named twice, or there is none.
    """
    points = as_points(points)
    axes = sorted(as_axes(axes, points))
    if not axes or len(set(axes)) < len(axes):
        raise ValueError(
            "A biharmonic operator needs at least one axis to sum over, and none of them twice. "
            f"Received axes={axes}."
        )
    channels = _channels(u, points, [Biharmonic(tuple(axes))])
    return tapes.biharmonic(u, points, axes) if channels is None else channels[0]


@unconverted
def divergence(u: Network, points: tf.Tensor, axes: Sequence[int] | None = None) -> tf.Tensor:
    """Divergence of a vector field: the derivative of output ``j`` along ``axes[j]``, summed.

    Args:
        u: maps points ``[n, d]`` to a field ``[n, len(axes)]``.
        points: ``[n, d]``.
        axes: the input that belongs to each output, all in order by default. Where time is one of
            the inputs, name the spatial ones.

    Returns:
        ``[n]``.

    Raises:
        ValueError: if there is not exactly one output for each axis, or an axis is not an input.
    """
    points = as_points(points)
    axes = as_axes(axes, points)
    channels = _channels(u, points, [(k,) for k in axes]) if axes else None
    if channels is None:
        return tapes.divergence(u, points, axes)
    tapes.check_field(channels[0].shape[1], axes)
    return tf.add_n([channel[:, j] for j, channel in enumerate(channels)])


@unconverted
def partial(u: Network, points: tf.Tensor, *axes: int) -> tf.Tensor:
    """A partial derivative of any order; axes ``0, 0, 1`` give ``d^3 u / dx_0^2 dx_1``.

    Args:
        u: maps points ``[n, d]`` to outputs ``[n, outputs]``.
        points: ``[n, d]``.
        *axes: the input of each differentiation in turn; none gives the outputs themselves.

    Returns:
        ``[n, outputs]``.

    Raises:
        ValueError: if the points are not ``[n, d]``, the outputs not ``[n, outputs]``, or an axis
            is not an input.
    """
    points = as_points(points)
    as_axes(axes, points)
    channels = _channels(u, points, [tuple(sorted(axes))])
    return tapes.partial(u, points, axes) if channels is None else channels[0]


def _channels(u: Any, points: tf.Tensor, channels: Sequence[Channel]) -> list[tf.Tensor] | None:
    """What a view answers; None for any other callable, and where the view cannot serve."""
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
