"""Chooses the equations for the direction, by name or by their number."""

from typing import Any, Literal, get_args

import tensorflow as tf

from ntk_keras.backend.memory import physical_memory
from ntk_keras.kernel import Linearization
from ntk_keras.optimizers.matrix_free import MatrixFree
from ntk_keras.optimizers.normal_equations import Dual, Primal
from ntk_keras.optimizers.sketched_equations import Sketched
from ntk_keras.optimizers.system import System

__all__ = ["Method", "check_method", "system_of"]

Method = Literal["auto", "dual", "primal", "sketched", "matrix-free"]

_MATRICES = 4  # In memory at once: the matrix, damped, its factor, and a temporary one.
# Limit of random sums of rows, which otherwise are twice as many as parameters.
_MOST_SUMS = 4000


def system_of(
    linearization: Linearization, scale: tf.Tensor, method: Method, seed: tf.Tensor
) -> System:
    """Returns the equations to solve.

    Args:
        linearization: residuals, recorded.
        scale: row scales S, ``[n]``, double.
        method: name of the method. ``"auto"`` is ``"dual"`` or ``"primal"``, whichever has fewer
            equations, and ``"primal"`` if the number of residuals is unknown.
        seed: integers ``[2]`` for random methods.

    Raises:
        ValueError: if the equations do not fit into the machine's memory.
    """
    parameters = sum(p.shape.num_elements() for p in linearization.parameters)
    rows = scale.shape[0]
    if method == "auto":
        method = "primal" if rows is None or rows > parameters else "dual"
    sums = min(2 * parameters, _MOST_SUMS)
    by_rows = not all(map(linearization.is_factored, linearization.blocks))
    held = {"dual": rows or 0 if by_rows else 0, "sketched": sums}  # Rows of length p.
    equations = {"dual": rows or 0, "primal": parameters, "sketched": min(sums, parameters)}
    if method in equations:
        size = equations[method]
        needed = 8 * (_MATRICES * size**2 + held.get(method, 0) * parameters)
        _check_memory(method, rows, parameters, size, needed)
    if method == "sketched":
        return Sketched(linearization, scale, sums, seed)
    if method == "matrix-free":
        return MatrixFree(linearization, scale, seed)
    return {"dual": Dual, "primal": Primal}[method](linearization, scale)


def check_method(method: Any) -> None:
    """Checks the name of a method.

    Args:
        method: name of the method.

    Raises:
        ValueError: if it is unknown. The message lists the names.
    """
    if method not in get_args(Method):
        raise ValueError(f"method must be one of {get_args(Method)}. Received method={method!r}.")


def _check_memory(method: str, rows: int | None, parameters: int, size: int, needed: int) -> None:
    if needed > physical_memory():
        raise ValueError(
            f"A natural gradient of {rows} residuals by {parameters} parameters solves {size} "
            f"equations, which take {needed / 1e9:.0f} GB. Received method={method!r}; this "
            f"machine has {physical_memory() / 1e9:.0f} GB. Take fewer points or a smaller "
            'network, so that one of both numbers is some thousands; method="sketched" or '
            '"matrix-free"; or another optimizer, as Adam, and nk.polish after it.'
        )
