"""Robertson's reactions of three species, a stiff system, on ten decades of time.

    a' = -0.04 a + c z,  z' = 1e4 (0.04 a - c z - 0.3 z^2),  c' = 0.3 z^2,

with ``z = 1e4 b``, because b, the second species, stays below 4e-5. The variable of the network is
``s = log10 t`` on (-5, 5), so that derivatives are ``d/ds = t ln(10) d/dt``. The outputs (a, z, c)
start at t = 1e-5 with the values of the solution that is (1, 0, 0) at t = 0. The reference is an
implicit Runge-Kutta method of order five (Radau), whose error is below 1e-9.
"""

import functools
import math
from typing import Any

import keras
import numpy as np
import scipy
import tensorflow as tf

from ntk_keras import derivatives
from ntk_keras.derivatives import Network
from ntk_keras.domains import Box
from ntk_keras.problems import standard

BOX = Box(s=(-5, 5))


def rates(a: Any, z: Any, c: Any) -> tuple[Any, Any, Any]:
    """Returns ``a'``, ``1e-4 z'`` and ``c'``."""
    slow, fast = -0.04 * a + c * z, 0.3 * z**2
    return slow, -slow - fast, fast


@keras.saving.register_keras_serializable("ntk_keras.robertson")
def equation(u: Network, points: tf.Tensor) -> tf.Tensor:
    """Returns ``d/ds (a, 1e-4 z, c)`` minus ``t ln(10)`` times the rates, ``[n, 3]``."""
    first = derivatives.gradient(u, points)[..., 0]
    time = math.log(10) * 10 ** points[:, :1]
    right = tf.stack(rates(*tf.unstack(u(points), axis=1)), axis=1)
    return first * tf.constant([1, 1e-4, 1], first.dtype) - time * right


@keras.saving.register_keras_serializable("ntk_keras.robertson")
def initial_value(u: Network, points: tf.Tensor) -> tf.Tensor:
    """Returns the values minus the initial values, ``[n, 3]``."""
    values = u(points)
    return values - tf.constant(start(), values.dtype)


@functools.cache
def start(tolerance: float = 1e-12) -> tuple[float, ...]:
    """Returns the values (a, z, c) at t = 1e-5.

    Args:
        tolerance: relative tolerance of a step.
    """
    values = _solved(lambda _, state: state_rates(*state), (0, 10.0**-5), (1, 0, 0), tolerance)
    return tuple(values.y[:, -1].tolist())


def state_rates(a: float, z: float, c: float) -> list[float]:
    """Returns ``(a', z', c')``."""
    slow, middle, fast = rates(a, z, c)
    return [slow, 1e4 * middle, fast]


@functools.cache
def reference(tolerance: float = 1e-12) -> Any:
    """Returns the solution as a function of ``s``, ``[m]``, with values ``[3, m]``.

    Args:
        tolerance: relative tolerance of a step.
    """

    def by_s(s: float, state: np.ndarray) -> np.ndarray:
        return math.log(10) * 10**s * np.array(state_rates(*state))

    return _solved(by_s, (BOX.lower[0], BOX.upper[0]), start(tolerance), tolerance).sol


def _solved(function: Any, interval: Any, initial: Any, tolerance: float) -> Any:
    return scipy.integrate.solve_ivp(
        function,
        interval,
        initial,
        method="Radau",
        rtol=tolerance,
        atol=tolerance / 100,
        max_step=0.02,  # between steps, the method interpolates
        dense_output=True,
    )


PROBLEM = standard.problem(
    "robertson",
    "Robertson's reactions, a stiff system of three equations",
    BOX,
    equation,
    {"initial": (lambda count: np.full([1, 1], BOX.lower[0]), initial_value)},
    lambda points: reference()(points[:, 0]).T,
    grid=(1001,),
    reference="Hairer & Wanner (1996)",
    outputs=3,
)
