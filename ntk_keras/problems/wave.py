"""The wave equation of Section 5.2.2, equation (15).

It is ``u_tt - 4 u_xx = 0`` on (0, 1)^2 with ``u = 0`` at both ends, and ``u_t = 0`` and
``u = sin(pi x) + 1/2 sin(4 pi x)`` at t = 0. Columns of points are (t, x).
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
from ntk_keras.problems.base import Problem, Settings
from ntk_keras.training.terms import Term

SPEED = 2.0
BOX = Box(t=(0, 1), x=(0, 1))


@keras.saving.register_keras_serializable("ntk_keras.wave")
def equation(u: Network, points: tf.Tensor) -> tf.Tensor:
    """Returns the wave operator, ``u_tt - c^2 u_xx``."""
    return derivatives.second_order(u, points, [1, -(SPEED**2)])[:, 0]


@keras.saving.register_keras_serializable("ntk_keras.wave")
def initial_velocity(u: Network, points: tf.Tensor) -> tf.Tensor:
    """Returns the derivative ``u_t``, which is zero at the start."""
    return derivatives.partial(u, points, 0)[:, 0]


@keras.saving.register_keras_serializable("ntk_keras.wave")
def initial_value(u: Network, points: tf.Tensor) -> tf.Tensor:
    """Returns the value minus the initial value."""
    x = points[:, 1]
    return u(points)[:, 0] - tf.sin(math.pi * x) - tf.sin(4 * math.pi * x) / 2


@keras.saving.register_keras_serializable("ntk_keras.wave")
def boundary_value(u: Network, points: tf.Tensor) -> tf.Tensor:
    """Returns the value itself, which is zero on the boundary."""
    return u(points)[:, 0]


def terms(settings: Settings) -> list[Term]:
    """Returns terms in three groups, the paper's D, Dt and B.

    They are the equation, the velocity, and the conditions on u.
    """
    n = settings.points
    start, left, right = BOX.face(t=0), BOX.face(x=0), BOX.face(x=1)
    return [
        Term("equation", equation, BOX.interior(n["equation"])),
        Term("velocity", initial_velocity, start.sample(n["velocity"])),
        Term("initial", initial_value, start.sample(n["initial"]), group="boundary"),
        Term("left", boundary_value, left.sample(n["left"]), group="boundary"),
        Term("right", boundary_value, right.sample(n["right"]), group="boundary"),
    ]


def solution(points: np.ndarray) -> np.ndarray:
    """Returns ``sin(pi x) cos(2 pi t) + 1/2 sin(4 pi x) cos(8 pi t)``, ``[m, 1]``."""
    t, x = points[:, :1], points[:, 1:]
    pi = math.pi
    return np.sin(pi * x) * np.cos(SPEED * pi * t) + 0.5 * np.sin(4 * pi * x) * np.cos(
        4 * SPEED * pi * t
    )


# The paper states the network, the points, which are redrawn at every step, and alpha = 1e-3. What
# it leaves open follows Wang, Yu and Perdikaris: Adam with the decaying learning rate, and
# standardised inputs.
POINTS = {"equation": 300, "velocity": 300, "initial": 100, "left": 100, "right": 100}

CONDITIONS = [name for name in POINTS if name != "equation"]

PROBLEM = Problem(
    name="wave",
    title="Wave equation with two frequencies in time",
    box=BOX,
    terms=terms,
    solution=solution,
    grid=(101, 101),
    reference="Section 5.2.2",
    presets={
        "quick": Settings("wave", "quick", POINTS, steps=12_000, width=100),
        "paper": Settings(
            "wave",
            "paper",
            POINTS,
            steps=80_000,
            steps_per_epoch=1000,
            width=500,
            estimator="predictor",
        ),
        # Fewer points than in the standard configuration, and sines, which learn waves faster.
        "natural-gradient": dataclasses.replace(
            standard.natural_gradient("wave", CONDITIONS),
            points={"equation": 2400, **dict.fromkeys(CONDITIONS, 480)},
            activation="sin",
        ),
    },
)
