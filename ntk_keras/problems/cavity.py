"""The steady flow in a square whose lid moves, at Reynolds number 100, by its stream function.

With ``v = (psi_y, -psi_x)``, the equation on the unit square is

    psi_y (Lap psi)_x - psi_x (Lap psi)_y = Lap^2 psi / 100.

The fluid moves with the lid at y = 1, and is at rest at the other sides. The lid slows down at the
corners, where second derivatives of psi would be infinite if its speed jumped: the speed is
``1 - cosh(50 (x - 1/2)) / cosh(25)``. The reference is a finite element solution. With two thirds
of its elements along a side, it differs by 3e-4 in relative L2 norm. It needs the extra ``fem``
when it is first computed.
"""

import functools
import math

import keras
import numpy as np
import tensorflow as tf

from ntk_keras import derivatives
from ntk_keras.derivatives import Network
from ntk_keras.domains import Box
from ntk_keras.problems import standard
from ntk_keras.references import cavity_fem

BOX = Box(x=(0, 1), y=(0, 1))
REYNOLDS, SHARPNESS = 100.0, 50.0


@keras.saving.register_keras_serializable("ntk_keras.cavity")
def equation(u: Network, points: tf.Tensor) -> tf.Tensor:
    """Returns ``psi_y (Lap psi)_x - psi_x (Lap psi)_y - Lap^2 psi / 100``."""

    def d(*axes: int) -> tf.Tensor:
        return derivatives.partial(u, points, *axes)[:, 0]

    inertia = d(1) * (d(0, 0, 0) + d(0, 1, 1)) - d(0) * (d(0, 0, 1) + d(1, 1, 1))
    return inertia - (d(0, 0, 0, 0) + 2 * d(0, 0, 1, 1) + d(1, 1, 1, 1)) / REYNOLDS


@keras.saving.register_keras_serializable("ntk_keras.cavity")
def along_sides(u: Network, points: tf.Tensor) -> tf.Tensor:
    """Returns the velocity along the left and right sides."""
    return derivatives.partial(u, points, 0)[:, 0]


@keras.saving.register_keras_serializable("ntk_keras.cavity")
def along_bottom(u: Network, points: tf.Tensor) -> tf.Tensor:
    """Returns the velocity along the bottom."""
    return derivatives.partial(u, points, 1)[:, 0]


@keras.saving.register_keras_serializable("ntk_keras.cavity")
def along_lid(u: Network, points: tf.Tensor) -> tf.Tensor:
    """Returns the velocity along the lid, minus that of the lid."""
    speed = 1 - tf.cosh(SHARPNESS * (points[:, 0] - 0.5)) / math.cosh(SHARPNESS / 2)
    return derivatives.partial(u, points, 1)[:, 0] - speed


@functools.cache
def reference() -> cavity_fem.Solution:
    """Returns the reference solution."""
    return cavity_fem.solve_cached(REYNOLDS, cells=36, sharpness=SHARPNESS)


def solution(points: np.ndarray) -> np.ndarray:
    """Returns the stream function of the reference, ``[m, 1]``."""
    return reference()(points)[:, 2:]


PROBLEM = standard.problem(
    "cavity",
    "Flow in a square whose lid moves",
    BOX,
    equation,
    {
        "walls": (BOX.boundary, standard.zero),
        "sides": (functools.partial(BOX.boundary, axes=["x"]), along_sides),
        "bottom": (BOX.face(y=0).sample, along_bottom),
        "lid": (BOX.face(y=1).sample, along_lid),
    },
    solution,
    grid=(65, 65),
    reference="Wang, Sankaran, Wang & Perdikaris (2023)",
)
