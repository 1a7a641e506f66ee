"""The damped normal equations of ``S J d = S R``, in residual space or in parameter space.

With rows scaled by S, the step is ``d = J^T S (S K S + mu I)^-1 S R``, n equations, which is also
``d = (J^T S^2 J + mu I)^-1 J^T S^2 R``, p equations. Both are solved in double precision.
"""

import functools
from collections.abc import Callable

import tensorflow as tf

from ntk_keras.backend import lapack
from ntk_keras.kernel import Linearization
from ntk_keras.kernel.gram import symmetric_product
from ntk_keras.optimizers.system import Solve, System, fold_rows, pulled, stacked

__all__ = ["Dual", "NormalEquations", "Primal", "cholesky_with_damping"]


class NormalEquations(System):
    """Equations with an explicit matrix, solved by a Cholesky factor.

    Attributes:
        matrix: symmetric, positive semidefinite matrix, ``[m, m]``.
    """

    matrix: tf.Tensor

    def right_side(self, vector: tf.Tensor) -> tf.Tensor:
        """Returns the right side of the equations for a vector in residual space.

        Args:
            vector: vector v, ``[n]``.

        Returns:
            ``[m]``.
        """
        raise NotImplementedError

    def solver(self, damping: tf.Tensor) -> tuple[Solve, tf.Tensor]:
        """Returns the solver of a Cholesky factor, with more damping if it fails."""
        factor, damping = cholesky_with_damping(self.matrix, damping)

        def solve(vector: tf.Tensor) -> tf.Tensor:
            right_side = self.right_side(vector)[:, tf.newaxis]
            return tf.linalg.cholesky_solve(factor, right_side)[:, 0]

        return solve, damping


class Dual(NormalEquations):
    """The kernel's n equations: ``(S K S + mu I) y = v`` and ``d = J^T S y``.

    Args:
        linearization: residuals, recorded.
        scale: row scales S, ``[n]``, double.
    """

    def __init__(self, linearization: Linearization, scale: tf.Tensor):
        super().__init__(linearization, scale)
        # A vector y that solves the equations is large and J^T S y small: single precision is lost.
        if all(map(linearization.is_factored, linearization.blocks)):
            double = linearization.in_double()
            kernel = double.gram()
            self._pull: Callable[[tf.Tensor], list[tf.Tensor]] = functools.partial(pulled, double)
        else:
            rows = stacked(map(linearization.rows, linearization.blocks))
            kernel = symmetric_product(rows, axis=0)
            by_variable = super().direction
            self._pull = lambda v: by_variable(tf.linalg.matvec(rows, v, transpose_a=True))
        self.matrix = scale[:, tf.newaxis] * kernel * scale

    def right_side(self, vector: tf.Tensor) -> tf.Tensor:
        """Returns the vector itself."""
        return vector

    def direction(self, solution: tf.Tensor) -> list[tf.Tensor]:
        """Returns ``J^T S y``."""
        return self._pull(self.scale * solution)

    def pushed(self, solution: tf.Tensor) -> tf.Tensor:
        """Returns ``S K S y``."""
        return tf.linalg.matvec(self.matrix, solution)


class Primal(NormalEquations):
    """The parameters' p equations, ``(J^T S^2 J + mu I) d = J^T S v``, without all rows of J.

    Args:
        linearization: residuals, recorded.
        scale: row scales S, ``[n]``, double.
    """

    def __init__(self, linearization: Linearization, scale: tf.Tensor):
        super().__init__(linearization, scale)
        size = self.num_parameters
        self.matrix = fold_rows(
            self,
            lambda total, rows: total + symmetric_product(rows, axis=1),
            tf.zeros([size, size], tf.float64),
        )

    def right_side(self, vector: tf.Tensor) -> tf.Tensor:
        """Returns ``J^T S v``."""
        return self.gradient(vector)


def cholesky_with_damping(matrix: tf.Tensor, damping: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the factor of a matrix with a damped diagonal, with as much damping as it needs.

    Args:
        matrix: symmetric matrix, ``[m, m]``.
        damping: damping to begin with, in units of the mean eigenvalue; ten times as much whenever
            rounding leaves the matrix indefinite.

    Returns:
        The factor and its damping.
    """
    count = tf.shape(matrix)[0]
    mean = tf.linalg.trace(matrix) / tf.cast(count, matrix.dtype)

    def factorize(damping: tf.Tensor) -> tf.Tensor:
        diagonal = tf.linalg.diag_part(matrix) + damping * mean
        damped = tf.linalg.set_diag(matrix, diagonal)
        serves = lapack.serves(damped, damped.shape[0])
        return lapack.cholesky(damped) if serves else tf.linalg.cholesky(damped)

    def failed(factor: tf.Tensor, damping: tf.Tensor) -> tf.Tensor:
        # A matrix that is not finite has no factor however much it is damped.
        return (damping < 1e3) & ~tf.reduce_all(tf.math.is_finite(tf.linalg.diag_part(factor)))

    def more(factor: tf.Tensor, damping: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return factorize(10 * damping), 10 * damping

    return tf.while_loop(failed, more, (factorize(damping), damping))
