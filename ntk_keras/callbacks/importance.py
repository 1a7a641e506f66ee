"""Importance factors that change along a run."""

from collections.abc import Callable, Mapping
from typing import Any

import keras

from ntk_keras.training import LossBalancer

__all__ = ["ImportanceScheduler"]


class ImportanceScheduler(keras.callbacks.Callback):
    """Sets importance factors at the beginning of every epoch, as a schedule has them.

    A factor is on top of the weight that the weighting finds, whichever it is; of constant weights
    it is a schedule of the weights themselves. Nothing is traced anew. The logs of an epoch get
    ``importance/<group>``.

    Args:
        schedule: ``schedule(epoch, importance)`` returns factors by group, from the number of the
            epoch and all current factors; groups left out keep theirs.
        balancer: the :class:`~ntk_keras.LossBalancer` whose factors these are, in a model with a
            training step of its own; by default the model is a :class:`~ntk_keras.PINNModel`.

    Raises:
        TypeError: for a schedule that is no function, or, before training starts, a model that has
            no importance factors.

    Example:
        ``ImportanceScheduler(lambda epoch, importance: {"data": 10 * 0.99**epoch})``
    """

    def __init__(
        self,
        schedule: Callable[[int, dict[str, float]], Mapping[str, float]],
        balancer: LossBalancer | None = None,
    ):
        super().__init__()
        if not callable(schedule):
            raise TypeError(
                "schedule must be a function of the epoch and the current factors, as in "
                f"lambda epoch, importance: {{'data': 0.99**epoch}}. Received {schedule!r}."
            )
        self.schedule = schedule
        self.balancer = balancer

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Checks whose factors these are."""
        if not hasattr(self._owner, "set_importance"):
            raise TypeError(
                "ImportanceScheduler changes the factors of a PINNModel or of the LossBalancer "
                f"given as balancer=. Received a {type(self.model).__name__}."
            )

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Sets the factors of the epoch."""
        self._owner.set_importance(self.schedule(epoch, self._owner.importance))

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Adds them to the logs."""
        if logs is not None:
            factors = self._owner.importance
            logs.update({f"importance/{group}": factor for group, factor in factors.items()})

    @property
    def _owner(self) -> Any:
        return self.model if self.balancer is None else self.balancer
