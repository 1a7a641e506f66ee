"""Large products and factors in double precision by SciPy's LAPACK.

TensorFlow's packages contain code for double precision that runs on every processor with AVX.
SciPy's library takes the processor's own instructions, and half of the operations for a symmetric
product. A graph calls it as it calls Python, which XLA cannot compile and tapes cannot
differentiate. So the builder of the graph has to allow it.
"""

import contextlib
import contextvars
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import scipy.linalg
import tensorflow as tf

from ntk_keras.backend import graphs

__all__ = ["LEAST", "cholesky", "lapack_allowed", "serves", "symmetric_product"]

# Order of a matrix below which the call costs more than it saves.
LEAST = 512
_BLOCK = 256  # Rows that are mirrored at a time.

_ALLOWED = contextvars.ContextVar("lapack_allowed", default=False)


@contextlib.contextmanager
def lapack_allowed(allowed: bool) -> Iterator[None]:
    """Sets whether the functions that ask :func:`serves` may call SciPy.

    Args:
        allowed: whether they may inside a ``with`` statement: if XLA does not compile the graph.
    """
    before = _ALLOWED.set(allowed)
    try:
        yield
    finally:
        _ALLOWED.reset(before)


def serves(matrix: tf.Tensor, order: int | None) -> bool:
    """Whether to call this module's functions, and not TensorFlow's, for a matrix.

    Args:
        matrix: argument of the function.
        order: order of the result, None if it is not known.
    """
    large = order is not None and order >= LEAST
    return _ALLOWED.get() and large and matrix.dtype == tf.float64 and graphs.on_one_cpu()


def symmetric_product(factor: tf.Tensor, axis: int) -> tf.Tensor:
    """Returns ``X X^T`` or ``X^T X``.

    Args:
        factor: matrix X.
        axis: 0 for products of its rows, 1 for those of its columns.
    """

    def product(x: np.ndarray) -> np.ndarray:
        # Columns of LAPACK are rows here: its upper triangle is the lower one.
        lower = scipy.linalg.blas.dsyrk(1.0, x.T, trans=axis == 0).T
        for start in range(0, len(lower), _BLOCK):
            stop = start + _BLOCK
            lower[start:stop, stop:] = lower[stop:, start:stop].T
            corner = lower[start:stop, start:stop]
            corner += np.tril(corner, -1).T
        return lower

    return _call(product, factor, [factor.shape[axis]] * 2)


def cholesky(matrix: tf.Tensor) -> tf.Tensor:
    """Returns the lower Cholesky factor, NaN if rounding leaves the matrix indefinite.

    Args:
        matrix: symmetric matrix, ``[m, m]``.
    """

    def factor(a: np.ndarray) -> np.ndarray:
        upper, info = scipy.linalg.lapack.dpotrf(a.T, lower=0, clean=1)
        return upper.T if info == 0 else np.full_like(a, np.nan)

    return _call(factor, matrix, matrix.shape)


def _call(
    function: Callable[[np.ndarray], np.ndarray],
    argument: tf.Tensor,
    shape: Sequence[int | None] | tf.TensorShape,
) -> tf.Tensor:
    result = tf.numpy_function(function, [argument], tf.float64, stateful=False)
    return tf.ensure_shape(result, shape)
