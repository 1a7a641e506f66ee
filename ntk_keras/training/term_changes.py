"""Terms whose points or residuals are replaced after training began."""

import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from ntk_keras.training.moving_points import MovesPoints
from ntk_keras.training.terms import Term
from ntk_keras.training.weighting_setup import find_times, sizes_of
from ntk_keras.weighting import Weighting

__all__ = ["FollowTerms", "FollowsTerms", "TermChanges", "compiled_with"]


class TermChanges:
    """Compares what the steps of a model were compiled with to what its terms are now.

    Args:
        terms: terms of the model.
    """

    def __init__(self, terms: Sequence[Term]):
        self._terms = terms
        self.accept()

    def accept(self) -> None:
        """Records the current terms as those that the steps are compiled with."""
        self._known = [(term.residual, tf.nest.flatten(term.points)) for term in self._terms]

    def any(self) -> bool:
        """Whether a term has been given other points or another residual since."""
        for term, (residual, leaves) in zip(self._terms, self._known, strict=True):
            now = tf.nest.flatten(term.points)
            if term.residual is not residual or len(now) != len(leaves):
                return True
            if any(map(operator.is_not, now, leaves)):
                return True
        return False


def compiled_with(model: Any, function: Callable[[], Any]) -> Callable[[], Any]:
    """Returns a function of a model's terms as a graph, which is rebuilt once a term has changed.

    Args:
        model: Keras model; one that has terms is a :class:`~ntk_keras.PINNModel`.
        function: function that evaluates the terms.
    """
    changes = TermChanges(getattr(model, "terms", ()))
    graph: list[Any] = [tf.function(function, autograph=False)]

    def call() -> Any:
        if changes.any():
            model.follow_terms()
            changes.accept()
            graph[0] = tf.function(function, autograph=False)
        return graph[0]()

    return call


class FollowsTerms(MovesPoints):
    """A model of terms that recompiles its steps once a term has other points or residuals."""

    weighting: Weighting
    train_function: Any
    test_function: Any
    _term_changes: TermChanges
    _inspect: Callable[[Mapping[str, Any]], dict[str, int]]

    def follow_terms(self) -> None:
        """Inspects the terms that have changed, as at construction, and drops compiled steps.

        Raises:
            ValueError: if terms do not fit the network, the state of the weighting or its causal
                weights.
        """
        if self._term_changes.any():
            self._follow_moving()
            self.weighting.check_sizes(sizes_of(self.terms, self._inspect({})))
            find_times(self)
            self._term_changes.accept()
            self.train_function = self.test_function = None

    def make_train_function(self, force: bool = False) -> Any:
        """Returns that of ``keras.Model``, rebuilt if a term has changed."""
        self.follow_terms()
        return super().make_train_function(force)

    def make_test_function(self, force: bool = False) -> Any:
        """Returns that of ``keras.Model``, rebuilt if a term has changed."""
        self.follow_terms()
        return super().make_test_function(force)


class FollowTerms(keras.callbacks.Callback):
    """Makes the next step use the current terms, whoever changed them.

    It is the last callback of every ``PINNModel.fit``, so that it sees what the others did.
    """

    def on_train_batch_begin(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        self.model.make_train_function()
