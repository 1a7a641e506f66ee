"""The stopping rule of causal weights."""

from typing import Any

import keras

__all__ = ["CausalStopping"]


class CausalStopping(keras.callbacks.Callback):
    """Ends ``fit`` once causal weights have finished with their last epsilon.

    All weights then exceed the threshold of :class:`~ntk_keras.weighting.Causal`, so no point waits
    any longer. Training stops at the end of that epoch.

    Raises:
        ValueError: before training starts, if the model has no causal weights.

    Reference:
        Wang, Sankaran, Perdikaris, "Respecting causality for training physics-informed neural
        networks", Comput. Methods Appl. Mech. Eng. 421 (2024), Algorithm 1.

    Example::

        causal = nk.weighting.Causal("equation", epsilons=(0.01, 0.1, 1.0))
        model = nk.PINNModel(network, terms, nk.weighting.NTK(causal=causal))
        model.compile("adam")
        stop = nk.callbacks.CausalStopping()
        model.fit(epochs=1000, steps_per_epoch=100, callbacks=[stop])
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
        """Stops training if the weights are finished."""
        if self.model.weighting.in_time.finished:
            self.model.stop_training = True
