"""Coverage of intervals for an unknown coefficient, with noisy values.

``--study decay`` is u' = -k u, by several methods; ``--study heat`` the problem ``heat_inverse``.
"""

import argparse
import dataclasses
import statistics
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import scipy
import tensorflow as tf

import ntk_keras as nk
from benchmarks.tables import RESULTS, write_table
from ntk_keras import problems
from ntk_keras.problems import Problem, Settings, heat_inverse

TRUTH, NOISE, NUM_VALUES = 2.0, 0.05, 30
# Numbers of neurons and of points of the equation, and whether u(0) = 1 is given.
CASES = ((6, 30, True), (6, 30, False), (12, 100, False))
NORMAL = 1.96  # half width of a 95 % interval in standard errors
# Steps of natural gradients on heat_inverse, with the first noise and with each of the others.
FIRST_STEPS, STEPS = 100, 20


def rows(cases: Sequence[tuple[int, int, bool]], num_draws: int) -> list[dict[str, Any]]:
    """Returns a row for each case: mean standard errors, and how many intervals cover the truth."""
    table = []
    for width, num_points, given in cases:
        draws = np.array(_draws(width, num_points, given, num_draws))
        k, errors = draws[:, 0], draws[:, 1:]
        covered = np.sum(np.abs(k - TRUTH)[:, None] <= NORMAL * errors, axis=0)
        row: dict[str, Any] = {
            "neurons": width,
            "points": num_points,
            "u(0) given": "yes" if given else "no",
            "draws": num_draws,
            "scatter of k": f"{np.std(k, ddof=1):.3f}",
        }
        ways = ("named", "not named", "one variance", "known solution")
        for way, count, error in zip(ways, covered, errors.T, strict=True):
            row[way] = f"{np.mean(error):.3f}, covers {count}"
        print(row, flush=True)
        table.append(row)
    return table


def _draws(width: int, num_points: int, given: bool, num_draws: int) -> list[list[float]]:
    """Returns k and its standard errors by four methods, for each draw of the noise."""
    times = np.sort(np.random.default_rng(0).uniform(0, 1, NUM_VALUES))
    exact = np.exp(-TRUTH * times)
    values = tf.Variable(exact)
    model = _model(width, num_points, given, times, values)
    model.fit(epochs=150, verbose=0)
    start = model.get_weights()
    draws = []
    for seed in range(num_draws):
        values.assign(exact + NOISE * np.random.default_rng(100 + seed).normal(size=NUM_VALUES))
        model.set_weights(start)
        model.optimizer.damping.assign(1e-2)
        model.fit(epochs=60, verbose=0)
        found = [model.uncertainty(measured) for measured in ("data", None)]
        errors = [each.standard_errors["k"] for each in found]
        known = _error_of_known_solution(times, values.numpy(), given)
        draws.append([model.unknowns["k"], *errors, _error_of_one_variance(model), known])
    return draws


def _model(
    width: int, num_points: int, given: bool, times: np.ndarray, values: tf.Variable
) -> nk.PINNModel:
    def decay(u: Any, t: Any) -> tf.Tensor:
        return nk.derivatives.partial(u, t, 0)[:, 0] + u.unknowns["k"] * u(t)[:, 0]

    def misfit(u: Any, points: Any) -> tf.Tensor:
        return u(points[0])[:, 0] - points[1]

    box = nk.domains.Box(t=(0, 1))
    network = nk.networks.feedforward(box, width=width, depth=1, dtype="float64", seed=0)
    terms = [
        nk.Term("equation", decay, box.grid(num_points)),
        nk.Term("data", misfit, (times[:, np.newaxis], values)),
    ]
    if given:
        terms.append(nk.Term("start", lambda u, t: u(t)[:, 0] - 1, np.zeros([1, 1])))
    model = nk.PINNModel(network, terms, unknowns={"k": 1.5}, seed=0)
    model.compile(nk.optimizers.NaturalGradient())
    return model


def _error_of_one_variance(model: nk.PINNModel) -> float:
    """Returns the error by the usual formula, in which all weighted rows have the same noise."""
    blocks = model.blocks()
    residuals = {name: block().numpy() for name, block in blocks.items()}
    root = np.concatenate(
        [np.sqrt(model.loss_weights[name]) * np.ones(len(r)) for name, r in residuals.items()]
    )
    weighted = root[:, np.newaxis] * nk.kernel.jacobian(blocks, model.trainable_variables).numpy()
    basis, values, _ = np.linalg.svd(weighted[:, :-1], full_matrices=False)
    basis = basis[:, values > 1e-6 * values[0]]
    column = weighted[:, -1]
    left = column @ column - np.sum((basis.T @ column) ** 2)
    freedom = len(root) - basis.shape[1] - 1
    variance = np.sum((root * np.concatenate(list(residuals.values()))) ** 2) / freedom
    return float(np.sqrt(variance / left))


def _error_of_known_solution(times: np.ndarray, values: np.ndarray, given: bool) -> float:
    """Returns the error of ``a exp(-k t)`` fitted to the values, with a = 1 if u(0) is given."""

    def exponential(t: np.ndarray, k: float, a: float = 1.0) -> np.ndarray:
        return a * np.exp(-k * t)

    start = [TRUTH] if given else [TRUTH, 1.0]
    _, covariance = scipy.optimize.curve_fit(exponential, times, values, start)
    return float(np.sqrt(covariance[0, 0]))


def heat_row(problem: Problem, settings: Settings, num_seeds: int) -> dict[str, Any]:
    """Returns how many intervals of heat_inverse cover its diffusivity.

    Args:
        problem: heat_inverse, whose noise and measured points are those of each seed.
        settings: settings of natural gradients.
        num_seeds: number of seeds of the noise, from 0 upwards; the network's stays the same.
    """
    truth = problem.truth["diffusivity"]
    found = []
    for seed, (value, error, relative_l2) in enumerate(_heat(problem, settings, num_seeds)):
        found.append((value, error, relative_l2))
        print(f"seed {seed}: {value:.5f} ± {error:.5f}, L2 error {relative_l2:.1e}", flush=True)
    values, errors, relative_l2s = zip(*found, strict=True)
    covered = sum(abs(v - truth) <= NORMAL * e for v, e in zip(values, errors, strict=True))
    return {
        "noise": problem.parameters["noise"],
        "values": settings.points["measured"],
        "seeds": num_seeds,
        "covered": covered,
        "mean": f"{statistics.mean(values):.5f}",
        "scatter": f"{statistics.stdev(values):.1e}",
        "mean standard error": f"{statistics.mean(errors):.1e}",
        "median relative L2 error of u": f"{statistics.median(relative_l2s):.1e}",
    }


def _heat(
    problem: Problem, settings: Settings, num_seeds: int
) -> Iterator[tuple[float, float, float]]:
    """Yields diffusivity, standard error and error of u, for each seed of the noise."""
    count, noise = settings.points["measured"], problem.parameters["noise"]
    drawn = [tf.Variable(part) for part in heat_inverse.measured(count, noise, 0)]
    term = nk.Term("measured", heat_inverse.misfit, tuple(drawn))
    known = [other for other in problem.terms(settings) if other.name != term.name]
    changed = dataclasses.replace(problem, terms=lambda _: [*known, term])
    model = problems.build_model(changed, settings)
    model.fit(epochs=1, steps_per_epoch=FIRST_STEPS, verbose=0)
    start, damping = model.get_weights(), model.optimizer.damping.numpy()
    validation_data = problem.validation_data(settings.dtype)
    assert validation_data is not None
    points, solution = validation_data
    for seed in range(num_seeds):
        for variable, part in zip(drawn, heat_inverse.measured(count, noise, seed), strict=True):
            variable.assign(part)
        model.set_weights(start)
        model.optimizer.damping.assign(damping)
        model.fit(epochs=1, steps_per_epoch=STEPS, verbose=0)
        error = model.uncertainty("measured").standard_errors["diffusivity"]
        difference = model.predict(points, verbose=0) - solution
        relative_l2 = np.linalg.norm(difference) / np.linalg.norm(solution)
        yield model.unknowns["diffusivity"], error, float(relative_l2)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures and writes the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--study", choices=("decay", "heat"), default="decay")
    parser.add_argument("--draws", type=int, default=40, help="of the noise")
    parser.add_argument("--out", type=Path, default=RESULTS)
    given = parser.parse_args(arguments)
    if given.study == "heat":
        problem = problems.get("heat_inverse")
        settings = problem.presets["natural-gradient"]
        points = ", ".join(f"{count} {name}" for name, count in settings.points.items())
        heat_notes = (
            f"heat_inverse, D = 1/4, {settings.depth} x {settings.width} {settings.activation} "
            f"network in {settings.dtype}, points: {points}. Natural gradients with NTK weights: "
            f"{FIRST_STEPS} steps with the noise of seed 0, then {STEPS} from there with that of "
            'each seed. Covered: intervals D ± 1.96 errors of `uncertainty("measured")` with 1/4.'
        )
        row = heat_row(problem, settings, given.draws)
        write_table(given.out, "uncertainty-heat", [row], heat_notes)
        return
    notes = (
        "u' = -k u on [0, 1], k = 2, 30 values with noise 0.05, NTK weights, natural gradients to "
        "convergence. Mean standard errors of k, and how many intervals k ± 1.96 errors cover 2: "
        'by `uncertainty("data")`, by `uncertainty()`, by the formula that gives all weighted '
        "rows one variance, and of a exp(-k t) fitted to the values."
    )
    write_table(given.out, "uncertainty", rows(CASES, given.draws), notes)


if __name__ == "__main__":
    main()
