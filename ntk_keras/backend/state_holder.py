"""State that is saved, restored and distributed with a model, though no layer holds it."""

from typing import Any

import keras

from ntk_keras.backend.reprs import represent

__all__ = ["StateHolder"]


class StateHolder(keras.layers.Layer):
    """An object with Keras variables that maps no inputs to outputs.

    Keras saves, restores and distributes the variables of layers alone, so whatever has a state of
    its own (a weighting, unknown coefficients, a loss balancer) is a layer by descent, and not by
    what calling it means.
    """

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        raise TypeError(
            f"{type(self).__name__} is no layer to be called: it is a keras.layers.Layer so that "
            "its variables are saved with the model."
        )

    def __repr__(self) -> str:
        return represent(self)
