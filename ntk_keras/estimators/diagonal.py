"""Traces from the kernel's diagonal, exact entry by entry: ``K_ii = ||J_i||^2``."""

import dataclasses
from collections.abc import Mapping

import tensorflow as tf

from ntk_keras import kernel
from ntk_keras.backend.checks import check_count
from ntk_keras.backend.seeds import fold_in
from ntk_keras.estimators.protocol import Estimate
from ntk_keras.kernel.linearization import Linearization

__all__ = ["Diagonal", "Exact"]

DEFAULT_POINTS = 3


@dataclasses.dataclass(frozen=True)
class Diagonal:
    """``(n_b / m)`` times the sum of ``K_ii`` over the entries of m points drawn at random.

    Points are drawn without replacement and equally likely, so the expectation is ``Tr K_bb``. The
    variance is ``n_b^2 (1 - m / n_b) s^2 / m``, with ``s^2`` the variance of ``K_ii`` over the
    block's points. It is small, since the diagonal hardly varies within a block, while probes
    suffer from all of ``||K_bb||_F^2``.

    By default all points count in a block whose Jacobian is kept in factored form
    (:mod:`ntk_keras.kernel.factored`), which makes the diagonal cheap. The trace of such a block is
    exact.

    Attributes:
        num_points: number m of points, for every term or by term; by default all of a factored
            block, and of others 3, or all if there are fewer. A block without points, or whose rows
            depend on other points, counts its entries as points.
    """

    num_points: int | Mapping[str, int] | None = None

    def __post_init__(self) -> None:
        given = self.num_points
        for count in given.values() if isinstance(given, Mapping) else [given]:
            if count is not None:
                check_count("num_points", count)

    def traces(self, linearization: Linearization, seed: tf.Tensor) -> dict[str, tf.Tensor]:
        """Returns one sample of ``(n_b / m) sum_i K_ii`` by block."""
        return self.estimate(linearization, seed).traces

    def estimate(self, linearization: Linearization, seed: tf.Tensor) -> Estimate:
        """Returns one sample, and its standard error from the spread of ``K_ii``.

        If all points are drawn the error is zero. For a single one it is unknown, and NaN.
        """
        subsets = {}
        for index, name in enumerate(linearization.blocks):
            count = self._count(linearization, name)
            if count is not None:
                subsets[name] = _subset(
                    fold_in(seed, index), _num_points(linearization, name), count
                )
        entries = linearization.diagonal(subsets)
        estimate = Estimate({}, {})
        for name, values in entries.items():
            if name not in subsets:
                estimate.traces[name] = tf.reduce_sum(values)
                estimate.standard_errors[name] = tf.zeros([], values.dtype)
                continue
            by_point = tf.reduce_sum(tf.reshape(values, [tf.shape(subsets[name])[0], -1]), axis=1)
            total = tf.cast(_num_points(linearization, name), values.dtype)
            estimate.traces[name] = total * tf.reduce_mean(by_point)
            estimate.standard_errors[name] = total * _error_of_mean(by_point, total)
        return estimate

    def is_exact(self, linearization: Linearization) -> bool:
        """Whether all points of all blocks count."""
        return all(self._count(linearization, name) is None for name in linearization.blocks)

    def _count(self, linearization: Linearization, name: str) -> int | tf.Tensor | None:
        """Returns the number of points to draw from a block; None if all count."""
        given = self.num_points
        count = given.get(name) if isinstance(given, Mapping) else given
        if count is None and linearization.is_factored(name):
            return None
        total = _num_points(linearization, name)
        if isinstance(total, tf.Tensor):
            return tf.minimum(count or DEFAULT_POINTS, total)
        if count is not None and count > total:
            raise ValueError(
                f"Term {name!r} has {total} points, of which {count} different ones cannot be "
                f"drawn. Received num_points={given}. Give numbers by term, as in "
                f"Diagonal({{{name!r}: {total}}}), or none, which takes as many as serve."
            )
        return None if (count or DEFAULT_POINTS) >= total else count or DEFAULT_POINTS


@dataclasses.dataclass(frozen=True)
class Exact:
    """Exact traces and kernel, from the gradient of every residual entry, without noise.

    They are cheap if Jacobians are factored (:mod:`ntk_keras.kernel.factored`) and costly
    otherwise.

    Attributes:
        chunk_size: number of points whose gradients are held at a time; chosen by memory by
            default.
    """

    chunk_size: int | None = None

    def traces(self, linearization: Linearization, seed: tf.Tensor) -> dict[str, tf.Tensor]:
        """Returns ``Tr K_bb`` by block; the seed is not used."""
        entries = linearization.diagonal(chunk_size=self.chunk_size)
        return {name: tf.reduce_sum(values) for name, values in entries.items()}

    def estimate(self, linearization: Linearization, seed: tf.Tensor) -> Estimate:
        """Returns ``Tr K_bb`` by block, without error."""
        traces = self.traces(linearization, seed)
        return Estimate(traces, {name: tf.zeros_like(trace) for name, trace in traces.items()})

    def is_exact(self, linearization: Linearization) -> bool:
        """Returns true."""
        return True

    def kernel(self, linearization: Linearization, seed: tf.Tensor) -> tf.Tensor:
        """Returns K, ``[n, n]``; the seed is not used."""
        return kernel.matrix(
            linearization.blocks, linearization.variables, chunk_size=self.chunk_size
        )


def _num_points(linearization: Linearization, name: str) -> int | tf.Tensor:
    """Returns the number of points of a block, or of its entries if rows have no own point."""
    block = linearization.blocks[name]
    first = linearization.residuals[name] if block.is_whole else tf.nest.flatten(block.points)[0]
    return tf.shape(first)[0] if first.shape[0] is None else first.shape[0]


def _subset(seed: tf.Tensor, total: int | tf.Tensor, count: int | tf.Tensor) -> tf.Tensor:
    """Returns ``count`` different indices below ``total``, where random numbers are largest."""
    keys = tf.random.stateless_uniform([total], seed, alg="philox")
    return tf.math.top_k(keys, count, sorted=False).indices


def _error_of_mean(sample: tf.Tensor, total: tf.Tensor) -> tf.Tensor:
    """Returns the standard error of the mean of ``[m]`` values drawn without replacement."""
    count = tf.cast(tf.size(sample), sample.dtype)
    squares = tf.reduce_sum((sample - tf.reduce_mean(sample)) ** 2)
    variance = (1 - count / total) * squares / (count - 1) / count
    return tf.where(count < total, tf.sqrt(variance), 0)
