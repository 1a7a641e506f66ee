"""Damped equations for a direction in parameter space, and what their solvers share."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence

import tensorflow as tf

from ntk_keras.kernel import Linearization

__all__ = ["Solve", "System", "fold_rows", "pulled", "stacked"]

Solve = Callable[[tf.Tensor], tf.Tensor]

_ROWS_BYTES = 128 * 2**20  # Of rows of J at a time.


class System:
    """Equations of m unknowns for the minimizer d of ``||v - S J d||^2 + mu ||d||^2``.

    Unless a subclass says otherwise, the unknowns are d itself.

    Attributes:
        linearization: residuals, recorded.
        scale: row scales S, ``[n]``, double.

    Args:
        linearization: residuals, recorded.
        scale: row scales S, ``[n]``, double.
    """

    def __init__(self, linearization: Linearization, scale: tf.Tensor):
        self.linearization = linearization
        self.scale = scale

    def solver(self, damping: tf.Tensor) -> tuple[Solve, tf.Tensor]:
        """Returns the solution as a function of v, and the damping.

        Args:
            damping: damping mu, in units of the mean eigenvalue of the damped matrix.

        Returns:
            A function from residual space, ``[n]`` with scaled rows, to the unknowns, ``[m]``, and
            the damping used: more than requested if rounding requires it.
        """
        raise NotImplementedError

    def direction(self, solution: tf.Tensor) -> list[tf.Tensor]:
        """Returns the step d, one tensor for each variable.

        Args:
            solution: unknowns ``[m]``.
        """
        shapes = [p.shape for p in self.linearization.parameters]
        parts = tf.split(solution, [shape.num_elements() for shape in shapes])
        return [tf.reshape(part, shape) for part, shape in zip(parts, shapes, strict=True)]

    def pushed(self, solution: tf.Tensor) -> tf.Tensor:
        """Returns ``S J d`` for that step, ``[n]``.

        Args:
            solution: unknowns ``[m]``.
        """
        parameters = self.linearization.parameters
        parts = zip(self.direction(solution), parameters, strict=True)
        by_block = self.linearization.jvp([tf.cast(d, p.dtype) for d, p in parts])
        return self.scale * stacked(by_block.values())

    def gradient(self, vector: tf.Tensor) -> tf.Tensor:
        """Returns ``J^T S v``, ``[p]``.

        Args:
            vector: vector v, ``[n]``.
        """
        parts = pulled(self.linearization, self.scale * vector)
        return tf.concat([tf.reshape(part, [-1]) for part in parts], axis=0)

    @property
    def num_parameters(self) -> int:
        """The length of a direction, p."""
        return sum(p.shape.num_elements() for p in self.linearization.parameters)


def pulled(linearization: Linearization, vector: tf.Tensor) -> list[tf.Tensor]:
    """Returns ``J^T v`` in double precision, one tensor for each variable.

    Args:
        linearization: residuals, recorded.
        vector: vector v, ``[n]``.
    """
    residuals = linearization.residuals
    cotangents = {
        name: tf.cast(part, residual.dtype)
        for (name, residual), part in zip(
            residuals.items(), _by_block(linearization, vector), strict=True
        )
    }
    return [tf.cast(part, tf.float64) for part in linearization.vjp(cotangents)]


def stacked(parts: Iterable[tf.Tensor]) -> tf.Tensor:
    """Returns parts by block as one tensor, in double precision.

    Args:
        parts: tensors that share all axes but the first.
    """
    return tf.concat([tf.cast(part, tf.float64) for part in parts], axis=0)


def fold_rows(
    system: System,
    combine: Callable[..., tf.Tensor],
    total: tf.Tensor,
    by_row: Sequence[tf.Tensor] = (),
) -> tf.Tensor:
    """Folds rows of ``S J`` some at a time, so that they are never all held.

    Args:
        system: system with the rows.
        combine: function of the total so far, rows ``[m, p]``, and these rows' part of each of
            ``by_row``.
        total: initial total.
        by_row: tensors with an entry for each row.
    """
    linearization, start = system.linearization, 0
    for pieces in _taken_together(linearization, _ROWS_BYTES // (8 * system.num_parameters)):
        with tf.control_dependencies([total]):
            rows = stacked(linearization.rows(name, subset) for name, subset in pieces)
        stop = start + (rows.shape[0] or tf.shape(rows)[0])
        scale, *own = (tensor[start:stop] for tensor in (system.scale, *by_row))
        total = combine(total, scale[:, tf.newaxis] * rows, *own)
        start = stop
    return total


def _by_block(linearization: Linearization, tensor: tf.Tensor) -> list[tf.Tensor]:
    return tf.split(tensor, [tf.size(r) for r in linearization.residuals.values()])


def _taken_together(
    linearization: Linearization, num_rows: int
) -> list[list[tuple[str, tf.Tensor | None]]]:
    """Returns the rows to take at a time, as names of blocks and indices of points."""
    groups: list[list[tuple[str, tf.Tensor | None]]] = []
    room = 0.0
    for name in linearization.residuals:
        for subset, count in _pieces(linearization, name, num_rows):
            if count > room:
                groups.append([])
                room = num_rows
            groups[-1].append((name, subset))
            room -= count
    return groups


def _pieces(
    linearization: Linearization, name: str, num_rows: int
) -> Iterator[tuple[tf.Tensor | None, float]]:
    """Yields pieces of a block that fit: the indices of points, or None for all, and the size.

    All rows are taken at once if the number of points is not known before the step runs.
    """
    units, entries = linearization.num_units(name), linearization.residuals[name].shape[0]
    if units is None or entries is None:
        yield None, math.inf
        return
    if entries <= num_rows:
        yield None, entries
        return
    each = entries // units
    size = max(1, num_rows // each)
    for start in range(0, units, size):
        stop = min(start + size, units)
        yield tf.range(start, stop), (stop - start) * each
