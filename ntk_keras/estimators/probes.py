"""Random probe vectors: independent entries of mean zero and variance one.

A probe ``g`` with ``E[g g^T] = I`` turns products with the kernel into estimates of its trace,
``E[g^T K g] = Tr K``. Algorithm 2 draws Gaussian probes, Remark 5 allows random signs.
"""

from collections.abc import Mapping

import tensorflow as tf

from ntk_keras.backend.seeds import fold_in

__all__ = ["PROBES", "draw", "gaussian", "rademacher"]


def gaussian(seed: tf.Tensor, shape: tf.Tensor, dtype: tf.DType) -> tf.Tensor:
    """Returns standard normal entries, for which ``Var(g^T K g) = 2 ||K||_F^2``.

    Args:
        seed: integers ``[2]``.
        shape: shape of the probe.
        dtype: dtype of the probe.
    """
    return tf.random.stateless_normal(shape, seed, dtype=dtype, alg="philox")


def rademacher(seed: tf.Tensor, shape: tf.Tensor, dtype: tf.DType) -> tf.Tensor:
    """Returns random signs (Remark 5), for which ``Var(g^T K g) = 2 (||K||_F^2 - sum_i K_ii^2)``.

    Args:
        seed: integers ``[2]``.
        shape: shape of the probe.
        dtype: dtype of the probe.
    """
    bits = tf.random.stateless_uniform(shape, seed, 0, 2, dtype=tf.int32, alg="philox")
    return tf.cast(2 * bits - 1, dtype)


PROBES = {"gaussian": gaussian, "rademacher": rademacher}


def draw(kind: str, seed: tf.Tensor, like: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    """Returns one probe over all blocks.

    Args:
        kind: ``"gaussian"`` or ``"rademacher"``.
        seed: integers ``[2]``. Equal seeds give equal probes, eagerly and in a graph; XLA draws
            other probes.
        like: residuals by block, for shape and dtype.

    Returns:
        A dict with the keys and shapes of ``like``.
    """
    return {
        name: PROBES[kind](fold_in(seed, index), tf.shape(value), value.dtype)
        for index, (name, value) in enumerate(like.items())
    }
