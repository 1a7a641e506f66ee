"""The Poisson equation in five dimensions, ``-Lap u = pi^2 sum_k cos(pi x_k)`` on the unit cube.

The solution, ``sum_k cos(pi x_k)``, is prescribed on the boundary.
"""

import math

import keras
import tensorflow as tf

from ntk_keras import derivatives
from ntk_keras.derivatives import Network
from ntk_keras.domains import Box
from ntk_keras.problems import standard

BOX = Box(**{f"x{k}": (0, 1) for k in range(1, 6)})


def exact(points: tf.Tensor) -> tf.Tensor:
    """Returns the solution, ``[m, 1]``."""
    return tf.reduce_sum(tf.cos(math.pi * points), axis=1, keepdims=True)


@keras.saving.register_keras_serializable("ntk_keras.poisson_5d")
def equation(u: Network, points: tf.Tensor) -> tf.Tensor:
    """Returns ``Lap u + pi^2 sum_k cos(pi x_k)``."""
    return derivatives.laplacian(u, points)[:, 0] + math.pi**2 * exact(points)[:, 0]


@keras.saving.register_keras_serializable("ntk_keras.poisson_5d")
def boundary_value(u: Network, points: tf.Tensor) -> tf.Tensor:
    """Returns the value minus the solution."""
    return (u(points) - exact(points))[:, 0]


PROBLEM = standard.problem(
    "poisson_5d",
    "Poisson equation in five dimensions",
    BOX,
    equation,
    {"boundary": (BOX.boundary, boundary_value)},
    standard.exact_solution(exact),
    grid=(51, 51, 1, 1, 1),
    reference="Müller & Zeinhofer (2023)",
)
