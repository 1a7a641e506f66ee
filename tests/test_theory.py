"""Bounds of Theorems 1 and 2 held against runs, and what one of them assumes without saying."""

import keras
import numpy as np
import pytest

import ntk_keras as nk
from ntk_keras import theory
from ntk_keras.callbacks import TimeAverages
from ntk_keras.experiments.reproduction import mode_tracking


def linear(matrix, target):
    """R(theta) = A theta - b by groups: A's rows, one group for each; as terms of a PINN."""
    matrix, target = np.asarray(matrix, float), np.asarray(target, float)

    def residual(row):
        return lambda u, x: u(x)[:, 0] - target[row]

    return [
        nk.Term(f"row{row}", residual(row), values[np.newaxis]) for row, values in enumerate(matrix)
    ]


def descend(matrix, target, weighting, rate, steps, **kwargs):
    """Gradient descent from theta = 0 on a linear residual; what was measured along it."""
    network = keras.Sequential(
        [
            keras.Input((len(matrix[0]),), dtype="float64"),
            keras.layers.Dense(1, use_bias=False, kernel_initializer="zeros", dtype="float64"),
        ]
    )
    model = nk.PINNModel(network, linear(matrix, target), weighting, seed=0)
    model.compile(keras.optimizers.SGD(rate), jit_compile=False)
    averages = TimeAverages(spectrum=True)
    model.fit(epochs=1, steps_per_epoch=steps, callbacks=[averages], verbose=0, **kwargs)
    return averages


MATRIX, TARGET = [[1.0, 0.2], [0.3, 2.0]], [1.0, -2.0]


def by_hand(weights, rate, steps):
    """theta_0 to theta_T of gradient descent with constant weights."""
    A, b, theta = np.array(MATRIX), np.array(TARGET), np.zeros(2)
    path = [theta]
    for _ in range(steps):
        theta = theta - rate * A.T @ (weights * (A @ theta - b))
        path.append(theta)
    return A, np.array([A @ theta - b for theta in path])


def test_what_is_measured_along_a_run_is_that_by_hand():
    weights, rate, steps = np.array([3.0, 0.5]), 0.05, 30
    averages = descend(
        MATRIX, TARGET, nk.weighting.Constant({"row0": 3.0, "row1": 0.5}), rate, steps
    )
    A, residuals = by_hand(weights, rate, steps)
    K, before = A @ A.T, residuals[:-1]
    np.testing.assert_allclose(averages.squares(), residuals**2, rtol=1e-6)
    np.testing.assert_allclose(averages.weights(), np.tile(weights, (steps, 1)))
    values = averages.values()
    np.testing.assert_allclose(
        values["gradient"], np.einsum("ti,ij,tj->t", before, K, before), rtol=1e-6
    )
    weighted = weights * before
    np.testing.assert_allclose(
        values["weighted_gradient"], np.einsum("ti,ij,tj->t", weighted, K, weighted), rtol=1e-6
    )
    np.testing.assert_allclose(
        averages.alignments(), np.einsum("ti,ij,tj->t", before, K, weighted), rtol=1e-6
    )
    np.testing.assert_allclose(averages.eigenvalues()[-1], np.linalg.eigvalsh(K)[::-1], rtol=1e-9)
    means = averages.averages()["residual"]
    np.testing.assert_allclose(means[2], np.sum(residuals[:3] ** 2) / 3, rtol=1e-6)


def test_the_curvature_along_a_run_is_no_more_than_that_of_the_hessian():
    """F has the constant Hessian A^T A, and G that with the weights."""
    averages = descend(MATRIX, TARGET, nk.weighting.Constant({"row0": 3.0, "row1": 0.5}), 0.05, 5)
    A = np.array(MATRIX)
    hessians = [A.T @ A, A.T @ np.diag([3.0, 0.5]) @ A]
    for curvature, hessian in zip(averages.curvatures(0.05), hessians, strict=True):
        smallest, largest = np.linalg.eigvalsh(hessian)
        assert smallest <= curvature <= largest * (1 + 1e-6)


@pytest.mark.parametrize("rate", [1e-3, 1e-2])
def test_the_bounds_hold_for_weights_of_the_kernel(rate):
    steps = 500
    averages = descend(MATRIX, TARGET, "exact-ntk", rate, steps)
    constants = averages.constants(rate)
    assert 0 < rate < constants.largest_learning_rate
    squares, means = averages.squares(), averages.averages()
    assert np.all(means["residual"] <= constants.residual_bound(squares.sum(axis=1)))
    bound = theory.gradient_bound(
        squares[:-1], averages.weights(), rate, averages.curvatures(rate)[1]
    )
    assert np.all(means["weighted_gradient"][:-1] <= bound * (1 + 1e-9))


def test_the_printed_bound_of_theorem_1_needs_the_factor_it_leaves_out():
    """A kernel of 0.01 decays slowly: the average after one step is 50 times the printed bound."""
    rate, squares = 0.1, np.array([1.0, (1 - 0.1 * 0.01) ** 2])
    printed = (squares[0] - squares[1]) / rate
    assert squares[0] > 40 * printed
    constants = theory.Constants(0.01, 0.01, 1.0, 1.0, 0.01, rate)
    assert constants.factor == pytest.approx(0.01 * (1 - rate * 0.01 / 2))
    assert squares[0] <= constants.residual_bound(squares)[0] * (1 + 1e-12)


def test_theorem_1_fails_where_kernel_and_weights_do_not_commute():
    """Its proof takes lambda_min(K Lambda) for the least of R.K Lambda R / |R|^2.

    K Lambda is not symmetric. With exact NTK weights of two nearly parallel gradients of unlike
    size, ||R||^2 grows at first, where the corrected bound has it fall, however short the step.
    """
    matrix, target = [[1.0, 0.0], [3.0, 1.0]], [-1.0, 1.0]
    rate = 1e-6
    averages = descend(matrix, target, "exact-ntk", rate, 3)
    constants, squares = averages.constants(rate), averages.squares().sum(axis=1)
    assert 0 < rate < constants.largest_learning_rate
    assert np.all(averages.alignments() < 0)
    assert np.all(averages.averages()["residual"] > constants.residual_bound(squares))


def test_a_step_too_long_leaves_theorem_1_without_a_promise():
    constants = theory.Constants(1.0, 100.0, 1.0, 10.0, 5.0, 1e-2)
    assert constants.factor == 1 - 5 * 1e-2 / 2 * 100 * 100
    assert constants.largest_learning_rate == pytest.approx(2 / (5 * 100 * 100))
    assert np.all(np.isinf(constants.residual_bound([4.0, 2.0, 1.0])))
    assert np.all(np.isinf(theory.gradient_bound(np.ones([3, 1]), np.ones([3, 1]), 1.0, 2.0)))


def test_corollary_2_bounds_the_gradients_of_gated_weights():
    """However wild the weights: here the gate lets a share of alternating ones through."""
    steps, rate, gate = 200, 1e-3, nk.weighting.Gate()
    averages = descend(MATRIX, TARGET, nk.weighting.ExactNTK(gate=gate), rate, steps)
    squares, weights = averages.squares(), averages.weights()
    changes = np.max(np.diff(weights, axis=0), axis=1) * np.sum(squares[1:-1], axis=1)
    allowed = np.sum(squares[0]) * np.sqrt(np.arange(1, steps))
    assert np.all(np.cumsum(changes) <= allowed * (1 + 1e-9))
    losses = np.sum(weights * squares[:-1], axis=1) / 2
    slack = 1 - averages.curvatures(rate)[1] * rate / 2
    count = np.arange(1, steps)
    bound = ((losses[0] - losses[1:]) / rate + allowed / (2 * rate)) / (count * slack)
    assert np.all(averages.averages()["weighted_gradient"][:-1] <= bound)


def test_the_logs_hold_averages_and_slopes():
    network = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model = nk.PINNModel(network, linear(MATRIX, TARGET), "exact-ntk", seed=0)
    model.compile(keras.optimizers.SGD(0.01), jit_compile=False)
    averages = TimeAverages()
    history = model.fit(epochs=2, steps_per_epoch=10, callbacks=[averages], verbose=0).history
    names = {"residual", "gradient", "weighted_gradient"}
    assert {n for n in history if n.startswith("averages/")} == {f"averages/{n}" for n in names}
    for name, values in averages.averages().items():
        assert history[f"averages/{name}"] == pytest.approx([values[9], values[19]])
    assert history["slopes/residual"][-1] == averages.slopes()["residual"]
    model.fit(epochs=1, steps_per_epoch=5, callbacks=[averages], verbose=0)
    assert averages.squares().shape == (26, 2)
    assert averages.values()["residual"].shape == (25,)


REFUSED = {
    "steps per execution": (
        {"weighting": "constant", "steps_per_execution": 4},
        "Received steps_per_execution=4",
    ),
    "weights by point": ({"weighting": "self-adaptive"}, "weighting SelfAdaptive"),
    "unknown points": ({"weighting": "constant", "points": None}, r"no points of \['a'\]"),
}


@pytest.mark.parametrize("case", list(REFUSED))
def test_a_model_whose_steps_cannot_be_measured_is_refused(case):
    arguments, message = REFUSED[case]
    network = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    points = arguments.get("points", np.ones([2, 1]))
    terms = [nk.Term("a", lambda u, x: u(x)[:, 0], points)]
    model = nk.PINNModel(network, terms, arguments["weighting"])
    model.compile(steps_per_execution=arguments.get("steps_per_execution", 1), jit_compile=False)
    x = {"a": np.ones([2, 1])} if points is None else None
    with pytest.raises(ValueError, match=message):
        model.fit(x, steps_per_epoch=4, callbacks=[TimeAverages()], verbose=0)


def test_another_model_is_refused():
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile("sgd", loss="mse")
    with pytest.raises(ValueError, match="Received a Sequential with weighting None"):
        model.fit(np.ones([2, 1]), np.ones([2, 1]), callbacks=[TimeAverages()], verbose=0)


def test_a_power_law_has_its_exponent_as_slope():
    x = np.array([1.0, 3.0, 10.0, 47.0])
    assert theory.log_slope(x, 5 * x**-1.5) == pytest.approx(-1.5)


def test_the_constants_of_theorem_4_are_those_of_samples():
    rng = np.random.default_rng(0)
    J = rng.normal(size=(4, 3))
    K, probes = J @ J.T, rng.normal(size=(200_000, 4))
    sketches = np.einsum("ni,nj->nij", probes @ K, probes)
    symmetric = (sketches + sketches.transpose(0, 2, 1)) / 2
    error = np.mean(np.sum((symmetric - K) ** 2, axis=(1, 2)))
    assert error == pytest.approx(theory.kernel_error(K), rel=0.03)
    traces = np.trace(symmetric, axis1=1, axis2=2)
    assert np.var(traces) == pytest.approx(theory.trace_variance(K), rel=0.03)


# Branches.


def sorted_curves(*curves):
    return -np.sort(-np.stack(curves, axis=1), axis=1)


def test_branches_follow_curves_through_crossings():
    t = np.linspace(0, 1, 51)
    rising, falling, flat = np.exp(3 * t), np.exp(2.5 - 2 * t), np.full(51, 1.7)
    followed = mode_tracking.track_modes(sorted_curves(rising, falling, flat))
    # Largest first at the start: falling, flat, rising.
    np.testing.assert_allclose(followed, np.stack([falling, flat, rising], axis=1))


def test_branches_do_not_cross_where_curves_repel():
    """Eigenvalues of [[t, e], [e, -t]] avoid each other, here by a gap that the steps resolve."""
    t = np.linspace(-1, 1, 201)
    gap = np.sqrt(t**2 + 0.2**2)
    curves = np.stack([2 + gap, 2 - gap], axis=1)
    np.testing.assert_allclose(mode_tracking.track_modes(curves), curves)


def test_branches_do_not_depend_on_the_order_within_later_rows():
    t = np.linspace(0, 1, 30)
    curves = np.stack([np.exp(t), np.exp(1.2 - t), np.exp(4 + t**2)], axis=1)
    shuffled = np.random.default_rng(0).permuted(curves, axis=1)
    shuffled[0] = curves[0]
    np.testing.assert_allclose(mode_tracking.track_modes(shuffled), curves)


@pytest.mark.parametrize(
    ("values", "moves", "expected"),
    [
        ([[1, 0.5], [0.5, 0.5]], [0.1, 0.0], 0.0),  # a curve bent downwards, and a step that stays
        ([[1, 0.8], [0.8, 0.8]], [0.1, 0.0], 4.0),
        ([[1, 0.5], [0.5, np.nan]], [0.1, 0.1], np.nan),
        ([[0, 0]], [0.0], 0.0),
    ],
)
def test_the_curvature_of_steps_that_stay_or_fail(values, moves, expected):
    slopes = [-0.4] * len(values)
    assert theory.largest_curvature(values, slopes, moves) == pytest.approx(expected, nan_ok=True)
