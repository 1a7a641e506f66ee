"""The Korteweg-de Vries equation, ``u_t + u u_x + 0.022^2 u_xxx = 0``, whose wave breaks up.

It is solved on (0, 1) x (-1, 1), periodic in x, with ``u = cos(pi x)`` at t = 0: the experiment in
which Zabusky and Kruskal found solitons. The network is periodic too, so no term is needed for
that. Columns of points are (t, x). The reference is a Fourier method, whose error is below 5e-9.
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
DISPERSION = 0.022**2
SOLVER = spectral.SolverSettings(
    -1.0,
    1.0,
    1.0,
    linear=(0.0, 0.0, 0.0, -DISPERSION),
    factor=-0.5,
    power=2,
    derivative=1,
    modes=256,
    steps=8000,
    frames=401,
)


@keras.saving.register_keras_serializable("ntk_keras.kdv")
def equation(u: Network, points: tf.Tensor) -> tf.Tensor:
    """Returns ``u_t + u u_x + 0.022^2 u_xxx``."""
    first = derivatives.gradient(u, points)[:, 0]
    third = derivatives.partial(u, points, 1, 1, 1)[:, 0]
    return first[:, 0] + u(points)[:, 0] * first[:, 1] + DISPERSION * third


@keras.saving.register_keras_serializable("ntk_keras.kdv")
def initial_value(u: Network, points: tf.Tensor) -> tf.Tensor:
    """Returns the value minus the initial value."""
    return u(points)[:, 0] - tf.cos(math.pi * points[:, 1])


@functools.cache
def reference() -> spectral.Solution:
    """Returns the reference solution."""
    return spectral.solve_cached(lambda x: np.cos(math.pi * x), SOLVER)


PROBLEM = standard.problem(
    "kdv",
    "Korteweg-de Vries equation with solitons",
    BOX,
    equation,
    {"initial": (BOX.face(t=0).sample, initial_value)},
    lambda points: reference()(points),
    grid=(101, 201),
    reference="Zabusky & Kruskal (1965)",
    periods=(None, 2.0),
)
