"""Seeds made from seeds, and the states they come from."""

import keras
import tensorflow as tf

__all__ = ["add_random_state", "advance", "fold_in"]


def add_random_state(layer: keras.layers.Layer, seed: int | None) -> keras.Variable:
    """A seed and a counter ``[2]``, as a variable of a layer.

    Keras saves no SeedGenerator of its own accord, and a resumed run would draw its first numbers
    again.

    Args:
        layer: what the variable is saved with.
        seed: None takes one from ``keras.utils.set_random_seed``'s state.
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
    """The seed ``[2]`` that a state holds; the state goes on to the next."""
    seed = tf.identity(state.value)
    state.assign(seed + [0, 1])
    return seed


def fold_in(seed: tf.Tensor, index: tf.Tensor | int) -> tf.Tensor:
    """A new seed ``[2]`` for every index, the same under XLA as without.

    Args:
        seed: ``[2]`` integers.
        index: what the new seed is for.

    Returns:
        ``[2]`` integers.
    """
    # The algorithm is named because the automatic choice is another one under XLA.
    return tf.random.experimental.stateless_fold_in(seed, index, alg="philox")
