"""Seeds derived from other seeds, and the states that they come from."""

import keras
import tensorflow as tf

__all__ = ["add_random_state", "advance", "fold_in"]


def add_random_state(layer: keras.layers.Layer, seed: int | None) -> keras.Variable:
    """Creates a variable of a layer that holds a seed and a counter, ``[2]``.

    Keras does not save a SeedGenerator by itself, so a resumed run would draw its first numbers
    again.

    Args:
        layer: layer that the variable is saved with.
        seed: integer, or None for one from the state set by ``keras.utils.set_random_seed``.
    """
    first = keras.random.SeedGenerator(seed).state.value.numpy()[0]
    return layer.add_weight(
        shape=(2,),
        initializer=lambda shape, dtype: tf.constant([int(first) % 2**31, 0], dtype),
        dtype="int32",
        trainable=False,
        name="random_state",
    )


def advance(state: keras.Variable) -> tf.Tensor:
    """Returns the seed ``[2]`` that a state holds, and advances the state to the next one."""
    seed = tf.identity(state.value)
    state.assign(seed + [0, 1])
    return seed


def fold_in(seed: tf.Tensor, index: tf.Tensor | int) -> tf.Tensor:
    """Returns a new seed for an index, the same with and without XLA.

    Args:
        seed: integers ``[2]``.
        index: integer that selects the new seed.

    Returns:
        Integers ``[2]``.
    """
    # The algorithm is given explicitly because the automatic choice differs under XLA.
    return tf.random.experimental.stateless_fold_in(seed, index, alg="philox")
