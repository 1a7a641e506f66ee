"""PINNModel under fit, evaluate, predict and save_weights; what it refuses; how it stops."""

import contextlib
import functools
import types

import keras
import numpy as np
import pytest
import tensorflow as tf

import ntk_keras as nk
from ntk_keras.training import nan_check
from ntk_keras.training.metrics import RelativeL2
from tests.support.models import (
    RATE,
    START,
    Disturbance,
    X,
    assert_same,
    build,
    fit,
    network,
    numbers,
    slope,
    state,
    still,
    two_terms,
    value,
)

BOX = nk.domains.Box(x=(0, 1))
PLANE = nk.domains.Box(t=(0, 1), x=(-1, 1))
STEPS = 5  # in an epoch of the runs that are compared bit for bit
# Where numbers are what matters: to trace a step takes longer than to run a few of them.
EAGER = {"run_eagerly": True}

# With few samples a sketched trace may well be negative, of which the model warns; that warning has
# tests of its own, which see it all the same.
pytestmark = pytest.mark.filterwarnings("ignore:The kernel trace of:UserWarning")

# The sums of one step in two orders: a few hundred roundings of 2^-53.
DOUBLE = 1e-12
# Logged losses are averaged by Keras metrics in float32, whatever the network's dtype.
SINGLE = 1e-5


def relative_l2(prediction, truth, sample_weight=1.0):
    squares = np.sum(sample_weight * np.sum((prediction - truth) ** 2, axis=1))
    return np.sqrt(squares / np.sum(sample_weight * np.sum(truth**2, axis=1)))


# One step: the loss, its gradient, its logs.


def components(u, points):
    return u(points) - [0.5, -0.5]


def slopes(u, points):
    return nk.derivatives.gradient(u, points)[..., 0]


def misfit(u, points):
    places, values = points
    return u(places) - values


def misfit_by_name(u, points):
    return u(points["places"])[:, 0] * points["scale"] - 1


def jump(u, points):
    lower, upper = points
    return u(lower) - u(upper)


def slope_and_value(u, points):
    return slope(u, points), value(u, points)


PAIR = np.cos(X * [1, 2])
# Residual, its points, and the outputs and inputs of the network.
RESIDUALS = {
    "one value a point": (value, X, 1, 1),
    "a component for each output": (components, X, 2, 1),
    "derivatives of two outputs": (slopes, X, 2, 1),
    "a tuple of tensors": (misfit, (X, PAIR), 2, 1),
    "a dict of tensors": (misfit_by_name, {"scale": X[:, 0] + 1, "places": X}, 1, 1),
    "a tuple of components": (slope_and_value, X, 1, 1),
    "periodic pairs": (jump, PLANE.periodic("x", 4).fixed(seed=0), 2, 2),
}
residuals = pytest.mark.parametrize("case", RESIDUALS.values(), ids=RESIDUALS)
reductions = pytest.mark.parametrize("reduction", ["sum", "mean"])


def explicit_loss(net, terms, weights, reduction):
    """1/2 sum_b lambda_b ||R_b||^2 in a line, straight from the terms' residuals."""
    reduce = {"sum": tf.reduce_sum, "mean": tf.reduce_mean}[reduction]
    return sum(
        weights[term.group] / 2 * reduce(term.evaluate(net, doubles(term.points)) ** 2)
        for term in terms
    )


def doubles(points):
    return tf.nest.map_structure(lambda x: tf.constant(x, "float64"), points)


def gradient_step(net, loss):
    """The parameters after an explicit step of gradient descent, and the loss before it."""
    with tf.GradientTape() as tape:
        before = loss()
    gradients = tape.gradient(before, [v.value for v in net.trainable_variables])
    moved = [
        v.numpy() - RATE * g.numpy()
        for v, g in zip(net.trainable_variables, gradients, strict=True)
    ]
    return moved, before.numpy()


def assert_step_is(model, moved, loss):
    history = fit(model)
    np.testing.assert_allclose(history["loss"], [loss], rtol=SINGLE)
    for actual, desired in zip(numbers(model.network.trainable_variables), moved, strict=True):
        np.testing.assert_allclose(actual, desired, rtol=DOUBLE, atol=DOUBLE)


@residuals
@reductions
def test_a_step_is_gradient_descent_on_the_weighted_loss(case, reduction):
    residual, points, outputs, inputs = case
    start = np.zeros((2, inputs))
    terms = [nk.Term("main", residual, points), nk.Term("start", value, start)]
    weights = {"main": 3.0, "start": 0.5}
    net = network(outputs, inputs, "float64")
    model = build(
        terms,
        nk.weighting.Constant(weights),
        net=net,
        reduction=reduction,
        compiled={"run_eagerly": reduction == "mean"},  # One way each: graphs take a second.
    )

    assert_step_is(
        model, *gradient_step(net, lambda: explicit_loss(net, terms, weights, reduction))
    )


def test_a_residual_may_use_what_only_graphs_know():
    def by_gradients(u, points):
        return tf.gradients(u(points), points)[0][:, 0] - 1

    losses = [
        fit(build([nk.Term("equation", residual, X)], "ntk"), steps=2)["loss"]
        for residual in (by_gradients, slope)
    ]
    np.testing.assert_allclose(*losses, rtol=SINGLE)


def test_regularisers_of_the_network_count():
    net = network(dtype="float64", regularizer=keras.regularizers.L2(0.25))
    terms, weights = two_terms(), {"equation": 1.0, "start": 1.0}

    def loss():
        penalty = 0.25 * sum(tf.reduce_sum(layer.kernel**2) for layer in net.layers)
        return explicit_loss(net, terms, weights, "sum") + penalty

    assert_step_is(build(terms, net=net, compiled=EAGER), *gradient_step(net, loss))


def test_frozen_layers_stay():
    net = network()
    net.layers[0].trainable = False
    before = [numbers(layer.variables) for layer in net.layers]

    fit(build(net=net, compiled=EAGER), steps=2)

    moved = [
        not np.array_equal(old, new)
        for layer, olds in zip(net.layers, before, strict=True)
        for old, new in zip(olds, numbers(layer.variables), strict=True)
    ]
    assert moved == [False, False, True, True, True, True]


@reductions
def test_the_logged_loss_is_half_the_weighted_sum_of_squares(reduction):
    terms = [
        nk.Term("left", lambda u, points: u(points)[:, 0] - 2, X),
        nk.Term("right", components, START, group="shared"),
        nk.Term("other", value, START, group="shared"),
    ]
    model = build(
        terms,
        nk.weighting.Constant({"left": 3, "shared": 5}),
        net=network(2),
        reduction=reduction,
        compiled=EAGER,
    )
    on_x, on_start = (model.predict(points, verbose=0).astype(float) for points in (X, START))
    squares = {
        "left": (on_x[:, 0] - 2) ** 2,
        "right": (on_start - [0.5, -0.5]) ** 2,
        "other": on_start[:, 0] ** 2,
    }
    losses = {name: getattr(np, reduction)(entries) / 2 for name, entries in squares.items()}

    history = fit(model)

    for name, loss in losses.items():
        np.testing.assert_allclose(history[f"loss/{name}"], [loss], rtol=SINGLE)
    expected = 3 * losses["left"] + 5 * (losses["right"] + losses["other"])
    np.testing.assert_allclose(history["loss"], [expected], rtol=SINGLE)


def test_logs_hold_the_loss_each_term_and_each_weight():
    terms = [*two_terms(), nk.Term("end", value, START, group="start")]
    history = fit(build(terms, compiled=EAGER))
    assert set(history) == {
        "loss",
        "loss/equation",
        "loss/start",
        "loss/end",
        "weights/equation",
        "weights/start",
    }


def test_logged_losses_are_means_over_the_epoch():
    terms = [nk.Term("drawn", value, BOX.interior(4))]
    model = build(terms, optimizer=still(), compiled=EAGER)
    single = [fit(model)["loss"][0] for _ in range(3)]

    again = fit(build(terms, optimizer=still()), steps=3)

    assert len(set(single)) == 3
    np.testing.assert_allclose(again["loss"], [np.mean(single)], rtol=SINGLE)


@reductions
def test_exact_weights_are_ratios_of_the_traces_by_group(reduction):
    terms = [*two_terms(), nk.Term("end", value, X[-1:], group="start")]
    compiled = {"run_eagerly": reduction == "mean"}
    model = build(terms, "exact-ntk", optimizer=still(), reduction=reduction, compiled=compiled)
    history = fit(model)

    by_term = {
        term.name: float(jacobian_norm(term, model.network))
        / (1 if reduction == "sum" else len(term.points))
        for term in terms
    }
    traces = {"equation": by_term["equation"], "start": by_term["start"] + by_term["end"]}
    weights = {group: sum(traces.values()) / trace for group, trace in traces.items()}

    assert model.kernel_traces == pytest.approx(traces, rel=SINGLE)
    assert model.loss_weights == pytest.approx(weights, rel=SINGLE)
    # The step already uses the weights it computed.
    losses = {name: history[f"loss/{name}"][0] for name in by_term}
    expected = weights["equation"] * losses["equation"]
    expected += weights["start"] * (losses["start"] + losses["end"])
    assert history["loss"][0] == pytest.approx(expected, rel=SINGLE)
    assert {group: history[f"weights/{group}"][0] for group in traces} == model.loss_weights


def jacobian_norm(term, net):
    """||dR/dtheta||^2 of a term by TensorFlow's own Jacobian."""
    with tf.GradientTape(persistent=True) as tape:
        residual = term.residual(net, tf.constant(term.points, "float32"))
    # One reverse pass a row: nothing to compile.
    parts = tape.jacobian(
        residual,
        [v.value for v in net.trainable_variables],
        unconnected_gradients="zero",
        experimental_use_pfor=False,
    )
    return sum(tf.reduce_sum(part**2) for part in parts)


def test_blocks_are_the_residuals_of_the_next_step():
    model = build([nk.Term("drawn", slope, BOX.interior(4))], compiled=EAGER)
    first = float(tf.reduce_sum(model.blocks()["drawn"]() ** 2) / 2)
    losses = [fit(model)["loss"][0] for _ in range(2)]

    assert losses[0] == pytest.approx(first, rel=SINGLE)
    assert losses[1] != pytest.approx(first, rel=0.01)


def test_constant_weights_give_no_traces():
    assert build().kernel_traces == {}


# Data: none, a dict, a dataset.


def by_name(points):
    return {"main": points}


def awaiting_data(**kwargs):
    terms = [nk.Term("main", slope), nk.Term("start", value, START)]
    return build(terms, optimizer=still(), **kwargs)


def half_squares(points):
    """1/2 ||R||^2 of the term "main" at points."""
    return float(tf.reduce_sum(slope(network(), tf.constant(points, "float32")) ** 2)) / 2


def test_a_dict_of_points_trains_as_points_in_the_terms_do():
    inside, outside = (
        build([nk.Term("main", slope, points), nk.Term("start", value, START)], compiled=EAGER)
        for points in (X, None)
    )
    fit(inside, steps=3)
    fit(outside, by_name(X), steps=3)
    for part in ("network", "optimizer"):
        assert_same({part: state(outside)[part]}, {part: state(inside)[part]})


def test_points_in_the_data_replace_those_of_the_term():
    model = build([nk.Term("main", slope, X)], optimizer=still())
    history = fit(model, by_name(X[:2]))
    assert history["loss"][0] == pytest.approx(half_squares(X[:2]), rel=SINGLE)


def batches(points, size):
    return tf.data.Dataset.from_tensor_slices(by_name(points)).batch(size)


def test_a_single_step_takes_points_by_term():
    logs = awaiting_data(compiled=EAGER).train_on_batch(by_name(X), return_dict=True)
    assert logs["loss/main"] == pytest.approx(half_squares(X), rel=SINGLE)


def test_a_finite_dataset_makes_a_step_of_each_batch():
    points = np.linspace(0, 1, 7, dtype="float32")[:, None]
    model = awaiting_data()
    history = fit(model, batches(points, 3), epochs=2, steps=None)

    expected = np.mean([half_squares(part) for part in (points[:3], points[3:6], points[6:])])
    assert int(model.optimizer.iterations) == 2 * 3
    np.testing.assert_allclose(history["loss/main"], [expected, expected], rtol=SINGLE)


def test_an_endless_dataset_goes_on_from_epoch_to_epoch():
    points = np.linspace(0, 1, 6, dtype="float32")[:, None]
    model = awaiting_data(compiled=EAGER)
    history = fit(model, batches(points, 2).repeat(), epochs=2, steps=2)

    first, second, third = (half_squares(points[k : k + 2]) for k in (0, 2, 4))
    assert int(model.optimizer.iterations) == 4
    np.testing.assert_allclose(
        history["loss/main"], [(first + second) / 2, (third + first) / 2], rtol=SINGLE
    )


class Sequence(keras.utils.PyDataset):
    """Points in batches that Python makes."""

    def __init__(self, points, size):
        super().__init__()
        self.points, self.size = points, size

    def __len__(self):
        return len(self.points) // self.size

    def __getitem__(self, index):
        return {"main": self.points[index * self.size : (index + 1) * self.size]}


def test_a_pydataset_makes_a_step_of_each_batch():
    points = BOX.interior(6).fixed(seed=0)
    history = fit(awaiting_data(), Sequence(points, 2), steps=None)
    halves = [half_squares(points[i : i + 2]) for i in (0, 2, 4)]
    assert history["loss/main"][0] == pytest.approx(np.mean(halves), rel=SINGLE)


def test_sketched_weights_take_batches_of_changing_size():
    points = np.linspace(0, 1, 5, dtype="float32")[:, None]
    model = awaiting_data(weighting=nk.weighting.NTK(num_initial_probes=2, averaging_rate=0.5))
    fit(model, batches(points, 2), epochs=2, steps=None)
    assert model.weighting.num_steps.numpy() == 6
    assert model.weighting.num_rejected.numpy() == 0
    assert sum(1 / weight for weight in model.loss_weights.values()) == pytest.approx(1, rel=SINGLE)


def test_a_dataset_of_numpy_points_suits_a_network_in_single_precision():
    points = BOX.interior(4).fixed(seed=0)
    assert points.dtype == "float64"
    history = fit(awaiting_data(compiled=EAGER), batches(points, 4), steps=None)
    assert history["loss/main"][0] == pytest.approx(half_squares(points), rel=SINGLE)


def test_points_of_integers_stay_integers():
    def residual(u, points):
        assert points["which"].dtype == tf.int64
        return u(points["x"])[:, 0] * tf.cast(points["which"], "float32")

    points = {"which": np.arange(6), "x": X}
    terms = [nk.Term("main", residual, points)]
    model = build(terms, optimizer=still(), reduction="mean", compiled=EAGER)
    expected = np.mean((network().predict(X, verbose=0)[:, 0] * np.arange(6)) ** 2) / 2
    assert fit(model)["loss"][0] == pytest.approx(expected, rel=SINGLE)


# Bit for bit, on the CPU: whatever way a run is cut, it is the same run.


def random_model(**compiled):
    """Everything that moves: points and probes drawn at every step, an optimizer with memory."""
    terms = [nk.Term("equation", slope, BOX.interior(5)), nk.Term("start", value, START)]
    weighting = nk.weighting.NTK(averaging_rate=0.1, num_initial_probes=3)
    return build(terms, weighting, optimizer=keras.optimizers.Adam(0.01), compiled=compiled)


@pytest.fixture(scope="module")
def whole_run(tmp_path_factory):
    """Two epochs without a break: the initial and final state, history and Keras' checkpoints."""
    folder = tmp_path_factory.mktemp("checkpoints")
    checkpoint = keras.callbacks.ModelCheckpoint(
        folder / "{epoch}.weights.h5", save_weights_only=True
    )
    model = random_model()
    initial = state(model)
    history = fit(model, epochs=2, steps=STEPS, callbacks=[checkpoint])
    return types.SimpleNamespace(
        initial=initial,
        final=state(model),
        history=history,
        traces=model.kernel_traces,
        folder=folder,
        network=model.network,
    )


def test_the_run_that_others_are_compared_with_moves_everything(whole_run):
    # What may stay: the count of rejected samples, and the points of the second term.
    for part, staying in {"network": 0, "weighting": 1, "next points": 1}.items():
        pairs = zip(whole_run.initial[part], whole_run.final[part], strict=True)
        assert sum(np.array_equal(a, b) for a, b in pairs) == staying
    assert len(set(whole_run.history["weights/start"])) == 2


def test_fit_twice_is_fit_once_with_all_steps(whole_run):
    model = random_model()
    histories = [fit(model, steps=STEPS) for _ in range(2)]
    assert_same(state(model), whole_run.final)
    for key, values in whole_run.history.items():
        assert [history[key][0] for history in histories] == values
    assert model.kernel_traces == whole_run.traces


def test_many_steps_in_one_execution_change_nothing(whole_run):
    model = random_model(steps_per_execution=STEPS)
    history = fit(model, epochs=2, steps=STEPS)
    assert_same(state(model), whole_run.final)
    assert history == whole_run.history


def test_eager_execution_agrees_to_rounding(whole_run):
    model = random_model(run_eagerly=True)
    fit(model, epochs=2, steps=STEPS)
    # Grappler may reorder sums. Rounding of 1e-7 in a residual is magnified by the difference step,
    # 1e-5 of the parameters' norm, to 1e-2 of a trace; ten steps of Adam pass that on to theta.
    for actual, desired in zip(state(model)["network"], whole_run.final["network"], strict=True):
        np.testing.assert_allclose(actual, desired, atol=1e-3)
    assert model.kernel_traces == pytest.approx(whole_run.traces, rel=1e-2)
    np.testing.assert_array_equal(state(model)["next points"][0], whole_run.final["next points"][0])


def test_validation_reports_and_moves_nothing(whole_run):
    truth = np.sin(X)
    model = random_model()
    history = fit(model, epochs=2, steps=STEPS, validation_data=(X, truth))
    assert_same(state(model), whole_run.final)
    assert {key: history[key] for key in whole_run.history} == whole_run.history
    error = relative_l2(model.predict(X, verbose=0), truth)
    assert len(history["val_relative_l2"]) == 2
    assert history["val_relative_l2"][-1] == pytest.approx(error, rel=SINGLE)


def test_saved_weights_of_a_fresh_model_continue_the_run(whole_run):
    model = random_model()
    model.load_weights(whole_run.folder / "1.weights.h5")
    assert model.optimizer.iterations.numpy() == STEPS
    history = fit(model, steps=STEPS)
    assert_same(state(model), whole_run.final)
    assert {key: values[0] for key, values in history.items()} == {
        key: values[1] for key, values in whole_run.history.items()
    }


def test_saved_weights_restore_every_variable(whole_run):
    model = random_model()
    model.load_weights(whole_run.folder / "2.weights.h5")
    assert_same(state(model), whole_run.final)
    assert model.kernel_traces == whole_run.traces


class PowerFailureError(Exception):
    """Ends a run from outside."""


class Interrupt(keras.callbacks.Callback):
    """Fails in the middle of an epoch."""

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        if (self.epoch, batch) == (1, STEPS // 2):
            raise PowerFailureError


def test_a_run_interrupted_within_an_epoch_is_resumed_to_the_same_end(whole_run, tmp_path):
    def backup():
        return keras.callbacks.BackupAndRestore(tmp_path / "backup")

    with pytest.raises(PowerFailureError):
        fit(random_model(), epochs=2, steps=STEPS, callbacks=[backup(), Interrupt()])
    model = random_model()
    history = fit(model, epochs=2, steps=STEPS, callbacks=[backup()])

    assert_same(state(model), whole_run.final)
    assert model.kernel_traces == whole_run.traces
    assert history["loss"] == whole_run.history["loss"][1:]


class FixedProbe:
    """Algorithm 2 with signs that alternate in place of random ones."""

    def traces(self, linearization, seed):
        probe = {
            name: tf.cast(1 - 2 * (tf.range(tf.size(value)) % 2), value.dtype)
            for name, value in linearization.residuals.items()
        }
        return nk.estimators.block_traces(
            nk.estimators.predictor_product(linearization, probe), probe
        )


# XLA draws other numbers from the same seed. Nothing is random here, so only rounding is left.
DETERMINISTIC = {
    "exact-ntk": lambda: nk.weighting.ExactNTK(update_every=2),
    "ntk": lambda: nk.weighting.NTK(FixedProbe(), averaging_rate=0.5, num_initial_probes=1),
}


# Compiling the exact kernel of a derivative takes XLA five seconds more.
SIMPLE = {"exact-ntk": value, "ntk": slope}


@pytest.mark.parametrize("name", DETERMINISTIC)
def test_xla_agrees_to_rounding(name):
    models = [
        build(
            [nk.Term("equation", SIMPLE[name], X), nk.Term("start", value, START)],
            DETERMINISTIC[name](),
            net=network(dtype="float64"),
            compiled={"jit_compile": jit},
        )
        for jit in (False, True)
    ]
    for model in models:
        fit(model, steps=3)
    plain, compiled = models
    # Rounding of 1e-16 over a difference step of 1e-8, and two digits for sums and steps.
    tolerance = 1e-6
    assert compiled.loss_weights == pytest.approx(plain.loss_weights, rel=tolerance)
    for a, b in zip(state(compiled)["network"], state(plain)["network"], strict=True):
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


def test_models_of_one_seed_draw_the_same_points_and_of_another_seed_others():
    def points(seed):
        terms = [nk.Term("drawn", value, BOX.interior(4))]
        return nk.PINNModel(network(), terms, "constant", seed=seed).blocks()["drawn"].points

    np.testing.assert_array_equal(points(3), points(3))
    assert not np.array_equal(points(3), points(4))


def test_without_a_seed_the_global_one_decides():
    def seeds():
        keras.utils.set_random_seed(7)
        return numbers([nk.PINNModel(network(), two_terms()).random_state])

    np.testing.assert_array_equal(seeds(), seeds())


# One graph.


class Count(keras.callbacks.Callback):
    """How often Python had run a residual by the end of each step."""

    def __init__(self, calls):
        super().__init__()
        self.calls, self.counts = calls, []

    def on_train_batch_end(self, batch, logs=None):
        self.counts.append(len(self.calls))


def test_the_step_is_traced_once_while_weights_change():
    calls = []

    def residual(u, points):
        calls.append(points)
        return value(u, points)

    weighting = nk.weighting.NTK(num_initial_probes=2, averaging_rate=0.5, update_every=2)
    terms = [nk.Term("drawn", residual, BOX.interior(3)), nk.Term("start", value, START)]
    model = build(terms, weighting)
    count = Count(calls)
    history = fit(model, epochs=4, steps=3, callbacks=[count])
    assert len(set(history["weights/drawn"])) == 4
    assert len(count.counts) == 12
    assert len(set(count.counts)) == 1


class Assign(keras.callbacks.Callback):
    """Sets the weights by hand after the first epoch."""

    def on_epoch_end(self, epoch, logs=None):
        if epoch == 0:
            self.model.weighting.loss_weights.assign([2.0, 7.0])


def test_an_assigned_weight_counts_from_the_next_step_on_without_retracing():
    calls = []

    def residual(u, points):
        calls.append(points)
        return value(u, points)

    terms = [nk.Term("first", residual, X), nk.Term("second", slope, X)]
    model = build(terms, optimizer=still())
    count = Count(calls)
    history = fit(model, epochs=2, callbacks=[Assign(), count])

    first, second = history["loss/first"][0], history["loss/second"][0]
    expected = [first + second, 2 * first + 7 * second]
    np.testing.assert_allclose(history["loss"], expected, rtol=SINGLE)
    assert history["weights/second"] == [1, 7]
    assert len(set(count.counts)) == 1


# Precision.


class RecordingSGD(keras.optimizers.SGD):
    """Notes the dtypes of the gradients it is given."""

    dtypes = ()

    def apply(self, grads, trainable_variables=None):
        self.dtypes = {gradient.dtype for gradient in grads}
        return super().apply(grads, trainable_variables)


def test_a_network_in_double_precision_needs_no_global_switch():
    terms = [nk.Term("equation", slope, BOX.interior(5)), nk.Term("start", value, START)]
    optimizer = RecordingSGD(1e-3, momentum=0.9)
    net = network(dtype="float64", regularizer="l2")
    weighting = nk.weighting.NTK(num_initial_probes=2)
    model = build(terms, weighting, net=net, optimizer=optimizer, compiled=EAGER)
    fit(model, steps=2)

    assert keras.config.floatx() == "float32"
    assert optimizer.dtypes == {tf.float64}
    assert model.weighting.traces.dtype == tf.float64
    assert model.weighting.loss_weights.dtype == "float64"
    assert {block().dtype for block in model.blocks().values()} == {tf.float64}
    assert model.predict(X, verbose=0).dtype == np.float64
    # The average never went through single precision, which would leave 29 bits of it zero.
    traces = model.weighting.traces.numpy()
    assert not np.array_equal(traces, traces.astype("float32"))


def test_double_precision_is_rounded_nowhere():
    net = network(dtype="float64")
    points = np.linspace(0, 1, 50)[:, None] + 1e-9
    model = build([nk.Term("start", value, points)], net=net, optimizer=still(), compiled=EAGER)
    truth = net(points)
    for prediction in (model(points), model.predict(points, verbose=0)):
        np.testing.assert_allclose(prediction, truth, rtol=DOUBLE)
    assert model.evaluate(points, truth, verbose=0) < DOUBLE
    weighed = {"sample_weight": np.ones(50), "batch_size": 7}
    assert model.evaluate(points, truth.numpy(), verbose=0, **weighed) < DOUBLE
    for batch in (None, 7):
        logs = fit(model, validation_data=(points, truth), validation_batch_size=batch)
        assert logs["val_relative_l2"][0] < DOUBLE


# Evaluation and prediction.


def test_predictions_are_those_of_the_network():
    net = network(2)
    np.testing.assert_array_equal(build(net=net).predict(X, verbose=0), net.predict(X, verbose=0))


def test_evaluate_gives_the_loss_and_its_terms():
    model = build(weighting=nk.weighting.Constant({"equation": 3.0}))
    squares = {name: float(tf.reduce_sum(b() ** 2)) / 2 for name, b in model.blocks().items()}
    logs = model.evaluate(return_dict=True, verbose=0)
    assert logs == pytest.approx(
        {
            "loss": 3 * squares["equation"] + squares["start"],
            "loss/equation": squares["equation"],
            "loss/start": squares["start"],
        },
        rel=SINGLE,
    )


def test_evaluate_lists_each_value_once():
    model = build(compiled=EAGER)
    logs = model.evaluate(return_dict=True, verbose=0)
    assert model.evaluate(verbose=0) == [logs["loss"], logs["loss/equation"], logs["loss/start"]]


@pytest.mark.parametrize("data", [by_name(X), batches(X.astype("float32"), 6)], ids=["dict", "set"])
def test_evaluate_takes_points_by_term(data):
    logs = awaiting_data(compiled=EAGER).evaluate(data, return_dict=True, verbose=0)
    assert logs["loss/main"] == pytest.approx(half_squares(X), rel=SINGLE)


def test_evaluate_refuses_points_without_values():
    with pytest.raises(ValueError, match="dict"):
        build().evaluate(X, verbose=0)


@pytest.mark.parametrize("outputs", [1, 2])
def test_evaluate_against_values_gives_the_relative_l2_error(outputs):
    truth = np.cos(X * np.arange(1, outputs + 1))
    model = build(net=network(outputs), compiled=EAGER)
    error = relative_l2(model.predict(X, verbose=0), truth)
    for batch_size in (6, 4):
        logs = model.evaluate(X, truth, batch_size=batch_size, return_dict=True, verbose=0)
        # The error of all points together, not a mean of the batches' errors.
        assert logs == {"relative_l2": pytest.approx(error, rel=SINGLE)}


def test_values_of_a_single_output_need_no_second_axis():
    model = build(compiled=EAGER)
    expected = relative_l2(model.predict(X, verbose=0), np.sin(X))
    for truth in (np.sin(X), np.sin(X[:, 0])):
        assert model.evaluate(X, truth, verbose=0) == pytest.approx(expected, rel=SINGLE)


def test_sample_weights_count_in_the_error():
    model, importance = build(net=network(2), compiled=EAGER), np.arange(6.0)
    truth = np.cos(X * [1, 2])
    error = model.evaluate(X, truth, sample_weight=importance, verbose=0)
    expected = relative_l2(model.predict(X, verbose=0), truth, importance)
    assert error == pytest.approx(expected, rel=SINGLE)


def test_held_out_points_are_validated_by_their_losses():
    model = build(compiled=EAGER)
    name = model.terms[0].name
    history = model.fit(validation_data={name: X}, verbose=0).history
    logs = model.evaluate({name: X}, return_dict=True, verbose=0)
    assert history[f"val_loss/{name}"] == [pytest.approx(logs[f"loss/{name}"], rel=SINGLE)]
    assert "val_loss" in history


def test_sample_weights_count_for_outputs_without_a_column():
    metric = RelativeL2()
    metric.update_state(np.ones(4), np.array([1.0, 1, 1, 9]), np.array([1, 1, 1, 0]))
    assert float(metric.result()) == 0


def test_the_error_of_a_model_in_double_precision_is_measured_in_double():
    model = build(net=network(dtype="float64"), compiled=EAGER)
    truth = tf.cast(model(X), "float64")
    logs = model.test_step((X, truth * (1 + 1e-9)))
    assert float(logs["relative_l2"]) == pytest.approx(1e-9, rel=1e-5)


def test_compiled_metrics_are_reported_beside_the_error():
    model = build(compiled=EAGER | {"metrics": ["mean_absolute_error"]})
    logs = model.evaluate(X, np.sin(X), return_dict=True, verbose=0)
    expected = np.mean(np.abs(model.predict(X, verbose=0) - np.sin(X)))
    assert set(logs) == {"relative_l2", "mean_absolute_error"}
    assert logs["mean_absolute_error"] == pytest.approx(expected, rel=SINGLE)


def test_compiled_metrics_are_reported_of_validation_only():
    model = build(optimizer=still(), compiled=EAGER | {"metrics": ["mean_absolute_error"]})
    assert "mean_absolute_error" not in fit(model)
    history = fit(model, validation_data=(X, np.sin(X)))
    expected = np.mean(np.abs(model.predict(X, verbose=0) - np.sin(X)))
    assert history["val_mean_absolute_error"] == pytest.approx([expected], rel=SINGLE)
    assert "mean_absolute_error" not in history


def test_evaluate_takes_a_dataset_of_inputs_and_values():
    model = build(compiled=EAGER)
    pairs = tf.data.Dataset.from_tensor_slices((X, np.sin(X))).batch(4)
    expected = relative_l2(model.predict(X, verbose=0), np.sin(X))
    assert model.evaluate(pairs, verbose=0) == pytest.approx(expected, rel=SINGLE)


def test_values_of_another_size_are_refused():
    with pytest.raises(ValueError, match=r"values have shape \(6, 1\).*outputs \(6, 2\)"):
        build(net=network(2), compiled=EAGER).evaluate(X, np.sin(X), verbose=0)


def test_evaluation_leaves_network_optimizer_and_weights():
    terms = [nk.Term("drawn", value, BOX.interior(3))]
    model = build(terms, nk.weighting.NTK(), compiled=EAGER)
    before = state(model)
    model.evaluate(verbose=0)
    model.evaluate(X, np.sin(X), verbose=0)
    assert_same(state(model), before)


# As a Keras model.


def test_summary_counts_the_parameters_of_the_network():
    lines = []
    build().summary(print_fn=lines.append)
    assert any("Trainable params: 97" in line for line in "\n".join(lines).splitlines())


def test_the_network_is_all_that_is_trained():
    model = build(weighting="ntk")
    assert [v.path for v in model.trainable_variables] == [
        v.path for v in model.network.trainable_variables
    ]


OVERRIDDEN = {
    *("call", "compile", "evaluate", "export", "fit", "predict", "test_step", "train_step"),
    *("compile_from_config", "from_config", "get_config", "get_metrics_result"),
    *("make_test_function", "make_train_function"),
    "_maybe_symbolic_build",  # which adds up the points of replicas
    "get_compile_config",
    "save",
    "train_on_batch",
    *("predict_on_batch", "test_on_batch"),
}


def test_no_private_attribute_of_keras_is_shadowed():
    def dunder(name):
        return name.startswith("__") and name.endswith("__")

    own = [c for c in nk.PINNModel.__mro__ if c.__module__.startswith("ntk_keras.")]
    methods = {name for one in own for name in vars(one) if not dunder(name)}
    assert methods & set(dir(keras.Model)) == OVERRIDDEN
    bare = keras.Model()
    attributes = set(vars(nk.PINNModel(network(), two_terms()))) - set(vars(bare))
    assert attributes & set(dir(bare)) == set()


# Bad input, refused before training.


def refused_terms():
    return {
        "no terms": ([], "at least one term"),
        "one name twice": ([nk.Term("twin", value, X)] * 2, "more than once: .'twin'"),
        "rank three": (
            [nk.Term("deep", lambda u, p: u(p)[None], X)],
            r"'deep'.*\[6\] or \[6, k\].*\[1, 6, 1\]",
        ),
        "wrong length": (
            [nk.Term("short", lambda u, p: u(p)[:3, 0], X)],
            r"'short'.*its 6 points.*\[3\]",
        ),
        "a scalar": (
            [nk.Term("mean", lambda u, p: tf.reduce_mean(u(p) ** 2), X)],
            r"'mean'.*Received shape \[\].*Do not reduce",
        ),
        "tensors of two lengths": (
            [nk.Term("pair", lambda u, p: (u(p), u(p)[:3]), X)],
            r"'pair'.*failed.*\[6,1\].*\[3,1\]",
        ),
        "points too wide": (
            [nk.Term("wide", value, np.zeros((4, 3)))],
            r"'wide'.*\(4, 3\).*\(None, 1\)",
        ),
        "a sampler too wide": ([nk.Term("plane", value, PLANE.interior(5))], r"'plane'.*\(5, 2\)"),
        "columns and rows": (
            [nk.Term("square", lambda u, p: u(p) - p[:, 0], X)],
            r"'square'.*\[6, 6\].*\[1, 1\] at the first point.*broadcast",
        ),
        "NumPy inside": (
            [nk.Term("numpy", lambda u, p: u(p)[:, 0] - np.sin(p[:, 0]), X)],
            "'numpy'.*failed.*NumPy",
        ),
        "independent of the network": (
            [nk.Term("free", lambda u, p: p[:, 0], X)],
            "'free'.*does not depend on the network",
        ),
    }


@pytest.mark.parametrize("trainable", [True, False])
def test_a_variable_that_keras_does_not_see_is_told_of(trainable):
    coefficient = tf.Variable(2.0, trainable=trainable, name="diffusivity")

    def residual(u, x):
        return coefficient * u(x)[:, 0]

    with contextlib.ExitStack() as stack:
        if trainable:
            stack.enter_context(pytest.warns(UserWarning, match="Term 'fit': .*diffusivity"))
        nk.PINNModel(network(), [nk.Term("fit", residual, X)])  # no warning of any other kind


def wavering(layer):
    return keras.Sequential(
        [keras.Input((1,)), keras.layers.Dense(8), layer, keras.layers.Dense(1)]
    )


@pytest.mark.parametrize("layer", [keras.layers.Dropout, keras.layers.GaussianNoise])
def test_noise_in_the_network_is_refused_where_it_would_drown_the_kernel(layer):
    terms = [nk.Term("start", value, START)]
    with pytest.raises(ValueError, match="Term 'start': two evaluations .* differ"):
        nk.PINNModel(wavering(layer(0.5, seed=1)), terms, "ntk")
    build(terms, net=wavering(layer(0.5, seed=1)))  # no harm to constant weights


def make_normalized():
    return wavering(keras.layers.BatchNormalization())


MIXED = {
    "a mean over points": (network, lambda u, x: value(u, x) - tf.reduce_mean(u(x))),
    "values outside the points": (network, lambda u, x: value(u, x) - tf.linspace(0.0, 1.0, 6)),
    "batch normalization": (make_normalized, value),
}


@pytest.mark.parametrize("case", MIXED.values(), ids=MIXED)
def test_a_residual_that_mixes_points_is_known_to_and_looked_at_without_trace(case):
    make, residual = case
    net = make()
    before = numbers(net.variables)
    model = nk.PINNModel(net, [nk.Term("mixed", residual, X)], "exact-ntk")
    assert model.blocks()["mixed"].coupled
    for kept, variable in zip(before, numbers(net.variables), strict=True):
        np.testing.assert_array_equal(kept, variable)


def test_means_take_no_more_steps_of_batch_normalization_than_sums():
    averages = []
    for reduction in ("sum", "mean"):
        keras.utils.set_random_seed(0)
        model = build([nk.Term("start", value, X)], net=make_normalized(), reduction=reduction)
        fit(model)
        averages.append(model.network.layers[1].moving_variance.numpy())
    np.testing.assert_array_equal(*averages)


def test_what_a_model_is_made_of_cannot_be_replaced():
    model = build()
    for name in ("network", "terms", "weighting", "reduction", "derivatives"):
        before = getattr(model, name)
        with pytest.raises(AttributeError, match=f"built with its {name}.*PINNModel.model.network"):
            setattr(model, name, None)
        assert getattr(model, name) is before


@pytest.mark.parametrize("case", refused_terms().values(), ids=refused_terms())
def test_terms_are_refused(case):
    terms, message = case
    with pytest.raises(ValueError, match=f"(?s){message}"):
        nk.PINNModel(network(), terms)


@pytest.mark.parametrize("width", [1, 3])
def test_points_of_wrong_width_are_refused_by_the_networks_of_this_package(width):
    # The first layer standardises, and would take a single column for both inputs.
    net = nk.networks.feedforward(PLANE, width=4, depth=1)
    with pytest.raises(ValueError, match=rf"(?s)'wrong'.*4, {width}\b"):
        nk.PINNModel(net, [nk.Term("wrong", value, np.zeros((4, width)))])


REFUSED_POINTS = {
    "NaN": (np.array([[0.0], [np.nan]]), "finite. Row 1 holds .nan"),
    "infinity": (tf.constant([[0.0], [1.0], [np.inf]]), "finite. Row 2 holds .inf"),
    "NaN in a nest": ({"x": X, "y": X * np.nan}, "finite. Row 0 holds .nan"),
    "none": (np.zeros((0, 1)), r"positive length.*\(0, 1\)"),
    "unequal lengths": ((X, X[:2]), r"share a first axis.*\(6, 1\), \(2, 1\)"),
    "a number": (1.0, r"share a first axis.*\(\)"),
}
refused_points = pytest.mark.parametrize("case", REFUSED_POINTS.values(), ids=REFUSED_POINTS)


@refused_points
def test_points_of_a_term_are_refused(case):
    points, message = case
    with pytest.raises(ValueError, match=f"Term 'somewhere': points must.*{message}"):
        nk.Term("somewhere", value, points)


REFUSED_WEIGHTINGS = {
    "name": (lambda: build(weighting="magic"), "weighting 'magic'.*constant.*exact-ntk.*ntk"),
    "estimator": (lambda: nk.weighting.NTK("magic"), "estimator 'magic'.*exact.*predictor"),
    "rate zero": (lambda: nk.weighting.NTK(averaging_rate=0.0), r"averaging_rate.*\(0, 1\].*=0.0"),
    "rate above one": (lambda: nk.weighting.ExactNTK(averaging_rate=1.5), r"\(0, 1\].*=1.5"),
    "rate NaN": (lambda: nk.weighting.NTK(averaging_rate=np.nan), r"\(0, 1\].*=nan"),
    "no probes": (
        lambda: nk.weighting.NTK(num_initial_probes=0),
        "num_initial_probes.*at least 1.*0",
    ),
    "negative interval": (lambda: nk.weighting.ExactNTK(-1), "update_every.*at least 1.*-1"),
    "half an interval": (lambda: nk.weighting.NTK(update_every=0.5), "update_every.*integer.*0.5"),
    "difference step": (lambda: nk.estimators.Predictor(0.0), "difference_step.*positive.*=0.0"),
    "number of points": (lambda: BOX.interior(0), "num_points.*at least 1.*0"),
    "unknown group": (
        lambda: build(weighting=nk.weighting.Constant({"nobody": 2.0})),
        "no term belongs to.*'nobody'",
    ),
    "reduction": (lambda: build(reduction="median"), 'reduction.*"sum" or "mean".*median'),
    "kernel of redrawn points": (
        lambda: build(
            [nk.Term("moving", value, BOX.interior(3))],
            nk.weighting.NTK("exact", average="kernel"),
        ),
        "points that stay the same.*'moving'",
    ),
}


@pytest.mark.parametrize("case", REFUSED_WEIGHTINGS.values(), ids=REFUSED_WEIGHTINGS)
def test_weightings_are_refused(case):
    construct, message = case
    with pytest.raises(ValueError, match=f"(?s){message}"):
        construct()


def test_a_weighting_serves_one_model():
    weighting = nk.weighting.NTK()
    build(weighting=weighting)
    with pytest.raises(ValueError, match="already belongs to a model"):
        build(weighting=weighting)


class NoTraining(keras.callbacks.Callback):
    """Fails once training begins; without it, what is not refused might train for ever."""

    def on_train_batch_begin(self, batch, logs=None):
        raise AssertionError("Training began.")


SET = tf.data.Dataset
REFUSED_DATA = {
    "unknown key": ({"x": {"nobody": X}}, r"Unknown: \['nobody'\].*'main', 'start'"),
    "unknown key in a dataset": (
        {"x": SET.from_tensors({"main": X, "nobody": X})},
        r"Unknown: \['nobody'\]",
    ),
    "missing points": ({}, r"without points: \['main'\]"),
    "missing points in a dataset": (
        {"x": SET.from_tensors({"start": START})},
        r"without points: \['main'\]",
    ),
    "a dataset of tensors": ({"x": SET.from_tensors(X)}, "dicts from term names to points"),
    "an array": ({"x": X}, "dict"),
    "points of wrong width": ({"x": by_name(np.zeros((4, 3)))}, r"'main'.*\(4, 3\)"),
    "wrong width in a dataset": (
        {"x": SET.from_tensors(by_name(np.zeros((4, 3), "float32")))},
        r"'main'.*\(4, 3\)",
    ),
    "NaN": ({"x": by_name(X * np.nan)}, "'main'.*finite. Row 0"),
    "targets": ({"x": by_name(X), "y": X}, "takes no `y`.*Add a Term"),
    "no steps": ({"x": by_name(X), "steps": 0}, "steps_per_epoch.*0"),
    "negative steps": ({"x": by_name(X), "steps": -1}, "steps_per_epoch.*-1"),
}


@pytest.fixture(scope="module")
def untrained():
    """A model that refuses all it is given, and its state, which stays."""
    model = awaiting_data()
    return model, state(model)


@pytest.mark.parametrize("case", REFUSED_DATA.values(), ids=REFUSED_DATA)
def test_data_is_refused_before_training(case, untrained):
    arguments, message = case
    model, before = untrained
    with pytest.raises(ValueError, match=f"(?s){message}"):
        fit(model, callbacks=[NoTraining()], **arguments)
    assert_same(state(model), before)


def test_a_network_must_be_a_layer():
    with pytest.raises(TypeError, match="Keras model or layer"):
        nk.PINNModel(lambda x: x, two_terms())


def test_a_single_term_needs_no_list():
    assert [term.name for term in build(nk.Term("start", value, START)).terms] == ["start"]


@pytest.mark.parametrize("argument", [{"loss": "mse"}, {"loss_weights": [1.0]}], ids=str)
def test_compile_takes_no_loss(argument):
    with pytest.raises(ValueError, match="takes no `loss.*the terms.*`weighting=`"):
        build(compiled=argument)


def test_a_network_without_input_shape_needs_points():
    unbuilt = keras.Sequential([keras.layers.Dense(1)])
    with pytest.raises(ValueError, match="not built.*keras.Input"):
        nk.PINNModel(unbuilt, [nk.Term("later", value)])


def test_points_build_a_network_without_input_shape():
    net = keras.Sequential([keras.layers.Dense(1)])
    model = build([nk.Term("now", slope, X)], net=net)
    before = numbers(net.trainable_variables)
    fit(model)
    assert len(before) == 2
    assert not np.array_equal(before[0], net.layers[0].kernel.numpy())


def test_a_frozen_network_is_refused():
    net = network()
    net.trainable = False
    with pytest.raises(ValueError, match="'equation'.*not frozen"):
        build(net=net)


# Divergence.


FAULTS = {
    "NaN once": {"residual": np.nan},
    "NaN for good": {"residual": np.nan, "lasting": True},
    "a square that overflows": {"residual": 1e25},
    "infinite gradient": {"gradient": np.inf},
}


@pytest.fixture(scope="module", params=FAULTS.values(), ids=FAULTS)
def diverged(request):
    """A run whose sixth step fails in the middle of its second epoch of four steps."""
    fault = Disturbance(5, **request.param)
    terms = [nk.Term("sound", value, X), nk.Term("faulty", fault.residual, X)]
    weighting = nk.weighting.NTK(num_initial_probes=2, averaging_rate=0.5)
    model = build(terms, weighting, optimizer=keras.optimizers.Adam(0.01))
    with pytest.raises(nk.TrainingDivergedError) as caught:
        fit(model, epochs=3, steps=4, callbacks=[fault])
    return types.SimpleNamespace(
        message=str(caught.value), before=fault.before, after=state(model), fault=fault
    )


def test_divergence_names_the_step_and_the_culprit(diverged):
    by_gradient = np.isinf(diverged.fault.spoilt[1])
    by_residual = "the residual of term 'faulty' or its square"
    culprit = "the gradient of the loss" if by_gradient else by_residual
    assert diverged.message.startswith(f"Step 5: {culprit} became NaN or infinite.")


def test_divergence_ends_training_within_the_epoch(diverged):
    assert diverged.fault.steps <= 8


@pytest.mark.parametrize("part", ["network", "optimizer", "weighting"])
def test_divergence_leaves_the_state_from_before_the_step(diverged, part):
    assert_same({part: diverged.after[part]}, {part: diverged.before[part]})


class OneNumber(keras.layers.Layer):
    """u(x) = theta for every x."""

    def build(self, input_shape):
        self.theta = self.add_weight(shape=(), initializer="ones", name="theta")

    def call(self, points):
        return self.theta * tf.ones_like(points)


def test_a_logarithm_that_training_drives_negative_is_named():
    net = keras.Sequential([keras.Input((1,)), OneNumber()])
    # d/dtheta 1/2 (log theta + 5)^2 = 5 at theta = 1: one step of 0.3 leads to -0.5.
    terms = [nk.Term("logarithm", lambda u, p: tf.math.log(value(u, p)) + 5, X[:1])]
    model = build(terms, net=net, optimizer=keras.optimizers.SGD(0.3))
    with pytest.raises(nk.TrainingDivergedError, match="Step 1: .*'logarithm'"):
        fit(model, steps=4)
    np.testing.assert_allclose(net.layers[0].theta, -0.5, rtol=SINGLE)
    assert model.optimizer.iterations.numpy() == 1


def test_the_backup_of_the_last_good_epoch_survives_divergence(tmp_path):
    fault = Disturbance(9, residual=np.nan, lasting=True)
    terms = [nk.Term("faulty", fault.residual, X)]

    class AtEpochEnd(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            self.state = state(self.model)

    last_good = AtEpochEnd()
    backup = keras.callbacks.BackupAndRestore(tmp_path / "backup")
    with pytest.raises(nk.TrainingDivergedError, match="Step 9"):
        fit(build(terms), epochs=4, steps=4, callbacks=[backup, fault, last_good])
    assert 9 < fault.steps <= 12  # in the third epoch, whenever the check looked

    fault.values.assign([0.0, 1.0])  # mended
    restored = build(terms)
    healthy = keras.callbacks.BackupAndRestore(tmp_path / "backup", delete_checkpoint=False)
    fit(restored, epochs=2, steps=4, callbacks=[healthy])  # Both are done.
    assert restored.optimizer.iterations.numpy() == 8
    assert_same(state(restored), last_good.state)


def test_a_backup_from_between_the_failure_and_its_discovery_can_be_resumed(tmp_path):
    fault = Disturbance(1, residual=np.nan, lasting=True)
    terms = [nk.Term("faulty", fault.residual, X)]
    backup = functools.partial(keras.callbacks.BackupAndRestore, tmp_path / "backup", save_freq=1)
    with pytest.raises(nk.TrainingDivergedError):
        fit(build(terms, compiled=EAGER), steps=3, callbacks=[backup(), fault])

    fault.values.assign([0.0, 1.0])  # mended
    model = build(terms, compiled=EAGER)
    fit(model, steps=3, callbacks=[backup()])
    assert model.optimizer.iterations.numpy() == 1 + 3  # one was good, and the epoch begins anew


def test_a_second_fit_after_divergence_trains_again():
    fault = Disturbance(1, residual=np.nan)
    model = build([nk.Term("faulty", fault.residual, X)])
    with pytest.raises(nk.TrainingDivergedError):
        fit(model, steps=2, callbacks=[fault])
    steps = model.optimizer.iterations.numpy()
    history = fit(model, steps=2, callbacks=[fault])
    assert model.optimizer.iterations.numpy() == steps + 2
    assert np.isfinite(history["loss"]).all()


def test_a_long_epoch_is_watched_as_it_goes(monkeypatch):
    seconds = iter(range(0, 1000, 2))
    monkeypatch.setattr(nan_check, "time", types.SimpleNamespace(monotonic=lambda: next(seconds)))
    fault = Disturbance(2, residual=np.nan, lasting=True)
    model = build([nk.Term("faulty", fault.residual, X)], compiled=EAGER)
    with pytest.raises(nk.TrainingDivergedError, match="Step 2"):
        fit(model, steps=100, callbacks=[fault])
    assert fault.steps == 3


# Dead groups.


def dead(u, points):
    """Connected to the network, but behind a ReLU that lets nothing through."""
    return tf.nn.relu(u(points)[:, 0] - 100)


@pytest.mark.parametrize("weighting", DETERMINISTIC.values(), ids=DETERMINISTIC)
def test_a_dead_group_gets_a_finite_weight_and_a_warning(weighting):
    terms = [nk.Term("alive", slope, X), nk.Term("nothing", dead, X, group="ghost")]
    model = build(terms, weighting(), compiled=EAGER)
    with pytest.warns(UserWarning, match="'ghost'.*zero or less") as caught:
        fit(model, epochs=3)
    assert len(caught) == 1  # not one an epoch
    assert model.kernel_traces["ghost"] == 0
    # A trace of 1e-5 of the total, the default floor.
    assert model.loss_weights == pytest.approx({"alive": 1.00001, "ghost": 100001}, rel=SINGLE)


def test_a_model_of_dead_groups_keeps_equal_weights():
    model = build(
        [nk.Term("first", dead, X), nk.Term("second", dead, X)],
        nk.weighting.NTK(FixedProbe()),
        compiled=EAGER,
    )
    with pytest.warns(UserWarning, match="'first', 'second'.*zero or less"):
        fit(model)
    assert model.loss_weights == {"first": 2.0, "second": 2.0}
