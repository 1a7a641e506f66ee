"""Layers that embed the inputs of a network, and their forward derivatives."""

import functools
import math
from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from ntk_keras.backend.checks import check_count
from ntk_keras.derivatives import register_layer, taylor
from ntk_keras.derivatives.activations import cos, sin
from ntk_keras.domains import Box, Shape

__all__ = ["FourierFeatures", "PeriodicEmbedding"]


@keras.saving.register_keras_serializable("ntk_keras")
class FourierFeatures(keras.layers.Layer):
    """Random Fourier features ``(cos(B x), sin(B x))``, with B drawn from ``N(0, scale^2)``.

    They let a network learn high frequencies. B is drawn once, not trained, and saved with the
    network.

    Args:
        features: number of frequencies m; the output has 2 m columns.
        scale: standard deviation of the frequencies, in radians per unit of the inputs.
        seed: integer for the frequencies; Keras' global random state by default.
        **kwargs: further arguments of a Keras layer.

    Raises:
        ValueError: if the number of features is not positive.

    Example::

        features = nk.networks.FourierFeatures(32, scale=4 * math.pi)
        points = keras.Input((2,))
        network = nk.networks.feedforward(features.embed(box), width=50)
        model = keras.Model(points, network(features(points)))

    Reference:
        Tancik et al., "Fourier features let networks learn high frequency functions in low
        dimensional domains", NeurIPS (2020).
    """

    def __init__(self, features: int, scale: float = 1.0, seed: int | None = None, **kwargs: Any):
        super().__init__(**kwargs)
        self.features = check_count("features", features)
        self.scale = scale
        self.seed = seed

    def build(self, input_shape: Sequence[int | None]) -> None:
        """Draws the frequencies."""
        self.frequencies = self.add_weight(
            shape=(input_shape[-1], self.features),
            initializer=keras.initializers.RandomNormal(stddev=self.scale, seed=self.seed),
            trainable=False,
            name="frequencies",
        )

    def call(self, inputs: Any) -> Any:
        """Maps ``[n, d]`` to ``[n, 2 m]``."""
        phases = keras.ops.matmul(inputs, self.frequencies)
        return keras.ops.concatenate([keras.ops.cos(phases), keras.ops.sin(phases)], axis=-1)

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> tuple:
        """Returns the shape of :meth:`call`'s result."""
        return (*input_shape[:-1], 2 * self.features)

    def embed(self, box: Shape) -> Box:
        """Returns the box of the embedded points, on which to build a network."""
        return Box(**_circles(2 * self.features))

    def get_config(self) -> dict[str, Any]:
        own = {"features": self.features, "scale": self.scale, "seed": self.seed}
        return {**super().get_config(), **own}


@keras.saving.register_keras_serializable("ntk_keras")
class PeriodicEmbedding(keras.layers.Layer):
    """A periodic embedding: ``x_k`` becomes ``(cos(2 pi x_k / P_k), sin(2 pi x_k / P_k))``.

    With several harmonics, ``cos(2 pi m x_k / P_k)`` and ``sin(2 pi m x_k / P_k)`` for ``m = 2, 3,
    ...`` follow, by which a network learns steep layers sooner. Whatever follows this layer has the
    period ``P_k`` in ``x_k`` exactly, with all its derivatives, so no boundary condition is needed
    there. It comes first in a network, in the units of the inputs.

    Args:
        periods: period of each input, in its units; None for an input that is not periodic and
            passes unchanged.
        harmonics: number of frequencies of each periodic input.
        **kwargs: further arguments of a Keras layer.

    Raises:
        ValueError: if a period is not positive, or there is none, or no harmonic.

    Example::

        embedding = nk.networks.PeriodicEmbedding([None, 2.0], harmonics=10)  # period 2 in x
        points = keras.Input((2,))
        network = nk.networks.feedforward(embedding.embed(box), width=100)
        model = keras.Model(points, network(embedding(points)))

    Reference:
        Dong, Ni, "A method for representing periodic functions and enforcing exactly periodic
        boundary conditions with deep neural networks", J. Comput. Phys. 435 (2021).
    """

    def __init__(self, periods: Sequence[float | None], harmonics: int = 1, **kwargs: Any):
        super().__init__(**kwargs)
        self.periods = [None if period is None else float(period) for period in periods]
        given = [period for period in self.periods if period is not None]
        if not given or min(given) <= 0:
            raise ValueError(
                "PeriodicEmbedding needs one period for each input, positive or None, and at least "
                f"one that is not None. Received {list(periods)}."
            )
        self.harmonics = check_count("harmonics", harmonics)
        periodic = [k for k, period in enumerate(self.periods) if period is not None]
        self.others = [k for k, period in enumerate(self.periods) if period is None]
        self.columns = periodic * harmonics
        orders = range(1, harmonics + 1)
        self.rates = [2 * math.pi * order / period for order in orders for period in given]

    def build(self, input_shape: Sequence[int | None]) -> None:
        """Checks that there is a period for each input."""
        self._check_inputs(input_shape[-1])

    def call(self, inputs: Any) -> Any:
        """Maps ``[n, d]`` to cosines, sines, and the inputs that are not periodic."""
        rates = keras.ops.convert_to_tensor(self.rates, inputs.dtype)
        phases = keras.ops.take(inputs, self.columns, axis=-1) * rates
        parts = [keras.ops.cos(phases), keras.ops.sin(phases)]
        if self.others:
            parts.append(keras.ops.take(inputs, self.others, axis=-1))
        return keras.ops.concatenate(parts, axis=-1)

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> tuple:
        """Returns the shape of :meth:`call`'s result."""
        return (*input_shape[:-1], 2 * len(self.columns) + len(self.others))

    def embed(self, box: Shape) -> Box:
        """Returns the box of the embedded points, on which to build a network.

        Args:
            box: box of the inputs; its axes that are not periodic come last, unchanged.

        Raises:
            ValueError: if the box has not one axis for each period.
        """
        self._check_inputs(len(box.axes))
        bounds = zip(box.axes, box.lower, box.upper, strict=True)
        unchanged = [interval for k, interval in enumerate(bounds) if k in self.others]
        kept = {axis: (lower, upper) for axis, lower, upper in unchanged}
        return Box(**_circles(2 * len(self.columns)), **kept)

    def get_config(self) -> dict[str, Any]:
        own = {"periods": self.periods, "harmonics": self.harmonics}
        return {**super().get_config(), **own}

    def _check_inputs(self, count: int | None) -> None:
        if count != len(self.periods):
            raise ValueError(
                f"PeriodicEmbedding has {len(self.periods)} periods, its inputs {count} columns."
            )


def _circles(count: int) -> dict[str, tuple[float, float]]:
    """Intervals of cosines and sines by name."""
    return {f"feature_{index + 1}": (-1.0, 1.0) for index in range(count)}


def _circle(phases: taylor.Jet) -> list[taylor.Jet]:
    return [taylor.pointwise(phases, cos), taylor.pointwise(phases, sin)]


def _fourier(layer: Any, inputs: Sequence[taylor.Jet], hook: Any) -> taylor.Jet:
    frequencies = tf.convert_to_tensor(layer.frequencies)
    return taylor.concatenate(*_circle(taylor.linear(inputs[0], frequencies)))


def _periodic(layer: Any, inputs: Sequence[taylor.Jet], hook: Any) -> taylor.Jet:
    select = functools.partial(taylor.select, inputs[0])
    rates = tf.constant(layer.rates, layer.compute_dtype)
    parts = _circle(taylor.scale(select(layer.columns), rates))
    return taylor.concatenate(*parts, *([select(layer.others)] if layer.others else []))


register_layer(FourierFeatures, _fourier)
register_layer(PeriodicEmbedding, _periodic)
