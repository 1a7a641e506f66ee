"""Reading and setting weights through the model or balancer that owns the weighting."""

from collections.abc import Mapping

from ntk_keras.backend.readings import Readings
from ntk_keras.weighting import Weighting
from ntk_keras.weighting.base import by_name

__all__ = ["WeightReadings"]


class WeightReadings:
    """Current weights and traces by group, as floats.

    Attributes:
        weighting: the weighting object.
    """

    weighting: Weighting

    @property
    def loss_weights(self) -> dict[str, float]:
        """The current loss weight of every group, importance included.

        Assigning to it, or to one of its entries, calls :meth:`set_loss_weights`.
        """
        self._before_reading()
        weights = by_name(self.weighting.groups, self.weighting.effective_weights)
        return Readings(weights, self.set_loss_weights)

    @loss_weights.setter
    def loss_weights(self, weights: Mapping[str, float]) -> None:
        self.set_loss_weights(weights)

    def set_loss_weights(self, weights: Mapping[str, float]) -> None:
        """Sets weights by hand, at any time and without retracing; other groups keep theirs.

        Args:
            weights: positive numbers or zero, by group.

        Raises:
            ValueError: if the weighting computes the weight of a group and would overwrite it. The
                message names what keeps it.
        """
        self.weighting.set_loss_weights(weights)

    @property
    def importance(self) -> dict[str, float]:
        """The current factors on top of the weighting's own weights, by group; one by default.

        Assigning to it, or to one of its entries, calls :meth:`set_importance`.
        """
        factors = by_name(self.weighting.groups, self.weighting.importance_factors.value)
        return Readings(factors, self.set_importance)

    @importance.setter
    def importance(self, factors: Mapping[str, float]) -> None:
        self.set_importance(factors)

    def set_importance(self, importance: Mapping[str, float]) -> None:
        """Sets factors on top of the weighting's own weights, at any time and without retracing.

        Args:
            importance: factors by group; other groups keep theirs.
        """
        self.weighting.set_importance(importance)

    @property
    def kernel_traces(self) -> dict[str, float]:
        """The current estimate of ``Tr K_bb``, for every group whose trace is estimated."""
        return by_name(self.weighting.adapted, self.weighting.traces)

    @property
    def trace_standard_errors(self) -> dict[str, float]:
        """Standard errors of :attr:`kernel_traces`; empty if the weighting knows none."""
        return by_name(self.weighting.adapted, self.weighting.standard_errors)

    def _before_reading(self) -> None:
        """Hook for warnings, called before weights are read."""
