"""The heat equation: a template for custom problems.

It is ``u_t - D u_xx = 0`` on (0, 1)^2 with ``u = 0`` at both ends of the rod, and
``u = sin(pi x)`` at t = 0. Columns of points are (t, x).
"""

import math

import numpy as np
import tensorflow as tf

import ntk_keras as nk
from ntk_keras.problems import Problem, Settings

NAME = "heat"  # the beginning of the folder names of runs
DIFFUSIVITY = 0.1
BOX = nk.domains.Box(t=(0, 1), x=(0, 1))


# Residuals: functions of the network u and the points [n, 2] that are zero for the solution.
def equation(u: nk.derivatives.Network, points: tf.Tensor) -> tf.Tensor:
    """Returns ``u_t - D u_xx``, ``[n]``."""
    u_t = nk.derivatives.partial(u, points, "t")
    u_xx = nk.derivatives.partial(u, points, "x", "x")
    return (u_t - DIFFUSIVITY * u_xx)[:, 0]


def initial_value(u: nk.derivatives.Network, points: tf.Tensor) -> tf.Tensor:
    """Returns the value minus the initial value, ``[n]``."""
    return u(points)[:, 0] - tf.sin(math.pi * points[:, 1])


def boundary_value(u: nk.derivatives.Network, points: tf.Tensor) -> tf.Tensor:
    """Returns the value itself, which is zero at both ends, ``[n]``."""
    return u(points)[:, 0]


# Loss terms: a residual and where it holds. Terms of one group share a loss weight.
def terms(settings: Settings) -> list[nk.Term]:
    """Returns the terms, with as many points as the settings of a run say."""
    n = settings.points
    left, right = BOX.face(x=0), BOX.face(x=1)
    return [
        nk.Term("equation", equation, BOX.interior(n["equation"])),
        nk.Term("initial", initial_value, BOX.face(t=0).sample(n["initial"])),
        nk.Term("left", boundary_value, left.sample(n["boundary"]), group="boundary"),
        nk.Term("right", boundary_value, right.sample(n["boundary"]), group="boundary"),
    ]


# What errors are measured against. Write `solution=None` below if it is unknown.
def solution(points: np.ndarray) -> np.ndarray:
    """Returns the solution at points ``[m, 2]``, ``[m, 1]``."""
    t, x = points[:, :1], points[:, 1:]
    return np.exp(-DIFFUSIVITY * math.pi**2 * t) * np.sin(math.pi * x)


PROBLEM = Problem(
    name=NAME,
    title="Heat equation",
    box=BOX,
    terms=terms,
    solution=solution,
    grid=(101, 101),  # points along t and x at which errors are measured and figures drawn
    reference="separation of variables",
    # Settings of runs by name. Options of `ntk-keras run` change them one by one.
    presets={
        "quick": Settings(
            NAME,
            "quick",
            {"equation": 200, "initial": 100, "boundary": 50},
            steps=3000,
            width=50,
            depth=2,
            learning_rate=3e-3,
            decay_steps=300,
        ),
        "natural-gradient": Settings(
            NAME,
            "natural-gradient",
            {"equation": 600, "initial": 100, "boundary": 100},
            steps=40,
            steps_per_epoch=10,
            width=20,
            depth=2,
            activation="sin",
            optimizer="natural-gradient",
            dtype="float64",
        ),
    },
)
