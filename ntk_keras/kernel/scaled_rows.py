"""A recorded residual whose entries are multiplied by constants, and its products."""

from collections.abc import Mapping, Sequence

import tensorflow as tf

from ntk_keras.kernel.linearization import Linearization

__all__ = ["ScaledRows"]


class ScaledRows(Linearization):
    """The residual ``S R`` with Jacobian ``S J`` and kernel ``S K S``, from a recording of R.

    The functions of its blocks still return R.

    Args:
        recorded: recording of R.
        factors: diagonal of S by block, each ``[n_b]``; by default 1.
    """

    def __init__(self, recorded: Linearization, factors: Mapping[str, tf.Tensor]):
        self._recorded = recorded
        self._factors = {name: f for name, f in factors.items() if name in recorded.blocks}
        self.blocks = recorded.blocks
        self.variables = recorded.variables
        self._theta, self._places = recorded._theta, recorded._places
        self.residuals = self._scaled(recorded.residuals)

    def vjp(self, cotangents: Mapping[str, tf.Tensor]) -> list[tf.Tensor]:
        return self._recorded.vjp(self._scaled(cotangents))

    def jvp(self, direction: Sequence[tf.Tensor]) -> dict[str, tf.Tensor]:
        return self._scaled(self._recorded.jvp(direction))

    def rows(self, name: str, subset: tf.Tensor | None = None) -> tf.Tensor:
        rows = self._recorded.rows(name, subset)
        if name not in self._factors:
            return rows
        return tf.cast(self._chosen(name, subset), rows.dtype)[:, tf.newaxis] * rows

    def in_double(self) -> "ScaledRows":
        """Returns the same recording with its factored blocks in double precision."""
        return ScaledRows(self._recorded.in_double(), self._factors)

    def gram(self) -> tf.Tensor:
        kernel = self._recorded.gram()
        ones = {name: tf.ones_like(residual) for name, residual in self.residuals.items()}
        scale = [tf.cast(part, kernel.dtype) for part in self._scaled(ones).values()]
        column = tf.concat(scale, axis=0)[:, tf.newaxis]
        return column * kernel * tf.transpose(column)

    def diagonal(
        self, subset: Mapping[str, tf.Tensor] | None = None, chunk_size: int | None = None
    ) -> dict[str, tf.Tensor]:
        entries = self._recorded.diagonal(subset, chunk_size)
        for name in self._factors:
            factor = self._chosen(name, (subset or {}).get(name))
            entries[name] = tf.cast(factor, entries[name].dtype) ** 2 * entries[name]
        return entries

    def residuals_at(self, parameters: Sequence[tf.Tensor]) -> dict[str, tf.Tensor]:
        return self._scaled(self._recorded.residuals_at(parameters))

    def restricted(self, *names: str) -> "ScaledRows":
        """Returns the same recording, restricted to some blocks."""
        return ScaledRows(self._recorded.restricted(*names), self._factors)

    def without(self, *names: str) -> "ScaledRows":
        """Returns the same recording with some parameters as constants.

        Args:
            names: names or paths of these variables.
        """
        return ScaledRows(self._recorded.without(*names), self._factors)

    def is_factored(self, name: str) -> bool:
        return self._recorded.is_factored(name)

    def _scaled(self, vectors: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Returns ``S v`` by block."""
        return {
            name: tf.cast(self._factors[name], v.dtype) * v if name in self._factors else v
            for name, v in vectors.items()
        }

    def _chosen(self, name: str, subset: tf.Tensor | None) -> tf.Tensor:
        """Returns the factors at some points, or of some entries of a block without points."""
        factors = self._factors[name]
        if subset is None:
            return factors
        block = self.blocks[name]
        counted = self.residuals[name] if block.is_whole else tf.nest.flatten(block.points)[0]
        units = counted.shape[0] or tf.shape(counted)[0]  # unknown to a graph
        return tf.reshape(tf.gather(tf.reshape(factors, [units, -1]), subset), [-1])
