"""Checks whether a residual takes second derivatives of a piecewise linear network."""

import functools
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from ntk_keras.derivatives.channels import Channel
from ntk_keras.derivatives.network_inputs import positions
from ntk_keras.derivatives.output_view import OutputView, place_of
from ntk_keras.derivatives.smoothness import (
    along_a_line,
    are_equal,
    is_of_second_order,
    piecewise_linear_part,
)
from ntk_keras.training.terms import Term

__all__ = ["check_second_derivatives"]

_ROWS = 64


def check_second_derivatives(
    term: Term, points: Any, network: keras.layers.Layer, view: Callable[..., Any]
) -> None:
    """Checks that the second derivatives in a residual are not zero because of the network.

    Args:
        term: term with this residual.
        points: nest of tensors.
        network: Keras model or layer, built.
        view: function that returns the network view for one evaluation, called with whether it is
            for training.

    Raises:
        ValueError: if the network is piecewise linear, so that they are zero at all points.

    Warns:
        UserWarning: otherwise, if a layer of the network is piecewise linear.
    """
    width = getattr(points, "shape", [None])[-1]
    unseen = isinstance(network, keras.Model) and not getattr(network, "inputs", None)
    if piecewise_linear_part(network, width) is None and not unseen:
        return
    u = _WatchedView(view(False))
    inputs = _second_derivatives_at(u, term, points)
    mend = 'Use a smooth activation: "tanh", "sin", "silu", "gelu" or "softplus".'
    for output in u.twice:
        part = piecewise_linear_part(_network_of(network, output), width)
        if part is None and len(inputs[output]) < 2:
            continue
        function = functools.partial(_value_of, view(False), output, u.called_with[output])
        derivatives = along_a_line(function, inputs[output]) if inputs[output] else None
        zero = derivatives is not None and not np.any(derivatives[1])
        # A custom call with several inputs is judged by its values only.
        if part is None and derivatives is not None and zero and not are_equal(derivatives[0]):
            part = f"model {network.name!r}"
        if part is None:
            continue
        trouble = (
            f"Term {term.name!r}: its residual takes second derivatives of the network, and {part} "
            "is piecewise linear"
        )
        if zero:
            raise ValueError(f"{trouble}: they are zero at all points, and train nothing. {mend}")
        warnings.warn(f"{trouble}, whose bends they leave out. {mend}", stacklevel=6)


def _network_of(network: Any, output: int | None) -> Any:
    """Returns the part of a network that computes one output; the whole network if unknown."""
    if output is None or len(network.outputs) == 1:
        return network
    return keras.Model(network.inputs, network.outputs[output], name=network.name)


def _value_of(view: Any, output: int | None, structure: Any, *inputs: Any) -> Any:
    values = view(*tf.nest.pack_sequence_as(structure, inputs))
    return values if output is None else keras.tree.flatten(values)[output]


class _WatchedView:
    """A view that records where a residual differentiates it twice, forward or by tapes.

    Attributes:
        twice: inputs at which it does, by the index of the output; None stands for all outputs.
        called_with: arguments of the call with these inputs, by the index of the output.
    """

    def __init__(self, view: Any):
        self._view = view
        self._noticed: dict[Any, tuple[Any, Any]] = {}
        self._places = positions(view.network)
        self.twice: dict[int | None, list[tf.Tensor]] = {}
        self.called_with: dict[int | None, Any] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._view, name)

    def __call__(self, *inputs: Any, **kwargs: Any) -> Any:
        flat = tf.nest.flatten(inputs)

        def value(place: int) -> Any:  # each output gets separate inputs that identify it
            output = place if getattr(self._view.network, "outputs", None) else None
            self.called_with[output] = inputs
            noticed = [self._notice(x, flat, output) for x in flat]
            values = self._view(*tf.nest.pack_sequence_as(inputs, noticed), **kwargs)
            return values if output is None else keras.tree.flatten(values)[output]

        return keras.tree.map_structure(value, self._places)

    call = __call__

    def __getitem__(self, key: Any) -> OutputView:
        return OutputView(self, key)

    def derivative_channels(
        self, points: Any, channels: Sequence[Channel], output: Any = None
    ) -> Any:
        known = getattr(self._view.network, "outputs", None)
        place = place_of(self._places, output, self._view.network) if known else None
        if any(map(is_of_second_order, channels)):
            self.twice[place], self.called_with[place] = [points], [points]
        noticed = self._notice(points, [points], place)
        return self._view.derivative_channels(noticed, channels, output)

    def _notice(self, x: Any, inputs: list[Any], place: int | None) -> Any:
        """Returns a copy of a tensor that notices second derivatives; always the same copy."""
        if not tf.is_tensor(x):
            return x
        key = id(x), place
        if key not in self._noticed:
            self._noticed[key] = x, self._noticing(x, inputs, place)
        return self._noticed[key][1]

    def _noticing(self, x: tf.Tensor, inputs: list[Any], place: int | None) -> tf.Tensor:
        @tf.custom_gradient
        def first_derivative(upstream: tf.Tensor) -> tuple[tf.Tensor, Callable]:
            def differentiated(upstream: tf.Tensor) -> tf.Tensor:
                self.twice[place] = inputs
                return upstream

            return tf.identity(upstream), differentiated

        @tf.custom_gradient
        def same(x: tf.Tensor) -> tuple[tf.Tensor, Callable]:
            return tf.identity(x), first_derivative

        return same(x)


def _second_derivatives_at(
    u: _WatchedView, term: Term, points: Any
) -> dict[int | None, list[tf.Tensor]]:
    """Returns some of the inputs at which a traced residual takes second derivatives, by output."""

    def inputs(*flat: tf.Tensor) -> list[list[tf.Tensor]]:
        term.evaluate(u, tf.nest.pack_sequence_as(points, flat))
        return [[tf.convert_to_tensor(x) for x in at] for at in u.twice.values()]

    flat = tf.nest.flatten(points)
    graph = tf.function(inputs, autograph=False).get_concrete_function(*flat)
    found = tf.nest.map_structure(lambda x: x[:: max(1, x.shape[0] // _ROWS)], graph(*flat))
    return dict(zip(u.twice, found, strict=True))
