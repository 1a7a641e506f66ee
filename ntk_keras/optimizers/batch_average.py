"""A moving average of the equations' matrix over batches of points, where one batch is too few.

If points are drawn anew, a step fits those of its own batch. The loss of the next batch, before its
step, shows what that was worth. Where it is far above the loss that the step left behind, single
points matter, as those in a steep front or near a corner, of which each batch has a few. The step
then solves equations whose matrix ``J^T S^2 J`` is an average over more batches, while the right
side is that of the batch. Elsewhere, and with fixed points, the average is that of one batch.
"""

import keras
import numpy as np
import tensorflow as tf

__all__ = ["BatchAverage", "next_count"]

# The loss of new points, relative to what the last step left, from which on one batch is too few.
SURPRISE = 2.0
# The largest number of batches, and the part of it that is left after a step without a surprise.
MOST, KEPT = 6.0, 0.93
# Parameters up to which the average is not too large to keep: 72 MB.
MOST_PARAMETERS = 3000


class BatchAverage:
    """The average and its state, as variables of an optimizer.

    Attributes:
        count: number of batches in the average, at least one.

    Args:
        optimizer: optimizer that owns the variables.
        size: order of the matrix.
    """

    def __init__(self, optimizer: keras.optimizers.Optimizer, size: int):
        def variable(name: str, shape: tuple[int, ...], value: float) -> keras.Variable:
            initializer = keras.initializers.Constant(value)
            return optimizer.add_variable(shape, initializer, dtype="float64", name=name)

        self.count = variable("batches", (), 1.0)
        self._left = variable("loss_left", (), np.finfo("float64").max)  # no surprise at first
        self._matrix = variable("average_matrix", (size, size), 0.0)

    def add(self, matrix: tf.Tensor, loss: tf.Tensor, size: tf.Tensor) -> tf.Tensor:
        """Returns the average with the matrix of a new batch, for as many residuals as that has.

        Args:
            matrix: matrix of the batch.
            loss: loss of the batch, before its step.
            size: number of residuals of the batch.
        """
        count = next_count(self.count.value, loss / size / self._left.value)
        average = self._matrix.value + (matrix / size - self._matrix.value) / count
        self.count.assign(count)
        self._matrix.assign(average)
        return size * average

    def leave(self, loss: tf.Tensor, size: tf.Tensor) -> None:
        """Records what a step left of the loss of its batch.

        Args:
            loss: loss after the step.
            size: number of residuals of the batch.
        """
        self._left.assign(loss / size)


def next_count(count: tf.Tensor, surprise: tf.Tensor) -> tf.Tensor:
    """Returns the number of batches: twice as many after a surprise, else a little fewer.

    Args:
        count: number of batches so far.
        surprise: loss of the new batch, relative to what the last step left of its own.
    """
    return tf.where(surprise > SURPRISE, tf.minimum(2 * count, MOST), tf.maximum(KEPT * count, 1))
