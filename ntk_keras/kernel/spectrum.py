"""Eigenvalues of the kernel, and their effective number."""

from collections.abc import Mapping

import numpy as np
import scipy
import tensorflow as tf

from ntk_keras.backend.autograph import unconverted
from ntk_keras.backend.variables import Variables
from ntk_keras.kernel.block import Block, Blocks, named_blocks
from ntk_keras.kernel.exact import matrix, product

__all__ = ["effective_rank", "eigenvalues"]


@unconverted
def eigenvalues(blocks: Blocks, variables: Variables, num: int | None = None) -> tf.Tensor:
    """Returns eigenvalues of K, largest first: decay rates of residuals under gradient flow.

    All of them come from the matrix. The largest few come from products ``K v`` alone (implicitly
    restarted Lanczos iteration, always from the same start), with neither K nor J in memory: only
    one reverse pass over all points has to fit.

    Args:
        blocks: one residual block, or a dict of them.
        variables: parameters theta.
        num: number of the largest ones, not in a graph; all of them by default.

    Returns:
        ``[n]``, or ``[num]``. Each has an error of a few roundings of the largest: in float32,
        values below 1e-6 of that are noise, and may be negative.

    Raises:
        ValueError: if ``num`` is not an integer from 1 to n, or the kernel is not finite.
        RuntimeError: if ``num`` is given inside a graph.
    """
    if num is None:
        return tf.reverse(tf.linalg.eigvalsh(matrix(blocks, variables)), axis=[0])
    if not tf.executing_eagerly():
        raise RuntimeError(
            "eigenvalues(..., num=...) iterates outside TensorFlow, which no graph can hold. Call "
            "it outside tf.function, or compute all eigenvalues there and slice them."
        )
    operator = _operator(named_blocks(blocks), variables)
    n = operator.shape[0]
    if isinstance(num, bool | float) or num not in range(1, n + 1):
        raise ValueError(f"num must be an integer from 1 to n = {n}. Received {num!r}.")
    if max(2 * num + 1, 20) >= n:  # vectors that the iteration keeps: no fewer than K has
        return eigenvalues(blocks, variables)[:num]
    return tf.constant(_largest_eigenvalues(operator, num))


@unconverted
def effective_rank(blocks: Blocks, variables: Variables, *, order: int = 1) -> tf.Tensor:
    """Returns the effective number of eigenvalues, from their shares ``p_i = lambda_i / Tr K``.

    Order 1 is ``exp(-sum_i p_i log p_i)``, the exponential of the entropy. Order 2 is
    ``1 / sum_i p_i^2 = (Tr K)^2 / ||K||_F^2``, the participation ratio, which weights small
    eigenvalues less and computes none. Both are between one and the rank, and order 2 is never
    above order 1.

    Both take the matrix. If it is too large, take the same share of every block's points at random:
    eigenvalues over n converge to those of the kernel as an integral operator (Koltchinskii and
    Gine, Bernoulli 6, 2000).

    Args:
        blocks: one residual block, or a dict of them.
        variables: parameters theta.
        order: 1 or 2.

    Returns:
        A scalar; NaN if K is zero.

    Raises:
        ValueError: if the order is another one.

    Reference:
        Roy, Vetterli, "The effective rank: a measure of effective dimensionality", EUSIPCO (2007).
    """
    if order == 1:
        positive = tf.maximum(eigenvalues(blocks, variables), 0)  # but for rounding, all are
        shares = positive / tf.reduce_sum(positive)
        return tf.exp(-tf.reduce_sum(tf.math.xlogy(shares, shares)))
    if order == 2:
        K = matrix(blocks, variables)
        return 1 / tf.reduce_sum((K / tf.linalg.trace(K)) ** 2)  # squares of shares never overflow
    raise ValueError(f"order must be 1 or 2. Received {order!r}.")


def _operator(
    blocks: Mapping[str, Block], variables: Variables
) -> "scipy.sparse.linalg.LinearOperator":
    """Returns K as a linear map of arrays ``[n]``, its product compiled once."""
    residuals = [block() for block in blocks.values()]
    sizes = [residual.shape[0] for residual in residuals]

    @tf.function(autograph=False)
    def multiply(vector: tf.Tensor) -> tf.Tensor:
        parts = dict(zip(blocks, tf.split(vector, sizes), strict=True))
        return tf.concat(list(product(blocks, variables, parts).values()), axis=0)

    return scipy.sparse.linalg.LinearOperator(
        (sum(sizes), sum(sizes)),
        matvec=lambda vector: multiply(vector).numpy(),
        dtype=residuals[0].dtype.as_numpy_dtype,
    )


def _largest_eigenvalues(operator: "scipy.sparse.linalg.LinearOperator", num: int) -> np.ndarray:
    """Returns the ``num`` largest eigenvalues by Lanczos iteration, largest first."""
    start = np.random.default_rng(0).standard_normal(operator.shape[0]).astype(operator.dtype)
    image = operator @ start
    if not np.all(np.isfinite(image)):
        raise ValueError(
            "The kernel is not finite: a residual or its gradient is NaN or infinite at the "
            "present parameters."
        )
    if not np.any(image):  # K is zero, and no iteration starts from zero
        return np.zeros(num, operator.dtype)
    largest = scipy.sparse.linalg.eigsh(
        operator, num, which="LA", v0=start, return_eigenvectors=False
    )
    return np.sort(largest)[::-1]
