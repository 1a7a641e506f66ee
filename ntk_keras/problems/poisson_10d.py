"""Laplace's equation in ten dimensions, ``Lap u = 0`` on the unit cube.

The solution, ``x1 x2 + x3 x4 + ... + x9 x10``, is prescribed on the boundary.
"""

import keras
import tensorflow as tf

from ntk_keras import derivatives
from ntk_keras.derivatives import Network
from ntk_keras.domains import Box
from ntk_keras.problems import standard

BOX = Box(**{f"x{k}": (0, 1) for k in range(1, 11)})


def exact(points: tf.Tensor) -> tf.Tensor:
    """Returns the solution, ``[m, 1]``."""
    return tf.reduce_sum(points[:, ::2] * points[:, 1::2], axis=1, keepdims=True)


@keras.saving.register_keras_serializable("ntk_keras.poisson_10d")
def equation(u: Network, points: tf.Tensor) -> tf.Tensor:
    """Returns the Laplacian."""
    return derivatives.laplacian(u, points)[:, 0]


@keras.saving.register_keras_serializable("ntk_keras.poisson_10d")
def boundary_value(u: Network, points: tf.Tensor) -> tf.Tensor:
    """Returns the value minus the solution."""
    return (u(points) - exact(points))[:, 0]


PROBLEM = standard.problem(
    "poisson_10d",
    "Laplace's equation in ten dimensions",
    BOX,
    equation,
    {"boundary": (BOX.boundary, boundary_value)},
    standard.exact_solution(exact),
    grid=(51, 51, *8 * (1,)),
    reference="Dangel et al. (2024)",
)
