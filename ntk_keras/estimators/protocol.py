"""What an estimator of kernel traces is."""

from typing import Protocol, runtime_checkable

import tensorflow as tf

from ntk_keras.linearization import Linearization

__all__ = ["Estimator", "KernelEstimator"]


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
