"""Traces from the kernel's diagonal, exact entry by entry: K_ii = ||J_i||^2."""

import dataclasses
from collections.abc import Mapping

import tensorflow as tf

from ntk_keras import kernel
from ntk_keras.checks import check_count
from ntk_keras.linearization import Block, Linearization
from ntk_keras.seeds import fold_in

__all__ = ["Diagonal", "Exact"]

DEFAULT_POINTS = 3


@dataclasses.dataclass(frozen=True)
class Diagonal:
    """(n_b / m) times the sum of K_ii over the entries of m points, drawn without replacement.

    Every point has the same chance, so the expectation is Tr K_bb. The variance is
    n_b^2 (1 - m / n_b) s^2 / m with s^2 the variance of K_ii over the block's points: small, since
    the diagonal hardly varies within a block, where probes suffer from all of ||K_bb||_F^2.

    Attributes:
        num_points: m, for every term or by term; 3 by default, or all points where there are
            fewer. A block without points counts its residual entries as points.
    """

    num_points: int | Mapping[str, int] | None = None

    def __post_init__(self) -> None:
        given = self.num_points
        for count in given.values() if isinstance(given, Mapping) else [given]:
            if count is not None:
                check_count("num_points", count)

    def traces(self, linearization: Linearization, seed: tf.Tensor) -> dict[str, tf.Tensor]:
        """(n_b / m) sum_i K_ii by block, one sample."""
        chosen, counts = {}, {}
        for index, (name, block) in enumerate(linearization.blocks.items()):
            total = _num_points(block, linearization.residuals[name])
            count = self._count(name, total)
            chosen[name] = _subset(fold_in(seed, index), total, count)
            counts[name] = (total, count)
        entries = kernel.diagonal(linearization.blocks, linearization.variables, subset=chosen)
        traces = {}
        for name, values in entries.items():
            total, count = (tf.cast(number, values.dtype) for number in counts[name])
            traces[name] = total / count * tf.reduce_sum(values)
        return traces

    def _count(self, name: str, total: int | tf.Tensor) -> int | tf.Tensor:
        """The number of points to draw from a block of ``total``."""
        given = self.num_points
        count = given.get(name) if isinstance(given, Mapping) else given
        if isinstance(total, tf.Tensor):
            return tf.minimum(count or DEFAULT_POINTS, total)
        if count is not None and count > total:
            raise ValueError(
                f"Term {name!r} has {total} points, of which {count} different ones cannot be "
                f"drawn. Received num_points={given}. Give numbers by term, as in "
                f"Diagonal({{{name!r}: {total}}}), or none: {DEFAULT_POINTS}, where there are."
            )
        return min(count or DEFAULT_POINTS, total)


@dataclasses.dataclass(frozen=True)
class Exact:
    """Exact traces and kernel, from the gradient of every residual entry. Costly; no noise.

    Attributes:
        chunk_size: points whose gradients are held at a time; chosen by memory by default.
    """

    chunk_size: int | None = None

    def traces(self, linearization: Linearization, seed: tf.Tensor) -> dict[str, tf.Tensor]:
        """Tr K_bb by block; the seed is not used."""
        return kernel.traces(
            linearization.blocks, linearization.variables, chunk_size=self.chunk_size
        )

    def kernel(self, linearization: Linearization, seed: tf.Tensor) -> tf.Tensor:
        """K, ``[n, n]``; the seed is not used."""
        return kernel.matrix(
            linearization.blocks, linearization.variables, chunk_size=self.chunk_size
        )


def _num_points(block: Block, residual: tf.Tensor) -> int | tf.Tensor:
    """Points of a block, or its residual entries if it has none."""
    first = residual if block.points is None else tf.nest.flatten(block.points)[0]
    return tf.shape(first)[0] if first.shape[0] is None else first.shape[0]


def _subset(seed: tf.Tensor, total: int | tf.Tensor, count: int | tf.Tensor) -> tf.Tensor:
    """``count`` different indices below ``total``: where random numbers are largest."""
    keys = tf.random.stateless_uniform([total], seed, alg="philox")
    return tf.math.top_k(keys, count, sorted=False).indices
