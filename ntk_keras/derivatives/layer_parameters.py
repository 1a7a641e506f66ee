"""Parameters of layers that are no kernel of a product: factors and summands of columns.

Entry by entry, a row of parameters meets every point in the same way. It is the kernel of a product
with a column of ones, and so a hook is told of it: its part of the Jacobian is then kept as that of
any Dense layer, and it may have as many entries as there are neurons.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from ntk_keras.backend.layer_hook import LayerHook
from ntk_keras.derivatives.channels import VALUE, Stack
from ntk_keras.derivatives.jets import Jet, Values

__all__ = ["LayerParameter", "parameter"]


@dataclasses.dataclass(frozen=True)
class LayerParameter:
    """One parameter of a layer, as a hook is told of it: the kernel of a layer without a bias.

    Attributes:
        layer: whose parameter it is.
        attribute: under which the layer has it.
    """

    layer: Any
    attribute: str

    @property
    def name(self) -> str:
        """The layer's."""
        return self.layer.name

    @property
    def kernel(self) -> Any:
        """The parameter."""
        return getattr(self.layer, self.attribute)

    @property
    def bias(self) -> None:
        """There is none."""
        return None


def parameter(layer: Any, attribute: str, like: Jet, hook: LayerHook | None) -> Jet:
    """A parameter as a jet, for :func:`~ntk_keras.derivatives.taylor.multiply` and ``add``.

    Args:
        layer: whose parameter it is.
        attribute: under which the layer has it: a scalar, or a row ``[width]``.
        like: what it meets, or any other jet at the same points.
        hook: told of it as of a product with ones.
    """

    def compute(missing: Sequence[Stack]) -> Values:
        if (VALUE,) not in missing:
            return {}
        row = tf.reshape(tf.convert_to_tensor(getattr(layer, attribute)), [1, 1, -1])
        if hook is None:
            return {(VALUE,): row}
        ones = tf.ones_like(like.take([VALUE])[(VALUE,)][..., :1])
        rows = ones * row
        hook(LayerParameter(layer, attribute), {(VALUE,): ones}, {(VALUE,): rows}, None)
        return {(VALUE,): rows}

    return Jet(compute)
