"""The Helmholtz equation, ``u_xx + u_yy + u = f`` on (-1, 1)^2, with zero boundary values.

The solution is ``sin(pi x) sin(4 pi y)``.
"""

import math

import keras
import tensorflow as tf

from ntk_keras import derivatives
from ntk_keras.derivatives import Network
from ntk_keras.domains import Box
from ntk_keras.problems import standard

BOX = Box(x=(-1, 1), y=(-1, 1))


def exact(points: tf.Tensor) -> tf.Tensor:
    """Returns the solution, ``[m, 1]``."""
    return tf.sin(math.pi * points[:, :1]) * tf.sin(4 * math.pi * points[:, 1:])


@keras.saving.register_keras_serializable("ntk_keras.helmholtz")
def equation(u: Network, points: tf.Tensor) -> tf.Tensor:
    """Returns ``u_xx + u_yy + u - f``."""
    forcing = (1 - 17 * math.pi**2) * exact(points)[:, 0]
    return derivatives.laplacian(u, points)[:, 0] + u(points)[:, 0] - forcing


PROBLEM = standard.problem(
    "helmholtz",
    "Helmholtz equation, wave numbers (1, 4)",
    BOX,
    equation,
    {"boundary": (BOX.boundary, standard.zero)},
    standard.exact_solution(exact),
    grid=(101, 101),
    reference="Wang, Teng & Perdikaris (2021)",
)
