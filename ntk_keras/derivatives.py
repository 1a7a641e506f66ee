"""Derivatives of a network with respect to its inputs, by nested gradient tapes.

Every function takes ``u``, any callable that maps points ``[n, d]`` to outputs ``[n, outputs]`` (a
Keras network, or the view of it that a term's residual receives), and points of shape ``[n, d]``.
A point's derivatives depend on that point alone, so a batch may be cut or joined freely. All
functions work eagerly and inside ``tf.function``, with and without XLA, in the dtype of the points,
and are themselves differentiable with respect to the parameters of ``u``.

Derivatives are in the units of ``outputs / points``: a rescaling inside ``u`` is differentiated
through.
"""

from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

__all__ = ["divergence", "gradient", "hessian_diagonal", "jacobian", "laplacian", "partial"]

Network = Callable[[tf.Tensor], tf.Tensor]


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
    points = _as_points(points)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(points)
        outputs = _outputs(u, points)
    return tf.stack([_derivative(tape, output, points) for output in outputs], axis=1)


jacobian = gradient


def hessian_diagonal(u: Network, points: tf.Tensor) -> tf.Tensor:
    """Unmixed second derivatives of every output with respect to every input.

    Args:
        u: maps points ``[n, d]`` to outputs ``[n, outputs]``.
        points: ``[n, d]``.

    Returns:
        ``[n, outputs, d]``; entry ``[i, j, k]`` is the second derivative of output ``j`` with
        respect to input ``k`` at point ``i``.

    Raises:
        ValueError: if the points are not ``[n, d]`` or the outputs not ``[n, outputs]``.
    """
    return _second_derivatives(u, points, None)


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
    return tf.reduce_sum(_second_derivatives(u, points, axes), axis=-1)


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
    points = _as_points(points)
    axes = _as_axes(axes, points)
    columns = tf.unstack(points, axis=1)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(columns)
        outputs = _outputs(u, tf.stack(columns, axis=1))
    if len(outputs) != len(axes):
        raise ValueError(
            f"The divergence needs one output for each axis. Received {len(outputs)} outputs and "
            f"axes={axes}. Pass `axes=` to name the input that belongs to each output."
        )
    return tf.add_n(
        [_derivative(tape, out, columns[k]) for out, k in zip(outputs, axes, strict=True)]
    )


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
    points = _as_points(points)
    _as_axes(axes, points)
    columns = tf.unstack(points, axis=1)

    def differentiate(remaining: Sequence[int]) -> list[tf.Tensor]:
        if not remaining:
            return _outputs(u, tf.stack(columns, axis=1))
        column = columns[remaining[-1]]
        with tf.GradientTape(persistent=True) as tape:
            tape.watch(column)
            values = differentiate(remaining[:-1])
        return [_derivative(tape, value, column) for value in values]

    return tf.stack(differentiate(axes), axis=1)


def _second_derivatives(u: Network, points: tf.Tensor, axes: Sequence[int] | None) -> tf.Tensor:
    """Unmixed second derivatives along ``axes``, ``[n, outputs, len(axes)]``."""
    points = _as_points(points)
    columns = tf.unstack(points, axis=1)
    axes = _as_axes(axes, points)
    if not axes:
        raise ValueError("A Laplacian needs at least one axis to sum over. Received axes=[].")
    # Only the columns asked for are watched, each by itself: one reverse pass gives all first
    # derivatives, and one more for each axis its second, never a full Hessian.
    watched = [columns[k] for k in axes]
    with tf.GradientTape(persistent=True) as outer:
        outer.watch(watched)
        with tf.GradientTape(persistent=True) as inner:
            inner.watch(watched)
            outputs = _outputs(u, tf.stack(columns, axis=1))
        first = [_derivative(inner, output, watched) for output in outputs]
    second = [
        [_derivative(outer, slope, column) for slope, column in zip(slopes, watched, strict=True)]
        for slopes in first
    ]
    return tf.stack([tf.stack(values, axis=1) for values in second], axis=1)


def _derivative(tape: tf.GradientTape, target: tf.Tensor, sources: tf.Tensor) -> tf.Tensor:
    """Gradient of ``target``; where it does not depend on a source, zero rather than None."""
    return tape.gradient(target, sources, unconnected_gradients=tf.UnconnectedGradients.ZERO)


def _outputs(u: Network, points: tf.Tensor) -> list[tf.Tensor]:
    """The outputs of ``u``, one tensor ``[n]`` each."""
    values = u(points)
    if values.shape.rank != 2 or values.shape[1] is None:
        raise ValueError(
            "Derivatives need a network whose outputs have shape [n, outputs]. Received outputs of "
            f"shape {tuple(values.shape)} for points of shape {tuple(points.shape)}. Wrap the "
            "network in a function that returns one column for each output."
        )
    return tf.unstack(values, axis=1)


def _as_points(points: tf.Tensor) -> tf.Tensor:
    points = tf.convert_to_tensor(points)
    if points.shape.rank != 2 or points.shape[1] is None:
        raise ValueError(
            "Derivatives need points of shape [n, d], d known. Received points of shape "
            f"{tuple(points.shape)}. Reshape a single column [n] to [n, 1]."
        )
    if not points.dtype.is_floating:
        raise ValueError(
            f"Derivatives need floating-point points. Received dtype {points.dtype.name}. "
            "Cast them to the dtype of the network."
        )
    return points


def _as_axes(axes: Sequence[int] | None, points: tf.Tensor) -> list[int]:
    width = points.shape[1]
    axes = list(range(width)) if axes is None else list(np.atleast_1d(axes).tolist())
    if not all(isinstance(axis, int) and 0 <= axis < width for axis in axes):
        raise ValueError(
            f"Every axis must be an input, 0 to {width - 1} for points of width {width}. "
            f"Received axes={axes}."
        )
    return axes
