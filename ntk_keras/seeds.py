"""Seeds made from seeds."""

import tensorflow as tf

__all__ = ["fold_in"]


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
