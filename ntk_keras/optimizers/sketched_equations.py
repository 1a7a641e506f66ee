"""The damped normal equations of fewer rows, random sums of those of S J."""

import tensorflow as tf

from ntk_keras.kernel import Linearization
from ntk_keras.kernel.gram import symmetric_product
from ntk_keras.optimizers.normal_equations import NormalEquations
from ntk_keras.optimizers.system import fold_rows

__all__ = ["Sketched"]

_PLACES = 4  # In which each row takes part.


class Sketched(NormalEquations):
    """Minimizes ``||T (v - S J d)||^2 + mu ||d||^2``, with a few signs in each column of T.

    T is a sparse sign matrix, ``[s, n]``, with ``E[T^T T] = I``: each row of S J is added to four
    of s sums, with a random sign. The sums ``A = T S J``, ``[s, p]``, are held, and s or p
    equations are solved, whichever are fewer.

    Args:
        linearization: residuals, recorded.
        scale: row scales S, ``[n]``, double.
        size: number s of sums.
        seed: integers ``[2]`` for T.
    """

    def __init__(self, linearization: Linearization, scale: tf.Tensor, size: int, seed: tf.Tensor):
        super().__init__(linearization, scale)
        self._size = size
        shape = [tf.shape(scale)[0], _PLACES]
        self._places = tf.random.stateless_uniform(shape, seed, 0, size, tf.int32)
        signs = tf.random.stateless_uniform(shape, seed + 1, 0, 2, tf.int32)
        self._signs = tf.cast(2 * signs - 1, tf.float64) / _PLACES**0.5
        start = tf.zeros([size, self.num_parameters], tf.float64)
        self._rows = fold_rows(self, self._add_sums, start, (self._places, self._signs))
        self._is_dual = size < self.num_parameters
        self.matrix = symmetric_product(self._rows, axis=0 if self._is_dual else 1)

    def right_side(self, vector: tf.Tensor) -> tf.Tensor:
        """Returns ``T v``, or ``A^T T v`` for the equations of the parameters."""
        start = tf.zeros([self._size, 1], tf.float64)
        sums = self._add_sums(start, vector[:, tf.newaxis], self._places, self._signs)[:, 0]
        return sums if self._is_dual else tf.linalg.matvec(self._rows, sums, transpose_a=True)

    def direction(self, solution: tf.Tensor) -> list[tf.Tensor]:
        """Returns the solution, or ``A^T y`` for the s equations of the sums."""
        if self._is_dual:
            solution = tf.linalg.matvec(self._rows, solution, transpose_a=True)
        return super().direction(solution)

    def _add_sums(
        self, total: tf.Tensor, rows: tf.Tensor, places: tf.Tensor, signs: tf.Tensor
    ) -> tf.Tensor:
        for place, sign in zip(tf.unstack(places, axis=1), tf.unstack(signs, axis=1), strict=True):
            signed = sign[:, tf.newaxis] * rows
            total += tf.math.unsorted_segment_sum(signed, place, self._size)
        return total
