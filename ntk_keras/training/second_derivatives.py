"""Whether a term asks for second derivatives that a piecewise linear network does not have."""

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from ntk_keras.derivatives.channels import Channel
from ntk_keras.derivatives.network_view import OutputView
from ntk_keras.derivatives.smoothness import (
    along_a_line,
    is_of_second_order,
    piecewise_linear_part,
)
from ntk_keras.training.terms import Term

__all__ = ["check_second_derivatives"]

_ROWS = 64


def check_second_derivatives(
    term: Term, points: Any, network: keras.layers.Layer, view: Callable[..., Any]
) -> None:
    """Checks that the second derivatives which a residual takes are not zero everywhere.

    Args:
        term: whose residual is looked at.
        points: a nest of tensors.
        network: built.
        view: the network as one evaluation of the residual is to see it, in training or not.

    Raises:
        ValueError: if they are, as the network is piecewise linear.

    Warns:
        UserWarning: if a layer of it is.
    """
    width = getattr(points, "shape", [None])[-1]
    part = piecewise_linear_part(network, width)
    if part is None:
        return
    u = _WatchedView(view(False))
    inputs = _second_derivatives_at(u, term, points)
    if u.twice is None:
        return
    trouble = (
        f"Term {term.name!r}: its residual takes second derivatives of the network, and {part} is "
        "piecewise linear"
    )
    mend = 'Use a smooth activation: "tanh", "sin", "silu", "gelu" or "softplus".'
    derivatives = along_a_line(view(False), inputs) if inputs else None
    if derivatives is not None and not np.any(derivatives[1]):
        raise ValueError(f"{trouble}: they are zero at all points, and train nothing. {mend}")
    warnings.warn(f"{trouble}, whose bends they leave out. {mend}", stacklevel=6)


class _WatchedView:
    """A view that knows where a residual differentiates it twice, by whichever way."""

    def __init__(self, view: Any):
        self._view = view
        self._noticed: dict[int, tuple[Any, Any]] = {}
        self.twice: list[tf.Tensor] | None = None  # the inputs

    def __getattr__(self, name: str) -> Any:
        return getattr(self._view, name)

    def __call__(self, *inputs: Any, **kwargs: Any) -> Any:
        flat = tf.nest.flatten(inputs)
        noticed = [self._notice(x, flat) for x in flat]
        return self._view(*tf.nest.pack_sequence_as(inputs, noticed), **kwargs)

    call = __call__

    def __getitem__(self, key: Any) -> OutputView:
        return OutputView(self, key)

    def derivative_channels(
        self, points: Any, channels: Sequence[Channel], output: Any = None
    ) -> Any:
        if any(map(is_of_second_order, channels)):
            self.twice = [points]
        return self._view.derivative_channels(self._notice(points, [points]), channels, output)

    def _notice(self, x: Any, inputs: list[Any]) -> Any:
        """A tensor that is noticed when a gradient by it is differentiated; one for each given."""
        if not tf.is_tensor(x):
            return x
        if id(x) not in self._noticed:
            self._noticed[id(x)] = x, self._noticing(x, inputs)
        return self._noticed[id(x)][1]

    def _noticing(self, x: tf.Tensor, inputs: list[Any]) -> tf.Tensor:
        @tf.custom_gradient
        def first_derivative(upstream: tf.Tensor) -> tuple[tf.Tensor, Callable]:
            def differentiated(upstream: tf.Tensor) -> tf.Tensor:
                self.twice = inputs
                return upstream

            return tf.identity(upstream), differentiated

        @tf.custom_gradient
        def same(x: tf.Tensor) -> tuple[tf.Tensor, Callable]:
            return tf.identity(x), first_derivative

        return same(x)


def _second_derivatives_at(u: _WatchedView, term: Term, points: Any) -> list[tf.Tensor]:
    """Some of the points at which a residual differentiates twice, found by tracing it."""

    def inputs(*flat: tf.Tensor) -> list[tf.Tensor]:
        term.evaluate(u, tf.nest.pack_sequence_as(points, flat))
        return [tf.convert_to_tensor(x) for x in u.twice or []]

    flat = tf.nest.flatten(points)
    graph = tf.function(inputs, autograph=False).get_concrete_function(*flat)
    return [x[:: max(1, x.shape[0] // _ROWS)] for x in graph(*flat)]
