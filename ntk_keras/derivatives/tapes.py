"""Derivatives with respect to inputs by nested gradient tapes: the general method.

The results are defined in :mod:`ntk_keras.derivatives`. Arguments are checked before.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from ntk_keras.derivatives.channels import SecondOrder

__all__ = [
    "biharmonic",
    "check_field",
    "divergence",
    "gradient",
    "hessian_diagonal",
    "partial",
    "second_order",
]

Network = Callable[[tf.Tensor], tf.Tensor]


class _RealOutputs:
    """A network whose complex outputs are split into real and imaginary parts, side by side.

    A tape keeps only the real part of the derivatives of complex values.
    """

    def __init__(self, network: Network):
        self._network = network
        self.are_parts = False

    def __call__(self, points: tf.Tensor) -> tf.Tensor:
        values = self._network(points)
        if isinstance(values, dict | list | tuple):
            keys = list(values) if isinstance(values, dict) else list(range(len(values)))
            raise ValueError(
                f"Derivatives are taken of one output. The network returns several, {keys}. Choose "
                f"one: u[{keys[0]!r}] in a residual, else lambda x: u(x)[{keys[0]!r}]."
            )
        self.are_parts = values.dtype.is_complex and values.shape.rank == 2
        if not self.are_parts:
            return values
        return tf.concat([tf.math.real(values), tf.math.imag(values)], axis=1)


def _by_parts(differentiate: Callable[..., tf.Tensor]) -> Callable[..., tf.Tensor]:
    """Extends a function for derivatives of real outputs, ``[n, outputs, ...]``, to complex."""

    @functools.wraps(differentiate)
    def differentiate_either(u: Network, points: tf.Tensor, *arguments: Any) -> tf.Tensor:
        outputs = _RealOutputs(u)
        derivatives = differentiate(outputs, points, *arguments)
        return tf.complex(*tf.split(derivatives, 2, 1)) if outputs.are_parts else derivatives

    return differentiate_either


@_by_parts
def gradient(u: Network, points: tf.Tensor) -> tf.Tensor:
    """Returns first derivatives, ``[n, outputs, d]``.

    Args:
        u: function from points ``[n, d]`` to outputs ``[n, outputs]``.
        points: points ``[n, d]``.
    """
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(points)
        outputs = _outputs(u, points)
    return tf.stack([_derivative(tape, output, points) for output in outputs], axis=1)


@_by_parts
def hessian_diagonal(u: Network, points: tf.Tensor, axes: Sequence[int]) -> tf.Tensor:
    """Returns unmixed second derivatives, ``[n, outputs, len(axes)]``.

    Args:
        u: function from points ``[n, d]`` to outputs ``[n, outputs]``.
        points: points ``[n, d]``.
        axes: inputs to differentiate by.
    """
    return _second_derivatives(u, points, axes)


@_by_parts
def second_order(u: Network, points: tf.Tensor, operator: SecondOrder) -> tf.Tensor:
    """Returns ``sum_k c_k d_k^2`` of every output, ``[n, outputs]``.

    Args:
        u: function from points ``[n, d]`` to outputs ``[n, outputs]``.
        points: points ``[n, d]``.
        operator: operator with the coefficients.
    """
    second = _second_derivatives(u, points, [k for (k,) in operator.first])
    weights = operator.column(points.dtype)  # [k, n or 1, 1]
    return tf.reduce_sum(
        second if weights is None else second * tf.transpose(weights, [1, 2, 0]), axis=-1
    )


@_by_parts
def biharmonic(u: Network, points: tf.Tensor, axes: Sequence[int]) -> tf.Tensor:
    """Returns the Laplacian of the Laplacian, ``[n, outputs]``.

    Args:
        u: function from points ``[n, d]`` to outputs ``[n, outputs]``.
        points: points ``[n, d]``.
        axes: inputs to sum over.
    """

    def laplacian(at: tf.Tensor) -> tf.Tensor:
        return tf.reduce_sum(_second_derivatives(u, at, axes), axis=-1)

    return tf.reduce_sum(_second_derivatives(laplacian, points, axes), axis=-1)


def divergence(u: Network, points: tf.Tensor, axes: Sequence[int]) -> tf.Tensor:
    """Returns the derivatives of output ``j`` along ``axes[j]``, summed, ``[n]``.

    Args:
        u: function from points ``[n, d]`` to a field ``[n, len(axes)]``.
        points: points ``[n, d]``.
        axes: input of each output.

    Raises:
        ValueError: if there is not exactly one output for each axis.
    """
    slopes = gradient(u, points)
    check_field(slopes.shape[1], axes)
    return tf.add_n([slopes[:, j, k] for j, k in enumerate(axes)])


def check_field(outputs: int, axes: Sequence[int]) -> None:
    """Checks that a field has one output for each axis.

    Args:
        outputs: number of outputs.
        axes: axes of the divergence.

    Raises:
        ValueError: if it has not, or if there is no axis.
    """
    if not axes:
        raise ValueError("A divergence needs at least one axis. Received axes=[].")
    if outputs != len(axes):
        raise ValueError(
            f"The divergence needs one output for each axis. Received {outputs} outputs and "
            f"axes={list(axes)}. Pass `axes=` to name the input that belongs to each output."
        )


@_by_parts
def partial(u: Network, points: tf.Tensor, axes: Sequence[int]) -> tf.Tensor:
    """Returns a partial derivative of any order, ``[n, outputs]``.

    Args:
        u: function from points ``[n, d]`` to outputs ``[n, outputs]``.
        points: points ``[n, d]``.
        axes: input of each differentiation in turn.
    """
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


def _second_derivatives(u: Network, points: tf.Tensor, axes: Sequence[int]) -> tf.Tensor:
    """Returns unmixed second derivatives along ``axes``, ``[n, outputs, len(axes)]``."""
    columns = tf.unstack(points, axis=1)
    # Only the requested columns are watched, each by itself: one reverse pass gives all first
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
    """Returns the gradient of ``target``, with zero instead of None where it is constant."""
    return tape.gradient(target, sources, unconnected_gradients=tf.UnconnectedGradients.ZERO)


def _outputs(u: Network, points: tf.Tensor) -> list[tf.Tensor]:
    """Returns the outputs of ``u``, one tensor ``[n]`` each."""
    values = u(points)
    if values.shape.rank != 2 or values.shape[1] is None:
        raise ValueError(
            "Derivatives need a network whose outputs have shape [n, outputs]. Received outputs of "
            f"shape {tuple(values.shape)} for points of shape {tuple(points.shape)}. Wrap the "
            "network in a function that returns one column for each output."
        )
    return tf.unstack(values, axis=1)
