"""What users read off a weighting through the model or balancer that owns it."""

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
        """The current loss weight of every group."""
        return by_name(self.weighting.groups, self.weighting.loss_weights.value)

    @property
    def kernel_traces(self) -> dict[str, float]:
        """The current estimate of Tr K_bb of every group that the weighting makes one of."""
        return by_name(self.weighting.adapted, self.weighting.traces)

    @property
    def trace_standard_errors(self) -> dict[str, float]:
        """Standard errors of :attr:`kernel_traces`; empty if the weighting knows none."""
        return by_name(self.weighting.adapted, self.weighting.standard_errors)
