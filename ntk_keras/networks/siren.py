"""Sinusoidal networks with an initialisation that makes them trainable."""

import math
from typing import Any

import keras

from ntk_keras.backend.checks import check_count, check_range
from ntk_keras.domains import Shape
from ntk_keras.networks.layers import Sine
from ntk_keras.networks.parts import new_name, points_of, standardise

__all__ = ["siren"]


def siren(
    box: Shape,
    outputs: int = 1,
    *,
    width: int = 100,
    depth: int = 3,
    frequency: float = 30.0,
    hidden_frequency: float = 30.0,
    dtype: str | None = None,
    seed: int | None = None,
    name: str | None = None,
) -> keras.Sequential:
    """Returns a sinusoidal network (SIREN), ``sin(w (W x + b))`` layer by layer.

    Inputs are scaled to [-1, 1] over the box. In a layer with n inputs, kernels start uniform
    within ``1 / n`` in the first layer and within ``sqrt(6 / n) / w`` after it, so that the
    activations of all layers start alike. Biases start uniform within ``1 / sqrt(n)``.

    Args:
        box: box of the inputs.
        outputs: number of outputs.
        width: number of neurons in each hidden layer.
        depth: number of hidden layers.
        frequency: frequency w of the first layer. The larger it is, the faster the network
            oscillates at the start. Images take 30; residuals with second derivatives, which grow
            as its square, often work better with 1 to 10.
        hidden_frequency: frequency w of the other layers, and in the bounds of the output's kernel.
        dtype: dtype of parameters and outputs, or a policy such as ``"mixed_float16"``; Keras'
            global setting by default.
        seed: integer for the initialisation; Keras' global random state by default.
        name: name of the model; by default ``"network"``, then ``"network_1"`` and so on, so that
            any two can be joined.

    Returns:
        A built ``keras.Sequential`` from ``[n, d]`` to ``[n, outputs]``.

    Raises:
        ValueError: if a count or frequency is not positive, or the box is flat along an axis.
        TypeError: if ``box`` is not a box.

    Reference:
        Sitzmann et al., "Implicit neural representations with periodic activation functions",
        NeurIPS (2020).
    """
    for argument, value in (("outputs", outputs), ("width", width), ("depth", depth)):
        check_count(argument, value)
    check_range("frequency", frequency, "(0, inf)")
    check_range("hidden_frequency", hidden_frequency, "(0, inf)")
    layers: list[Any] = [standardise(box, dtype, 1 / math.sqrt(3))]
    seeds = keras.random.SeedGenerator(seed)

    def dense(units: int, fan_in: int, bound: float, name: str) -> keras.layers.Dense:
        within = 1 / math.sqrt(fan_in)
        return keras.layers.Dense(
            units,
            kernel_initializer=keras.initializers.RandomUniform(-bound, bound, seeds),
            bias_initializer=keras.initializers.RandomUniform(-within, within, seeds),
            dtype=dtype,
            name=name,
        )

    fan_in = len(box.axes)
    later = math.sqrt(6 / width) / hidden_frequency
    for index in range(1, depth + 1):
        bound, rate = (later, hidden_frequency) if index > 1 else (1 / fan_in, frequency)
        layers.append(dense(width, fan_in, bound, f"hidden_{index}"))
        layers.append(Sine(rate, dtype=dtype, name=f"hidden_{index}_activation"))
        fan_in = width
    layers.append(dense(outputs, width, later, "output"))
    return keras.Sequential([points_of(box, dtype), *layers], name=name or new_name())
