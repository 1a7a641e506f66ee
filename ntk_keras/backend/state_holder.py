"""State that is saved, restored and distributed with a model, outside its network."""

from typing import Any

import keras

from ntk_keras.backend.reprs import represent

__all__ = ["StateHolder"]


class StateHolder(keras.layers.Layer):
    """An object with Keras variables that maps no inputs to outputs.

    Keras saves, restores and distributes only the variables of layers. An object with a state, such
    as a weighting, unknown coefficients or a loss balancer, is therefore a subclass of a layer,
    although it cannot be called like one.
    """

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        raise TypeError(
            f"{type(self).__name__} is no layer to be called: it is a keras.layers.Layer so that "
            "its variables are saved with the model."
        )

    def __repr__(self) -> str:
        return represent(self)
