"""The Poisson equation of Section 5.1, with zero values at both ends.

It is ``u_xx = -16 pi^2 sin(4 pi x)`` on (0, 1).
"""

import math

import keras
import numpy as np
import tensorflow as tf

from ntk_keras import derivatives
from ntk_keras.derivatives import Network
from ntk_keras.domains import Box
from ntk_keras.problems.base import Problem, Settings
from ntk_keras.training.terms import Term

BOX = Box(x=(0, 1))


@keras.saving.register_keras_serializable("ntk_keras.poisson")
def equation(u: Network, points: tf.Tensor) -> tf.Tensor:
    """Returns the Poisson residual, ``u_xx + 16 pi^2 sin(4 pi x)``."""
    forcing = -16 * math.pi**2 * tf.sin(4 * math.pi * points[:, 0])
    return derivatives.laplacian(u, points)[:, 0] - forcing


@keras.saving.register_keras_serializable("ntk_keras.poisson")
def boundary_value(u: Network, points: tf.Tensor) -> tf.Tensor:
    """Returns the value itself, which is zero on the boundary."""
    return u(points)[:, 0]


def terms(settings: Settings) -> list[Term]:
    """Returns terms in two groups, the paper's D and B."""
    return [
        Term("equation", equation, BOX.interior(settings.points["equation"])),
        Term("left", boundary_value, np.array([[0.0]]), group="boundary"),
        Term("right", boundary_value, np.array([[1.0]]), group="boundary"),
    ]


def solution(points: np.ndarray) -> np.ndarray:
    """Returns ``sin(4 pi x)``, ``[m, 1]``."""
    return np.sin(4 * math.pi * points)


PROBLEM = Problem(
    name="poisson",
    title="Poisson equation in one dimension",
    box=BOX,
    terms=terms,
    solution=solution,
    grid=(1001,),
    reference="Section 5.1",
    presets={
        "quick": Settings("poisson", "quick", {"equation": 100}, steps=6000, depth=1),
        # The paper's convergence test. The points are so few that the theory applies, and far too
        # few to find the solution. The paper states the network, the number of points and the exact
        # kernel at every step. It leaves open the learning rate, the precision and the positions of
        # the two interior points.
        "paper": Settings(
            "poisson",
            "paper",
            {"equation": 2},
            steps=1000,
            steps_per_epoch=10,
            weighting="exact-ntk",
            depth=1,
            optimizer="sgd",
            learning_rate=5e-5,
            decay_rate=1.0,
            redrawn=False,
            dtype="float64",
        ),
        "natural-gradient": Settings(
            "poisson",
            "natural-gradient",
            {"equation": 200},
            steps=200,
            steps_per_epoch=10,
            width=20,
            depth=2,
            activation="sin",
            optimizer="natural-gradient",
            dtype="float64",
        ),
    },
)
