"""Algorithm 3's moving average of kernel estimates, and the noise that remains in it."""

import tensorflow as tf

__all__ = ["average_variance", "moved", "rate_of_update", "square", "update_variance"]


def rate_of_update(averaging_rate: float, update_every: int) -> float:
    """Returns how far an average moves at an update: alpha for each step since the last one.

    Args:
        averaging_rate: rate alpha, per step.
        update_every: number n of steps from one update to the next.

    Returns:
        ``1 - (1 - alpha)^n``.
    """
    if update_every == 1:  # without the rounding of the formula
        return averaging_rate
    return 1 - (1 - averaging_rate) ** update_every


def moved(average: tf.Tensor, mean: tf.Tensor, rate: tf.Tensor) -> tf.Tensor:
    """Returns ``K_t = (1 - alpha) K_{t-1} + alpha K^``.

    Args:
        average: average ``K_{t-1}``, or its traces.
        mean: mean ``K^`` of this update's samples.
        rate: rate alpha; one if there is no average yet.
    """
    return (1 - rate) * average + rate * mean


def update_variance(
    variance: tf.Tensor, mean: tf.Tensor, average: tf.Tensor, rate: tf.Tensor
) -> tf.Tensor:
    """Returns the variance of an update, followed along the run.

    It comes from the distance d of an update from the average: at rest ``E[d^2]`` is
    ``2 / (2 - alpha)`` times the variance.

    Args:
        variance: variance followed so far.
        mean: mean of this update's samples.
        average: average before it moves.
        rate: rate alpha.
    """
    observed = square(mean - average) * (2 - rate) / 2
    return (1 - rate) * variance + rate * observed


def average_variance(variance: tf.Tensor, update: tf.Tensor, rate: tf.Tensor) -> tf.Tensor:
    """Returns the variance of the moving average after an update.

    Args:
        variance: variance of the average before.
        update: variance of the update.
        rate: rate alpha.
    """
    return (1 - rate) ** 2 * variance + rate**2 * update


def square(values: tf.Tensor) -> tf.Tensor:
    """Returns the squares, capped at the largest number, as they only measure noise.

    Args:
        values: tensor of any shape.
    """
    return tf.minimum(values**2, values.dtype.max)
