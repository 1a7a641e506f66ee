"""The damped normal equations of S J d = S R, in residual space or in parameter space.

With rows scaled by S, the step is d = J^T S (S K S + mu I)^-1 S R, n equations, which is also
d = (J^T S^2 J + mu I)^-1 J^T S^2 R, p equations. Both are solved in double precision.
"""

import functools
from collections.abc import Callable, Iterable, Iterator
from typing import Literal

import tensorflow as tf

from ntk_keras.backend.memory import physical_memory
from ntk_keras.kernel import Linearization
from ntk_keras.kernel.gram import symmetric_product

__all__ = ["Method", "System", "cholesky_with_damping", "system_of"]

Method = Literal["auto", "dual", "primal"]

_ROWS_BYTES = 128 * 2**20  # Of rows of J at a time.
_MATRICES = 4  # That are alive at once: the matrix, damped, its factor, and one that is being made.


class System:
    """A symmetric matrix, positive semidefinite, and the way from and to residuals.

    Attributes:
        matrix: S K S or J^T S^2 J, ``[m, m]``.
    """

    matrix: tf.Tensor

    def right_side(self, vector: tf.Tensor) -> tf.Tensor:
        """What the equations say for a vector in residual space.

        Args:
            vector: with scaled rows, ``[n]``.

        Returns:
            ``[m]``.
        """
        raise NotImplementedError

    def direction(self, solution: tf.Tensor) -> list[tf.Tensor]:
        """The step in parameter space, one tensor for each variable.

        Args:
            solution: ``[m]``.
        """
        raise NotImplementedError

    def pushed(self, solution: tf.Tensor) -> tf.Tensor:
        """S J d for that step, ``[n]``.

        Args:
            solution: ``[m]``.
        """
        raise NotImplementedError

    def solve(self, factor: tf.Tensor, vector: tf.Tensor) -> tf.Tensor:
        """The solution for a vector in residual space.

        Args:
            factor: of the damped matrix, as Cholesky's.
            vector: with scaled rows, ``[n]``.

        Returns:
            ``[m]``.
        """
        right_side = self.right_side(vector)[:, tf.newaxis]
        return tf.linalg.cholesky_solve(factor, right_side)[:, 0]


class Dual(System):
    """The kernel's n equations: (S K S + mu I) y = v, d = J^T S y.

    Args:
        linearization: the residuals, recorded.
        scale: S, ``[n]``, double.
    """

    def __init__(self, linearization: Linearization, scale: tf.Tensor):
        self._scale = scale
        # A vector y that solves the equations is large and J^T S y small: single precision is lost.
        if all(map(linearization.is_factored, linearization.blocks)):
            double = linearization.in_double()
            kernel = double.gram()
            self._pull: Callable[[tf.Tensor], list[tf.Tensor]] = functools.partial(_pulled, double)
        else:
            rows = _stacked(map(linearization.rows, linearization.blocks))
            kernel = symmetric_product(rows, axis=0)
            by_variable = _Split(linearization)
            self._pull = lambda v: by_variable(tf.linalg.matvec(rows, v, transpose_a=True))
        self.matrix = scale[:, tf.newaxis] * kernel * scale

    def right_side(self, vector: tf.Tensor) -> tf.Tensor:
        """The vector itself."""
        return vector

    def direction(self, solution: tf.Tensor) -> list[tf.Tensor]:
        """J^T S y."""
        return self._pull(self._scale * solution)

    def pushed(self, solution: tf.Tensor) -> tf.Tensor:
        """S K S y."""
        return tf.linalg.matvec(self.matrix, solution)


class Primal(System):
    """The parameters' p equations: (J^T S^2 J + mu I) d = J^T S v. Never holds all rows of J.

    Args:
        linearization: the residuals, recorded.
        scale: S, ``[n]``, double.
    """

    def __init__(self, linearization: Linearization, scale: tf.Tensor):
        self._linearization = linearization
        self._scale = scale
        self._split = _Split(linearization)
        self.matrix = _sum_of_outer_products(linearization, scale)

    def right_side(self, vector: tf.Tensor) -> tf.Tensor:
        """J^T S v."""
        pulled = _pulled(self._linearization, self._scale * vector)
        return tf.concat([tf.reshape(part, [-1]) for part in pulled], axis=0)

    def direction(self, solution: tf.Tensor) -> list[tf.Tensor]:
        """The solution, by variable."""
        return self._split(solution)

    def pushed(self, solution: tf.Tensor) -> tf.Tensor:
        """S J d."""
        parameters = self._linearization.parameters
        parts = zip(self.direction(solution), parameters, strict=True)
        pushed = self._linearization.jvp([tf.cast(d, p.dtype) for d, p in parts])
        return self._scale * _stacked(pushed.values())


class _Split:
    """A vector ``[p]`` as one tensor for each variable."""

    def __init__(self, linearization: Linearization):
        self._shapes = [p.shape for p in linearization.parameters]

    def __call__(self, vector: tf.Tensor) -> list[tf.Tensor]:
        parts = tf.split(vector, [shape.num_elements() for shape in self._shapes])
        return [tf.reshape(part, shape) for part, shape in zip(parts, self._shapes, strict=True)]


def system_of(linearization: Linearization, scale: tf.Tensor, method: Method) -> System:
    """The equations to solve.

    Args:
        linearization: the residuals, recorded.
        scale: S, ``[n]``, double.
        method: ``"auto"`` takes the smaller ones.

    Raises:
        ValueError: for equations that do not fit into the memory of the machine.
    """
    parameters = sum(p.shape.num_elements() for p in linearization.parameters)
    rows = scale.shape[0]
    if method == "auto":
        method = "primal" if rows is None or rows > parameters else "dual"
    _check_memory(method, rows, parameters)
    return {"dual": Dual, "primal": Primal}[method](linearization, scale)


def cholesky_with_damping(matrix: tf.Tensor, damping: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """The factor of a matrix with a damped diagonal, with as much damping as it takes.

    Args:
        matrix: symmetric, ``[m, m]``.
        damping: to begin with, in units of the mean eigenvalue; ten times as much wherever rounding
            leaves the matrix indefinite.

    Returns:
        The factor and the damping that it has.
    """
    count = tf.shape(matrix)[0]
    mean = tf.linalg.trace(matrix) / tf.cast(count, matrix.dtype)

    def factorize(damping: tf.Tensor) -> tf.Tensor:
        diagonal = tf.linalg.diag_part(matrix) + damping * mean
        return tf.linalg.cholesky(tf.linalg.set_diag(matrix, diagonal))

    def failed(factor: tf.Tensor, damping: tf.Tensor) -> tf.Tensor:
        # A matrix that is not finite has no factor however much it is damped.
        return (damping < 1e3) & ~tf.reduce_all(tf.math.is_finite(tf.linalg.diag_part(factor)))

    def more(factor: tf.Tensor, damping: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return factorize(10 * damping), 10 * damping

    return tf.while_loop(failed, more, (factorize(damping), damping))


def _check_memory(method: str, rows: int | None, parameters: int) -> None:
    size = (rows or 0) if method == "dual" else parameters
    needed = _MATRICES * 8 * size**2
    if needed > physical_memory():
        raise ValueError(
            f"A natural gradient of {rows} residuals by {parameters} parameters solves {size} "
            f"equations, which take {needed / 1e9:.0f} GB. Received method={method!r}; this "
            f"machine has {physical_memory() / 1e9:.0f} GB. Take fewer points or a smaller "
            "network, so that one of both numbers is some thousands; or another optimizer, as "
            "Adam, and nk.polish after it."
        )


def _sum_of_outer_products(linearization: Linearization, scale: tf.Tensor) -> tf.Tensor:
    """J^T S^2 J, some rows at a time."""
    size = sum(p.shape.num_elements() for p in linearization.parameters)
    total = tf.zeros([size, size], tf.float64)
    scales = tf.split(scale, [tf.size(r) for r in linearization.residuals.values()])
    for name, own in zip(linearization.residuals, scales, strict=True):
        for subset, entries in _pieces(linearization, name, _ROWS_BYTES // (8 * size)):
            with tf.control_dependencies([total]):
                rows = tf.cast(linearization.rows(name, subset), tf.float64)
                rows *= own[entries, tf.newaxis]
                total += symmetric_product(rows, axis=1)
    return total


def _pieces(
    linearization: Linearization, name: str, num_rows: int
) -> Iterator[tuple[tf.Tensor | None, slice]]:
    """What to take rows of, some at a time: indices for them, and their place in the block.

    All at once where the number of points is not known before the step runs.
    """
    units, entries = linearization.num_units(name), linearization.residuals[name].shape[0]
    if units is None or entries is None or entries <= num_rows:
        yield None, slice(None)
        return
    each = entries // units
    size = max(1, num_rows // each)
    for start in range(0, units, size):
        stop = min(start + size, units)
        yield tf.range(start, stop), slice(start * each, stop * each)


def _pulled(linearization: Linearization, vector: tf.Tensor) -> list[tf.Tensor]:
    """J^T v in double precision, one tensor for each variable."""
    residuals = linearization.residuals
    parts = tf.split(vector, [tf.size(r) for r in residuals.values()])
    cotangents = {
        name: tf.cast(part, residual.dtype)
        for (name, residual), part in zip(residuals.items(), parts, strict=True)
    }
    return [tf.cast(part, tf.float64) for part in linearization.vjp(cotangents)]


def _stacked(parts: Iterable[tf.Tensor]) -> tf.Tensor:
    """Parts by block as one vector, in double precision."""
    return tf.concat([tf.cast(part, tf.float64) for part in parts], axis=0)
