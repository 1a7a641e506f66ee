"""An inverse problem: the heat equation, ``u_t = D u_xx`` on (0, 1)^2, with an unknown D.

The initial values ``sin(pi x)`` and ``u = 0`` at both ends are known. At random points, values of u
are measured with normal noise, by default of standard deviation 0.01, which is 1 % of the largest
value. Points and noise differ from seed to seed. D is 1/4, and training starts at 1. Columns of
points are (t, x).
"""

import dataclasses

import keras
import numpy as np
import tensorflow as tf

from ntk_keras import derivatives
from ntk_keras.derivatives import Network, NetworkView
from ntk_keras.problems import heat_1d, standard
from ntk_keras.problems.base import Problem, Settings
from ntk_keras.training.terms import Term

BOX = heat_1d.BOX
START = 1.0


@keras.saving.register_keras_serializable("ntk_keras.heat_inverse")
def equation(u: NetworkView, points: tf.Tensor) -> tf.Tensor:
    """Returns ``u_t - D u_xx``."""
    second = derivatives.partial(u, points, "x", "x")[:, 0]
    return derivatives.partial(u, points, "t")[:, 0] - u.unknowns["diffusivity"] * second


@keras.saving.register_keras_serializable("ntk_keras.heat_inverse")
def misfit(u: Network, points: tuple[tf.Tensor, tf.Tensor]) -> tf.Tensor:
    """Returns the value minus the measured one."""
    where, measured = points
    return u(where)[:, 0] - measured


def measured(count: int, noise: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns points ``[count, 2]`` and values measured there, ``[count]``.

    Args:
        count: number of points.
        noise: standard deviation of the noise.
        seed: seed of points and noise.
    """
    random = np.random.default_rng(seed)
    points = random.uniform(BOX.lower, BOX.upper, size=(count, 2))
    exact = heat_1d.PROBLEM.solution(points)[:, 0]
    return points, exact + noise * random.normal(size=count)


def problem(noise: float = 0.01) -> Problem:
    """Returns the problem.

    Args:
        noise: standard deviation of the noise, positive.

    Raises:
        ValueError: if it is not positive.
    """
    if not noise > 0:
        raise ValueError(f"The noise must be positive. Received noise={noise}.")
    known = standard.problem(
        "heat_inverse",
        "Heat equation with an unknown diffusivity, from noisy values",
        BOX,
        equation,
        {
            "initial": (BOX.face(t=0).sample, heat_1d.initial_value),
            "left": (BOX.face(x=0).sample, standard.zero),
            "right": (BOX.face(x=1).sample, standard.zero),
        },
        heat_1d.PROBLEM.solution,
        grid=(101, 101),
        reference="manufactured",
        unknowns={"diffusivity": START},
        truth={"diffusivity": heat_1d.CONDUCTIVITY},
        measured=("measured",),
        parameters={"noise": noise},
        variant=problem,
    )

    def terms(settings: Settings) -> list[Term]:
        values = measured(settings.points["measured"], noise, settings.seed)
        return [*known.terms(settings), Term("measured", misfit, values)]

    names = [*list(known.presets["quick"].points)[1:], "measured"]
    return dataclasses.replace(known, terms=terms, presets=standard.presets(known.name, names))


PROBLEM = problem()
