"""A strategy of one device, as on a machine with one GPU: the same training as without."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import ntk_keras as nk
from ntk_keras.weighting import NTK, ExactNTK, Gate, SelfAdaptive, Uncertainty
from tests.support.models import X, build, fit, network, numbers, slope, value

MIRRORED = tf.distribute.MirroredStrategy(
    ["CPU:0"], cross_device_ops=tf.distribute.ReductionToOneDevice()
)
ONE = tf.distribute.OneDeviceStrategy("CPU:0")
BOX = nk.domains.Box(x=(0, 1))
SAMPLER = BOX.interior(6)
CASES = {
    "defaults": (lambda: "ntk", {}),
    "XLA": (lambda: "ntk", {"jit_compile": True}),
    "eager": (lambda: "ntk", {"run_eagerly": True}),
    "two steps at a time": (
        lambda: NTK("reverse", num_initial_probes=2),
        {"steps_per_execution": 2},
    ),
    "gated, every second step": (lambda: ExactNTK(update_every=2, gate=Gate()), {}),
    "predictor": (lambda: NTK("block-predictor", num_initial_probes=2), {}),
    "an optimizer, every second step": (lambda: Uncertainty(update_every=2), {}),
    "masks, every second step": (lambda: SelfAdaptive(update_every=2), {"jit_compile": True}),
}


def built(weighting, options, points=X, residual=slope):
    terms = [nk.Term("equation", residual, points), nk.Term("start", value, X[:2])]
    adam = keras.optimizers.Adam(0.0625, global_clipnorm=1.0, use_ema=True)
    return build(terms, weighting(), net=network(), optimizer=adam, compiled=options)


STRATEGIES = [*((name, MIRRORED) for name in CASES), ("gated, every second step", ONE)]


@pytest.mark.parametrize(("name", "strategy"), STRATEGIES)
def test_one_device_trains_as_no_strategy_does(name, strategy):
    weighting, options = CASES[name]
    points = X if options.get("jit_compile") else SAMPLER  # XLA draws other numbers
    with strategy.scope():
        shared = built(weighting, options, points)
    # Eagerly, as tracing takes longer, but for differences, which magnify rounding.
    alone = built(weighting, {"run_eagerly": name not in ("eager", "predictor")}, points)
    one, two = (fit(model, steps=4) for model in (alone, shared))
    for key, expected in one.items():
        np.testing.assert_allclose(two[key], expected, rtol=1e-4, err_msg=key)
    pairs = zip(numbers(shared.variables), numbers(alone.variables), strict=True)
    for a, b in pairs:
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-6)
    assert shared.evaluate(verbose=0) == pytest.approx(alone.evaluate(verbose=0), rel=1e-3)


def test_one_device_keeps_what_was_before_a_step_that_overflows():
    def steep(u, points):
        return 1e17 * value(u, points)

    with MIRRORED.scope():
        model = built(lambda: "constant", {}, residual=steep)
    before = numbers([*model.trainable_variables, *model.optimizer.variables, model.random_state])
    with pytest.raises(nk.TrainingDivergedError, match=r"Step 0: the gradient .* Adam, made"):
        fit(model, steps=2)
    after = numbers([*model.trainable_variables, *model.optimizer.variables, model.random_state])
    for a, b in zip(after, before, strict=True):
        np.testing.assert_array_equal(a, b)


def test_half_precision_on_one_device_finds_its_scale():
    with MIRRORED.scope():
        net = nk.networks.feedforward(BOX, width=4, depth=1, dtype="mixed_float16")
        model = build([nk.Term("large", lambda u, p: value(u, p) - 10, X)], net=net)
    fit(model, steps=12)
    assert float(model.optimizer.dynamic_scale.numpy()) < 2.0**15
    assert 0 < int(model.optimizer.iterations.numpy()) < 12


def test_gradients_that_accumulate_are_refused():
    adam = keras.optimizers.Adam(gradient_accumulation_steps=2)
    with MIRRORED.scope(), pytest.raises(ValueError, match="gradient_accumulation_steps=2"):
        build(optimizer=adam)
    assert build(optimizer=keras.optimizers.Adam(gradient_accumulation_steps=2)).optimizer.built


def test_averages_that_overwrite_variables_in_training_are_refused():
    def averaged():
        return keras.optimizers.Adam(use_ema=True, ema_overwrite_frequency=3)

    for adam in (averaged(), keras.optimizers.LossScaleOptimizer(averaged())):
        with MIRRORED.scope(), pytest.raises(ValueError, match="ema_overwrite_frequency=3"):
            build(optimizer=adam)
    fit(build(optimizer=averaged()), steps=3)
