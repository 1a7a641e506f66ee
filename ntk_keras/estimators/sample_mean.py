"""Means of several samples, with their standard errors."""

import math

import tensorflow as tf

from ntk_keras.backend.checks import check_count
from ntk_keras.backend.graphs import map_one_by_one
from ntk_keras.backend.seeds import fold_in
from ntk_keras.estimators.protocol import Estimate, Estimator, SelfAssessed
from ntk_keras.kernel.linearization import Linearization

__all__ = ["average"]


def average(
    estimator: Estimator, linearization: Linearization, seed: tf.Tensor, num_probes: int
) -> Estimate:
    """Returns the mean of several independent samples, and its standard error.

    Args:
        estimator: estimator of traces.
        linearization: residual recorded at the current parameters.
        seed: integers ``[2]``.
        num_probes: number of samples. One is enough for estimators that know their own error.

    Raises:
        ValueError: if there is a single sample of an estimator that does not know its error.
    """
    check_count("num_probes", num_probes)
    if num_probes == 1 and isinstance(estimator, SelfAssessed):
        return estimator.estimate(linearization, seed)
    if num_probes == 1:
        raise ValueError(
            f"A single sample of {estimator} has no known standard error. Received num_probes=1; "
            "take two or more."
        )

    def sample(index: tf.Tensor) -> list[tf.Tensor]:
        traces = estimator.traces(linearization, fold_in(seed, index))
        return [traces[name] for name in names]

    names = list(linearization.residuals)
    dtypes = [linearization.residuals[name].dtype for name in names]
    # One at a time, so that only the memory of one is needed.
    samples = map_one_by_one(sample, tf.range(num_probes), dtypes)
    by_block = dict(zip(names, samples, strict=True))
    spread = math.sqrt(num_probes * (num_probes - 1))
    return Estimate(
        {name: tf.reduce_mean(values) for name, values in by_block.items()},
        {
            name: tf.norm(values - tf.reduce_mean(values)) / spread
            for name, values in by_block.items()
        },
    )
