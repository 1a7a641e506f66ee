"""Problems that the literature reports, all with one configuration and no loss weight set by hand.

A problem's file contains its equation, its conditions and its solution. Network, points and presets
are the same for all of them, so errors can be compared from one problem to the next.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from ntk_keras.derivatives import Network
from ntk_keras.domains import Shape
from ntk_keras.problems.base import Problem, Settings
from ntk_keras.training.terms import Term

__all__ = [
    "Condition",
    "ParameterResidual",
    "exact_solution",
    "natural_gradient",
    "presets",
    "problem",
    "zero",
]

Residual = Callable[[Network, Any], tf.Tensor]
Condition = tuple[Callable[[int], Any], Residual]


def problem(
    name: str,
    title: str,
    box: Shape,
    equation: Residual,
    conditions: Mapping[str, Condition],
    solution: Callable[[np.ndarray], np.ndarray],
    *,
    grid: tuple[int, ...],
    reference: str,
    **kwargs: Any,
) -> Problem:
    """Returns a problem with the standard network, points and presets.

    Args:
        name: name on the command line.
        title: one-line description.
        box: domain.
        equation: residual in the interior.
        conditions: all other residuals by name, each after a function from a number of points to
            these, or to their sampler, such as ``BOX.face(t=0).sample``.
        solution: exact solution or reference, from points ``[m, d]`` to values ``[m, outputs]``.
        grid: number of points along each axis where errors are measured.
        reference: source of the problem.
        **kwargs: other attributes of :class:`~ntk_keras.problems.Problem`.
    """

    def terms(settings: Settings) -> list[Term]:
        count = settings.points
        interior = Term("equation", equation, box.interior(count["equation"]))
        return [
            interior,
            *(Term(n, f, sampler(count[n])) for n, (sampler, f) in conditions.items()),
        ]

    return Problem(
        name=name,
        title=title,
        box=box,
        terms=terms,
        solution=solution,
        grid=grid,
        reference=reference,
        presets=presets(name, list(conditions)),
        **kwargs,
    )


def presets(name: str, conditions: Sequence[str]) -> dict[str, Settings]:
    """Returns the settings of Adam, ``"quick"``, and of natural gradients.

    Args:
        name: name of the problem.
        conditions: names of its conditions.
    """
    return {
        "quick": Settings(
            name,
            "quick",
            {"equation": 500, **dict.fromkeys(conditions, 100)},
            steps=10_000,
            width=100,
        ),
        "natural-gradient": natural_gradient(name, conditions),
    }


def natural_gradient(name: str, conditions: Sequence[str]) -> Settings:
    """Returns the settings of natural gradients, which are the same for all problems.

    Args:
        name: name of the problem.
        conditions: names of its conditions.
    """
    return Settings(
        name,
        "natural-gradient",
        {"equation": 4800, **dict.fromkeys(conditions, 480)},
        steps=150,
        steps_per_epoch=10,
        width=30,
        activation="sin_tanh",
        input_scale=1.75,
        optimizer="natural-gradient",
        dtype="float64",
    )


@keras.saving.register_keras_serializable("ntk_keras.problems")
def zero(u: Network, points: tf.Tensor) -> tf.Tensor:
    """Returns the value itself, for a condition u = 0.

    Args:
        u: network with one output.
        points: points ``[n, d]``.

    Returns:
        ``[n]``.
    """
    return u(points)[:, 0]


@dataclasses.dataclass(frozen=True)
class ParameterResidual:
    """A residual with parameters, as fields of a subclass, that Keras can save."""

    def get_config(self) -> dict[str, Any]:
        """Returns the parameters, for Keras."""
        return dataclasses.asdict(self)

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "ParameterResidual":
        """Creates the residual from its configuration."""
        return cls(**config)


def exact_solution(function: Callable[[tf.Tensor], tf.Tensor]) -> Callable[..., np.ndarray]:
    """Returns an exact solution of tensors as a function of arrays, in double precision.

    Args:
        function: exact solution, from points ``[m, d]`` to values ``[m, outputs]``.
    """
    return lambda points: function(tf.constant(points, tf.float64)).numpy()
