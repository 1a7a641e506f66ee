"""The heat equation, ``u_t = u_xx / 4`` on (0, 1)^2, with u = 0 at both ends.

The initial values are ``sin(pi x)``, and the solution is ``exp(-pi^2 t / 4) sin(pi x)``. Columns of
points are (t, x).
"""

import math

import keras
import tensorflow as tf

from ntk_keras import derivatives
from ntk_keras.derivatives import Network
from ntk_keras.domains import Box
from ntk_keras.problems import standard

BOX = Box(t=(0, 1), x=(0, 1))
CONDUCTIVITY = 0.25


def exact(points: tf.Tensor) -> tf.Tensor:
    """Returns the solution, ``[m, 1]``."""
    t, x = points[:, :1], points[:, 1:]
    return tf.exp(-CONDUCTIVITY * math.pi**2 * t) * tf.sin(math.pi * x)


@keras.saving.register_keras_serializable("ntk_keras.heat_1d")
def equation(u: Network, points: tf.Tensor) -> tf.Tensor:
    """Returns ``u_t - u_xx / 4``."""
    second = derivatives.partial(u, points, "x", "x")[:, 0]
    return derivatives.partial(u, points, "t")[:, 0] - CONDUCTIVITY * second


@keras.saving.register_keras_serializable("ntk_keras.heat_1d")
def initial_value(u: Network, points: tf.Tensor) -> tf.Tensor:
    """Returns the value minus the initial value."""
    return (u(points) - exact(points))[:, 0]


PROBLEM = standard.problem(
    "heat_1d",
    "Heat equation in one dimension",
    BOX,
    equation,
    {
        "initial": (BOX.face(t=0).sample, initial_value),
        "left": (BOX.face(x=0).sample, standard.zero),
        "right": (BOX.face(x=1).sample, standard.zero),
    },
    standard.exact_solution(exact),
    grid=(101, 101),
    reference="Dangel et al. (2024)",
)
