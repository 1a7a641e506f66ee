"""Loss weights chosen by hand."""

from collections.abc import Mapping
from typing import Any

import keras

from ntk_keras.weighting.base import Weighting, check_weights

__all__ = ["Constant"]


@keras.saving.register_keras_serializable("ntk_keras")
class Constant(Weighting):
    """Weights chosen by hand; without any, the plain sum of the terms.

    A dict may be passed wherever a weighting is expected:
    ``PINNModel(..., weighting={"data": 10.0})``. ``model.set_loss_weights`` changes the weights.
    ``Constant(model.loss_weights)`` keeps those that another strategy found.

    Args:
        weights: weights by group; a group left out has weight one.
        **kwargs: ``causal``, weights by time as for any :class:`Weighting`, and arguments of a
            Keras layer.

    Raises:
        ValueError: if a weight is negative or not finite, or no term belongs to a group.
    """

    def __init__(self, weights: Mapping[str, float] | None = None, **kwargs: Any):
        super().__init__(**kwargs)
        self.initial_weights = check_weights(weights or {})

    def __repr__(self) -> str:
        return f"Constant({self.initial_weights or ''})"

    def build_state(self, sizes: Mapping[str, int | None]) -> None:
        self.check_groups(self.initial_weights)
        self.loss_weights.assign([self.initial_weights.get(group, 1.0) for group in self.groups])

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "weights": self.initial_weights}
