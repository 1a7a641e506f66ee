"""Networks for residuals, as ordinary Keras models, and layers that embed their inputs.

All of them are differentiated forward (see :mod:`ntk_keras.derivatives`), but for functions of
one's own.
"""

import functools
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import keras
import tensorflow as tf

from ntk_keras.backend.checks import check_count
from ntk_keras.backend.variables import WrappedVariable
from ntk_keras.derivatives import register_layer, taylor
from ntk_keras.derivatives.activations import cos, sin
from ntk_keras.domains import Box

__all__ = [
    "CallableNetwork",
    "FourierFeatures",
    "PeriodicEmbedding",
    "feedforward",
    "gated",
    "residual",
]


def feedforward(
    box: Box,
    outputs: int = 1,
    *,
    width: int = 500,
    depth: int = 3,
    activation: str = "tanh",
    dtype: str | None = None,
    seed: int | None = None,
) -> keras.Sequential:
    """A feedforward network on a box, with Xavier (Glorot normal) initialisation.

    Inputs are shifted and scaled inside the network to mean 0 and standard deviation 1 over the
    box, so derivatives with respect to them stay in the units of the box.

    Args:
        box: where the inputs lie.
        outputs: number of outputs.
        width: neurons in each hidden layer.
        depth: number of hidden layers.
        activation: of the hidden layers.
        dtype: of parameters and outputs, or a policy such as ``"mixed_float16"``; Keras' global
            setting by default.
        seed: of the initialisation; Keras' global random state by default.

    Returns:
        A built ``keras.Sequential`` from ``[n, d]`` to ``[n, outputs]``.

    Raises:
        ValueError: for a count that is not positive, or a box that is flat along an axis.
    """
    dense = _dense_layers(outputs=outputs, width=width, depth=depth, dtype=dtype, seed=seed)
    layers = [_standardise(box, dtype)]
    layers += [dense(width, activation, f"hidden_{index + 1}") for index in range(depth)]
    layers.append(dense(outputs, None, "output"))
    return keras.Sequential([_input(box, dtype), *layers], name="network")


def residual(
    box: Box,
    outputs: int = 1,
    *,
    width: int = 100,
    depth: int = 3,
    activation: str = "tanh",
    dtype: str | None = None,
    seed: int | None = None,
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

    Returns:
        A functional Keras model from ``[n, d]`` to ``[n, outputs]``.

    Raises:
        ValueError: for a count that is not positive, or a box that is flat along an axis.

    Reference:
        He et al., "Deep residual learning for image recognition", CVPR (2016).
    """
    dense = _dense_layers(outputs=outputs, width=width, depth=depth, dtype=dtype, seed=seed)
    points = _input(box, dtype)
    hidden = dense(width, activation, "hidden")(_standardise(box, dtype)(points))
    for index in range(1, depth + 1):
        inner = dense(width, activation, f"block_{index}_inner")(hidden)
        outer = dense(width, activation, f"block_{index}_outer")(inner)
        hidden = keras.layers.Add(dtype=dtype, name=f"block_{index}")([hidden, outer])
    return keras.Model(points, dense(outputs, None, "output")(hidden), name="network")


def gated(
    box: Box,
    outputs: int = 1,
    *,
    width: int = 100,
    depth: int = 3,
    activation: str = "tanh",
    dtype: str | None = None,
    seed: int | None = None,
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

    Returns:
        A functional Keras model from ``[n, d]`` to ``[n, outputs]``.

    Raises:
        ValueError: for a count that is not positive, or a box that is flat along an axis.

    Reference:
        Wang, Teng, Perdikaris, "Understanding and mitigating gradient flow pathologies in
        physics-informed neural networks", SIAM J. Sci. Comput. 43 (2021).
    """
    dense = _dense_layers(outputs=outputs, width=width, depth=depth, dtype=dtype, seed=seed)
    points = _input(box, dtype)
    hidden = standardised = _standardise(box, dtype)(points)
    first = dense(width, activation, "encoding_1")(standardised)
    second = dense(width, activation, "encoding_2")(standardised)
    difference = keras.layers.Subtract(dtype=dtype, name="difference")([second, first])
    for index in range(1, depth + 1):
        gate = dense(width, activation, f"hidden_{index}")(hidden)
        blend = keras.layers.Multiply(dtype=dtype, name=f"blend_{index}")([gate, difference])
        hidden = keras.layers.Add(dtype=dtype, name=f"gated_{index}")([first, blend])
    return keras.Model(points, dense(outputs, None, "output")(hidden), name="network")


def _dense_layers(
    *, outputs: int, width: int, depth: int, dtype: str | None, seed: int | None
) -> Callable[[int, str | None, str], keras.layers.Dense]:
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


def _input(box: Box, dtype: str | None) -> Any:
    """Points of a box, in the dtype of the parameters: a mixed policy computes in another one."""
    policy = keras.dtype_policies.get(dtype or keras.config.dtype_policy())
    return keras.Input((len(box.axes),), dtype=policy.variable_dtype)


def _standardise(box: Box, dtype: str | None) -> keras.layers.Normalization:
    """To mean 0 and standard deviation 1 over the box."""
    widths = box.upper - box.lower
    if not all(widths > 0):
        raise ValueError(f"Inputs cannot be scaled on {box}: it is flat along an axis.")
    return keras.layers.Normalization(
        mean=((box.lower + box.upper) / 2).tolist(),
        variance=(widths**2 / 12).tolist(),  # of the uniform distribution
        dtype=dtype,
        name="standardise",
    )


@keras.saving.register_keras_serializable("ntk_keras")
class FourierFeatures(keras.layers.Layer):
    """Random Fourier features (cos(B x), sin(B x)), the entries of B drawn from N(0, scale^2).

    They let a network learn high frequencies; B is drawn once, not trained, and saved with the
    network.

    Args:
        features: number of frequencies m; the output has 2 m columns.
        scale: standard deviation of the frequencies, in radians for each unit of the inputs.
        seed: of the frequencies; Keras' global random state by default.
        **kwargs: as for any Keras layer.

    Raises:
        ValueError: for a number of features that is not positive.

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
        """``[n, d]`` to ``[n, 2 m]``."""
        phases = keras.ops.matmul(inputs, self.frequencies)
        return keras.ops.concatenate([keras.ops.cos(phases), keras.ops.sin(phases)], axis=-1)

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> tuple:
        """The shape of :meth:`call`'s result."""
        return (*input_shape[:-1], 2 * self.features)

    def get_config(self) -> dict[str, Any]:
        own = {"features": self.features, "scale": self.scale, "seed": self.seed}
        return {**super().get_config(), **own}


@keras.saving.register_keras_serializable("ntk_keras")
class PeriodicEmbedding(keras.layers.Layer):
    """Makes a network periodic: x_k becomes (cos(2 pi x_k / P_k), sin(2 pi x_k / P_k)).

    Whatever follows this layer has the period P_k in x_k exactly, with all its derivatives, so that
    no boundary condition is needed there. It comes first in a network, in the units of the inputs.

    Args:
        periods: one for each input, None for an input that is not periodic and passes unchanged.
        **kwargs: as for any Keras layer.

    Raises:
        ValueError: for a period that is not positive, or none at all.

    Reference:
        Dong, Ni, "A method for representing periodic functions and enforcing exactly periodic
        boundary conditions with deep neural networks", J. Comput. Phys. 435 (2021).
    """

    def __init__(self, periods: Sequence[float | None], **kwargs: Any):
        super().__init__(**kwargs)
        self.periods = [None if period is None else float(period) for period in periods]
        given = [period for period in self.periods if period is not None]
        if not given or min(given) <= 0:
            raise ValueError(
                "PeriodicEmbedding needs one period for each input, positive or None, and at least "
                f"one that is not None. Received {list(periods)}."
            )
        self.periodic = [k for k, period in enumerate(self.periods) if period is not None]
        self.others = [k for k, period in enumerate(self.periods) if period is None]
        self.rates = [2 * math.pi / period for period in given]

    def build(self, input_shape: Sequence[int | None]) -> None:
        """Checks that there is a period for each input."""
        if input_shape[-1] != len(self.periods):
            raise ValueError(
                f"PeriodicEmbedding has {len(self.periods)} periods, its inputs {input_shape[-1]} "
                "columns."
            )

    def call(self, inputs: Any) -> Any:
        """``[n, d]`` to cosines, sines, and the inputs that are not periodic."""
        rates = keras.ops.convert_to_tensor(self.rates, inputs.dtype)
        phases = keras.ops.take(inputs, self.periodic, axis=-1) * rates
        parts = [keras.ops.cos(phases), keras.ops.sin(phases)]
        if self.others:
            parts.append(keras.ops.take(inputs, self.others, axis=-1))
        return keras.ops.concatenate(parts, axis=-1)

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> tuple:
        """The shape of :meth:`call`'s result."""
        return (*input_shape[:-1], 2 * len(self.periodic) + len(self.others))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "periods": self.periods}


class CallableNetwork(keras.layers.Layer):
    """A network that is no Keras model: a function, or a ``tf.Module``, and its variables.

    Training writes the variables that are given, so whoever holds them sees them change. Nested
    tapes differentiate it. ``save_weights`` keeps it; ``save`` cannot, as a file holds no code.

    Args:
        function: maps what the residuals give it, ``[n, d]`` or several inputs, to outputs.
        variables: that it reads and training is to change, ``tf.Variable`` or ``keras.Variable``,
            of one dtype, which is that of points.
        **kwargs: as for any Keras layer.

    Raises:
        TypeError: for a function that is not callable, or what is no variable.
        ValueError: for no variables, or such of several dtypes.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        variables: Iterable[tf.Variable | keras.Variable],
        **kwargs: Any,
    ):
        variables = list(variables)
        others = [v for v in variables if not isinstance(v, tf.Variable | keras.Variable)]
        if not callable(function) or others:
            raise TypeError(
                "A CallableNetwork needs a function of points and a list of the tf.Variables that "
                f"it reads. Received {function!r} and {others or variables!r}."
            )
        dtypes = {tf.as_dtype(v.dtype).name for v in variables}
        if len(dtypes) != 1:
            raise ValueError(
                "A CallableNetwork needs variables of one dtype, or there is nothing to train. "
                f"Received {len(variables)} variables of dtypes {sorted(dtypes)}."
            )
        super().__init__(dtype=dtypes.pop(), **kwargs)
        self.function = function
        self.borrowed = [
            v if isinstance(v, keras.Variable) else WrappedVariable(v) for v in variables
        ]
        self.built = True

    def call(self, *inputs: Any) -> Any:
        """The function's outputs."""
        return self.function(*inputs)

    def get_config(self) -> dict[str, Any]:
        raise ValueError(
            f"Network {self.name!r} is a function with variables of its own, which a file cannot "
            "hold. Use `save_weights`, or write the network as a Keras layer to save it whole."
        )


def _circle(phases: taylor.Jet) -> list[taylor.Jet]:
    return [taylor.pointwise(phases, cos), taylor.pointwise(phases, sin)]


def _fourier(layer: Any, inputs: Sequence[taylor.Jet], hook: Any) -> taylor.Jet:
    frequencies = tf.convert_to_tensor(layer.frequencies)
    return taylor.concatenate(*_circle(taylor.linear(inputs[0], frequencies)))


def _periodic(layer: Any, inputs: Sequence[taylor.Jet], hook: Any) -> taylor.Jet:
    select = functools.partial(taylor.select, inputs[0])
    rates = tf.constant(layer.rates, layer.compute_dtype)
    parts = _circle(taylor.scale(select(layer.periodic), rates))
    return taylor.concatenate(*parts, *([select(layer.others)] if layer.others else []))


register_layer(FourierFeatures, _fourier)
register_layer(PeriodicEmbedding, _periodic)
