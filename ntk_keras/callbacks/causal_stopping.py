"""The stopping rule of causal weights."""

from typing import Any

import keras

__all__ = ["CausalStopping"]


class CausalStopping(keras.callbacks.Callback):
    """Ends ``fit`` after the epoch in which causal weights are through with their last epsilon.

    All of them then exceed the threshold of :class:`~ntk_keras.weighting.Causal`: no point waits
    any longer.

    Raises:
        ValueError: before training starts, for a model without causal weights.

    Reference:
        Wang, Sankaran, Perdikaris, "Respecting causality for training physics-informed neural
        networks", Comput. Methods Appl. Mech. Eng. 421 (2024), Algorithm 1.
    """

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Checks the model."""
        weighting = getattr(self.model, "weighting", None)
        if getattr(weighting, "in_time", None) is None:
            raise ValueError(
                "CausalStopping ends the training of a model with causal weights, as "
                "PINNModel(..., nk.weighting.NTK(causal=nk.weighting.Causal('equation'))). "
                f"Received a {type(self.model).__name__} with weighting {weighting!r}."
            )

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Looks at the weights."""
        if self.model.weighting.in_time.finished:
            self.model.stop_training = True
