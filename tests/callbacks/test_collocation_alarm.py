"""When only the training points still improve: logs, warnings, and points that are redrawn."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import ntk_keras as nk
from ntk_keras.callbacks import CollocationAlarm
from tests.support.models import X, build, fit, network, still, value

BOX = nk.domains.Box(x=(0, 1))
APART = np.array([[2.0], [3.0], [4.0]])  # held-out points of a term that tells them from its own


class Scripted(keras.callbacks.Callback):
    """Gives a term the losses that it is told, epoch by epoch, at its points and at others."""

    def __init__(self, trained, held_out):
        super().__init__()
        self.script = np.sqrt(2 * np.array([trained, held_out]).T)
        self.now = tf.Variable([1.0, 1.0], trainable=False)

    def on_epoch_begin(self, epoch, logs=None):
        self.now.assign(self.script[epoch])

    def residual(self, u, points):
        trained, held_out = tf.unstack(self.now / np.sqrt(6.0))  # six points, APART counts twice
        return 0 * value(u, points) + tf.where(points[:, 0] > 1, held_out, trained)


FALLING = [2.0**-k for k in range(12)]
STALLED = [1.0] * 12
SLOWLY = [0.98**k for k in range(12)]
CASES = {
    "stalls from the start": (FALLING, STALLED, 3),
    "stalls later": (FALLING, [*FALLING[:5], *[FALLING[4]] * 7], 4 + 3),
    "rises": (FALLING, [1.0, 0.5, *np.linspace(1, 9, 10)], 1 + 3),
    "improves too": (FALLING, FALLING, None),
    "hardly improves": (FALLING, SLOWLY, 3),
    "improves more slowly": (FALLING, [0.88**k for k in range(12)], None),
    "both stall": (STALLED, STALLED, None),
    "both slowly": (SLOWLY, SLOWLY, None),
    "has not fallen by half": ([0.95**k for k in range(12)], STALLED, None),
    "both rise": (FALLING[::-1], STALLED, None),
}


@pytest.fixture(scope="module")
def scripted():
    """A model whose losses are told by the script of the moment."""
    script = Scripted(STALLED, STALLED)
    terms = [nk.Term("told", script.residual, X), nk.Term("start", value, X[:2])]
    return build(terms, {"told": 4.0}, optimizer=still()), script


@pytest.mark.parametrize("case", CASES)
def test_it_warns_once_where_the_training_points_alone_improve(scripted, case, recwarn):
    trained, held_out, expected = CASES[case]
    model, script = scripted
    script.script = Scripted(trained, held_out).script
    alarm = CollocationAlarm({"told": APART}, every_epochs=1, patience=3)
    seen = []
    count = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: seen.append(len(recwarn))
    )
    history = fit(model, epochs=12, callbacks=[script, alarm, count])
    np.testing.assert_allclose(history["loss/told"], trained, rtol=1e-5)
    np.testing.assert_allclose(history["held_out_loss/told"], held_out, rtol=1e-5)
    np.testing.assert_allclose(history["held_out_loss"], 4 * np.array(held_out), rtol=1e-5)
    assert seen == [0] * 12 if expected is None else seen == [0] * expected + [1] * (12 - expected)
    assert alarm.overfitted == ([] if expected is None else ["told"])
    for warning in recwarn:
        assert "Term 'told' improves at its training points alone" in str(warning.message)
        assert "giving the Term a sampler" in str(warning.message)


def test_checks_come_at_an_interval_and_go_on_in_a_second_fit(scripted):
    model, script = scripted
    script.script = Scripted(FALLING, STALLED).script
    alarm = CollocationAlarm({"told": APART}, every_epochs=5, patience=2)
    assert len(fit(model, epochs=6, callbacks=[script, alarm])["held_out_loss"]) == 2
    with pytest.warns(UserWarning, match="in 2 checks"):
        fit(model, epochs=12, initial_epoch=6, callbacks=[script, alarm])


def slope(u, points):
    return nk.derivatives.gradient(u, points)[:, 0, 0] - tf.cos(20 * points[:, 0])


def test_a_term_that_is_fitted_at_three_points_alone_is_told():
    terms = [nk.Term("equation", slope, X[1:4]), nk.Term("start", value, X[:1])]
    model = build(terms, optimizer=keras.optimizers.Adam(0.01))
    alarm = CollocationAlarm({"equation": BOX.interior(50)}, every_epochs=1, patience=3)
    with pytest.warns(UserWarning, match="Term 'equation' improves at its training points alone"):
        history = fit(model, epochs=15, steps=30, callbacks=[alarm])
    assert history["held_out_loss/equation"][-1] > 10 * history["loss/equation"][-1]


@pytest.mark.parametrize("reduction", ["sum", "mean"])
def test_the_held_out_loss_compares_to_the_loss_of_the_term(reduction):
    points = BOX.interior(40).fixed(1)
    terms = [nk.Term("equation", slope, X), nk.Term("start", value, X[:2])]
    model = build(terms, {"equation": 3.0}, optimizer=still(), reduction=reduction)
    logs = fit(model, callbacks=[CollocationAlarm({"equation": points})])
    square = np.mean(model.residuals({"equation": points})["equation"] ** 2)
    expected = square / 2 * (6 if reduction == "sum" else 1)
    assert logs["held_out_loss/equation"] == [pytest.approx(expected, rel=1e-5)]
    assert logs["held_out_loss"] == [pytest.approx(3 * expected, rel=1e-5)]


class Recorded(nk.domains.samplers.Sampler):
    """Keeps what it has drawn once for all."""

    num_points = 4

    def __init__(self):
        self.drawn = []

    def draw(self, seed, dtype="float32"):
        return tf.random.stateless_uniform([4, 1], seed, dtype=dtype)

    def fixed(self, seed=None):
        self.drawn.append(np.random.default_rng(seed).uniform(size=(4, 1)))
        return self.drawn[-1]


def test_terms_with_samplers_are_followed_at_other_points_and_not_warned_of():
    sampler = Recorded()
    terms = [nk.Term("equation", slope, sampler), nk.Term("start", value, X[:2])]
    model = build(terms, optimizer=still())
    logs = fit(model, epochs=3, callbacks=[CollocationAlarm(every_epochs=1, patience=1)])
    assert list(logs).count("held_out_loss/equation") == 1
    assert "held_out_loss/start" not in logs
    assert len(set(logs["held_out_loss/equation"])) == 1
    assert len(set(logs["loss/equation"])) == 3


def test_points_held_out_are_not_those_of_the_same_seed():
    sampler = Recorded()
    terms = [nk.Term("equation", slope, sampler.fixed(seed=0)), nk.Term("start", value, X[:2])]
    fit(build(terms, optimizer=still()), callbacks=[CollocationAlarm({"equation": sampler})])
    trained, held_out = sampler.drawn
    assert np.min(np.abs(trained - held_out.T)) > 1e-6


def redrawing(epochs, **kwargs):
    """The points of the term at each epoch, and the model's compiled steps."""
    terms = [nk.Term("equation", slope, X[:4]), nk.Term("start", value, X[:2])]
    model = build(terms, optimizer=still())
    alarm = CollocationAlarm({"equation": Recorded()}, redraw_every_epochs=2, patience=1)
    points, steps = [], []

    def note(epoch, logs):
        points.append(np.array(model.terms[0].points))
        steps.append(model.train_function)

    note = keras.callbacks.LambdaCallback(on_epoch_end=note)
    fit(model, epochs=epochs, callbacks=[alarm, note], **kwargs)
    return points, steps


def test_points_are_redrawn_at_an_interval_and_compiled_anew_once():
    points, steps = redrawing(6)
    np.testing.assert_array_equal(points[0], X[:4])
    for first, second in (points[:2], points[2:4], points[4:]):
        np.testing.assert_array_equal(first, second)
    assert np.min(np.abs(points[2] - points[4].T)) > 1e-6
    assert steps[0] is steps[1] is not steps[2]
    assert all(step is steps[2] for step in steps[3:])
    resumed, _ = redrawing(6, initial_epoch=5)
    np.testing.assert_array_equal(resumed[0], points[5])


def test_the_tags_of_tensorboard(tmp_path):
    writer = nk.callbacks.NTKTensorBoard(tmp_path, max_share=1)
    fit(build(optimizer=still()), callbacks=[CollocationAlarm({"equation": X + 0.01}), writer])
    (path,) = tmp_path.glob("events*")
    tags = {v.tag for e in tf.compat.v1.train.summary_iterator(str(path)) for v in e.summary.value}
    assert {"held_out_loss", "held_out_loss/equation"} <= tags


REFUSED = {
    "nothing to follow": ({}, "no points that a PINNModel is not trained on"),
    "a name that is no term's": ({"held_out": {"speed": X}}, "must be names of terms"),
    "points that are none": ({"held_out": {"equation": [[]]}}, "positive length"),
    "nothing to redraw": (
        {"held_out": {"equation": X}, "redraw_every_epochs": 5},
        "needs terms with fixed points for which held_out has a sampler",
    ),
    "another number": (
        {"held_out": {"equation": BOX.interior(50)}, "redraw_every_epochs": 5},
        "has 6 points, and the sampler in held_out to redraw them from draws 50",
    ),
    "no interval": ({"every_epochs": 0}, "every_epochs must be an integer of at least 1"),
    "no patience": ({"patience": 0}, "patience must be an integer of at least 1"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_followed_is_refused(case):
    arguments, message = REFUSED[case]
    terms = [nk.Term("equation", slope, X), nk.Term("start", value, X[:2])]
    with pytest.raises(ValueError, match=message):
        fit(build(terms, net=network()), callbacks=[CollocationAlarm(**arguments)])
