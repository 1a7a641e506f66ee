"""The Poisson equation on the unit square, ``-u_xx - u_yy = f``, with zero boundary values.

The solution is ``sin(pi x) sin(pi y)``.
"""

import math

import keras
import tensorflow as tf

from ntk_keras import derivatives
from ntk_keras.derivatives import Network
from ntk_keras.domains import Box
from ntk_keras.problems import standard

BOX = Box(x=(0, 1), y=(0, 1))


def exact(points: tf.Tensor) -> tf.Tensor:
    """Returns the solution, ``[m, 1]``."""
    return tf.reduce_prod(tf.sin(math.pi * points), axis=1, keepdims=True)


@keras.saving.register_keras_serializable("ntk_keras.poisson_2d")
def equation(u: Network, points: tf.Tensor) -> tf.Tensor:
    """Returns ``u_xx + u_yy + f``."""
    return derivatives.laplacian(u, points)[:, 0] + 2 * math.pi**2 * exact(points)[:, 0]


PROBLEM = standard.problem(
    "poisson_2d",
    "Poisson equation in two dimensions",
    BOX,
    equation,
    {"boundary": (BOX.boundary, standard.zero)},
    standard.exact_solution(exact),
    grid=(101, 101),
    reference="Müller & Zeinhofer (2023)",
)
