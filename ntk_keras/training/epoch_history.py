"""The history that ``PINNModel.fit`` returns."""

from typing import Any

import keras

__all__ = ["EpochHistory"]


class EpochHistory(keras.callbacks.History):
    """As Keras' ``History``, and says at which epochs each value was logged.

    Attributes:
        epochs_by_name: by name as ``history``, the epochs of its values: validation may skip some.
    """

    def __init__(self) -> None:
        super().__init__()
        self.epochs_by_name: dict[str, list[int]] = {}

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        super().on_epoch_end(epoch, logs)
        for name in logs or {}:
            self.epochs_by_name.setdefault(name, []).append(epoch)
