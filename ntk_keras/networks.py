"""The network of the paper's experiments, as an ordinary Keras model."""

import keras

from ntk_keras.checks import check_count
from ntk_keras.domains import Box

__all__ = ["feedforward"]


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
        dtype: of parameters and outputs; Keras' global setting by default.
        seed: of the initialisation; Keras' global random state by default.

    Returns:
        A built ``keras.Sequential`` from ``[n, d]`` to ``[n, outputs]``.

    Raises:
        ValueError: for a count that is not positive, or a box that is flat along an axis.
    """
    for argument, value in (("outputs", outputs), ("width", width), ("depth", depth)):
        check_count(argument, value)
    widths = box.upper - box.lower
    if not all(widths > 0):
        raise ValueError(f"Inputs cannot be scaled on {box}: it is flat along an axis.")
    seeds = keras.random.SeedGenerator(seed)
    layers = [
        keras.layers.Normalization(
            mean=((box.lower + box.upper) / 2).tolist(),
            variance=(widths**2 / 12).tolist(),  # of the uniform distribution
            dtype=dtype,
            name="standardise",
        )
    ]
    for index in range(depth + 1):
        last = index == depth
        layers.append(
            keras.layers.Dense(
                outputs if last else width,
                activation=None if last else activation,
                kernel_initializer=keras.initializers.GlorotNormal(seed=seeds),
                dtype=dtype,
                name="output" if last else f"hidden_{index + 1}",
            )
        )
    return keras.Sequential([keras.Input((len(box.axes),), dtype=dtype), *layers], name="network")
