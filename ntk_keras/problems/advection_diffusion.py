"""Advection and diffusion on the unit disk, ``u_x = (u_xx + u_yy) / 10``, with a boundary layer.

The solution, ``exp(l x) cos(4 y) + exp(10 (x - 1))``, is prescribed on the boundary. Its first part
is carried along and decays slowly, with ``l = 5 - sqrt(41)``; the second is steep where the flow
leaves the disk.
"""

import math

import keras
import tensorflow as tf

from ntk_keras import derivatives
from ntk_keras.derivatives import Network
from ntk_keras.domains import Disk
from ntk_keras.problems import standard

DISK = Disk()
DIFFUSION = 0.1
DECAY = 5 - math.sqrt(41)  # the root of u_x = (u_xx + u_yy) / 10 for exp(l x) cos(4 y)


def exact(points: tf.Tensor) -> tf.Tensor:
    """Returns the solution, ``[m, 1]``."""
    x, y = points[:, :1], points[:, 1:]
    return tf.exp(DECAY * x) * tf.cos(4 * y) + tf.exp((x - 1) / DIFFUSION)


@keras.saving.register_keras_serializable("ntk_keras.advection_diffusion")
def equation(u: Network, points: tf.Tensor) -> tf.Tensor:
    """Returns ``u_x - (u_xx + u_yy) / 10``."""
    diffusion = DIFFUSION * derivatives.laplacian(u, points)[:, 0]
    return derivatives.partial(u, points, 0)[:, 0] - diffusion


@keras.saving.register_keras_serializable("ntk_keras.advection_diffusion")
def boundary_value(u: Network, points: tf.Tensor) -> tf.Tensor:
    """Returns the value minus the solution."""
    return (u(points) - exact(points))[:, 0]


PROBLEM = standard.problem(
    "advection_diffusion",
    "Advection and diffusion on a disk",
    DISK,
    equation,
    {"boundary": (DISK.boundary, boundary_value)},
    standard.exact_solution(exact),
    grid=(101, 101),
    reference="manufactured",
)
