"""What a layer hook is: Keras layers have none, and the kernel's factors are seen through one."""

from collections.abc import Mapping
from typing import Any, Protocol

import tensorflow as tf

__all__ = ["LayerHook"]


class LayerHook(Protocol):
    """Told of every Dense layer that derivatives pass, before anything is made of the products.

    Other parameters of a layer that act on columns count as kernels too, of products with a column
    of ones (:mod:`ntk_keras.derivatives.layer_parameters`).

    Called once for every pass of channels, which is more than once for a layer that is applied
    again, or whose later channels were asked for later: contributions to a layer add up.

    Args:
        layer: the Dense layer, or what stands for one: it has ``name``, ``kernel`` and ``bias``.
        inputs: its inputs by stack of channels, ``[k, n, in]`` each. The value's stack, ``((),)``,
            is there only if something above needs it, and so with every other.
        products: ``inputs @ kernel`` by stack, ``[k, n, units]`` each, without the bias, so that a
            tape which watches them gives the derivatives of a residual by them: the cotangent of
            each channel at each point. The bias enters the value only: its gradient is the sum of
            the value's cotangents.
        bias: as read for the value, None if there is none.
    """

    def __call__(
        self,
        layer: Any,
        inputs: Mapping[tuple, tf.Tensor],
        products: Mapping[tuple, tf.Tensor],
        bias: tf.Tensor | None,
    ) -> None: ...
