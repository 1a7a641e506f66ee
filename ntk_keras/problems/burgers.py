"""Burgers' equation, ``u_t + u u_x = nu u_xx``, whose solution becomes steep at x = 0.

It is solved on (0, 1) x (-1, 1), with ``u = -sin(pi x)`` at t = 0 and ``u = 0`` at both ends.
Columns of points are (t, x). The solution is that of Cole and Hopf,

    u = -int sin(pi (x - y)) F(x - y) G(y) dy / int F(x - y) G(y) dy,

with ``F(x) = exp(-cos(pi x) / (2 pi nu))`` and ``G(y) = exp(-y^2 / (4 nu t))``, by Gauss-Hermite
quadrature. Its error is below 1e-14.
"""

import dataclasses
import math

import keras
import numpy as np
import tensorflow as tf

from ntk_keras import derivatives
from ntk_keras.derivatives import Network
from ntk_keras.domains import Box
from ntk_keras.problems import standard
from ntk_keras.problems.base import Problem

BOX = Box(t=(0, 1), x=(-1, 1))
LEAST_VISCOSITY = 0.003  # quadrature has been compared with twice as many nodes down to here


@keras.saving.register_keras_serializable("ntk_keras.burgers")
@dataclasses.dataclass(frozen=True)
class Equation(standard.ParameterResidual):
    """Burgers' equation.

    Attributes:
        viscosity: viscosity nu.
    """

    viscosity: float = 0.01 / math.pi

    def __call__(self, u: Network, points: tf.Tensor) -> tf.Tensor:
        """Returns ``u_t + u u_x - nu u_xx``."""
        first = derivatives.gradient(u, points)[:, 0]
        second = derivatives.partial(u, points, 1, 1)[:, 0]
        return first[:, 0] + u(points)[:, 0] * first[:, 1] - self.viscosity * second


@keras.saving.register_keras_serializable("ntk_keras.burgers")
def initial_value(u: Network, points: tf.Tensor) -> tf.Tensor:
    """Returns the value minus the initial value."""
    return u(points)[:, 0] + tf.sin(math.pi * points[:, 1])


def exact(points: tf.Tensor, viscosity: float = 0.01 / math.pi) -> tf.Tensor:
    """Returns the solution of Cole and Hopf, ``[m, 1]``."""
    nodes, weights = np.polynomial.hermite.hermgauss(200)
    t, x = points[:, :1], points[:, 1:]
    at = math.pi * (x - tf.sqrt(4 * viscosity * t) * nodes)
    exponent = -tf.cos(at) / (2 * math.pi * viscosity)
    kernel = weights * tf.exp(exponent - tf.reduce_max(exponent, axis=1, keepdims=True))
    moved = tf.reduce_sum(kernel * tf.sin(at), axis=1) / tf.reduce_sum(kernel, axis=1)
    return -moved[:, tf.newaxis]


def problem(viscosity: float = 0.01 / math.pi) -> Problem:
    """Returns the problem.

    Args:
        viscosity: viscosity nu, at least 0.003.

    Raises:
        ValueError: if it is less.
    """
    if viscosity < LEAST_VISCOSITY:
        raise ValueError(
            f"The solution is accurate for a viscosity of at least {LEAST_VISCOSITY}. Received "
            f"viscosity={viscosity}."
        )
    return standard.problem(
        "burgers",
        "Burgers' equation with a steep front",
        BOX,
        Equation(viscosity),
        {
            "initial": (BOX.face(t=0).sample, initial_value),
            "left": (BOX.face(x=-1).sample, standard.zero),
            "right": (BOX.face(x=1).sample, standard.zero),
        },
        standard.exact_solution(lambda points: exact(points, viscosity)),
        grid=(101, 201),
        reference="Raissi et al. (2019)",
        parameters={"viscosity": viscosity},
        variant=problem,
    )


PROBLEM = problem()
