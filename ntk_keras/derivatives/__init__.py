"""Derivatives of a network with respect to its inputs.

Every function takes ``u``, any callable that maps points ``[n, d]`` to outputs ``[n, outputs]`` (a
Keras network, or the :class:`NetworkView` of it that a term's residual receives), and points of
shape ``[n, d]``. If every layer has a rule, a view is differentiated forward, all derivatives in
one pass through the network (:mod:`~ntk_keras.derivatives.taylor`). Otherwise nested gradient tapes
(:mod:`~ntk_keras.derivatives.tapes`) give the same numbers up to rounding.

A point's derivatives depend on that point alone, so a batch may be split or joined freely. All
functions work eagerly and inside ``tf.function``, with and without XLA, in the dtype of the points,
and are themselves differentiable with respect to the parameters of ``u``.

Derivatives have the units of ``outputs / points``: a rescaling inside ``u`` is differentiated
through.
"""

from ntk_keras.backend.deprecation import moved_attributes
from ntk_keras.backend.layer_hook import LayerHook
from ntk_keras.derivatives.activations import register_activation
from ntk_keras.derivatives.channels import VALUE
from ntk_keras.derivatives.layer_rules import register_layer
from ntk_keras.derivatives.network_view import Mode, NetworkView, RequestedDerivatives
from ntk_keras.derivatives.operators import (
    biharmonic,
    divergence,
    gradient,
    hessian_diagonal,
    jacobian,
    laplacian,
    partial,
    second_order,
)
from ntk_keras.derivatives.tapes import Network

__all__ = [
    "VALUE",
    "LayerHook",
    "Mode",
    "Network",
    "NetworkView",
    "RequestedDerivatives",
    "biharmonic",
    "divergence",
    "gradient",
    "hessian_diagonal",
    "jacobian",
    "laplacian",
    "partial",
    "register_activation",
    "register_layer",
    "second_order",
]


__getattr__ = moved_attributes(
    __name__,
    {
        "Recorder": "ntk_keras.derivatives:LayerHook",
        "Requests": "ntk_keras.derivatives:RequestedDerivatives",
        "View": "ntk_keras.derivatives:NetworkView",
    },
)
