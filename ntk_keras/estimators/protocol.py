"""The protocol of estimators of kernel traces."""

from typing import NamedTuple, Protocol, runtime_checkable

import tensorflow as tf

from ntk_keras.kernel.linearization import Linearization

__all__ = ["Estimate", "Estimator", "KernelEstimator", "SelfAssessed", "is_exact"]


class Estimate(NamedTuple):
    """Estimates of block traces with their standard errors.

    Attributes:
        traces: estimates of ``Tr K_bb``, a scalar by block.
        standard_errors: standard errors of the traces, a scalar by block.
    """

    traces: dict[str, tf.Tensor]
    standard_errors: dict[str, tf.Tensor]


class Estimator(Protocol):
    """An object that samples block traces."""

    def traces(self, linearization: Linearization, seed: tf.Tensor) -> dict[str, tf.Tensor]:
        """Returns one sample of ``Tr K_bb`` by block.

        Args:
            linearization: residual recorded at the current parameters.
            seed: integers ``[2]``; equal seeds give equal samples.

        Returns:
            A scalar by block, of expectation ``Tr K_bb``.
        """
        ...


@runtime_checkable
class KernelEstimator(Estimator, Protocol):
    """An estimator that also samples the whole kernel."""

    def kernel(self, linearization: Linearization, seed: tf.Tensor) -> tf.Tensor:
        """Returns one sample of K, ``[n, n]``; arguments as for :meth:`Estimator.traces`."""
        ...


@runtime_checkable
class SelfAssessed(Estimator, Protocol):
    """An estimator whose single sample has a standard error."""

    def estimate(self, linearization: Linearization, seed: tf.Tensor) -> Estimate:
        """Returns one sample with its error; arguments as for :meth:`Estimator.traces`."""
        ...


def is_exact(estimator: Estimator, linearization: Linearization) -> bool:
    """Whether samples have no noise, so that one is as good as many.

    An estimator says so by a method ``is_exact(linearization)``; without it, samples have noise.

    Args:
        estimator: estimator of traces.
        linearization: residuals to sample.
    """
    judge = getattr(estimator, "is_exact", None)
    return judge is not None and judge(linearization)
