"""Models of problems: network, terms, weighting and optimizer as settings say."""

import copy
import dataclasses
from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from ntk_keras import networks, weighting
from ntk_keras.optimizers import NaturalGradient
from ntk_keras.problems.base import OPTIMIZERS, Problem, Settings
from ntk_keras.training.model import PINNModel
from ntk_keras.training.terms import Term

__all__ = ["ScaledResidual", "build_model", "build_weighting"]

# Activations that Keras does not know by name.
_ACTIVATIONS = {"sin": keras.ops.sin, "sin_tanh": networks.sin_tanh}


@keras.saving.register_keras_serializable("ntk_keras.problems")
@dataclasses.dataclass(frozen=True)
class ScaledResidual:
    """A residual in another unit, that Keras can save if it can save the residual.

    Attributes:
        residual: function ``residual(u, points)``.
        factor: number by which all of its components are multiplied.
    """

    residual: Callable[[Any, Any], Any]
    factor: float

    def __call__(self, u: Any, points: Any) -> Any:
        """Returns the residual times the factor."""
        return tf.nest.map_structure(lambda r: self.factor * r, self.residual(u, points))

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments, for Keras."""
        residual = keras.saving.serialize_keras_object(self.residual)
        return {"residual": residual, "factor": self.factor}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "ScaledResidual":
        """Creates the residual from its configuration."""
        return cls(keras.saving.deserialize_keras_object(config["residual"]), config["factor"])


def build_model(problem: Problem, settings: Settings) -> PINNModel:
    """Returns the compiled model of a problem; equal settings give equal models.

    Args:
        problem: problem to solve.
        settings: settings of the run.
    """
    model = PINNModel(
        _network(problem, settings),
        [_fixed(term, settings) for term in _scaled(problem.terms(settings), settings)],
        build_weighting(settings),
        reduction=settings.reduction,
        seed=settings.seed,
        unknowns=problem.unknowns,
    )
    # Many steps per execution keep the interpreter out of the loop; the number divides the epoch.
    model.compile(
        _optimizer(settings),
        steps_per_execution=_divisor(settings.steps_per_epoch, 100),
        jit_compile="auto" if settings.jit_compile is None else settings.jit_compile,
    )
    return model


def _network(problem: Problem, settings: Settings) -> keras.Model:
    if problem.network is not None:
        return problem.network(settings)
    box, embedding = problem.box, None
    if problem.periods:
        embedding = networks.PeriodicEmbedding(problem.periods, dtype=settings.dtype)
        box = embedding.embed(box)
    network = networks.feedforward(
        box,
        problem.outputs,
        width=settings.width,
        depth=settings.depth,
        activation=_ACTIVATIONS.get(settings.activation, settings.activation),
        input_scale=settings.input_scale,
        dtype=settings.dtype,
        seed=settings.seed,
    )
    if embedding is None:
        return network
    points = keras.Input((len(problem.box.axes),), dtype=settings.dtype)
    return keras.Model(points, network(embedding(points)), name="periodic_network")


def _scaled(terms: list[Term], settings: Settings) -> list[Term]:
    """Returns the terms, of which the equation, or else the first, has the unit of the settings."""
    factor = settings.equation_scale
    if factor == 1:
        return terms
    place = next((n for n, term in enumerate(terms) if term.name == "equation"), 0)
    scaled = copy.copy(terms[place])  # a problem may give the same terms to every model
    scaled.residual = ScaledResidual(scaled.residual, factor)
    return [*terms[:place], scaled, *terms[place + 1 :]]


def _fixed(term: Term, settings: Settings) -> Term:
    """Returns the term itself, or the term with points drawn once."""
    if settings.redrawn or term.points is None or not term.redrawn:
        return term
    points = term.points.fixed(settings.seed)
    return Term(term.name, term.residual, points, group=term.group, axes=term.axes)


def build_weighting(settings: Settings) -> weighting.Weighting:
    """Returns the weighting that settings name.

    Raises:
        ValueError: if a name is unknown, or an argument out of its range.
    """
    kind: Any = weighting.kind_of(settings.weighting)
    arguments: dict[str, Any] = {}
    if settings.weighting == "ntk":
        arguments = {
            "estimator": settings.estimator,
            "averaging_rate": settings.averaging_rate,
            "num_initial_probes": settings.num_initial_probes,
            "average": settings.average,
        }
    if settings.update_every is not None and issubclass(kind, weighting.Adaptive):
        arguments["update_every"] = settings.update_every
    return kind(**arguments)


def _optimizer(settings: Settings) -> keras.optimizers.Optimizer:
    if settings.optimizer == "natural-gradient":
        return NaturalGradient()
    rate: Any = settings.learning_rate
    if settings.decay_rate != 1:
        rate = keras.optimizers.schedules.ExponentialDecay(
            rate, settings.decay_steps, settings.decay_rate
        )
    return OPTIMIZERS[settings.optimizer](rate)


def _divisor(number: int, at_most: int) -> int:
    return max(d for d in range(1, min(number, at_most) + 1) if number % d == 0)
