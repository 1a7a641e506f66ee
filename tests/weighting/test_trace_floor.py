"""A floor holds the weights of noisy traces, not of exact ones; and no bound does so in silence."""

import functools
import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf

import ntk_keras as nk
from ntk_keras.weighting import NTK, weights_from_traces
from tests.support import models
from tests.support.models import START, X, fit, network, slope, still, value
from tests.support.steps import stepper

SINGLE = 1e-5

# Where a few steps show it: to trace one takes longer than to run them.
build = functools.partial(models.build, compiled={"run_eagerly": True})

BOX = nk.domains.Box(x=(0, 1))


def small(scale):
    """The slope's residual, so small that its weight is large."""
    return lambda u, points: scale * slope(u, points)


def terms(scale=1e-12):
    return [nk.Term("equation", small(scale), X), nk.Term("start", value, START)]


def exact_weights(model):
    traces = nk.kernel.traces(model.blocks(), model.kernel_variables)
    total = sum(float(trace) for trace in traces.values())
    return {name: total / float(trace) for name, trace in traces.items()}


@pytest.fixture
def silent():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


# From traces to weights.


def test_without_a_floor_a_weight_is_as_large_as_the_traces_say():
    np.testing.assert_allclose(weights_from_traces(tf.constant([1.0, 1e-30])), [1, 1e30], rtol=1e-6)


@pytest.mark.parametrize(("dtype", "floor"), [("float32", 0), ("float32", 1e-40), ("float64", 0)])
def test_a_weight_leaves_room_for_the_square_of_a_residual(dtype, floor):
    largest = np.finfo(dtype).max
    traces = tf.constant([largest / 4, np.finfo(dtype).tiny], dtype)
    weights = weights_from_traces(traces, floor).numpy()
    assert 1e-8 * largest < weights[1] < 1e-5 * largest


def test_a_trace_of_zero_has_a_bounded_weight():
    weights = weights_from_traces(tf.constant([1.0, 0.0, -2.0, 1e-20]))
    np.testing.assert_allclose(weights, [1, 1e5, 1e5, 1e20], rtol=1e-4)


def test_a_floor_smaller_than_single_precision_holds_in_double():
    weights = weights_from_traces(tf.constant([1.0, 1e-200], "float64"), 1e-100)
    assert weights[1].numpy() == pytest.approx(1e100, rel=1e-12)


# Exact traces.

EXACT = {
    "ntk": lambda: "ntk",
    "exact-ntk": lambda: "exact-ntk",
    "a kernel": lambda: NTK("exact", average="kernel"),
    "all points of a tape": lambda: NTK(
        {"name": "diagonal", "num_points": {"equation": 6, "start": 2}}
    ),
}


@pytest.mark.parametrize("weighting", EXACT.values(), ids=EXACT)
def test_exact_traces_need_no_floor(weighting, silent):
    model = build(terms(), weighting(), optimizer=still())
    fit(model, steps=3)
    assert model.loss_weights == pytest.approx(exact_weights(model), rel=SINGLE)
    assert model.loss_weights["equation"] > 1e20


def test_a_moving_average_of_exact_traces_needs_none_either():
    model = models.build(terms(), NTK(averaging_rate=0.5))
    history = fit(model, epochs=4)
    moved = np.diff(np.log(history["weights/equation"]))
    assert np.all(moved != 0)
    assert model.loss_weights["equation"] > 1e20
    assert "bounded/equation" not in history


def test_a_peak_that_an_average_remembers_makes_no_weight_larger_than_the_exact_one():
    """Nor than that of a sampled trace, 1e5; for long it would, by orders of magnitude."""
    step = stepper(NTK("exact", averaging_rate=0.01))
    for index, (size, expected) in enumerate([(1e6, 1e12), (1, 1e5), (1e3, 1e6), (1e4, 1e8)]):
        weights = step(index, np.array([size, 0, 0, 1, 0]))
        assert weights[1] == pytest.approx(expected, rel=1e-4)


def test_a_weight_at_the_end_of_the_dtype_is_finite_and_said():
    model = build(terms(1e-18), "ntk", optimizer=keras.optimizers.Adam(1e-3))
    with pytest.warns(UserWarning, match="'equation' is held.*multiply the residual") as caught:
        history = fit(model, epochs=3)
    assert len(caught) == 1
    assert model.loss_weights["equation"] == pytest.approx(3.2e32, rel=0.02)
    assert np.all(np.isfinite(history["loss"]))
    assert history["bounded/equation"] == [1.0] * 3


def test_residuals_whose_squares_vanish_are_said_before_training():
    with pytest.warns(UserWarning, match="'equation': its residuals are at most .*e-23.*vanish"):
        build(terms(1e-22))


def test_the_exact_weights_of_the_callbacks_have_no_floor():
    convergence = nk.callbacks.KernelConvergence()
    model = build(terms(), "ntk", optimizer=still())
    history = fit(model, callbacks=[convergence, nk.callbacks.ExactWeights()])
    assert history["exact/equation"][-1] == pytest.approx(model.loss_weights["equation"])
    assert convergence.errors["convergence/weights/equation"] < SINGLE


def test_an_equation_of_tiny_coefficients_is_solved(silent):
    """Darcy's: at the defaults a relative error of 1.0002 where weights end at 1e5."""

    def darcy(u, x):
        forcing = np.pi**2 * tf.sin(np.pi * x[:, 0])
        return 1e-12 * (nk.derivatives.laplacian(u, x)[:, 0] + forcing)

    points = np.linspace(0, 1, 60)[:, None]
    problem = [nk.Term("darcy", darcy, points), nk.Term("ends", value, np.array([[0.0], [1.0]]))]
    net = nk.networks.feedforward(BOX, width=16, depth=2, seed=0)
    model = models.build(problem, "ntk", net=net, optimizer=keras.optimizers.Adam(1e-2))
    fit(model, epochs=2, steps=300)
    assert model.loss_weights["darcy"] > 1e20
    assert model.evaluate(points, np.sin(np.pi * points), verbose=0) < 2e-3


def test_two_materials_have_exact_weights_and_are_solved(silent):
    """-(k u')' = 1 with k = 1 and k = 100, a network output for each half of the interval."""
    gradient, second, k = nk.derivatives.gradient, nk.derivatives.laplacian, 100.0
    middle = np.array([[0.5]])
    problem = [
        nk.Term("left", lambda u, x: second(u, x)[:, 0] + 1, np.linspace(0, 0.5, 20)[:, None]),
        nk.Term("right", lambda u, x: k * second(u, x)[:, 1] + 1, np.linspace(0.5, 1, 20)[:, None]),
        nk.Term("value", lambda u, x: u(x)[:, 0] - u(x)[:, 1], middle),
        nk.Term("flux", lambda u, x: gradient(u, x)[:, 0, 0] - k * gradient(u, x)[:, 1, 0], middle),
        nk.Term("wall 0", lambda u, x: u(x)[:, 0], np.array([[0.0]])),
        nk.Term("wall 1", lambda u, x: u(x)[:, 1], np.array([[1.0]])),
    ]
    net = nk.networks.feedforward(BOX, outputs=2, width=16, depth=2, seed=0)
    rate = keras.optimizers.schedules.CosineDecay(1e-2, 1500)
    model = models.build(problem, "ntk", net=net, optimizer=keras.optimizers.Adam(rate))
    fit(model, epochs=2, steps=750)
    assert max(model.loss_weights.values()) > 5e5
    assert model.loss_weights == pytest.approx(exact_weights(model), rel=0.01)
    x = np.linspace(0, 1, 101)[:, None]
    a = (3 / k + 1) / (4 + 4 / k)
    truth = np.where(x < 0.5, a * x - x**2 / 2, (a * x - x**2 / 2 + 0.5 - a) / k)
    halves = model.predict(x)
    solution = np.where(x < 0.5, halves[:, :1], halves[:, 1:])
    assert np.linalg.norm(solution - truth) < 5e-2 * np.linalg.norm(truth)


# Sampled traces.


@pytest.mark.parametrize("estimator", ["reverse", {"name": "diagonal", "num_points": 2}], ids=str)
def test_the_floor_of_sampled_traces_is_said_once_and_logged(estimator):
    model = models.build(terms(), NTK(estimator, num_initial_probes=3))
    with pytest.warns(UserWarning, match="'equation' is held.*`trace_floor`") as caught:
        history = fit(model, epochs=3) and fit(model, epochs=3)
    assert len(caught) == 1
    assert model.loss_weights["equation"] == pytest.approx(1e5, rel=1e-4)
    assert history["bounded/equation"] == [1.0] * 3
    assert "bounded/start" not in history


def test_a_floor_is_for_the_groups_that_are_sampled():
    sampled = nk.Term("sampled", small(1e-12), X)
    model = build([*terms(), sampled], NTK({"name": "diagonal", "num_points": {"sampled": 3}}))
    with pytest.warns(UserWarning, match="'sampled' is held"):
        fit(model)
    assert model.loss_weights["sampled"] == pytest.approx(1e5, rel=1e-3)
    assert model.loss_weights["equation"] > 1e20


def test_a_floor_that_is_given_holds_for_all_and_says_so():
    model = build(terms(), NTK(trace_floor=1e-3))
    with pytest.warns(UserWarning, match="'equation' is held.*Leave out `trace_floor`"):
        fit(model)
    assert model.loss_weights["equation"] == pytest.approx(1001, rel=1e-4)


@pytest.mark.parametrize(
    ("held", "bounds"), [("start", (0.0, 2.0)), ("equation", (2.0, float("inf")))]
)
def test_bounds_are_said_once_and_logged(held, bounds):
    model = models.build(weighting=NTK(bounds=bounds))
    expected = exact_weights(model)
    assert expected["start"] > 2 > expected["equation"]
    with pytest.warns(UserWarning, match=f"'{held}' is held: .*bounds") as caught:
        history = fit(model, epochs=2)
    assert len(caught) == 1
    assert history[f"bounded/{held}"] == [1.0, 1.0]


# Groups without influence.


def gap(u, points):
    """An inequality u <= 100 + threshold, which holds until the threshold falls."""
    return tf.nn.relu(u(points)[:, 0] - THRESHOLD)


THRESHOLD = tf.Variable(100.0, trainable=False)


def test_an_inequality_that_holds_is_not_called_dead():
    THRESHOLD.assign(100.0)
    model = build([nk.Term("equation", slope, X), nk.Term("limit", gap, X)], "ntk")
    with pytest.warns(UserWarning, match="'limit'.*an inequality that holds") as caught:
        fit(model, epochs=2)
    assert len(caught) == 1
    assert "dead" not in str(caught[0].message)


def test_an_inequality_gets_its_own_weight_once_it_is_violated():
    """Not that of an average which still holds the zeros: a hundred times as much."""
    THRESHOLD.assign(100.0)
    terms = [nk.Term("equation", slope, X), nk.Term("limit", gap, X)]
    model = models.build(terms, "ntk", optimizer=still())
    with pytest.warns(UserWarning, match="an inequality that holds"):
        fit(model, steps=2)
    THRESHOLD.assign(-100.0)
    fit(model)
    assert model.loss_weights == pytest.approx(exact_weights(model), rel=SINGLE)


def test_an_inequality_that_holds_again_keeps_a_weight_for_the_next_violation():
    """Its average falls to nothing, and the next step may come before the next update."""
    THRESHOLD.assign(-100.0)
    weighting = NTK(averaging_rate=0.9)
    model = build(
        [nk.Term("equation", slope, X), nk.Term("limit", gap, X)], weighting, optimizer=still()
    )
    fit(model)
    THRESHOLD.assign(100.0)
    fit(model, steps=12)
    assert 0 < model.kernel_traces["limit"] < 1e-9
    assert model.loss_weights["limit"] == pytest.approx(1e5, rel=1e-4)


def test_weights_that_wait_for_their_first_update_are_no_dead_ones(silent):
    fit(build(weighting=NTK(start_at=5)), epochs=2)


# Loops of one's own.


def dead_loop(**compiler):
    """A step whose second output sits behind a bias that lets nothing through."""
    net = network(2)
    balancer = nk.LossBalancer(["alive", "dead"], seed=1)

    def step():
        with tf.GradientTape(persistent=True) as tape:
            outputs = net(tf.constant(X, "float32"))
            residuals = {"alive": outputs[:, 0], "dead": tf.nn.relu(outputs[:, 1] - 100) - 1}
        return balancer(residuals, tape, net.trainable_variables)

    return balancer, tf.function(step, **compiler) if compiler else step


@pytest.mark.parametrize("compiler", [{}, {"jit_compile": False}], ids=["eager", "graph"])
def test_a_loop_of_ones_own_hears_of_a_dead_output_once(compiler):
    _, step = dead_loop(**compiler)
    with pytest.warns(UserWarning, match=r"\['dead'\].*zero or less.*dead activation") as caught:
        [step() for _ in range(3)]
    assert len(caught) == 1


def test_a_step_that_is_compiled_leaves_it_to_who_reads_the_weights():
    balancer, step = dead_loop(jit_compile=True)
    step()
    with pytest.warns(UserWarning, match=r"\['dead'\].*zero or less") as caught:
        assert balancer.loss_weights == balancer.loss_weights
    assert len(caught) == 1


def test_a_callback_on_another_model_has_no_floor_and_hears_of_zeros():
    net, received = network(), []
    residuals = {
        "equation": lambda: 1e-12 * net(tf.constant(X, "float32")),
        "start": lambda: net(tf.constant(START, "float32")),
        "limit": lambda: tf.nn.relu(net(tf.constant(X, "float32")) - 100),
    }
    net.compile("sgd", loss="mse")
    weighting = nk.callbacks.NTKWeighting(residuals, received.append, update_every=1)
    data = np.float32(X), np.float32(X)
    with pytest.warns(UserWarning, match=r"\['limit'\].*an inequality that holds") as caught:
        net.fit(*data, epochs=2, callbacks=[weighting], verbose=0)
    assert len(caught) == 1
    assert received[-1]["equation"] > 1e20
    assert received[-1]["limit"] == pytest.approx(1e5, rel=1e-3)
