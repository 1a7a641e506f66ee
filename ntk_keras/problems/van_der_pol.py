"""The oscillator of Van der Pol, ``x'' = (1 - x^2) x' - x`` on (0, 6), as a system.

With ``y = x'``, the outputs are (x, y), which start at (2, 0). The reference is a Runge-Kutta
method of order eight, whose error is below 1e-11.
"""

import functools
from typing import Any

import keras
import numpy as np
import scipy
import tensorflow as tf

from ntk_keras import derivatives
from ntk_keras.derivatives import Network
from ntk_keras.domains import Box
from ntk_keras.problems import standard

BOX = Box(t=(0, 6))
START = (2.0, 0.0)


@keras.saving.register_keras_serializable("ntk_keras.van_der_pol")
def equation(u: Network, points: tf.Tensor) -> tf.Tensor:
    """Returns ``x' - y`` and ``y' - (1 - x^2) y + x``, ``[n, 2]``."""
    x, y = tf.unstack(u(points), axis=1)
    rates = derivatives.gradient(u, points)[..., 0]
    return rates - tf.stack([y, (1 - x**2) * y - x], axis=1)


@keras.saving.register_keras_serializable("ntk_keras.van_der_pol")
def initial_value(u: Network, points: tf.Tensor) -> tf.Tensor:
    """Returns the values minus the initial values, ``[n, 2]``."""
    values = u(points)
    return values - tf.constant(START, values.dtype)


@functools.cache
def reference(tolerance: float = 1e-13) -> Any:
    """Returns the solution as a function of times ``[m]``, with values ``[2, m]``.

    Args:
        tolerance: relative tolerance of a step.
    """

    def rates(_: float, state: np.ndarray) -> list[float]:
        x, y = state
        return [y, (1 - x**2) * y - x]

    return scipy.integrate.solve_ivp(
        rates,
        (BOX.lower[0], BOX.upper[0]),
        START,
        method="DOP853",
        rtol=tolerance,
        atol=tolerance,
        max_step=0.02,  # between steps, the method interpolates
        dense_output=True,
    ).sol


PROBLEM = standard.problem(
    "van_der_pol",
    "Van der Pol's oscillator, a system of two equations",
    BOX,
    equation,
    {"initial": (lambda count: np.zeros([1, 1]), initial_value)},
    lambda points: reference()(points[:, 0]).T,
    grid=(601,),
    reference="Hairer & Wanner (1996)",
    outputs=2,
)
