"""Weights by hand and importance factors: read, set, scheduled, saved, and nothing traced anew."""

import copy
import json

import keras
import numpy as np
import pytest
import tensorflow as tf

import ntk_keras as nk
from ntk_keras.weighting import WEIGHTINGS, Adaptive, Constant, Gate, PointWeighting
from tests.support.models import START, X, build, fit, network, slope, still, value
from tests.support.steps import SQUARES, stepper, thetas

SINGLE = 1e-5

ADAPTIVE = [name for name, kind in WEIGHTINGS.items() if issubclass(kind, Adaptive)]


def make(name, **rules):
    return WEIGHTINGS[name](**{"update_every": 1, **rules})


class Counts(keras.callbacks.Callback):
    """How often a residual was called in Python, by the end of each epoch."""

    def __init__(self, calls):
        super().__init__()
        self.calls, self.seen = calls, []

    def on_epoch_end(self, epoch, logs=None):
        self.seen.append(len(self.calls))


def counted(weighting):
    calls = []

    def residual(u, points):
        calls.append(points)
        return slope(u, points)

    terms = [nk.Term("equation", residual, X), nk.Term("start", value, START)]
    return build(terms, weighting, optimizer=still()), Counts(calls)


# Weights by hand.


def test_a_dict_gives_constant_weights():
    model = build(weighting={"start": 10})
    assert isinstance(model.weighting, Constant)
    assert model.loss_weights == {"equation": 1.0, "start": 10.0}
    balancer = nk.LossBalancer(["equation", "start"], {"start": np.float32(4)})
    assert balancer.loss_weights == {"equation": 1.0, "start": 4.0}


def by_method(model, weights):
    model.set_loss_weights(weights)


def by_entry(model, weights):
    for group, weight in weights.items():
        model.loss_weights[group] = weight


def by_attribute(model, weights):
    model.loss_weights = weights


def by_update(model, weights):
    model.loss_weights.update(weights)


@pytest.mark.parametrize("way", [by_method, by_entry, by_attribute, by_update])
def test_weights_that_are_set_count_from_the_next_step_on_and_trace_nothing(way):
    model, counts = counted("constant")
    by_epoch = keras.callbacks.LambdaCallback(
        on_epoch_begin=lambda epoch, logs: way(model, {"start": 5.0 + epoch})
    )
    history = fit(model, epochs=3, callbacks=[by_epoch, counts])
    assert counts.seen[0] == counts.seen[-1] > 0
    assert history["weights/start"] == [5.0, 6.0, 7.0]
    loss = history["loss/equation"][1] + 6 * history["loss/start"][1]
    assert history["loss"][1] == pytest.approx(loss, rel=SINGLE)
    assert model.loss_weights == {"equation": 1.0, "start": 7.0}


def test_weights_that_were_read_are_a_dict_of_their_own():
    model = build(weighting={"start": 2})
    weights = model.loss_weights
    weights |= {"start": 3.0}
    assert weights == model.loss_weights == {"equation": 1.0, "start": 3.0}
    for copied in (copy.copy(weights), copy.deepcopy(weights), weights.copy()):
        assert type(copied) is dict
    assert json.loads(json.dumps(weights)) == weights
    assert Constant(weights).initial_weights == weights
    with pytest.raises(TypeError, match="can be set, but not be taken away"):
        del weights["start"]


@pytest.mark.parametrize("name", ADAPTIVE)
def test_a_weight_that_would_not_stay_is_refused_with_the_ways_that_do(name):
    model = build(weighting=make(name))
    with pytest.raises(
        ValueError, match=r"set_importance\(\{'start': 10.0\}\).*exclude.*weighting"
    ):
        model.loss_weights["start"] = 5.0


def test_the_weight_of_an_excluded_group_is_set():
    model = build(weighting=nk.weighting.NTK(exclude="start"))
    model.loss_weights["start"] = 5.0
    fit(model, steps=2)
    assert model.loss_weights == {"equation": 1.0, "start": 5.0}


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"bc": 1.0}, ValueError, r"no term belongs to: \['bc'\].*'equation', 'start'"),
        ({"start": -1.0}, ValueError, "finite and not negative. Received -1.0 for group 'start'"),
        ({"start": float("nan")}, ValueError, "finite and not negative"),
        ({"start": "large"}, TypeError, "must be a number.*the key 'name'.*Received 'large'"),
        ({"start": "1"}, TypeError, "must be a number"),
        ([1.0, 2.0], TypeError, r"by group, as in \{'boundary': 10.0\}. Received \[1.0, 2.0\]"),
    ],
)
def test_what_is_no_weight_is_refused(given, error, message):
    model = build()
    with pytest.raises(error, match=message):
        model.set_loss_weights(given)
    with pytest.raises(error, match=message):
        model.set_importance(given)
    assert model.loss_weights == {"equation": 1.0, "start": 1.0}


def test_a_misspelled_name_is_not_taken_for_a_group():
    with pytest.raises(TypeError, match="the key 'name'"):
        build(weighting={"nmae": "ntk"})


# Importance factors.


@pytest.mark.parametrize("name", ADAPTIVE)
def test_a_factor_is_on_top_of_what_the_strategy_finds(name):
    """The strategy itself goes on as if there were none, whatever it remembers of its weights."""
    plain, weighty = make(name), make(name, importance={"b": 10.0})
    runs = [stepper(chosen, SQUARES) for chosen in (plain, weighty)]
    for index, theta in enumerate(thetas(4)):
        for step in runs:
            step(index, theta)
        np.testing.assert_array_equal(weighty.loss_weights, plain.loss_weights)
        expected = plain.effective_weights * [1.0, 10.0]
        np.testing.assert_array_equal(weighty.effective_weights, expected)
        residual = tf.constant(theta[3:] ** 2)
        ours, theirs = [chosen.weight_of("b", residual) for chosen in (weighty, plain)]
        np.testing.assert_allclose(ours, 10 * theirs, rtol=1e-15)


def test_bounds_are_of_the_weight_without_the_factor():
    chosen = make("ntk", importance={"b": 10.0}, bounds=(0.0, 2.0))
    stepper(chosen)(0, np.array([1, 1, 1, 0.1, 0.1]))
    np.testing.assert_allclose(chosen.effective_weights, [chosen.loss_weights[0], 20.0])


@pytest.mark.parametrize("name", ["exact-ntk", "self-adaptive"])
def test_the_gate_adds_up_changes_with_the_factor(name):
    sums = []
    for importance in (None, {"a": 3.0, "b": 3.0}):
        chosen = make(name, gate=Gate(1e9), initial_weights={"a": 1.0}, importance=importance)
        step = stepper(chosen)
        for index, theta in enumerate(thetas(3)):
            step(index, theta)
        sums.append(float(chosen.gate_sum))
    assert sums[1] == pytest.approx(3 * sums[0], rel=1e-12)


def test_a_factor_counts_in_the_loss_and_is_changed_without_a_new_graph():
    model, counts = counted(nk.weighting.NTK(importance={"start": 2.0}))
    schedule = nk.callbacks.ImportanceScheduler(
        lambda epoch, importance: {"start": importance["start"] * (1 if epoch == 0 else 3)}
    )
    plain = fit(build(weighting="ntk", optimizer=still()))
    history = fit(model, epochs=3, callbacks=[schedule, counts])
    assert counts.seen[0] == counts.seen[-1] > 0
    assert history["importance/start"] == [2.0, 6.0, 18.0]
    assert history["importance/equation"] == [1.0, 1.0, 1.0]
    weight = np.array(plain["weights/start"]) * [2.0, 6.0, 18.0]
    np.testing.assert_allclose(history["weights/start"], weight, rtol=SINGLE)
    loss = history["loss/equation"][0] * plain["weights/equation"][0]
    expected = loss + history["loss/start"][0] * weight
    np.testing.assert_allclose(history["loss"], expected, rtol=SINGLE)


def test_a_factor_of_zero_mutes_a_group():
    model = build(weighting=nk.weighting.NTK(importance={"start": 0.0}))
    fit(model)
    assert model.loss_weights["start"] == 0
    assert model.importance == {"equation": 1.0, "start": 0.0}


def test_factors_are_set_by_assignment_too():
    model = build(weighting="ntk")
    model.importance["start"] = 3.0
    model.importance |= {"equation": 2.0}
    assert model.importance == {"equation": 2.0, "start": 3.0}
    model.importance = {"start": 1.0}
    assert model.importance == {"equation": 2.0, "start": 1.0}


def test_a_weight_set_by_hand_is_the_weight_in_use():
    model = build()
    model.set_importance({"start": 4.0})
    assert model.loss_weights["start"] == 4.0
    model.set_loss_weights({"start": 5.0})
    assert model.loss_weights["start"] == 5.0
    assert model.importance["start"] == 1.0


def test_factors_are_saved_and_resumed(tmp_path):
    model = build(weighting=nk.weighting.NTK(importance={"start": 2.0}))
    model.set_importance({"start": 7.0})
    model.save_weights(tmp_path / "model.weights.h5")
    again = build(weighting="ntk")
    again.load_weights(tmp_path / "model.weights.h5")
    assert again.importance == {"equation": 1.0, "start": 7.0}
    balancer = nk.LossBalancer(["a", "b"], "ntk")
    balancer.set_importance({"b": 3.0})
    path = tf.train.Checkpoint(balancer=balancer).write(str(tmp_path / "checkpoint"))
    other = nk.LossBalancer(["a", "b"], "ntk")
    tf.train.Checkpoint(balancer=other).read(path)
    assert other.importance == {"a": 1.0, "b": 3.0}


def test_a_factor_is_part_of_the_configuration():
    chosen = nk.weighting.NTK(importance={"start": 2.0})
    again = nk.weighting.NTK.from_config(chosen.get_config())
    assert again.importance == {"start": 2.0}
    assert "importance={'start': 2.0}" in repr(again)


def test_a_file_without_factors_leaves_them_as_they_are():
    chosen = nk.weighting.NTK(importance={"b": 2.0})
    stepper(chosen)
    store = {}
    chosen.save_own_variables(store)
    del store[str(len(store) - 1)]
    chosen.set_importance({"b": 5.0})
    chosen.load_own_variables(store)
    np.testing.assert_array_equal(chosen.importance_factors, [1.0, 5.0])
    del store["0"]
    with pytest.raises(ValueError, match="variables"):
        chosen.load_own_variables(store)


def test_exact_weights_beside_those_in_use_have_the_factors():
    convergence = nk.callbacks.KernelConvergence()
    weighting = nk.weighting.NTK(importance={"start": 9.0})
    model = build(weighting=weighting, optimizer=still())
    history = fit(model, callbacks=[convergence, nk.callbacks.ExactWeights()])
    assert history["exact/start"][-1] == pytest.approx(model.loss_weights["start"], rel=SINGLE)
    assert convergence.errors["convergence/weights/start"] < SINGLE


def test_a_balancer_has_factors_and_a_schedule_in_a_model_of_ones_own():
    net = network()

    class Own(keras.Model):
        def __init__(self):
            super().__init__()
            self.net, self.balancer = net, nk.LossBalancer(["a", "b"], {"a": 2.0})

        def train_step(self, data):
            with tf.GradientTape(persistent=True) as tape:
                values = self.net(data)[:, 0]
                residuals = {"a": values, "b": values - 1}
            weights = self.balancer(residuals, tape, self.net.trainable_variables)
            return dict(weights)

    model = Own()
    model.compile(keras.optimizers.SGD(), jit_compile=False)
    schedule = nk.callbacks.ImportanceScheduler(
        lambda epoch, importance: {"a": 10.0 * epoch}, model.balancer
    )
    data = tf.data.Dataset.from_tensors(tf.constant(X, tf.float32))
    history = model.fit(data, epochs=3, callbacks=[schedule], shuffle=False, verbose=0).history
    assert history["a"] == [0.0, 20.0, 40.0]
    with pytest.raises(TypeError, match="PINNModel or of the LossBalancer given as balancer="):
        model.fit(data, callbacks=[nk.callbacks.ImportanceScheduler(dict)], shuffle=False)


def test_a_schedule_must_be_a_function():
    with pytest.raises(TypeError, match="schedule must be a function"):
        nk.callbacks.ImportanceScheduler({"start": 2.0})


def test_the_callback_on_another_model_takes_factors():
    net, received = network(), []
    residuals = {
        "equation": lambda: net(tf.constant(X, "float32")) - 1,
        "start": lambda: net(tf.constant(START, "float32")),
    }
    net.compile("sgd", loss="mse")
    plain = nk.callbacks.NTKWeighting(residuals, received.append)
    weighty = nk.callbacks.NTKWeighting(residuals, received.append, importance={"start": 10.0})
    data = np.float32(X), np.float32(X)
    net.fit(*data, callbacks=[plain, weighty], verbose=0)
    assert received[1]["start"] == pytest.approx(10 * received[0]["start"], rel=1e-12)
    assert received[1]["equation"] == received[0]["equation"]
    unknown = nk.callbacks.NTKWeighting(residuals, received.append, importance={"bc": 1.0})
    with pytest.raises(ValueError, match=r"importance names \['bc'\]"):
        net.fit(*data, callbacks=[unknown], verbose=0)


def test_points_of_a_group_share_its_factor():
    assert issubclass(WEIGHTINGS["residual-attention"], PointWeighting)
    model = build(weighting=make("residual-attention", importance={"start": 10.0}))
    history = fit(model)
    plain = fit(build(weighting=make("residual-attention")))
    assert history["weights/start"][0] == pytest.approx(10 * plain["weights/start"][0], rel=SINGLE)
    assert history["loss"][0] == pytest.approx(
        plain["loss"][0] + 9 * (plain["loss"][0] - equation_loss()), rel=1e-4
    )


def equation_loss():
    """The loss of the equation alone, at the first step's weights."""
    model = build(weighting=make("residual-attention", importance={"start": 0.0}))
    return fit(model)["loss"][0]
