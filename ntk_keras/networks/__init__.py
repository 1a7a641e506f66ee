"""Networks for residuals, as ordinary Keras models, and the layers that they are made of.

All of them are differentiated forward (see :mod:`ntk_keras.derivatives`), except custom functions.
"""

from ntk_keras.networks.activations import sin_tanh
from ntk_keras.networks.architectures import feedforward, gated, residual
from ntk_keras.networks.callable_network import CallableNetwork
from ntk_keras.networks.constraints import box_distance, hard_constraint
from ntk_keras.networks.embeddings import FourierFeatures, PeriodicEmbedding
from ntk_keras.networks.layers import (
    AdaptiveActivation,
    AdaptiveResidual,
    FactorizedDense,
    Sine,
)
from ntk_keras.networks.piratenets import piratenet
from ntk_keras.networks.siren import siren

__all__ = [
    "AdaptiveActivation",
    "AdaptiveResidual",
    "CallableNetwork",
    "FactorizedDense",
    "FourierFeatures",
    "PeriodicEmbedding",
    "Sine",
    "box_distance",
    "feedforward",
    "gated",
    "hard_constraint",
    "piratenet",
    "residual",
    "sin_tanh",
    "siren",
]
