"""Networks on a box as ordinary Keras models: feedforward, residual and gated."""

from collections.abc import Callable
from typing import Any

import keras

from ntk_keras.domains import Shape
from ntk_keras.networks.parts import dense_layers, new_name, points_of, standardise, through

__all__ = ["feedforward", "gated", "residual"]

Activation = str | Callable[[Any], Any]


def feedforward(
    box: Shape,
    outputs: int = 1,
    *,
    width: int = 500,
    depth: int = 3,
    activation: Activation = "tanh",
    input_scale: float = 1.0,
    factorized: bool = False,
    dtype: str | None = None,
    seed: int | None = None,
    name: str | None = None,
) -> keras.Sequential:
    """Returns a feedforward network on a box, with Xavier (Glorot normal) initialisation.

    Inputs are shifted and scaled inside the network to mean 0 and standard deviation
    ``input_scale`` over the box, so derivatives with respect to them stay in the units of the box.

    Args:
        box: box of the inputs.
        outputs: number of outputs.
        width: number of neurons in each hidden layer, by default the paper's number; a fifth of it,
            the default of the other networks, is faster on a CPU.
        depth: number of hidden layers.
        activation: activation of the hidden layers, such as ``"tanh"`` or ``keras.ops.sin``, or a
            layer, such as ``AdaptiveActivation("tanh")``, of which each hidden layer gets a copy.
        input_scale: standard deviation of the scaled inputs. A value above 1 starts with faster
            oscillations, which suits some solutions, above all for sine networks.
        factorized: whether kernels are factorized, see :class:`FactorizedDense`.
        dtype: dtype of parameters and outputs, or a policy such as ``"mixed_float16"``; Keras'
            global setting by default.
        seed: integer for the initialisation; Keras' global random state by default.
        name: name of the model; by default ``"network"``, then ``"network_1"`` and so on, so that
            any two can be joined.

    Returns:
        A built ``keras.Sequential`` from ``[n, d]`` to ``[n, outputs]``.

    Raises:
        ValueError: if a count or scale is not positive, or the box is flat along an axis.
        TypeError: if ``box`` is not a box.
    """
    dense = dense_layers(
        outputs=outputs, width=width, depth=depth, dtype=dtype, seed=seed, factorized=factorized
    )
    layers = [standardise(box, dtype, input_scale)]
    for index in range(depth):
        layers += dense(width, activation, f"hidden_{index + 1}")
    layers += dense(outputs, None, "output")
    return keras.Sequential([points_of(box, dtype), *layers], name=name or new_name())


def residual(
    box: Shape,
    outputs: int = 1,
    *,
    width: int = 100,
    depth: int = 3,
    activation: Activation = "tanh",
    factorized: bool = False,
    dtype: str | None = None,
    seed: int | None = None,
    name: str | None = None,
) -> keras.Model:
    """Returns a network of residual blocks ``h + s(W' s(W h + b) + b')`` after one hidden layer.

    Args:
        box: box of the inputs, which are standardised as in :func:`feedforward`.
        outputs: number of outputs.
        width: number of neurons in each hidden layer.
        depth: number of blocks of two hidden layers each.
        activation: activation of the hidden layers, as in :func:`feedforward`.
        factorized: whether kernels are factorized, see :class:`FactorizedDense`.
        dtype: dtype of parameters and outputs, or a policy such as ``"mixed_float16"``; Keras'
            global setting by default.
        seed: integer for the initialisation; Keras' global random state by default.
        name: name of the model; by default ``"network"``, then ``"network_1"`` and so on, so that
            any two can be joined.

    Returns:
        A functional Keras model from ``[n, d]`` to ``[n, outputs]``.

    Raises:
        ValueError: if a count is not positive, or the box is flat along an axis.
        TypeError: if ``box`` is not a box.

    Reference:
        He et al., "Deep residual learning for image recognition", CVPR (2016).
    """
    dense = dense_layers(
        outputs=outputs, width=width, depth=depth, dtype=dtype, seed=seed, factorized=factorized
    )
    layer, points = standardise(box, dtype), points_of(box, dtype)
    hidden = through(layer(points), dense(width, activation, "hidden"))
    for index in range(1, depth + 1):
        inner = through(hidden, dense(width, activation, f"block_{index}_inner"))
        outer = through(inner, dense(width, activation, f"block_{index}_outer"))
        hidden = keras.layers.Add(dtype=dtype, name=f"block_{index}")([hidden, outer])
    values = through(hidden, dense(outputs, None, "output"))
    return keras.Model(points, values, name=name or new_name())


def gated(
    box: Shape,
    outputs: int = 1,
    *,
    width: int = 100,
    depth: int = 3,
    activation: Activation = "tanh",
    factorized: bool = False,
    dtype: str | None = None,
    seed: int | None = None,
    name: str | None = None,
) -> keras.Model:
    """Returns a modified multilayer perceptron, whose layers blend two encodings of the inputs.

    With encodings ``U = s(W_U x + b_U)`` and ``V = s(W_V x + b_V)``, each layer's
    ``Z = s(W h + b)`` is a gate, and its output is ``(1 - Z) U + Z V``.

    Args:
        box: box of the inputs, which are standardised as in :func:`feedforward`.
        outputs: number of outputs.
        width: number of neurons in each hidden layer and encoding.
        depth: number of hidden layers.
        activation: activation of hidden layers and encodings, as in :func:`feedforward`.
        factorized: whether kernels are factorized, see :class:`FactorizedDense`.
        dtype: dtype of parameters and outputs, or a policy such as ``"mixed_float16"``; Keras'
            global setting by default.
        seed: integer for the initialisation; Keras' global random state by default.
        name: name of the model; by default ``"network"``, then ``"network_1"`` and so on, so that
            any two can be joined.

    Returns:
        A functional Keras model from ``[n, d]`` to ``[n, outputs]``.

    Raises:
        ValueError: if a count is not positive, or the box is flat along an axis.
        TypeError: if ``box`` is not a box.

    Reference:
        Wang, Teng, Perdikaris, "Understanding and mitigating gradient flow pathologies in
        physics-informed neural networks", SIAM J. Sci. Comput. 43 (2021).
    """
    dense = dense_layers(
        outputs=outputs, width=width, depth=depth, dtype=dtype, seed=seed, factorized=factorized
    )
    layer, points = standardise(box, dtype), points_of(box, dtype)
    hidden = standardised = layer(points)
    first = through(standardised, dense(width, activation, "encoding_1"))
    second = through(standardised, dense(width, activation, "encoding_2"))
    difference = keras.layers.Subtract(dtype=dtype, name="difference")([second, first])
    for index in range(1, depth + 1):
        gate = through(hidden, dense(width, activation, f"hidden_{index}"))
        blend = keras.layers.Multiply(dtype=dtype, name=f"blend_{index}")([gate, difference])
        hidden = keras.layers.Add(dtype=dtype, name=f"gated_{index}")([first, blend])
    values = through(hidden, dense(outputs, None, "output"))
    return keras.Model(points, values, name=name or new_name())
