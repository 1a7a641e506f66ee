"""Parameters of layers other than the kernel of a product: factors and summands of columns.

Entry by entry, a row of parameters meets every point in the same way. It is the kernel of a product
with a column of ones, and is reported to the hook as such. Its part of the Jacobian is then kept as
that of any Dense layer, and it may have as many entries as there are neurons.
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
    """One parameter of a layer as a hook receives it: the kernel of a layer without a bias.

    Attributes:
        layer: layer with the parameter.
        attribute: name of the layer's attribute.
    """

    layer: Any
    attribute: str

    @property
    def name(self) -> str:
        """The layer's name."""
        return self.layer.name

    @property
    def kernel(self) -> Any:
        """The parameter."""
        return getattr(self.layer, self.attribute)

    @property
    def bias(self) -> None:
        """None, as there is no bias."""
        return None


def parameter(layer: Any, attribute: str, like: Jet, hook: LayerHook | None) -> Jet:
    """Returns a parameter as a jet, for :func:`~ntk_keras.derivatives.taylor.multiply` and ``add``.

    Args:
        layer: layer with the parameter.
        attribute: name of the layer's attribute: a scalar, or a row ``[width]``.
        like: jet that it meets, or any other jet at the same points.
        hook: function called for it as for a product with ones.
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
