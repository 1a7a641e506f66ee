"""A recorded residual whose entries are multiplied by constants, with the products that follow."""

from collections.abc import Mapping, Sequence

import tensorflow as tf

from ntk_keras.kernel.linearization import Linearization

__all__ = ["ScaledRows"]


class ScaledRows(Linearization):
    """S R and its Jacobian S J, on a recording of R; the kernel is S K S.

    Blocks stay as they are: their functions give R.

    Args:
        recorded: R.
        factors: S by block, each ``[n_b]``; a block left out keeps its rows.
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
        """The same recording, its factored blocks in double precision."""
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
        """Some blocks alone, on the same recording."""
        return ScaledRows(self._recorded.restricted(*names), self._factors)

    def without(self, *names: str) -> "ScaledRows":
        """The same recording as a function of the other parameters; those named are constants.

        Args:
            names: names or paths of variables.
        """
        return ScaledRows(self._recorded.without(*names), self._factors)

    def is_factored(self, name: str) -> bool:
        return self._recorded.is_factored(name)

    def _scaled(self, vectors: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """S v by block."""
        return {
            name: tf.cast(self._factors[name], v.dtype) * v if name in self._factors else v
            for name, v in vectors.items()
        }

    def _chosen(self, name: str, subset: tf.Tensor | None) -> tf.Tensor:
        """The factors of the entries of some points, or of some entries where rows have none."""
        factors = self._factors[name]
        if subset is None:
            return factors
        block = self.blocks[name]
        counted = self.residuals[name] if block.is_whole else tf.nest.flatten(block.points)[0]
        units = counted.shape[0] or tf.shape(counted)[0]  # unknown to a graph
        return tf.reshape(tf.gather(tf.reshape(factors, [units, -1]), subset), [-1])
