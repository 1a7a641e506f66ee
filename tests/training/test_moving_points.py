"""Points that move in a model: when, by which residual, saved with it, and without tracing anew."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import ntk_keras as nk
from ntk_keras.domains import R3, RAD, RAR, Box, Moved, MovingSampler
from tests.support.models import Disturbance, assert_same, build, fit, network, state, still

BOX = Box(t=(0, 1), x=(-1, 1))
REGISTER = keras.saving.register_keras_serializable("moving")


@REGISTER
def equation(u, points):
    u_t = nk.derivatives.partial(u, points, "t")[:, 0]
    return u_t - 1 / (points[:, 1] ** 2 + 0.1)


@REGISTER
def value(u, points):
    return u(points)[:, 0]


@REGISTER
def periodic(u, points):
    lower, upper = points
    return u(lower)[:, 0] - u(upper)[:, 0]


class Traced:
    """A residual that counts how often it is called by Python."""

    def __init__(self):
        self.calls = 0

    def __call__(self, u, points):
        self.calls += 1
        return equation(u, points)


class Followed(keras.callbacks.Callback):
    """The points after each step, and what was traced by then."""

    def __init__(self, residual=None):
        super().__init__()
        self.residual, self.points, self.calls = residual, [], []

    def on_train_batch_end(self, batch, logs=None):
        self.points.append(tf.nest.flatten(self.model.current_points()["equation"])[0])
        self.calls.append(self.residual and self.residual.calls)


def terms(sampler, residual=equation):
    return [
        nk.Term("equation", residual, sampler),
        nk.Term("start", value, BOX.face(t=0).sample(4)),
    ]


def eager(moving, weighting="constant", **kwargs):
    """Of still parameters; built in less time than it takes to compile."""
    kwargs = {"net": network(inputs=2), "optimizer": still()} | kwargs
    return build(moving, weighting, compiled={"run_eagerly": True}, **kwargs)


@pytest.fixture(scope="module")
def weighted():
    """A model of still parameters whose points have moved twice, and where they were."""
    model = eager(terms(RAD(BOX.interior(40), every=3, importance_weights=True)))
    followed = Followed()
    first = model.current_points()["equation"]
    fit(model, steps=7, callbacks=[followed])
    return model, first, followed


def test_points_stay_until_it_is_time(weighted):
    _, first, followed = weighted
    for index in (0, 1):
        np.testing.assert_array_equal(followed.points[index], first)
    for start in (2, 5):
        assert not np.isin(followed.points[start], followed.points[start - 1]).any()
    for index in (3, 4, 6):
        np.testing.assert_array_equal(followed.points[index], followed.points[index - 1])


def test_points_lie_where_the_residual_is_large(weighted):
    model, first, followed = weighted
    before, after = (
        np.mean(np.abs(model.residuals({"equation": at})["equation"]))
        for at in (first, followed.points[-1])
    )
    assert after > 1.2 * before


def test_losses_and_traces_have_the_importance_weights_and_residuals_do_not(weighted):
    model, _, _ = weighted
    block = model.blocks()["equation"]
    weights = block.points.factors.numpy() ** 2
    plain = model.residuals()["equation"]
    np.testing.assert_allclose(block(), np.sqrt(weights) * plain, rtol=1e-5)
    assert np.ptp(weights) > 0.5
    uniform = BOX.interior(4000, "sobol").fixed(0)
    mean = np.mean(model.residuals({"equation": uniform})["equation"] ** 2)
    assert np.mean(weights * plain**2) == pytest.approx(mean, rel=0.25) != np.mean(plain**2)
    variables = model.trainable_variables
    bare = nk.Block(block.residual, block.points.points)
    np.testing.assert_allclose(
        nk.kernel.diagonal({"equation": block}, variables)["equation"],
        weights * nk.kernel.diagonal({"equation": bare}, variables)["equation"],
        rtol=1e-4,
    )
    assert model.derivatives_summary().count("not factored") == 0


def test_given_points_move_nothing(weighted):
    model, *_ = weighted
    before = model.current_points()["equation"]
    fit(model, {"equation": BOX.interior(9).fixed(0)}, steps=3)
    np.testing.assert_array_equal(model.current_points()["equation"], before)


def test_r3_moves_at_every_step_by_the_residual_of_the_step():
    model = eager(terms(R3(BOX.interior(30))))
    first, followed = model.current_points()["equation"], Followed()
    fit(model, steps=3, callbacks=[followed])
    for old, new in zip([first, *followed.points[:-1]], followed.points, strict=True):
        sizes = np.abs(model.residuals({"equation": old})["equation"])
        stays = np.all(old == new, axis=1)
        np.testing.assert_array_equal(stays, sizes > np.mean(sizes))


@pytest.mark.slow  # seconds of XLA
def test_they_move_under_xla():
    rad = RAD(BOX.interior(6), every=2)
    net, compiled = network(inputs=2), {"jit_compile": True}
    model = build(terms(rad), net=net, optimizer=still(), compiled=compiled)
    followed = Followed()
    fit(model, steps=3, callbacks=[followed])
    assert not np.isin(followed.points[1], followed.points[0]).any()
    np.testing.assert_array_equal(followed.points[2], followed.points[1])


def every_kind():
    """All samplers that move beside NTK weights and the gate."""
    moving = [
        nk.Term("equation", equation, RAD(BOX.interior(8), every=2, importance_weights=True)),
        nk.Term("ends", periodic, R3(BOX.periodic("x", 4))),
        nk.Term("start", value, RAR(BOX.face(t=0).sample(6), every=2)),
    ]
    weights = nk.weighting.NTK("exact", averaging_rate=0.5, gate=nk.weighting.Gate())
    return eager(moving, weights, optimizer=keras.optimizers.Adam(0.01))


def test_a_saved_run_goes_on_bit_for_bit(tmp_path):
    model, folder = every_kind(), tmp_path
    checkpoint = nk.callbacks.Checkpoint(folder / "state.weights.h5")
    first = state(model)["next points"]
    fit(model, steps=2, callbacks=[checkpoint])
    between = state(model)
    assert not any(np.array_equal(a, b) for a, b in zip(first, between["next points"], strict=True))
    model.save(folder / "model.keras")
    fit(model, steps=2)
    loaded = keras.models.load_model(folder / "model.keras")
    assert_same(state(loaded), between)
    fit(loaded, steps=2)
    assert_same(state(loaded), state(model))
    assert checkpoint.restore(loaded) == 1
    assert_same(state(loaded), between)


def test_they_move_beside_natural_gradients_without_tracing_again():
    residual = Traced()
    net = network(inputs=2, dtype="float64")
    rad = RAD(BOX.interior(10), every=2, importance_weights=True)
    model = build(terms(rad, residual), "ntk", net=net, optimizer=nk.optimizers.NaturalGradient())
    followed = Followed(residual)
    losses = fit(model, epochs=2, steps=3, callbacks=[followed])["loss/equation"]
    assert len(set(followed.calls)) == 1
    assert not np.isin(followed.points[1], followed.points[0]).any()
    np.testing.assert_array_equal(followed.points[2], followed.points[1])
    assert losses[1] < losses[0]


class Told(MovingSampler):
    """Stays where it is, with importance weights, and keeps what a model tells it."""

    importance_weights = True

    def moved(self, points, sizes, size_at, seed, dtype):
        self.told = points, sizes, size_at(points)
        return Moved(points, np.linspace(0.5, 2, self.num_points))


class Undecided(MovingSampler):
    """Gives weights although it says that it has none, or the reverse."""

    def __init__(self, sampler, importance_weights):
        super().__init__(sampler, every=1)
        self.importance_weights = importance_weights

    def moved(self, points, sizes, size_at, seed, dtype):
        return Moved(points, None if self.importance_weights else tf.ones_like(sizes))


@pytest.mark.parametrize(("says", "gives"), [(True, "no weights"), (False, "weights")])
def test_weights_that_a_sampler_does_not_speak_of_are_refused(says, gives):
    model = eager(terms(Undecided(BOX.interior(4), says)))
    message = rf"Undecided.moved must.*Received importance_weights={says} and {gives}\."
    with pytest.raises(ValueError, match=message):
        fit(model)


def test_entries_that_wait_by_causal_weights_draw_no_points():
    told = Told(BOX.interior(8), every=1)
    causal = nk.weighting.Causal("equation", epsilons=0.1, num_bins=4, initial=())
    net, weights = network(inputs=2, dtype="float64"), nk.weighting.Constant(causal=causal)
    model = eager(terms(told), weights, net=net, reduction="mean")
    fit(model, steps=2)
    points, sizes, at_candidates = map(np.array, told.told)
    r, t = model.residuals({"equation": points})["equation"], points[:, 0]
    bins = np.minimum(4 * (t - np.min(t)) / np.ptp(t), 3).astype(int)
    # By importance: the mean over a bin is that over uniform points.
    rows = [np.flatnonzero(bins == k) for k in range(4)]
    importance = np.linspace(0.5, 2, 8)
    losses = [np.average(r[k] ** 2, weights=importance[k]) if len(k) else 0 for k in rows]
    by_bin = np.exp(-0.1 * np.cumsum([0, *losses[:-1]]))
    np.testing.assert_allclose(model.weighting.in_time.weights, by_bin, rtol=1e-10)
    for found in (sizes, at_candidates):
        np.testing.assert_allclose(found, np.sqrt(by_bin[bins]) * np.abs(r), rtol=1e-10)
    assert max(map(len, rows)) > 1 > 0.9 > by_bin[-1]


def test_a_step_that_is_not_finite_moves_no_points():
    spoilt = Disturbance(step=2, residual=np.nan)
    moving = [
        nk.Term("equation", equation, R3(BOX.interior(6))),
        nk.Term("spoilt", spoilt.residual, BOX.interior(3)),
    ]
    model = eager(moving)
    with pytest.raises(nk.TrainingDivergedError, match="'spoilt'"):
        fit(model, steps=4, callbacks=[spoilt])
    assert_same(state(model), spoilt.before)


def test_a_term_may_be_given_a_sampler_that_moves_later():
    model = eager(terms(BOX.interior(6)))
    fit(model)
    model.terms[0].points = R3(BOX.interior(9))
    followed = Followed()
    fit(model, steps=2, callbacks=[followed])
    assert [len(points) for points in followed.points] == [9, 9]
    assert np.isin(*followed.points).any()
    assert len(model.moving_points) == 1
    model.terms[0].points = BOX.interior(5)
    assert len(model.current_points()["equation"]) == 5
    assert not model.moving_points


def test_terms_of_columns_have_points_of_their_own():
    def both(u, points):
        return equation(u, points), value(u, points)

    columns = nk.Term.columns(["a", "b"], both, R3(BOX.interior(6)))
    points = build(columns, net=network(inputs=2)).current_points()
    assert not np.isin(points["a"], points["b"]).any()


def test_several_replicas_are_refused():
    refused = pytest.raises(ValueError, match="'equation': points that move cannot be shared")
    with tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]).scope(), refused:
        nk.PINNModel(network(inputs=2), terms(R3(BOX.interior(6))), "constant")
