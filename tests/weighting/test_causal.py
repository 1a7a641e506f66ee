"""Causal weights: the paper's formula, traces, gradients, the stopping rule, files."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import ntk_keras as nk
from ntk_keras.callbacks import CausalStopping, ExactWeights, TimeAverages
from ntk_keras.weighting import NTK, Causal, Constant, SelfAdaptive, causal_weights
from ntk_keras.weighting.causal import columns_of_time, times_of
from tests.support.models import RATE, START, X, build, fit, network, slope, still, value

EPSILON = 30.0
BOX = nk.domains.Box(t=(0, 1), x=(-1, 1))


def paper(residual, times, epsilon, num_bins):
    """w_k = exp(-epsilon sum_{j<k} L_j), entry by entry; L_j is the mean square of bin j."""
    first, last = np.min(times), np.max(times)
    bins = [min(int((t - first) / (last - first) * num_bins), num_bins - 1) for t in times]
    losses = np.zeros(num_bins)
    for k in range(num_bins):
        squares = [r**2 for r, own in zip(residual, bins, strict=True) if own == k]
        losses[k] = np.mean(squares) if squares else 0
    by_bin = np.array([np.exp(-epsilon * np.sum(losses[:k])) for k in range(num_bins)])
    return by_bin[bins], by_bin


def causal(**kwargs):
    return Causal("equation", 0, **{"epsilons": EPSILON, "num_bins": 4, **kwargs})


def eager(*args, **kwargs):
    """Built in less time than it takes to compile."""
    return build(*args, compiled={"run_eagerly": True}, **kwargs)


def model_with(weighting=None, residual=slope, **kwargs):
    """Terms in one dimension, which is time."""
    terms = [nk.Term("equation", residual, X), nk.Term("start", value, START)]
    net = kwargs.pop("net", None) or network(dtype="float64")
    return eager(terms, weighting or Constant(causal=causal()), net=net, **kwargs)


def residuals_of(model):
    return {name: block().numpy() for name, block in model.blocks().items()}


def equation_weights(model):
    """Of the equation, with that of its group, at its points."""
    blocks = model.blocks()
    block = blocks["equation"]
    return np.array(model.weighting.weights_at("equation", block(), block.points))


# The formula.


def test_weights_are_those_of_the_paper():
    rng = np.random.default_rng(0)
    r, t = rng.normal(size=40), rng.uniform(2, 5, size=40)
    t[t > 4] = 5.0  # a bin without points
    expected, _ = paper(r, t, 0.7, 6)
    ours = causal_weights(tf.constant(r), tf.constant(t), 0.7, num_bins=6)
    np.testing.assert_allclose(ours, expected, rtol=1e-12)
    assert np.max(ours) == 1 > 0.5 > np.min(ours)


@pytest.fixture(scope="module")
def fitted():
    """A model after a step that changed nothing; its start has two times, and is named."""
    weighting = Constant({"equation": 2.0}, causal=causal(initial="start"))
    model = model_with(weighting, optimizer=still())
    fit(model)
    return model


def expected_weights(residuals):
    weights, by_bin = paper(residuals["equation"], X[:, 0], EPSILON, 4)
    start = np.exp(-EPSILON * np.mean(residuals["start"] ** 2))
    return start * weights, start * by_bin


def compiled_with(model, optimizer):
    model.compile(optimizer, jit_compile=False, run_eagerly=True)
    return model


def test_a_step_weighs_by_the_residuals_of_that_step(fitted):
    weights, by_bin = expected_weights(residuals_of(fitted))
    np.testing.assert_allclose(equation_weights(fitted), 2 * weights, rtol=1e-10)
    np.testing.assert_allclose(fitted.weighting.in_time.weights, by_bin, rtol=1e-10)
    assert weights[-1] < 0.9 * weights[0] < 0.9


def two_components(u, x):
    return tf.stack([3 * slope(u, x), 2 * u(x)[:, 0]], axis=1)


def test_bins_wait_for_the_initial_conditions_and_for_the_slowest_term():
    terms = [
        nk.Term("first", slope, X),
        nk.Term("second", two_components, X),
        nk.Term("start", lambda u, x: u(x)[:, 0] - 1, X[:1]),
        nk.Term("slope", slope, X[:1]),
        nk.Term("data", value, X[:3]),
        nk.Term("end", value, X[-1:]),
    ]
    weighting = Constant(causal=Causal(["first", "second"], 0, epsilons=2.0, num_bins=4))
    net = network(dtype="float64")
    model = eager(terms, weighting, net=net, optimizer=still(), reduction="mean")
    fit(model)
    in_time = model.weighting.in_time
    assert in_time.initial == ("start", "slope")
    residuals = model.residuals()
    start = sum(residuals[name][0] ** 2 for name in in_time.initial)
    slowest, times = np.ravel(residuals["second"]), np.repeat(X[:, 0], 2)
    weights, by_bin = paper(slowest, times, 2.0, 4)
    np.testing.assert_allclose(in_time.weights, np.exp(-2 * start) * by_bin, rtol=1e-10)
    at = in_time.at("second", tf.constant(slowest), tf.constant(X))
    np.testing.assert_allclose(at, np.exp(-2 * start) * weights, rtol=1e-10)


# What they are part of.


def test_loss_and_gradient_have_them_as_constants(fitted):
    model = compiled_with(fitted, keras.optimizers.SGD(RATE))
    before = [v.numpy() for v in model.trainable_variables]
    residuals = residuals_of(model)
    jacobian = nk.kernel.jacobian(model.blocks(), model.trainable_variables).numpy()
    logs = fit(model)
    weights, _ = expected_weights(residuals)
    scaled = np.concatenate([2 * weights * residuals["equation"], residuals["start"]])
    stacked = np.concatenate(list(residuals.values()))
    assert logs["loss"][0] == pytest.approx(np.sum(scaled * stacked) / 2)
    assert logs["loss/equation"][0] == pytest.approx(np.sum(residuals["equation"] ** 2) / 2)
    change = np.concatenate(
        [np.ravel(a - v.numpy()) for a, v in zip(before, model.trainable_variables, strict=True)]
    )
    np.testing.assert_allclose(change, RATE * jacobian.T @ scaled, rtol=1e-8, atol=1e-12)


@pytest.fixture(scope="module")
def balanced():
    """A model with NTK weights after a step that changed nothing."""
    model = model_with(NTK("exact", causal=causal()), optimizer=still())
    fit(model)
    return model


def test_traces_are_those_of_the_rows_in_the_loss(balanced):
    model = balanced
    weights, _ = paper(residuals_of(model)["equation"], X[:, 0], EPSILON, 4)
    diagonal = nk.kernel.diagonal(model.blocks(), model.kernel_variables)
    traces = {
        "equation": np.sum(weights * diagonal["equation"]),
        "start": np.sum(diagonal["start"]),
    }
    assert model.kernel_traces == pytest.approx(traces)
    assert traces["equation"] < 0.9 * np.sum(diagonal["equation"])
    shares = {name: sum(traces.values()) / trace for name, trace in traces.items()}
    assert model.loss_weights == pytest.approx(shares)
    np.testing.assert_allclose(equation_weights(model), shares["equation"] * weights)


@pytest.mark.parametrize("far", [0.3, 10.0], ids=["some", "underflow"])
def test_what_all_bins_wait_for_is_in_the_loss_and_not_undone(far, balanced):
    def start(u, x):
        return u(x)[:, 0] - far

    terms = [nk.Term("equation", slope, X), nk.Term("start", start, START)]
    weighting = NTK("exact", causal=causal(initial="start"))
    model = eager(terms, weighting, net=network(dtype="float64"), optimizer=still())
    fit(model)
    assert model.loss_weights == pytest.approx(balanced.loss_weights)
    factor = np.exp(-EPSILON * np.mean(residuals_of(model)["start"] ** 2))
    expected = factor * equation_weights(balanced)
    np.testing.assert_allclose(equation_weights(model), expected, rtol=1e-10)
    assert factor < 0.9


def test_a_weight_for_every_point_is_multiplied():
    model = model_with(SelfAdaptive(causal=causal()), optimizer=still())
    fit(model)
    residual = residuals_of(model)["equation"]
    weights, _ = paper(residual, X[:, 0], EPSILON, 4)
    own = model.weighting.split(model.weighting.entry_weights.value)["equation"]
    np.testing.assert_allclose(equation_weights(model), own * weights)


def test_natural_gradients_scale_rows_by_them(monkeypatch, fitted):
    seen = {}
    change = nk.optimizers.NaturalGradient.change

    def spy(self, linearization, weights, jit_compile=True):
        seen.update({name: np.array(w) for name, w in weights.items()})
        return change(self, linearization, weights, jit_compile)

    monkeypatch.setattr(nk.optimizers.NaturalGradient, "change", spy)
    model = compiled_with(fitted, nk.optimizers.NaturalGradient())
    weights, _ = expected_weights(residuals_of(model))
    first = fit(model)["loss"][0]
    np.testing.assert_allclose(seen["equation"], 2 * weights)
    assert seen["start"] == 1
    assert fit(model, steps=2)["loss"][0] < first


def test_other_points_have_the_weights_of_their_times(fitted):
    by_bin = fitted.weighting.in_time.weights.numpy()
    at = np.array([[0.9], [0.1], [0.4]])
    r = fitted.residuals({"equation": at})["equation"]
    losses = fitted.evaluate({"equation": at}, verbose=0, return_dict=True)
    start = residuals_of(fitted)["start"]
    expected = np.sum(by_bin[[3, 0, 1]] * r**2) + np.sum(start**2) / 2
    assert losses["loss"] == pytest.approx(expected)
    everywhere = nk.Objective(fitted, {"equation": at})
    assert everywhere.logs(everywhere.theta)["loss"] == pytest.approx(expected)


# The stopping rule.


def test_epsilon_grows_once_all_weights_exceed_the_threshold_until_training_ends():
    size = tf.Variable(0.1, dtype=tf.float64, trainable=False)

    def constant_residual(u, x):
        """Whatever the network, but for rounding."""
        return size + 1e-12 * u(x)[:, 0]

    # The last of 4 bins waits for 3 x 0.01: exp(-0.03 epsilon).
    settings = causal(epsilons=(1.0, 5.0, 40.0), threshold=0.8, initial=())
    model = model_with(Constant(causal=settings), constant_residual, optimizer=still())
    in_time = model.weighting.in_time
    assert in_time.initial == ()
    logs = fit(model, epochs=4, callbacks=[CausalStopping()])
    assert logs["causal/epsilon"] == pytest.approx([5.0, 40.0, 40.0, 40.0])
    least = [np.exp(-0.03 * epsilon) for epsilon in (1.0, 5.0, 40.0, 40.0)]
    assert logs["causal/least_weight"] == pytest.approx(least)
    assert not in_time.finished
    size.assign(0.01)
    assert len(fit(model, epochs=3, callbacks=[CausalStopping()])["loss"]) == 1
    assert in_time.finished


# Points that change, and files.


@keras.saving.register_keras_serializable("causal")
def transport(u, p):
    return (nk.derivatives.partial(u, p, "t") + nk.derivatives.partial(u, p, "x"))[:, 0]


@keras.saving.register_keras_serializable("causal")
def at_start(u, p):
    return u(p)[:, 0] - p[:, 1]


def drawn(weighting="ntk", make=eager):
    terms = [
        nk.Term("equation", transport, BOX.interior(20)),
        nk.Term("start", at_start, BOX.face(t=0).sample(8)),
    ]
    if weighting == "ntk":
        weighting = NTK(causal=Causal("equation", epsilons=(1e-3, 1.0, 10.0), threshold=0.5))
    return make(terms, weighting, net=network(inputs=2), optimizer="adam")


def state(model):
    parts = (model.network, model.optimizer, model.weighting)
    return [np.array(v) for part in parts for v in part.variables]


def test_redrawn_points_trace_nothing_anew():
    traced = []

    def counted(u, p):
        traced.append(p)
        return transport(u, p)

    model = drawn(make=build)
    model.terms[0].residual = counted
    fit(model)
    known = len(traced)
    model.weighting.in_time.stage.assign(2)
    fit(model, steps=2)
    assert len(traced) == known > 0


def test_times_and_initial_conditions_are_looked_for_where_points_have_changed():
    model = drawn()
    equation, start = model.terms
    swapped = nk.domains.Box(x=(-1, 1), t=(0, 1))
    equation.points, start.points = swapped.interior(20), swapped.interior(8)
    model.follow_terms()
    assert model.weighting.in_time.columns == {"equation": 1}
    assert model.weighting.in_time.initial == ()
    start.points = swapped.face(t=0).sample(8)
    model.follow_terms()
    assert model.weighting.in_time.initial == ("start",)


def test_a_saved_model_goes_on_bit_for_bit(tmp_path):
    model = drawn()
    fit(model)
    model.save(tmp_path / "model.keras")
    assert int(model.weighting.in_time.stage) > 0
    fit(model)
    loaded = keras.models.load_model(tmp_path / "model.keras")
    fit(loaded)
    for a, b in zip(state(loaded), state(model), strict=True):
        np.testing.assert_array_equal(a, b)


# Mistakes.


AXES = {"equation": ("t", "x"), "plain": None}


def found(*args):
    """The columns of time, which the model asks for before anything else of causal weights."""
    return columns_of_time(Causal(*args), AXES)


MISTAKES = {
    "no terms": (lambda: Causal([]), "names of the terms"),
    "a falling epsilon": (lambda: Causal("equation", epsilons=(1.0, 0.1)), "larger than the one"),
    "no epsilon": (lambda: Causal("equation", epsilons=()), "must be positive"),
    "a threshold": (lambda: Causal("equation", threshold=1.0), "threshold must lie in"),
    "both": (lambda: Causal("equation", initial="equation"), "as both"),
    "one bin": (lambda: Causal("equation", num_bins=1), "num_bins must be an integer"),
    "an unknown term": (lambda: found("heat"), "'heat'.*terms are"),
    "an unknown axis": (
        lambda: found("equation", "time"),
        r"column 'time'.*names \['t', 'x'\].*axis=0",
    ),
    "no names": (lambda: found("plain"), "no names.*axes="),
    "a column too many": (
        lambda: times_of("equation", tf.zeros([3, 2]), 2),
        "time is column 2",
    ),
    "one time": (
        lambda: build([nk.Term("equation", value, X[:1])], Constant(causal=causal())),
        "all of its points have",
    ),
    "points of the data": (
        lambda: build(
            [nk.Term("equation", value), nk.Term("start", value, START)],
            Constant(causal=causal()),
        ),
        r"\['equation'\], whose points come.*initial='start'\), or give initial=\(\)",
    ),
    "stopping without": (CausalStopping().on_train_begin, "CausalStopping ends"),
    "an averaged kernel": (
        lambda: NTK("exact", average="kernel", causal=causal()),
        "average of kernels",
    ),
    "a balancer": (
        lambda: nk.LossBalancer(["equation"], NTK("reverse", causal=causal())),
        "causal_weights",
    ),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_mistakes_are_refused_before_training(case):
    attempt, message = MISTAKES[case]
    with pytest.raises(ValueError, match=message):
        attempt()


CALLBACKS = {ExactWeights: "leave out `causal`", TimeAverages: "one weight each"}


@pytest.mark.parametrize("kind", CALLBACKS)
def test_callbacks_that_know_no_causal_weights_are_refused(kind, balanced):
    with pytest.raises(ValueError, match=CALLBACKS[kind]):
        fit(balanced, callbacks=[kind()])


def test_settings_of_another_type_are_refused():
    with pytest.raises(TypeError, match=r"causal=Causal\('equation'\)"):
        NTK(causal="equation")


def test_replicas_are_refused():
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    with strategy.scope(), pytest.raises(ValueError, match="a replica has a part"):
        NTK(causal=causal()).prepare({"equation": "equation"}, "float32", {"equation": 3})
