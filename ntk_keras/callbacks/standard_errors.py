"""Standard errors of unknown coefficients during training."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np

from ntk_keras.backend.checks import check_count
from ntk_keras.training.uncertainty import Uncertainty, checked_unknowns, uncertainty_of
from ntk_keras.training.unknowns import MAX_LOGGED

__all__ = ["StandardErrors"]


class StandardErrors(keras.callbacks.Callback):
    """Logs the standard errors of unknown coefficients at regular epochs.

    It logs ``unknowns_standard_error/<name>``, from :meth:`ntk_keras.PINNModel.uncertainty`; arrays
    of at most 16 entries are logged as ``unknowns_standard_error/<name>/<entry>``. The values are
    those of the nearby minimum, so before the end of training they only indicate what to expect.
    Place it before callbacks that write.

    Args:
        every_epochs: number of epochs from one computation to the next, the first epoch included.
        measured: names of terms with noisy residuals, as for ``uncertainty``.
        points: points by term, as for ``uncertainty``.

    Attributes:
        uncertainty: latest result; None before the first.

    Raises:
        ValueError: before training starts, if the model has no unknowns, a name is not that of a
            term, or a term has no points, as for ``uncertainty``.

    Example::

        model = nk.PINNModel(network, terms, unknowns={"k": 1.0})
        model.compile("adam")
        errors = nk.callbacks.StandardErrors(50, measured="observations")
        model.fit(epochs=500, steps_per_epoch=100, callbacks=[errors])
        print(errors.uncertainty)
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
        """Checks the request against the model."""
        checked_unknowns(self.model, self.measured, self.points)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Logs standard errors if they are due."""
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
