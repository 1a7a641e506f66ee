"""Physics-informed residual adaptive networks (PirateNets)."""

from typing import Any

import keras

from ntk_keras.domains import Shape
from ntk_keras.networks.architectures import Activation
from ntk_keras.networks.embeddings import FourierFeatures
from ntk_keras.networks.layers import AdaptiveResidual
from ntk_keras.networks.parts import dense_layers, new_name, points_of, standardise, through

__all__ = ["piratenet"]


def piratenet(
    box: Shape,
    outputs: int = 1,
    *,
    width: int = 100,
    depth: int = 3,
    activation: Activation = "tanh",
    fourier_scale: float | None = 1.0,
    factorized: bool = True,
    dtype: str | None = None,
    seed: int | None = None,
    name: str | None = None,
) -> keras.Model:
    """Returns a PirateNet: adaptive residual blocks of three dense layers, two of them gated.

    The embedding F of the inputs is the first x. With encodings ``U = s(W_U F + b_U)`` and
    ``V = s(W_V F + b_V)``, a block computes ``f = s(W_1 x + b_1)``, ``z = f U + (1 - f) V``,
    ``g = s(W_2 z + b_2)``, ``z' = g U + (1 - g) V``, ``h = s(W_3 z' + b_3)``, and outputs
    ``a h + (1 - a) x``. The trained a starts at zero, so the network starts as a linear combination
    of the embedding and grows deeper in training.

    Args:
        box: box of the inputs, which are standardised as in :func:`feedforward`.
        outputs: number of outputs.
        width: number of neurons in each hidden layer and encoding, and of columns of the embedding.
        depth: number of blocks.
        activation: activation of all hidden layers, as in :func:`feedforward`.
        fourier_scale: standard deviation of the frequencies of the embedding, random Fourier
            features of the standardised inputs; None for a dense layer instead.
        factorized: whether kernels are factorized, see :class:`FactorizedDense`.
        dtype: dtype of parameters and outputs, or a policy such as ``"mixed_float16"``; Keras'
            global setting by default.
        seed: integer for the initialisation; Keras' global random state by default.
        name: name of the model; by default ``"network"``, then ``"network_1"`` and so on, so that
            any two can be joined.

    Returns:
        A functional Keras model from ``[n, d]`` to ``[n, outputs]``.

    Raises:
        ValueError: if a count or scale is not positive, the width of Fourier features is odd, or
            the box is flat along an axis.
        TypeError: if ``box`` is not a box.

    Reference:
        Wang, Li, Chen, Perdikaris, "PirateNets: physics-informed deep learning with residual
        adaptive networks", J. Mach. Learn. Res. 25 (2024).
    """
    dense = dense_layers(
        outputs=outputs, width=width, depth=depth, dtype=dtype, seed=seed, factorized=factorized
    )
    layer, points = standardise(box, dtype), points_of(box, dtype)
    if fourier_scale is None:
        embedding = dense(width, activation, "embedding")
    else:
        embedding = [_fourier(width, fourier_scale, dtype, seed)]
    hidden = embedded = through(layer(points), embedding)
    first = through(embedded, dense(width, activation, "encoding_1"))
    second = through(embedded, dense(width, activation, "encoding_2"))
    difference = keras.layers.Subtract(dtype=dtype, name="difference")([first, second])

    def gated(value: Any, name: str) -> Any:
        """Returns the blend ``V + f (U - V)`` by a gate f."""
        gate = through(value, dense(width, activation, name))
        blend = keras.layers.Multiply(dtype=dtype, name=f"{name}_blend")([gate, difference])
        return keras.layers.Add(dtype=dtype, name=f"{name}_gated")([second, blend])

    for index in range(1, depth + 1):
        inner = gated(gated(hidden, f"block_{index}_1"), f"block_{index}_2")
        outer = through(inner, dense(width, activation, f"block_{index}_3"))
        hidden = AdaptiveResidual(dtype=dtype, name=f"block_{index}")([outer, hidden])
    values = through(hidden, dense(outputs, None, "output"))
    return keras.Model(points, values, name=name or new_name())


def _fourier(width: int, scale: float, dtype: str | None, seed: int | None) -> FourierFeatures:
    if width % 2 or not scale > 0:
        raise ValueError(
            "Random Fourier features need an even width, for cosines and sines, and a positive "
            f"scale. Received width={width}, fourier_scale={scale}. fourier_scale=None does "
            "without them."
        )
    return FourierFeatures(width // 2, scale, seed, dtype=dtype, name="embedding")
