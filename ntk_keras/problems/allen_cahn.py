"""The Allen-Cahn equation, ``u_t = 1e-4 u_xx + 5 u - 5 u^3``, with sharp interfaces.

It is solved on (0, 1) x (-1, 1), periodic in x, with ``u = x^2 cos(pi x)`` at t = 0. The network is
periodic too, so no term is needed for that. Columns of points are (t, x).

The reference is a Fourier method. At times 0, 0.01, 0.02, ... its error is below 1e-9. Between the
first of them, the kink of the periodic initial values is smoothed, and errors reach 1e-4 near it.
"""

import functools
import math

import keras
import numpy as np
import tensorflow as tf

from ntk_keras import derivatives
from ntk_keras.derivatives import Network
from ntk_keras.domains import Box
from ntk_keras.problems import standard
from ntk_keras.references import spectral

BOX = Box(t=(0, 1), x=(-1, 1))
SOLVER = spectral.SolverSettings(
    -1.0, 1.0, 1.0, linear=(5.0, 0.0, 1e-4), factor=-5.0, power=3, modes=1024, steps=500
)


@keras.saving.register_keras_serializable("ntk_keras.allen_cahn")
def equation(u: Network, points: tf.Tensor) -> tf.Tensor:
    """Returns ``u_t - 1e-4 u_xx - 5 u + 5 u^3``."""
    value = u(points)[:, 0]
    first = derivatives.partial(u, points, "t")[:, 0]
    second = derivatives.partial(u, points, "x", "x")[:, 0]
    return first - 1e-4 * second - 5 * value + 5 * value**3


@keras.saving.register_keras_serializable("ntk_keras.allen_cahn")
def initial_value(u: Network, points: tf.Tensor) -> tf.Tensor:
    """Returns the value minus the initial value."""
    x = points[:, 1]
    return u(points)[:, 0] - x**2 * tf.cos(math.pi * x)


def start(x: np.ndarray) -> np.ndarray:
    """Returns the initial values."""
    return x**2 * np.cos(math.pi * x)


@functools.cache
def reference() -> spectral.Solution:
    """Returns the reference solution."""
    return spectral.solve_cached(start, SOLVER)


def solution(points: np.ndarray) -> np.ndarray:
    """Returns the reference, and the initial values at t = 0, ``[m, 1]``."""
    return np.where(points[:, :1] == 0, start(points[:, 1:]), reference()(points))


PROBLEM = standard.problem(
    "allen_cahn",
    "Allen-Cahn equation with sharp interfaces",
    BOX,
    equation,
    {"initial": (BOX.face(t=0).sample, initial_value)},
    solution,
    grid=(101, 201),
    reference="Raissi et al. (2019)",
    periods=(None, 2.0),
)
