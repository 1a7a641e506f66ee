"""What users read off a weighting, and set of it, through the model or balancer that owns it."""

from collections.abc import Callable, Mapping
from typing import Any, NoReturn

from ntk_keras.weighting import Weighting
from ntk_keras.weighting.base import by_name

__all__ = ["LossWeights", "WeightReadings"]


class LossWeights(dict[str, float]):
    """Loss weights by group as they were when they were read; what is assigned is set.

    Args:
        weights: by group.
        assign: sets some weights, or refuses to.
    """

    def __init__(self, weights: Mapping[str, float], assign: Callable[[Mapping[str, float]], None]):
        super().__init__(weights)
        self._assign = assign

    def __setitem__(self, group: str, weight: float) -> None:
        self._assign({group: weight})
        super().__setitem__(group, float(weight))

    def update(self, *weights: Any, **by_group: float) -> None:
        """Sets several weights."""
        for group, weight in dict(*weights, **by_group).items():
            self[group] = weight

    def __ior__(self, weights: Any) -> "LossWeights":  # type: ignore[override, misc]
        self.update(weights)
        return self

    def _refuse(self, *_: Any, **__: Any) -> NoReturn:
        """Raises TypeError."""
        raise TypeError("Every group has a loss weight, which can be set but not be taken away.")

    __delitem__ = pop = popitem = clear = setdefault = _refuse

    def __reduce__(self) -> tuple[Any, ...]:
        return dict, (dict(self),)  # a copy is a plain dict


class WeightReadings:
    """Current weights and traces by group, as floats.

    Attributes:
        weighting: the weighting object.
    """

    weighting: Weighting

    @property
    def loss_weights(self) -> dict[str, float]:
        """The current loss weight of every group, importance included.

        What is assigned to it, or to one of its entries, goes to :meth:`set_loss_weights`.
        """
        self._before_reading()
        weights = by_name(self.weighting.groups, self.weighting.effective_weights)
        return LossWeights(weights, self.set_loss_weights)

    @loss_weights.setter
    def loss_weights(self, weights: Mapping[str, float]) -> None:
        self.set_loss_weights(weights)

    def set_loss_weights(self, weights: Mapping[str, float]) -> None:
        """Sets weights chosen by hand, at any time and without a new graph; others keep theirs.

        Args:
            weights: by group.

        Raises:
            ValueError: for a group whose weight the weighting computes, which would not keep it;
                the message names what does.
        """
        self.weighting.set_loss_weights(weights)

    @property
    def importance(self) -> dict[str, float]:
        """The current factors on top of the weighting's own weights, by group; one by default."""
        return by_name(self.weighting.groups, self.weighting.importance_factors.value)

    def set_importance(self, importance: Mapping[str, float]) -> None:
        """Sets factors on top of the weighting's own weights, at any time and without a new graph.

        Args:
            importance: by group; other groups keep theirs.
        """
        self.weighting.set_importance(importance)

    @property
    def kernel_traces(self) -> dict[str, float]:
        """The current estimate of Tr K_bb of every group that the weighting makes one of."""
        return by_name(self.weighting.adapted, self.weighting.traces)

    @property
    def trace_standard_errors(self) -> dict[str, float]:
        """Standard errors of :attr:`kernel_traces`; empty if the weighting knows none."""
        return by_name(self.weighting.adapted, self.weighting.standard_errors)

    def _before_reading(self) -> None:
        """What is to be said of weights that are read."""
