"""The history that ``PINNModel.fit`` returns."""

from typing import Any

import keras

__all__ = ["EpochHistory"]


class EpochHistory(keras.callbacks.History):
    """Keras' ``History``, with the epochs at which each value was logged.

    Attributes:
        epochs_by_name: epochs of the values by name, as in ``history``; validation may skip some.
    """

    def __init__(self) -> None:
        super().__init__()
        self.epochs_by_name: dict[str, list[int]] = {}

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        super().on_epoch_end(epoch, logs)
        for name in logs or {}:
            self.epochs_by_name.setdefault(name, []).append(epoch)
