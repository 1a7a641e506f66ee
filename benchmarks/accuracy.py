"""Errors of estimated loss weights along one training run, for all estimators.

One network trains on the wave problem. At every step, each estimator samples the traces of the same
residuals and updates its own moving average, as if it weighted the loss; only one of them does. At
checks, the exact kernel is computed at many fixed points, so that the reference hardly depends on
which points were drawn: with redrawn points, the estimates are of the expectation of that kernel.
"""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from benchmarks.contenders import CONTENDERS
from ntk_keras import Linearization, PINNModel, kernel, problems
from ntk_keras.backend import seeds
from ntk_keras.training.terms import Term
from ntk_keras.weighting import NTK, weights_from_traces

REFERENCE_POINTS = 1500  # number of points of every term
SAMPLES = 200  # number of single samples at each step where they are examined


@dataclasses.dataclass
class Run:
    """The measurements of a run.

    Attributes:
        steps: steps of the checks.
        exact: exact weights at every check, ``[checks, groups]``.
        averaged: weights from moving averages by estimator, each ``[checks, groups]``.
        negative: share of single samples of a trace that are negative, by estimator and step, each
            ``[groups]``.
        spread: relative standard deviation of single samples of a trace, by estimator and step,
            each ``[groups]``.
        groups: names of the groups.
    """

    steps: list[int] = dataclasses.field(default_factory=list)
    exact: list[np.ndarray] = dataclasses.field(default_factory=list)
    averaged: dict[str, list[np.ndarray]] = dataclasses.field(default_factory=dict)
    negative: dict[tuple[str, int], np.ndarray] = dataclasses.field(default_factory=dict)
    spread: dict[tuple[str, int], np.ndarray] = dataclasses.field(default_factory=dict)
    groups: tuple[str, ...] = ()


def follow(
    names: Sequence[str],
    width: int,
    steps: int,
    check_every: int,
    rate: float,
    sample_at: Sequence[int],
) -> Run:
    """Trains the network and compares the estimators during training.

    Args:
        names: names of the estimators. ``"exact"`` is exact at the points of a step, which are
            redrawn.
        width: number of neurons in each of the three hidden layers.
        steps: number of training steps.
        check_every: number of steps from one comparison to the next. The first comes before any
            step.
        rate: averaging rate of every estimator.
        sample_at: steps before which single samples are examined.
    """
    problem = problems.get("wave")
    settings = dataclasses.replace(
        problem.presets["paper"], width=width, estimator="diagonal", averaging_rate=rate
    )
    model = problems.build_model(problem, settings)
    averages = {
        name: _prepared(NTK(CONTENDERS[name], averaging_rate=rate), model) for name in names
    }
    reference = _reference(model)
    run = Run(groups=model.weighting.groups, averaged={name: [] for name in names})

    @tf.function(jit_compile=True, autograph=False)
    def step(index: tf.Tensor) -> dict[str, tf.Tensor]:
        linearization = Linearization(model.blocks(), model.trainable_variables, factored=True)
        for average in averages.values():
            average.update(linearization, tf.stack([7, index]))
        return model.train_step(None)

    for index in range(steps + 1):
        checked = index % check_every == 0
        exact = weights_from_traces(reference()).numpy() if checked else None
        for name in names if index in sample_at else []:
            samples = _samples(model, averages[name])
            run.negative[name, index] = np.mean(samples < 0, axis=0)
            run.spread[name, index] = np.std(samples, axis=0) / np.mean(samples, axis=0)
        step(tf.constant(index))
        if exact is not None:  # the weights that the step used, at the parameters before it
            run.steps.append(index)
            run.exact.append(exact)
            for name, average in averages.items():
                run.averaged[name].append(average.loss_weights.numpy())
            print(f"step {index}: exact weights {np.round(exact, 2)}", flush=True)
    return run


def rows_of(run: Run, width: int, rate: float) -> Iterator[dict[str, Any]]:
    """Yields a row for each estimator, with errors of its weights by group and of its samples."""
    exact = np.array(run.exact)
    for name, weights in run.averaged.items():
        error = 100 * np.abs(np.array(weights) / exact - 1)
        places = sorted(step for known, step in run.spread if known == name)
        yield {
            "network": f"3 x {width}",
            "estimator": name,
            "rate": f"{rate:g}",
            "median error, %": _by_group(np.median(error, axis=0)),
            "worst error, %": _by_group(np.max(error, axis=0)),
            **{f"spread at {step}": _by_group(run.spread[name, step], 2) for step in places},
            **{
                f"negative at {step}, %": _by_group(100 * run.negative[name, step])
                for step in places
            },
        }


def curves(run: Run) -> list[dict[str, Any]]:
    """Returns the weights at every check, one row for each estimator, step and group.

    The exact weights, which are the reference of the errors, have the name ``kernel``.
    """
    return [
        {"estimator": name, "step": step, "group": group, "weight": f"{value:.6g}"}
        for name, series in {"kernel": run.exact, **run.averaged}.items()
        for step, weights in zip(run.steps, series, strict=True)
        for group, value in zip(run.groups, weights, strict=True)
    ]


def _prepared(weighting: NTK, model: PINNModel) -> NTK:
    """Returns the weighting, prepared for the groups of a model that does not use it."""
    group_of = {term.name: term.group for term in model.terms}
    weighting.prepare(group_of, model.parameter_dtype, dict.fromkeys(group_of))
    return weighting


def _reference(model: PINNModel) -> Callable[[], tf.Tensor]:
    """Returns a function that computes exact traces by group at many points.

    The traces are scaled to the usual number of points.
    """
    problem = problems.get("wave")
    points = {term.name: REFERENCE_POINTS for term in model.terms}
    wide = problem.terms(dataclasses.replace(problem.presets["paper"], points=points))
    usual = {name: block().shape[0] for name, block in model.blocks().items()}
    many = PINNModel(model.network, [_fixed(term) for term in wide], "constant", seed=0)

    @tf.function(jit_compile=True, autograph=False)
    def traces() -> tf.Tensor:
        by_term = kernel.traces(many.blocks(), model.trainable_variables)
        scaled = {n: trace * usual[n] / REFERENCE_POINTS for n, trace in by_term.items()}
        return model.weighting.pool(scaled)

    return traces


def _fixed(term: Term) -> Term:
    return Term(term.name, term.residual, term.points.fixed(seed=1), group=term.group)


def _samples(model: PINNModel, weighting: NTK) -> np.ndarray:
    """Returns single samples of the traces at the next step's points, ``[SAMPLES, groups]``."""

    @tf.function(jit_compile=True, autograph=False)
    def draw() -> tf.Tensor:
        linearization = Linearization(model.blocks(), model.trainable_variables, factored=True)

        def one(index: tf.Tensor) -> tf.Tensor:
            seed = seeds.fold_in(tf.constant([8, 0]), index)
            return weighting.pool(weighting.estimator.traces(linearization, seed))

        return tf.map_fn(
            one,
            tf.range(SAMPLES),
            fn_output_signature=model.parameter_dtype,
            parallel_iterations=1,
        )

    return draw().numpy()


def _by_group(values: np.ndarray, digits: int = 1) -> str:
    return ", ".join(f"{value:.{digits}f}" for value in values)
