"""The Kuramoto-Sivashinsky equation, ``u_t + a u u_x + b u_xx + c u_xxxx = 0``, for a short time.

It is solved on (0, 0.1) x (0, 2 pi), periodic in x, with ``u = cos(x) (1 + sin(x))`` at t = 0 and
``a = 100/16, b = 100/16^2, c = 100/16^4``. Later it becomes chaotic. The network is periodic too,
so no term is needed for that. Columns of points are (t, x). The reference is a Fourier method,
whose error is below 5e-9.
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

A, B, C = 100 / 16, 100 / 16**2, 100 / 16**4
BOX = Box(t=(0, 0.1), x=(0, 2 * math.pi))
SOLVER = spectral.SolverSettings(
    0.0,
    2 * math.pi,
    0.1,
    linear=(0.0, 0.0, -B, 0.0, -C),
    factor=-A / 2,
    power=2,
    derivative=1,
    modes=128,
    steps=2000,
    frames=401,
)


@keras.saving.register_keras_serializable("ntk_keras.kuramoto_sivashinsky")
def equation(u: Network, points: tf.Tensor) -> tf.Tensor:
    """Returns ``u_t + a u u_x + b u_xx + c u_xxxx``."""
    first = derivatives.gradient(u, points)[:, 0]
    second = derivatives.partial(u, points, 1, 1)[:, 0]
    fourth = derivatives.partial(u, points, 1, 1, 1, 1)[:, 0]
    return first[:, 0] + A * u(points)[:, 0] * first[:, 1] + B * second + C * fourth


@keras.saving.register_keras_serializable("ntk_keras.kuramoto_sivashinsky")
def initial_value(u: Network, points: tf.Tensor) -> tf.Tensor:
    """Returns the value minus the initial value."""
    x = points[:, 1]
    return u(points)[:, 0] - tf.cos(x) * (1 + tf.sin(x))


@functools.cache
def reference() -> spectral.Solution:
    """Returns the reference solution."""
    return spectral.solve_cached(lambda x: np.cos(x) * (1 + np.sin(x)), SOLVER)


PROBLEM = standard.problem(
    "kuramoto_sivashinsky",
    "Kuramoto-Sivashinsky equation for a short time",
    BOX,
    equation,
    {"initial": (BOX.face(t=0).sample, initial_value)},
    lambda points: reference()(points),
    grid=(101, 201),
    reference="Wang, Sankaran & Perdikaris (2024)",
    periods=(None, 2 * math.pi),
)
