"""Layers with parameters beyond a kernel and a bias, and their forward derivatives."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import keras
import tensorflow as tf

from ntk_keras.backend.checks import check_count, check_range
from ntk_keras.derivatives import register_layer, taylor
from ntk_keras.derivatives.activations import exp, sin
from ntk_keras.derivatives.layer_parameters import LayerParameter, parameter
from ntk_keras.derivatives.layer_rules import activate, unknown_activation

__all__ = ["AdaptiveActivation", "AdaptiveResidual", "FactorizedDense", "Sine"]


@keras.saving.register_keras_serializable("ntk_keras")
class FactorizedDense(keras.layers.Layer):
    """A dense layer with random weight factorization: kernel ``V diag(exp(s))``, both trained.

    The kernel starts as that of a Dense layer; s is drawn first, and V is the kernel divided by
    ``exp(s)``. Every neuron thus has its own learning rate.

    Args:
        units: number of neurons.
        activation: activation, as in ``keras.layers.Dense``.
        use_bias: whether there is a bias.
        kernel_initializer: initializer of the kernel as a whole.
        bias_initializer: initializer of the bias.
        scale_initializer: initializer of s; the paper's ``N(1, 0.1^2)`` by default.
        **kwargs: further arguments of a Keras layer.

    Raises:
        ValueError: if the number of units is not positive.

    Reference:
        Wang, Wang, Seidman, Perdikaris, "Random weight factorization improves the training of
        continuous neural representations" (2022).
    """

    def __init__(
        self,
        units: int,
        activation: Any = None,
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_normal",
        bias_initializer: Any = "zeros",
        scale_initializer: Any = None,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        if scale_initializer is None:
            scale_initializer = keras.initializers.RandomNormal(1.0, 0.1)
        self.units = check_count("units", units)
        self.activation = keras.activations.get(activation)
        self.use_bias = use_bias
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self.bias_initializer = keras.initializers.get(bias_initializer)
        self.scale_initializer = keras.initializers.get(scale_initializer)

    def build(self, input_shape: Sequence[int | None]) -> None:
        """Draws s and the kernel, and divides the one by the other."""
        self.log_scale = self.add_weight(
            shape=(self.units,), initializer=self.scale_initializer, name="log_scale"
        )

        def divided(shape: Sequence[int], dtype: Any = None) -> Any:
            return self.kernel_initializer(shape, dtype=dtype) / keras.ops.exp(self.log_scale)

        shape = (input_shape[-1], self.units)
        self.direction = self.add_weight(shape=shape, initializer=divided, name="direction")
        self.bias = None
        if self.use_bias:
            bias = self.bias_initializer
            self.bias = self.add_weight(shape=(self.units,), initializer=bias, name="bias")

    @property
    def kernel(self) -> Any:
        """The kernel ``V diag(exp(s))``, ``[in, units]``."""
        return self.direction * keras.ops.exp(self.log_scale)

    def call(self, inputs: Any) -> Any:
        """Maps ``[..., in]`` to ``[..., units]``."""
        outputs = keras.ops.matmul(inputs, self.kernel)
        if self.bias is not None:
            outputs = outputs + self.bias
        return self.activation(outputs)

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> tuple:
        """Returns the shape of :meth:`call`'s result."""
        return (*input_shape[:-1], self.units)

    def get_config(self) -> dict[str, Any]:
        own = {
            "units": self.units,
            "activation": keras.activations.serialize(self.activation),
            "use_bias": self.use_bias,
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
            "bias_initializer": keras.initializers.serialize(self.bias_initializer),
            "scale_initializer": keras.initializers.serialize(self.scale_initializer),
        }
        return {**super().get_config(), **own}


@keras.saving.register_keras_serializable("ntk_keras")
class AdaptiveActivation(keras.layers.Layer):
    """An activation with a trained slope, ``s(n a x)``.

    The slope a starts at ``1 / n``, so that the layer starts as the activation itself.

    Args:
        activation: activation s, as in ``keras.layers.Dense``.
        scale: factor n. The larger it is, the faster the slope is trained; the paper takes 1 to 10.
        per_neuron: whether every column has its own slope; all share one by default.
        **kwargs: further arguments of a Keras layer.

    Raises:
        ValueError: if the scale is not positive.

    Reference:
        Jagtap, Kawaguchi, Karniadakis, "Locally adaptive activation functions with slope recovery
        for deep and physics-informed neural networks", Proc. R. Soc. A 476 (2020).
    """

    def __init__(
        self,
        activation: str | Callable[[Any], Any] = "tanh",
        scale: float = 1.0,
        per_neuron: bool = False,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.activation = keras.activations.get(activation)
        self.scale = check_range("scale", scale, "(0, inf)")
        self.per_neuron = per_neuron

    def build(self, input_shape: Sequence[int | None]) -> None:
        """Creates the slopes."""
        self.slope = self.add_weight(
            shape=(input_shape[-1],) if self.per_neuron else (),
            initializer=keras.initializers.Constant(1 / self.scale),
            name="slope",
        )

    def call(self, inputs: Any) -> Any:
        """Applies the activation to scaled inputs."""
        return self.activation(self.scale * self.slope * inputs)

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> Sequence[int | None]:
        """Returns the shape of the inputs."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        own = {
            "activation": keras.activations.serialize(self.activation),
            "scale": self.scale,
            "per_neuron": self.per_neuron,
        }
        return {**super().get_config(), **own}


@keras.saving.register_keras_serializable("ntk_keras")
class AdaptiveResidual(keras.layers.Layer):
    """A trained blend of a block's output and its input, ``a f(x) + (1 - a) x``.

    It is called with a list ``[f(x), x]``. With a = 0, where it starts, the block is skipped.

    Args:
        initial: initial value of a.
        **kwargs: further arguments of a Keras layer.

    Reference:
        Wang, Li, Chen, Perdikaris, "PirateNets: physics-informed deep learning with residual
        adaptive networks", J. Mach. Learn. Res. 25 (2024).
    """

    def __init__(self, initial: float = 0.0, **kwargs: Any):
        super().__init__(**kwargs)
        self.initial = initial

    def build(self, input_shape: Sequence[Sequence[int | None]]) -> None:
        """Creates the weight of the block.

        Raises:
            ValueError: if there are not two inputs of one width.
        """
        if len(input_shape) != 2 or input_shape[0][-1] != input_shape[1][-1]:
            raise ValueError(
                "An AdaptiveResidual takes what a block made and what it was given, [f(x), x], "
                f"both of one width. Received inputs of shapes {list(input_shape)}."
            )
        initial = keras.initializers.Constant(self.initial)
        self.alpha = self.add_weight(shape=(), initializer=initial, name="alpha")

    def call(self, inputs: Any) -> Any:
        """Blends both inputs."""
        block, skipped = inputs
        return skipped + self.alpha * (block - skipped)

    def compute_output_shape(self, input_shape: Sequence[Any]) -> Any:
        """Returns the shape of either input."""
        return input_shape[0]

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "initial": self.initial}


@keras.saving.register_keras_serializable("ntk_keras")
class Sine(keras.layers.Layer):
    """The activation ``sin(w x)`` of sinusoidal networks.

    Args:
        frequency: frequency w.
        **kwargs: further arguments of a Keras layer.
    """

    def __init__(self, frequency: float = 30.0, **kwargs: Any):
        super().__init__(**kwargs)
        self.frequency = frequency

    def call(self, inputs: Any) -> Any:
        """Applies the sine, entry by entry."""
        return keras.ops.sin(self.frequency * inputs)

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> Sequence[int | None]:
        """Returns the shape of the inputs."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "frequency": self.frequency}


def _factorized(layer: Any, inputs: Sequence[taylor.Jet], hook: Any) -> taylor.Jet:
    if hook is None:  # one product, whose kernel is computed
        bias = None if layer.bias is None else tf.convert_to_tensor(layer.bias)
        return activate(taylor.linear(inputs[0], layer.kernel, bias), layer.activation)
    observe = functools.partial(hook, LayerParameter(layer, "direction"))
    z = taylor.linear(inputs[0], tf.convert_to_tensor(layer.direction), observe=observe)
    z = taylor.multiply(z, taylor.pointwise(parameter(layer, "log_scale", z, hook), exp))
    if layer.bias is not None:
        z = taylor.add(z, parameter(layer, "bias", z, hook))
    return activate(z, layer.activation)


def _adaptive(layer: Any, inputs: Sequence[taylor.Jet], hook: Any) -> taylor.Jet:
    slope = parameter(layer, "slope", inputs[0], hook)
    z = taylor.multiply(inputs[0], taylor.scale(slope, layer.scale))
    return activate(z, layer.activation)


def _adaptive_residual(layer: Any, inputs: Sequence[taylor.Jet], hook: Any) -> taylor.Jet:
    block, skipped = inputs
    change = taylor.add(block, taylor.scale(skipped, -1))
    alpha = parameter(layer, "alpha", block, hook)
    return taylor.add(skipped, taylor.multiply(change, alpha))


def _sine(layer: Any, inputs: Sequence[taylor.Jet], hook: Any) -> taylor.Jet:
    return taylor.pointwise(taylor.scale(inputs[0], layer.frequency), sin)


register_layer(FactorizedDense, _factorized, unknown_activation)
register_layer(AdaptiveActivation, _adaptive, unknown_activation)
register_layer(AdaptiveResidual, _adaptive_residual)
register_layer(Sine, _sine)
