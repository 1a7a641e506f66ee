"""Standard errors of unknown coefficients as training goes on."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np

from ntk_keras.backend.checks import check_count
from ntk_keras.training.uncertainty import Uncertainty, checked_unknowns, uncertainty_of
from ntk_keras.training.unknowns import MAX_LOGGED

__all__ = ["StandardErrors"]


class StandardErrors(keras.callbacks.Callback):
    """Logs the standard errors of unknown coefficients every so many epochs.

    Adds ``unknowns_standard_error/<name>`` to the logs of an epoch, as
    :meth:`ntk_keras.PINNModel.uncertainty` gives them; of arrays of 16 entries at most
    ``unknowns_standard_error/<name>/<entry>``. They are those of the minimum that is near: before
    the end of training they tell what to expect. Goes before callbacks that write.

    Args:
        every_epochs: epochs from one computation to the next, the first epoch included.
        measured: the terms whose residual is noisy, as for ``uncertainty``.
        points: by term, likewise.

    Attributes:
        uncertainty: the latest, None before the first.

    Raises:
        ValueError: before training starts, for a model without unknowns, a name that is no term's,
            or a term without points; as ``uncertainty`` does.
    """

    def __init__(
        self,
        every_epochs: int = 100,
        measured: str | Sequence[str] | None = None,
        *,
        points: Mapping[str, Any] | None = None,
    ):
        super().__init__()
        self.every_epochs = check_count("every_epochs", every_epochs)
        self.measured = measured
        self.points = points
        self.uncertainty: Uncertainty | None = None

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Checks what is asked of the model."""
        checked_unknowns(self.model, self.measured, self.points)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Adds to the logs where it is due."""
        if epoch % self.every_epochs == 0:
            self.uncertainty = uncertainty_of(self.model, self.measured, self.points)
            if logs is not None:
                logs.update(_scalars(self.uncertainty.standard_errors))


def _scalars(errors: dict[str, Any]) -> dict[str, float]:
    scalars = {}
    for name, error in errors.items():
        key = f"unknowns_standard_error/{name}"
        if np.ndim(error) == 0:
            scalars[key] = float(error)
        elif np.size(error) <= MAX_LOGGED:
            scalars |= {f"{key}/{index}": float(e) for index, e in enumerate(np.ravel(error))}
    return scalars
