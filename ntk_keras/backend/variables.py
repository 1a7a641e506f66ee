"""Variables that belong to code which knows nothing of Keras."""

import keras
import tensorflow as tf

__all__ = ["BorrowedVariable"]


class BorrowedVariable(keras.Variable):
    """A user's own ``tf.Variable`` as Keras knows variables; whoever writes one writes the other.

    Functions read the ``tf.Variable``, not this, so no stateless scope can show them another value.

    Args:
        variable: stays the one that holds the value.
    """

    def __init__(self, variable: tf.Variable):
        # Keras keeps a `tf.Variable` of the right dtype as it is; its names hold no slash.
        super().__init__(
            variable,
            dtype=variable.dtype.name,
            trainable=variable.trainable,
            autocast=False,
            name=variable.name.removesuffix(":0").replace("/", "_"),
        )
