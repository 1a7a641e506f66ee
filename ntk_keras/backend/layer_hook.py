"""The protocol of layer hooks, through which the factors of the kernel are recorded."""

from collections.abc import Mapping
from typing import Any, Protocol

import tensorflow as tf

__all__ = ["LayerHook"]


class LayerHook(Protocol):
    """A function called for every Dense layer that derivatives pass, before its products are used.

    Other parameters of a layer that act on columns count as kernels, too, whose inputs are a column
    of ones (:mod:`ntk_keras.derivatives.layer_parameters`).

    The hook is called once for every pass of channels. A layer has several passes if it is applied
    again, or if more of its channels are requested later. Their contributions add up.

    Args:
        layer: Dense layer, or an object in its place with ``name``, ``kernel`` and ``bias``.
        inputs: inputs of the layer by stack of channels, each ``[k, n, in]``. A stack, such as the
            value's ``((),)``, is present only if a later layer or operator needs it.
        products: ``inputs @ kernel`` by stack, each ``[k, n, units]``, without the bias. A tape
            that watches the products gives the derivatives of a residual with respect to them,
            which are the cotangents of each channel at each point. The bias enters the value only,
            so its gradient is the sum of the value's cotangents.
        bias: bias as read for the value; None if there is none.
    """

    def __call__(
        self,
        layer: Any,
        inputs: Mapping[tuple, tf.Tensor],
        products: Mapping[tuple, tf.Tensor],
        bias: tf.Tensor | None,
    ) -> None: ...
