"""What an estimator of kernel traces is."""

from typing import NamedTuple, Protocol, runtime_checkable

import tensorflow as tf

from ntk_keras.kernel.linearization import Linearization

__all__ = ["Estimate", "Estimator", "KernelEstimator", "SelfAssessed", "is_exact"]


class Estimate(NamedTuple):
    """Estimates of block traces with their standard errors.

    Attributes:
        traces: of Tr K_bb, a scalar by block.
        standard_errors: of the traces, a scalar by block.
    """

    traces: dict[str, tf.Tensor]
    standard_errors: dict[str, tf.Tensor]


class Estimator(Protocol):
    """Anything that samples block traces."""

    def traces(self, linearization: Linearization, seed: tf.Tensor) -> dict[str, tf.Tensor]:
        """One sample of Tr K_bb by block.

        Args:
            linearization: the residual recorded at the present parameters.
            seed: ``[2]`` integers; equal seeds give equal samples.

        Returns:
            A scalar by block, of expectation Tr K_bb.
        """
        ...


@runtime_checkable
class KernelEstimator(Estimator, Protocol):
    """An estimator that samples the whole kernel too."""

    def kernel(self, linearization: Linearization, seed: tf.Tensor) -> tf.Tensor:
        """One sample of K, ``[n, n]``; arguments as for :meth:`Estimator.traces`."""
        ...


@runtime_checkable
class SelfAssessed(Estimator, Protocol):
    """An estimator whose single sample tells its standard error."""

    def estimate(self, linearization: Linearization, seed: tf.Tensor) -> Estimate:
        """One sample with its standard error; arguments as for :meth:`Estimator.traces`."""
        ...


def is_exact(estimator: Estimator, linearization: Linearization) -> bool:
    """Whether samples hold no noise, so that one is as good as many.

    An estimator says so itself, by a method ``is_exact(linearization)``; without one it is not.

    Args:
        estimator: of traces.
        linearization: what it is to sample.
    """
    judge = getattr(estimator, "is_exact", None)
    return judge is not None and judge(linearization)
