"""Points of the unit cube: independent and uniform, a Latin hypercube, or a shifted Sobol sequence.

Each method draws them in two ways: by TensorFlow inside the graph, and by SciPy once and for all.
"""

import math

import numpy as np
import scipy
import tensorflow as tf

from ntk_keras.backend.seeds import fold_in

__all__ = ["METHODS", "check_method", "draw", "fixed"]

METHODS = ("uniform", "latin_hypercube", "sobol")


def check_method(method: str) -> None:
    """Raises ValueError for an unknown method.

    Args:
        method: name of the method.
    """
    if method not in METHODS:
        raise ValueError(f"method must be one of {METHODS}. Received method={method!r}.")


def draw(method: str, seed: tf.Tensor, n: int, d: int, dtype: tf.DType) -> tf.Tensor:
    """Draws new points with TensorFlow.

    Args:
        method: one of :data:`METHODS`.
        seed: integers ``[2]``.
        n: number of points.
        d: number of dimensions.
        dtype: dtype of the points.

    Returns:
        ``[n, d]``, in the unit cube.
    """
    return _DRAW[method](seed, n, d, dtype)


def fixed(method: str, generator: np.random.Generator, n: int, d: int) -> np.ndarray:
    """Draws points with NumPy and SciPy.

    Args:
        method: one of :data:`METHODS`.
        generator: generator of random numbers.
        n: number of points.
        d: number of dimensions.

    Returns:
        ``[n, d]``, in the unit cube, in float64.
    """
    if method == "uniform":
        return generator.random((n, d))
    if method == "latin_hypercube":
        return scipy.stats.qmc.LatinHypercube(d, rng=generator).random(n)
    return _sobol(scipy.stats.qmc.Sobol(d, rng=generator), n)


def _draw_uniform(seed: tf.Tensor, n: int, d: int, dtype: tf.DType) -> tf.Tensor:
    return tf.random.stateless_uniform([n, d], seed, dtype=dtype, alg="philox")


def _draw_latin_hypercube(seed: tf.Tensor, n: int, d: int, dtype: tf.DType) -> tf.Tensor:
    """Draws one point in each of n slices along every axis; slices are matched at random."""
    within, order = (_draw_uniform(fold_in(seed, k), n, d, dtype) for k in (0, 1))
    return (tf.cast(tf.argsort(order, axis=0), dtype) + within) / n


def _draw_sobol(seed: tf.Tensor, n: int, d: int, dtype: tf.DType) -> tf.Tensor:
    """Draws the Sobol sequence under a random shift modulo one (Cranley-Patterson rotation)."""
    base = _sobol(scipy.stats.qmc.Sobol(d, scramble=False), n)
    return tf.math.floormod(tf.constant(base, dtype) + _draw_uniform(seed, 1, d, dtype), 1)


_DRAW = {
    "uniform": _draw_uniform,
    "latin_hypercube": _draw_latin_hypercube,
    "sobol": _draw_sobol,
}


def _sobol(engine: "scipy.stats.qmc.Sobol", n: int) -> np.ndarray:
    """The first n points; SciPy warns of any n that is no power of two, so it is asked for one."""
    return engine.random_base2(math.ceil(math.log2(n)))[:n]
