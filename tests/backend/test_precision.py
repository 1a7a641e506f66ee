"""Mixed precision, clipping, averages of weights, schedules: each against the plain setting.

Double precision, steps_per_execution, run_eagerly and jit_compile: tests/test_model.py.
"""

import keras
import numpy as np
import pytest
import tensorflow as tf

import ntk_keras as nk
from ntk_keras.backend import precision

BOX = nk.domains.Box(x=(0, 1))
ENDS = np.array([[0.0], [1.0]])
EAGER = {"run_eagerly": True}  # Where a few steps are all: graphs take seconds.
REGISTER = keras.saving.register_keras_serializable("test_numerics")


@REGISTER
def curvature(u, points):
    return nk.derivatives.laplacian(u, points)[:, 0] + keras.ops.sin(3 * points[:, 0])


@REGISTER
def value(u, points):
    return u(points)[:, 0]


def build(policy="float32", weighting="constant", optimizer=None, residual=curvature, **compiled):
    network = nk.networks.feedforward(BOX, width=16, depth=1, dtype=policy, seed=0)
    terms = [nk.Term("equation", residual, BOX.interior(32)), nk.Term("ends", value, ENDS)]
    model = nk.PINNModel(network, terms, weighting, seed=1)
    model.compile(optimizer or keras.optimizers.Adam(1e-3), **{"jit_compile": False, **compiled})
    return model


def fit(model, epochs=3, steps=20, **kwargs):
    return model.fit(epochs=epochs, steps_per_epoch=steps, verbose=0, **kwargs).history


def theta(model):
    return np.concatenate([v.numpy().ravel() for v in model.trainable_variables])


def scaling_from(scale):
    return keras.optimizers.LossScaleOptimizer(keras.optimizers.Adam(1e-3), scale)


# Gradient accumulation.


def test_accumulated_gradients_are_those_of_one_larger_step():
    """Their mean over two steps at the same points and parameters is that of one."""
    points = BOX.interior(32).fixed(0)

    def trained(accumulated, steps):
        network = nk.networks.feedforward(BOX, width=16, depth=1, seed=0)
        terms = [nk.Term("equation", curvature, points), nk.Term("ends", value, ENDS)]
        model = nk.PINNModel(network, terms, "constant", seed=1)
        optimizer = keras.optimizers.SGD(1e-3, gradient_accumulation_steps=accumulated)
        model.compile(optimizer, jit_compile=False)
        return model, fit(model, epochs=2, steps=steps, callbacks=[nk.callbacks.Stopwatch()])

    (one, _), (two, history) = trained(None, 3), trained(2, 6)
    np.testing.assert_allclose(theta(two), theta(one), rtol=1e-5, atol=1e-7)
    assert history["step"] == [3, 6]


def test_a_run_with_accumulated_gradients_resumes_where_it_was(tmp_path):
    checkpoint = nk.callbacks.Checkpoint(tmp_path / "state.weights.h5")
    optimizers = [keras.optimizers.Adam(1e-3, gradient_accumulation_steps=3) for _ in range(2)]
    model, fresh = (build("float32", optimizer=optimizer) for optimizer in optimizers)
    fit(model, epochs=2, steps=4, callbacks=[checkpoint])
    assert checkpoint.restore(fresh) == 2


# Mixed precision.

WEIGHTINGS = {
    "exact-ntk": lambda: "exact-ntk",
    "ntk": lambda: "ntk",  # of three points in mixed precision, of all in single
    "predictor": lambda: nk.weighting.NTK("predictor"),
}


@pytest.fixture(scope="module")
def single():
    return {name: fit(build(weighting=make())) for name, make in WEIGHTINGS.items()}


@pytest.mark.parametrize(
    ("policy", "weighting"),
    [
        ("mixed_float16", "exact-ntk"),
        ("mixed_float16", "ntk"),
        ("mixed_bfloat16", "ntk"),
        ("mixed_bfloat16", "predictor"),
    ],
)
def test_weights_in_mixed_precision_follow_those_in_single(policy, weighting, single):
    # From this scale no step overflows, so that both runs take the same number of steps.
    optimizer = scaling_from(64.0) if policy == "mixed_float16" else None
    model = build(policy, WEIGHTINGS[weighting](), optimizer)
    history = fit(model)
    assert int(model.optimizer.iterations) == 60
    for key in ("weights/equation", "weights/ends"):
        np.testing.assert_allclose(history[key], single[weighting][key], rtol=0.1)
    np.testing.assert_allclose(
        history["loss/equation"], single[weighting]["loss/equation"], rtol=0.03
    )
    assert model.weighting.traces.dtype == "float32"
    assert {block().dtype for block in model.blocks().values()} == {tf.float32}
    assert f"computes in {policy.removeprefix('mixed_')}" in model.derivatives_summary()


def test_float16_is_scaled_and_steps_that_overflow_are_skipped():
    model = build("mixed_float16", "exact-ntk", "adam")
    fit(model, epochs=1)
    skipped = 20 - int(model.optimizer.iterations)
    assert 0 < skipped < 15
    assert float(model.optimizer.dynamic_scale) == 2.0 ** (15 - skipped)
    assert np.all(np.isfinite(theta(model)))


def test_the_scale_is_left_out_where_it_is_not_wanted_or_needed():
    assert not precision.scales(build("mixed_float16", auto_scale_loss=False).optimizer)


def test_a_run_whose_optimizer_skips_steps_resumes_where_it_was(tmp_path):
    checkpoint = nk.callbacks.Checkpoint(tmp_path / "state.weights.h5")
    model, fresh = (build("mixed_float16", optimizer="adam") for _ in range(2))
    fit(model, epochs=2, steps=10, callbacks=[checkpoint])
    assert int(model.optimizer.iterations) < 20  # the first scale is too large
    assert checkpoint.restore(fresh) == 2
    assert not precision.scales(build("mixed_bfloat16").optimizer)


def test_the_scale_of_the_loss_cancels():
    """In single precision a power of two changes no bit of the gradient."""
    rates = [keras.optimizers.SGD(1e-3, loss_scale_factor=s) for s in (1024.0, None)]
    scaled, plain = (build(optimizer=optimizer, **EAGER) for optimizer in rates)
    for model in (scaled, plain):
        fit(model, epochs=1, steps=5)
    np.testing.assert_array_equal(theta(scaled), theta(plain))


@tf.custom_gradient
def without_gradient(x):
    return x, lambda upstream: upstream * np.nan


def test_a_gradient_that_no_scale_mends_stops_training():
    model = build("mixed_float16", residual=lambda u, points: without_gradient(value(u, points)))
    before = theta(model)
    with pytest.raises(nk.TrainingDivergedError, match="Step 0: the gradient.*down to 6e-08"):
        fit(model, epochs=1, steps=100)
    np.testing.assert_array_equal(theta(model), before)
    assert float(model.optimizer.dynamic_scale) == precision.SMALLEST_SCALE


def test_a_saved_model_goes_on_in_mixed_precision(tmp_path):
    model = build("mixed_float16", "ntk")
    fit(model, epochs=1, steps=5)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert float(loaded.optimizer.dynamic_scale) == float(model.optimizer.dynamic_scale) < 2.0**15
    for goes_on in (model, loaded):
        fit(goes_on, epochs=1)
    np.testing.assert_array_equal(theta(loaded), theta(model))


def test_xla_compiles_mixed_precision():
    models = [
        build("mixed_bfloat16", "ntk", residual=value, jit_compile=jit) for jit in (False, True)
    ]
    plain, compiled = (fit(model, epochs=1, steps=5) for model in models)
    assert compiled["weights/ends"] == pytest.approx(plain["weights/ends"], rel=0.1)


# Optimizers' options.


def test_the_gradient_of_all_terms_is_clipped():
    rate, norm = 0.1, 0.01
    model = build(optimizer=keras.optimizers.SGD(rate, global_clipnorm=norm), **EAGER)
    plain = build(optimizer=keras.optimizers.SGD(rate), **EAGER)
    before = theta(model)
    for trained in (model, plain):
        fit(trained, epochs=1, steps=1)
    clipped, whole = theta(model) - before, theta(plain) - before
    assert np.linalg.norm(clipped) == pytest.approx(rate * norm, rel=1e-4)
    np.testing.assert_allclose(
        clipped / np.linalg.norm(clipped), whole / np.linalg.norm(whole), atol=2e-4
    )  # of the parameters' last bits, 6e-8, in a step of 1e-3


class Path(keras.callbacks.Callback):
    """Notes the parameters after every step."""

    def on_train_begin(self, logs=None):
        self.points = []

    def on_train_batch_end(self, batch, logs=None):
        self.points.append(theta(self.model))


def test_fit_ends_with_the_average_of_the_parameters_where_wanted():
    path = Path()
    fit(build(**EAGER), epochs=1, steps=5, callbacks=[path])
    average, *later = path.points
    for point in later:
        average = 0.5 * average + 0.5 * point
    model = build(optimizer=keras.optimizers.Adam(1e-3, use_ema=True, ema_momentum=0.5), **EAGER)
    fit(model, epochs=1, steps=5)
    np.testing.assert_allclose(theta(model), average, rtol=1e-5, atol=1e-6)


def test_a_schedule_is_two_rates_in_turn():
    schedule = keras.optimizers.schedules.PiecewiseConstantDecay([2], [1e-3, 1e-4])
    model = build(optimizer=keras.optimizers.Adam(schedule), **EAGER)
    fit(model, epochs=1, steps=6)
    by_hand = build(**EAGER)
    fit(by_hand, epochs=1, steps=3)
    by_hand.optimizer.learning_rate = 1e-4
    fit(by_hand, epochs=1, steps=3)
    np.testing.assert_array_equal(theta(model), theta(by_hand))
