"""Networks for residuals, as ordinary Keras models, and layers that embed their inputs.

All of them are differentiated forward (see :mod:`ntk_keras.derivatives`), but for functions of
one's own.
"""

from ntk_keras.networks.architectures import feedforward, gated, residual
from ntk_keras.networks.callable_network import CallableNetwork
from ntk_keras.networks.embeddings import FourierFeatures, PeriodicEmbedding

__all__ = [
    "CallableNetwork",
    "FourierFeatures",
    "PeriodicEmbedding",
    "feedforward",
    "gated",
    "residual",
]
