"""Parts of networks on a box: their inputs and their layers."""

from collections.abc import Callable
from typing import Any

import keras

from ntk_keras.backend.checks import check_count
from ntk_keras.domains import Shape
from ntk_keras.networks.layers import FactorizedDense

__all__ = ["dense_layers", "new_name", "points_of", "standardise", "through"]


def dense_layers(
    *,
    outputs: int,
    width: int,
    depth: int,
    dtype: str | None,
    seed: int | None,
    factorized: bool = False,
) -> Callable[[int, Any, str], list[keras.layers.Layer]]:
    """Returns a function that creates dense layers, each with its activation; checks the counts.

    Args:
        outputs: number of outputs of the network.
        width: number of neurons in each hidden layer.
        depth: number of hidden layers.
        dtype: dtype of all layers.
        seed: integer for their initialisation.
        factorized: whether kernels are factorized.

    Returns:
        A function of units, activation and name. If the activation is a layer, a copy of it
        follows.
    """
    for argument, value in (("outputs", outputs), ("width", width), ("depth", depth)):
        check_count(argument, value)
    seeds = keras.random.SeedGenerator(seed)
    random = keras.initializers

    def make(units: int, activation: Any, name: str) -> list[keras.layers.Layer]:
        kind, own = keras.layers.Dense, {}
        if factorized:
            kind, own = FactorizedDense, {"scale_initializer": random.RandomNormal(1.0, 0.1, seeds)}
        is_layer = isinstance(activation, keras.layers.Layer)
        dense = kind(
            units,
            activation=None if is_layer else activation,
            kernel_initializer=random.GlorotNormal(seed=seeds),
            dtype=dtype,
            name=name,
            **own,
        )
        return [dense, _copy(activation, f"{name}_activation", dtype)] if is_layer else [dense]

    return make


def through(value: Any, layers: list[keras.layers.Layer]) -> Any:
    """Returns the result of layers applied to a tensor one after the other.

    Args:
        value: symbolic tensor.
        layers: layers in their order.
    """
    for layer in layers:
        value = layer(value)
    return value


def new_name() -> str:
    """Returns a new name for a network, counted as Keras counts those of layers."""
    earlier = keras.backend.get_uid("network") - 1
    return f"network_{earlier}" if earlier else "network"


def points_of(box: Shape, dtype: str | None) -> Any:
    """Returns symbolic points in the dtype of the parameters, as mixed policies compute in another.

    Args:
        box: box of the points.
        dtype: dtype of the network.
    """
    policy = keras.dtype_policies.get(dtype or keras.config.dtype_policy())
    return keras.Input((len(box.axes),), dtype=policy.variable_dtype)


def standardise(
    box: Shape, dtype: str | None, deviation: float = 1.0
) -> keras.layers.Normalization:
    """Returns a layer that scales inputs to mean 0 and a standard deviation over the box.

    Args:
        box: box of the inputs.
        dtype: dtype of the layer.
        deviation: standard deviation of the scaled inputs.

    Raises:
        ValueError: if the deviation is not positive, or the box is flat along an axis.
        TypeError: if ``box`` is not a box.
    """
    if not isinstance(box, Shape):
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


def _copy(layer: keras.layers.Layer, name: str, dtype: str | None) -> keras.layers.Layer:
    return type(layer).from_config({**layer.get_config(), "name": name, "dtype": dtype})
