"""How far estimated weights are from exact ones along one training run, all estimators beside it.

One network trains on the wave problem. At every step each estimator samples the traces of the same
residuals and moves an average of its own, as if it weighed the loss; only one of them does. At
checks the exact kernel is computed at many fixed points, so that the measure itself hardly depends
on which points were drawn: estimates from redrawn points are of that kernel's expectation.
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

REFERENCE_POINTS = 1500  # of every term
SAMPLES = 200  # at each of the places where single samples are looked at


@dataclasses.dataclass
class Run:
    """What a run has shown.

    Attributes:
        steps: of the checks.
        exact: weights at every check, ``[checks, groups]``.
        averaged: the same by estimator, from moving averages.
        negative: by estimator and step, the share of single samples of a trace below zero, and
            their relative standard deviation, each ``[groups]``.
        groups: their names.
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
    """Trains the network and compares on the way.

    Args:
        names: of estimators; ``"exact"`` is so at the points of a step, which are redrawn.
        width: of the three hidden layers.
        steps: of training.
        check_every: steps from one comparison to the next; the first comes before any step.
        rate: averaging rate of every estimator.
        sample_at: steps before which single samples are looked at.
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
        if exact is not None:  # the weights that the step used, at the parameters it began with
            run.steps.append(index)
            run.exact.append(exact)
            for name, average in averages.items():
                run.averaged[name].append(average.loss_weights.numpy())
            print(f"step {index}: exact weights {np.round(exact, 2)}", flush=True)
    return run


def rows_of(run: Run, width: int, rate: float) -> Iterator[dict[str, Any]]:
    """One row for each estimator: errors of its weights, in per cent by group, and its samples."""
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
    """Weights at every check, one row for each estimator, step and group.

    Those of the kernel, which errors are counted from, have the name ``kernel``.
    """
    return [
        {"estimator": name, "step": step, "group": group, "weight": f"{value:.6g}"}
        for name, series in {"kernel": run.exact, **run.averaged}.items()
        for step, weights in zip(run.steps, series, strict=True)
        for group, value in zip(run.groups, weights, strict=True)
    ]


def _prepared(weighting: NTK, model: PINNModel) -> NTK:
    """A weighting with the groups of a model that does not use it."""
    group_of = {term.name: term.group for term in model.terms}
    weighting.prepare(group_of, model.parameter_dtype, dict.fromkeys(group_of))
    return weighting


def _reference(model: PINNModel) -> Callable[[], tf.Tensor]:
    """A function that computes exact traces by group at many points, scaled to the usual number."""
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
    """Single samples of the traces at the next step's points, ``[SAMPLES, groups]``."""

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
