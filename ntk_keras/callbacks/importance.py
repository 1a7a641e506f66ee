"""Importance factors that change during training."""

from collections.abc import Callable, Mapping
from typing import Any

import keras

from ntk_keras.training import LossBalancer

__all__ = ["ImportanceScheduler"]


class ImportanceScheduler(keras.callbacks.Callback):
    """Sets importance factors at the beginning of every epoch, from a schedule.

    A factor multiplies the weight that any weighting finds. For constant weights it schedules the
    weights themselves. Nothing is retraced. The factors are logged as ``importance/<group>``.

    Args:
        schedule: function ``schedule(epoch, importance)`` of the epoch number and all current
            factors that returns factors by group; groups left out keep theirs.
        balancer: :class:`~ntk_keras.LossBalancer` that owns the factors, in a model with a custom
            training step; by default the model is a :class:`~ntk_keras.PINNModel`.

    Raises:
        TypeError: if the schedule is not a function, or, before training starts, if the model has
            no importance factors.

    Example::

        def fade(epoch, importance):
            return {"data": 10 * 0.99**epoch}

        model.compile("adam")
        scheduler = nk.callbacks.ImportanceScheduler(fade)
        model.fit(epochs=500, steps_per_epoch=100, callbacks=[scheduler])
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
        """Finds the owner of the factors."""
        if not hasattr(self._owner, "set_importance"):
            raise TypeError(
                "ImportanceScheduler changes the factors of a PINNModel or of the LossBalancer "
                f"given as balancer=. Received a {type(self.model).__name__}."
            )

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Sets the factors of the epoch."""
        self._owner.set_importance(self.schedule(epoch, self._owner.importance))

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Adds the factors to the logs."""
        if logs is not None:
            factors = self._owner.importance
            logs.update({f"importance/{group}": factor for group, factor in factors.items()})

    @property
    def _owner(self) -> Any:
        return self.model if self.balancer is None else self.balancer
