"""The convection equation, ``u_t + 50 u_x = 0`` on (0, 1) x (0, 2 pi), periodic in x.

The initial values are ``sin(x)``, and the solution is ``sin(x - 50 t)``. The network is periodic in
x too, so no term is needed for that. Columns of points are (t, x).
"""

import math

import keras
import tensorflow as tf

from ntk_keras import derivatives
from ntk_keras.derivatives import Network
from ntk_keras.domains import Box
from ntk_keras.problems import standard

BOX = Box(t=(0, 1), x=(0, 2 * math.pi))
SPEED = 50.0


def exact(points: tf.Tensor) -> tf.Tensor:
    """Returns the solution, ``[m, 1]``."""
    return tf.sin(points[:, 1:] - SPEED * points[:, :1])


@keras.saving.register_keras_serializable("ntk_keras.convection")
def equation(u: Network, points: tf.Tensor) -> tf.Tensor:
    """Returns ``u_t + 50 u_x``."""
    first = derivatives.gradient(u, points)[:, 0]
    return first[:, 0] + SPEED * first[:, 1]


@keras.saving.register_keras_serializable("ntk_keras.convection")
def initial_value(u: Network, points: tf.Tensor) -> tf.Tensor:
    """Returns the value minus the initial value."""
    return (u(points) - exact(points))[:, 0]


PROBLEM = standard.problem(
    "convection",
    "Convection at speed 50",
    BOX,
    equation,
    {"initial": (BOX.face(t=0).sample, initial_value)},
    standard.exact_solution(exact),
    grid=(101, 101),
    reference="Krishnapriyan et al. (2021)",
    periods=(None, 2 * math.pi),
)
