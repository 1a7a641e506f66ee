"""Networks on a box as ordinary Keras models: feedforward, of residual blocks, and gated."""

from collections.abc import Callable
from typing import Any

import keras

from ntk_keras.backend.checks import check_count
from ntk_keras.domains import Box

__all__ = ["feedforward", "gated", "residual"]


def feedforward(
    box: Box,
    outputs: int = 1,
    *,
    width: int = 500,
    depth: int = 3,
    activation: str | Callable[[Any], Any] = "tanh",
    input_scale: float = 1.0,
    dtype: str | None = None,
    seed: int | None = None,
    name: str | None = None,
) -> keras.Sequential:
    """A feedforward network on a box, with Xavier (Glorot normal) initialisation.

    Inputs are shifted and scaled inside the network to mean 0 and standard deviation
    ``input_scale`` over the box, so derivatives with respect to them stay in the units of the box.

    Args:
        box: where the inputs lie.
        outputs: number of outputs.
        width: neurons in each hidden layer, by default the paper's number; a fifth of it, the
            default of the other networks, is quicker on a CPU.
        depth: number of hidden layers.
        activation: of the hidden layers, as ``"tanh"`` or ``keras.ops.sin``.
        input_scale: more than 1 starts with faster oscillations, as solutions may ask for; of a
            sine network above all.
        dtype: of parameters and outputs, or a policy such as ``"mixed_float16"``; Keras' global
            setting by default.
        seed: of the initialisation; Keras' global random state by default.
        name: of the model; by default ``"network"``, then ``"network_1"`` and so on, so that any
            two can be joined.

    Returns:
        A built ``keras.Sequential`` from ``[n, d]`` to ``[n, outputs]``.

    Raises:
        ValueError: for a count or scale that is not positive, or a box that is flat along an axis.
        TypeError: for what is no box.
    """
    dense = _dense_layers(outputs=outputs, width=width, depth=depth, dtype=dtype, seed=seed)
    layers = [_standardise(box, dtype, input_scale)]
    layers += [dense(width, activation, f"hidden_{index + 1}") for index in range(depth)]
    layers.append(dense(outputs, None, "output"))
    return keras.Sequential([_input(box, dtype), *layers], name=name or _new_name())


def residual(
    box: Box,
    outputs: int = 1,
    *,
    width: int = 100,
    depth: int = 3,
    activation: str = "tanh",
    dtype: str | None = None,
    seed: int | None = None,
    name: str | None = None,
) -> keras.Model:
    """A network of residual blocks, h + s(W' s(W h + b) + b'), after one hidden layer.

    Args:
        box: where the inputs lie; they are standardised as in :func:`feedforward`.
        outputs: number of outputs.
        width: neurons in each hidden layer.
        depth: number of blocks of two hidden layers each.
        activation: of the hidden layers.
        dtype: of parameters and outputs, or a policy such as ``"mixed_float16"``; Keras' global
            setting by default.
        seed: of the initialisation; Keras' global random state by default.
        name: of the model; by default ``"network"``, then ``"network_1"`` and so on, so that any
            two can be joined.

    Returns:
        A functional Keras model from ``[n, d]`` to ``[n, outputs]``.

    Raises:
        ValueError: for a count that is not positive, or a box that is flat along an axis.
        TypeError: for what is no box.

    Reference:
        He et al., "Deep residual learning for image recognition", CVPR (2016).
    """
    dense = _dense_layers(outputs=outputs, width=width, depth=depth, dtype=dtype, seed=seed)
    standardise, points = _standardise(box, dtype), _input(box, dtype)
    hidden = dense(width, activation, "hidden")(standardise(points))
    for index in range(1, depth + 1):
        inner = dense(width, activation, f"block_{index}_inner")(hidden)
        outer = dense(width, activation, f"block_{index}_outer")(inner)
        hidden = keras.layers.Add(dtype=dtype, name=f"block_{index}")([hidden, outer])
    return keras.Model(points, dense(outputs, None, "output")(hidden), name=name or _new_name())


def gated(
    box: Box,
    outputs: int = 1,
    *,
    width: int = 100,
    depth: int = 3,
    activation: str = "tanh",
    dtype: str | None = None,
    seed: int | None = None,
    name: str | None = None,
) -> keras.Model:
    """The modified multilayer perceptron: every hidden layer blends two encodings of the inputs.

    With encodings U = s(W_U x + b_U) and V = s(W_V x + b_V), each layer's Z = s(W h + b) is a gate,
    and its output is (1 - Z) U + Z V.

    Args:
        box: where the inputs lie; they are standardised as in :func:`feedforward`.
        outputs: number of outputs.
        width: neurons in each hidden layer and encoding.
        depth: number of hidden layers.
        activation: of hidden layers and encodings.
        dtype: of parameters and outputs, or a policy such as ``"mixed_float16"``; Keras' global
            setting by default.
        seed: of the initialisation; Keras' global random state by default.
        name: of the model; by default ``"network"``, then ``"network_1"`` and so on, so that any
            two can be joined.

    Returns:
        A functional Keras model from ``[n, d]`` to ``[n, outputs]``.

    Raises:
        ValueError: for a count that is not positive, or a box that is flat along an axis.
        TypeError: for what is no box.

    Reference:
        Wang, Teng, Perdikaris, "Understanding and mitigating gradient flow pathologies in
        physics-informed neural networks", SIAM J. Sci. Comput. 43 (2021).
    """
    dense = _dense_layers(outputs=outputs, width=width, depth=depth, dtype=dtype, seed=seed)
    standardise, points = _standardise(box, dtype), _input(box, dtype)
    hidden = standardised = standardise(points)
    first = dense(width, activation, "encoding_1")(standardised)
    second = dense(width, activation, "encoding_2")(standardised)
    difference = keras.layers.Subtract(dtype=dtype, name="difference")([second, first])
    for index in range(1, depth + 1):
        gate = dense(width, activation, f"hidden_{index}")(hidden)
        blend = keras.layers.Multiply(dtype=dtype, name=f"blend_{index}")([gate, difference])
        hidden = keras.layers.Add(dtype=dtype, name=f"gated_{index}")([first, blend])
    return keras.Model(points, dense(outputs, None, "output")(hidden), name=name or _new_name())


def _dense_layers(
    *, outputs: int, width: int, depth: int, dtype: str | None, seed: int | None
) -> Callable[[int, Any, str], keras.layers.Dense]:
    """A maker of Dense layers, from units, activation and name; checks the counts."""
    for argument, value in (("outputs", outputs), ("width", width), ("depth", depth)):
        check_count(argument, value)
    seeds = keras.random.SeedGenerator(seed)
    return lambda units, activation, name: keras.layers.Dense(
        units,
        activation=activation,
        kernel_initializer=keras.initializers.GlorotNormal(seed=seeds),
        dtype=dtype,
        name=name,
    )


def _new_name() -> str:
    """A name that no network has had, counted as Keras counts those of layers."""
    earlier = keras.backend.get_uid("network") - 1
    return f"network_{earlier}" if earlier else "network"


def _input(box: Box, dtype: str | None) -> Any:
    """Points of a box, in the dtype of the parameters: a mixed policy computes in another one."""
    policy = keras.dtype_policies.get(dtype or keras.config.dtype_policy())
    return keras.Input((len(box.axes),), dtype=policy.variable_dtype)


def _standardise(box: Box, dtype: str | None, deviation: float = 1.0) -> keras.layers.Normalization:
    """To mean 0 and the standard deviation over the box."""
    if not isinstance(box, Box):
        raise TypeError(
            "A network is built on the box of its inputs, which are scaled there, as in "
            f"feedforward(nk.domains.Box(t=(0, 1), x=(-1, 1)), outputs=1). Received {box!r}."
        )
    widths = box.upper - box.lower
    if not all(widths > 0):
        raise ValueError(f"Inputs cannot be scaled on {box}: it is flat along an axis.")
    if not deviation > 0:
        raise ValueError(f"input_scale must be positive. Received input_scale={deviation}.")
    return keras.layers.Normalization(
        mean=((box.lower + box.upper) / 2).tolist(),
        variance=(widths**2 / 12 / deviation**2).tolist(),  # of the uniform distribution
        dtype=dtype,
        name="standardise",
    )
