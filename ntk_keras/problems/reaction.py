"""The reaction equation, ``u_t = 5 u (1 - u)`` on (0, 1) x (0, 2 pi).

Both ends have the same value. The initial values h are a Gaussian of width pi / 4 at x = pi. The
solution is ``h exp(5 t) / (h exp(5 t) + 1 - h)``. Columns of points are (t, x).
"""

import functools
import math

import keras
import tensorflow as tf

from ntk_keras import derivatives
from ntk_keras.derivatives import Network
from ntk_keras.domains import Box
from ntk_keras.problems import standard

BOX = Box(t=(0, 1), x=(0, 2 * math.pi))
RATE = 5.0


def exact(points: tf.Tensor) -> tf.Tensor:
    """Returns the solution, ``[m, 1]``."""
    t, x = points[:, :1], points[:, 1:]
    start = tf.exp(-(((x - math.pi) / (math.pi / 4)) ** 2) / 2)
    grown = start * tf.exp(RATE * t)
    return grown / (grown + 1 - start)


@keras.saving.register_keras_serializable("ntk_keras.reaction")
def equation(u: Network, points: tf.Tensor) -> tf.Tensor:
    """Returns ``u_t - 5 u (1 - u)``."""
    value = u(points)[:, 0]
    return derivatives.partial(u, points, 0)[:, 0] - RATE * value * (1 - value)


@keras.saving.register_keras_serializable("ntk_keras.reaction")
def initial_value(u: Network, points: tf.Tensor) -> tf.Tensor:
    """Returns the value minus the initial value."""
    return (u(points) - exact(points))[:, 0]


@keras.saving.register_keras_serializable("ntk_keras.reaction")
def difference_of_ends(u: Network, points: tuple[tf.Tensor, tf.Tensor]) -> tf.Tensor:
    """Returns the value at one end minus that at the other."""
    lower, upper = points
    return (u(lower) - u(upper))[:, 0]


PROBLEM = standard.problem(
    "reaction",
    "Reaction at rate 5",
    BOX,
    equation,
    {
        "initial": (BOX.face(t=0).sample, initial_value),
        "periodic": (functools.partial(BOX.periodic, "x"), difference_of_ends),
    },
    standard.exact_solution(exact),
    grid=(101, 101),
    reference="Krishnapriyan et al. (2021)",
)
