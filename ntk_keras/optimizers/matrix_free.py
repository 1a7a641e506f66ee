"""Conjugate gradients on products with J and ``J^T``, for equations too large to store."""

from typing import NamedTuple

import tensorflow as tf

from ntk_keras.kernel import Linearization
from ntk_keras.optimizers.system import Solve, System, fold_rows

__all__ = ["MatrixFree", "Nystrom", "conjugate_gradients"]

_RANK = 200
_TOLERANCE, _ITERATIONS = 1e-4, 50


class MatrixFree(System):
    """Solves ``(J^T S^2 J + mu I) d = J^T S v`` by preconditioned conjugate gradients.

    The preconditioner has a low rank.

    Args:
        linearization: residuals, recorded.
        scale: row scales S, ``[n]``, double.
        seed: integers ``[2]`` for the preconditioner.
    """

    def __init__(self, linearization: Linearization, scale: tf.Tensor, seed: tf.Tensor):
        super().__init__(linearization.in_double(), scale)
        size = self.num_parameters
        normal = tf.random.stateless_normal([size, min(_RANK, size)], seed, dtype=tf.float64)
        test, _ = tf.linalg.qr(normal)

        def add_products(total: tf.Tensor, rows: tf.Tensor) -> tf.Tensor:
            products = tf.matmul(rows, tf.matmul(rows, test), transpose_a=True)
            squares = tf.fill([1, test.shape[1]], tf.reduce_sum(rows**2))
            return total + tf.concat([products, squares], axis=0)

        found = fold_rows(self, add_products, tf.zeros([size + 1, test.shape[1]], tf.float64))
        self._mean = found[-1, 0] / size
        self._nystrom = Nystrom.from_products(test, found[:-1])

    def solver(self, damping: tf.Tensor) -> tuple[Solve, tf.Tensor]:
        """Returns the solution as a function of v, to a ten thousandth or by 50 iterations."""
        mu = damping * self._mean

        def product(direction: tf.Tensor) -> tf.Tensor:
            return self.gradient(self.pushed(direction)) + mu * direction

        def solve(vector: tf.Tensor) -> tf.Tensor:
            right_side = self.gradient(vector)
            return conjugate_gradients(
                product, right_side, lambda x: self._nystrom.solve(x, mu), _TOLERANCE, _ITERATIONS
            )

        return solve, damping


class Nystrom(NamedTuple):
    """A low-rank approximation from below, ``U diag(values) U^T`` (Frangella et al. 2023).

    Attributes:
        vectors: matrix U, ``[p, r]``, orthonormal.
        values: eigenvalues ``[r]``, the largest last.
    """

    vectors: tf.Tensor
    values: tf.Tensor

    @classmethod
    def from_products(cls, test: tf.Tensor, products: tf.Tensor) -> "Nystrom":
        """Creates the approximation of a positive semidefinite matrix G.

        Args:
            test: random orthonormal matrix, ``[p, r]``.
            products: product of G with it.
        """
        # A small multiple of the identity keeps the factor from failing, and is subtracted again.
        shift = 1e-14 * tf.norm(products) + tf.keras.backend.epsilon() ** 4
        shifted = products + shift * test
        factor = tf.linalg.cholesky(tf.matmul(test, shifted, transpose_a=True))
        root = tf.linalg.triangular_solve(factor, tf.transpose(shifted))  # [r, p]
        values, rotation = tf.linalg.eigh(tf.matmul(root, root, transpose_b=True))
        values = tf.maximum(values, shift)
        vectors = tf.matmul(root, rotation / tf.sqrt(values), transpose_a=True)
        return cls(vectors, tf.maximum(values - shift, 0.0))

    def solve(self, vector: tf.Tensor, mu: tf.Tensor) -> tf.Tensor:
        """Returns ``(U diag(values) U^T + mu I)^-1 v``, outside U as for the least value.

        Args:
            vector: vector v, ``[p]``.
            mu: damping.
        """
        along = tf.linalg.matvec(self.vectors, vector, transpose_a=True)
        factor = (self.values[0] + mu) / (self.values + mu) - 1
        return vector + tf.linalg.matvec(self.vectors, factor * along)


def conjugate_gradients(
    product: Solve,
    right_side: tf.Tensor,
    precondition: Solve,
    tolerance: float,
    max_iterations: int,
) -> tf.Tensor:
    """Solves ``G x = b``; returns the best x found if rounding ends the iteration.

    Args:
        product: product of G, symmetric and positive definite, with a vector.
        right_side: right side b, ``[p]``.
        precondition: function that approximates ``G^-1``, of the same kind.
        tolerance: tolerance of ``||b - G x||``, as a part of ``||b||``.
        max_iterations: number of iterations at most.
    """
    goal = tolerance * tf.norm(right_side)

    def goes_on(x, residual, search, square):  # type: ignore[no-untyped-def]
        return (tf.norm(residual) > goal) & (square > 0)

    def step(x, residual, search, square):  # type: ignore[no-untyped-def]
        pushed = product(search)
        curvature = tf.tensordot(search, pushed, 1)
        length = tf.where(curvature > 0, square / curvature, 0.0)
        x, residual = x + length * search, residual - length * pushed
        guess = precondition(residual)
        # Zero where rounding has left nothing to gain, which ends the iteration.
        now = tf.where(curvature > 0, tf.tensordot(residual, guess, 1), 0.0)
        return x, residual, guess + now / square * search, now

    first = precondition(right_side)
    start = tf.zeros_like(right_side), right_side, first, tf.tensordot(right_side, first, 1)
    return tf.while_loop(goes_on, step, start, maximum_iterations=max_iterations)[0]
