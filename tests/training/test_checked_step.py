"""A training step is made whole or not at all, whatever the optimizer makes of finite gradients."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import ntk_keras as nk
from tests.support.models import X, build, fit, network, numbers, steep, value

ADAM, SGD = keras.optimizers.Adam, keras.optimizers.SGD


def everything(model):
    """All that a step may assign, with the number of each variable."""
    held = [*model.variables, *model.optimizer.variables, *model.weighting.state]
    return numbers(v for v in held if v is not model.failure_steps)


def assert_as_before(model, before):
    for now, then in zip(everything(model), before, strict=True):
        np.testing.assert_array_equal(now, then)
        assert np.all(np.isfinite(now))


class Before(keras.callbacks.Callback):
    """Keeps the state from before the step that is to fail."""

    def __init__(self, step):
        super().__init__()
        self.step = step

    def on_train_batch_begin(self, batch, logs=None):
        if batch == self.step:
            self.state = everything(self.model)


class Spoil(Before):
    """Sets a variable, too."""

    def __init__(self, step, spoil):
        super().__init__(step)
        self.spoil = spoil

    def on_train_batch_begin(self, batch, logs=None):
        super().on_train_batch_begin(batch, logs)
        self.spoil.assign(batch >= self.step)


def beam(u, points):
    """A residual whose gradients are finite in float32, and their squares not."""
    return 2e11 * nk.derivatives.partial(u, points, 0, 0, 0, 0)[:, 0] - 1e3


def strong(u, points):
    """One like it that XLA compiles in less time."""
    return 1e17 * value(u, points)


OPTIMIZERS = {
    "squares overflow": lambda: ADAM(1e-3),
    "a norm overflows": lambda: ADAM(1e-3, global_clipnorm=1),
    "the step overflows": lambda: SGD(1e30),
    "zero by zero": lambda: ADAM(1e-3, epsilon=0.0),
    "averages of parameters": lambda: SGD(1e30, use_ema=True, ema_overwrite_frequency=1),
}


@pytest.mark.parametrize("jit_compile", [False, True], ids=["no XLA", "XLA"])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_an_update_that_overflows_is_refused_at_its_own_step(name, jit_compile):
    terms = [nk.Term("strong", strong, X)]
    if name == "zero by zero":
        # With a bias in the last layer that the derivative does not depend on: 0 / 0.
        terms = [nk.Term("flat", lambda u, p: nk.derivatives.gradient(u, p)[:, 0, 0], X)]
    optimizer = OPTIMIZERS[name]()
    model = build(terms, optimizer=optimizer, compiled={"jit_compile": jit_compile})
    before = everything(model)
    kind = type(optimizer).__name__
    message = f"Step 0: the gradient of the loss is finite, but what the optimizer, {kind}, made"
    with pytest.raises(nk.TrainingDivergedError, match=message):
        fit(model, steps=3)
    assert_as_before(model, before)


def test_steps_of_one_execution_stop_at_the_first_that_is_refused():
    model = build([nk.Term("beam", beam, X)], optimizer=ADAM(), compiled={"steps_per_execution": 3})
    before = everything(model)
    with pytest.raises(nk.TrainingDivergedError, match=r"Step 0: .* Adam, made"):
        fit(model, steps=3)
    assert_as_before(model, before)


class Counts(keras.layers.Layer):
    """Counts how often it was called in training."""

    def build(self, input_shape):
        self.calls = self.add_weight(shape=(), initializer="zeros", trainable=False, name="calls")

    def call(self, inputs, training=False):
        if training:
            self.calls.assign_add(1.0)
        return inputs


def stateful():
    """A network whose layers assign averages, a count and the seed of noise."""
    return keras.Sequential(
        [
            keras.Input((1,)),
            keras.layers.Dense(8, "tanh"),
            keras.layers.BatchNormalization(),
            Counts(),
            keras.layers.GaussianNoise(0.1, seed=1),
            keras.layers.Dense(1),
        ]
    )


FAULTS = {
    "residual": "the residual of term 'faulty'",
    "gradient": "the gradient of .* became",
    "optimizer": "Adam, made",
}


@pytest.mark.parametrize("weighting", ["constant", "uncertainty", "relobralo"])
def test_a_refused_step_gives_back_everything_it_assigned(weighting):
    """By every fault in turn, in one graph, with sound steps in between."""
    present = {fault: tf.Variable(False, trainable=False) for fault in FAULTS}

    def residual(u, points):
        values = value(u, points)
        values = tf.where(present["residual"], np.nan, values)
        factor = tf.where(present["gradient"], np.inf, 1.0)
        return steep(values, tf.where(present["optimizer"], 1e25, factor))

    sampler = nk.domains.Box(x=(0, 1)).interior(6)
    model = build(
        [nk.Term("faulty", residual, sampler)], weighting, net=stateful(), optimizer=ADAM()
    )
    for fault, message in FAULTS.items():
        spoilt = Spoil(2, present[fault])
        with pytest.raises(nk.TrainingDivergedError, match=message):
            fit(model, steps=4, callbacks=[spoilt])
        assert_as_before(model, spoilt.state)
        present[fault].assign(False)
    assert model.optimizer.iterations.numpy() == 2 * len(FAULTS)


def test_a_layer_that_assigns_infinity_is_named():
    class Overflows(Counts):
        def call(self, inputs, training=False):
            if training:
                self.calls.assign(self.calls * 1e30 + 1e10)
            return inputs

    net = keras.Sequential([keras.Input((1,)), Overflows(), keras.layers.Dense(1)])
    model = build([nk.Term("sound", value, X)], net=net)
    before = Before(1)
    with pytest.raises(nk.TrainingDivergedError, match="Step 1: a variable that a layer assigns"):
        fit(model, steps=3, callbacks=[before])
    assert_as_before(model, before.state)


def test_sums_that_overflow_where_no_entry_does_refuse_nothing():
    model = build([nk.Term("sound", value, X)], net=network())
    model.optimizer.build(model.trainable_variables)
    model.network.layers[1].bias.assign(np.full(8, 3e38))
    fit(model, steps=2)
    assert model.optimizer.iterations.numpy() == 2


def test_train_on_batch_raises_and_goes_on_once_the_cause_is_gone():
    model = build([nk.Term("now", value)])
    before = everything(model)
    with pytest.raises(nk.TrainingDivergedError, match="Step 0: the residual of term 'now'"):
        model.train_on_batch({"now": np.full((3, 1), np.nan)})
    assert_as_before(model, before)
    model.train_on_batch({"now": X})
    assert model.optimizer.iterations.numpy() == 1
