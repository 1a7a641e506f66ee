"""A small model on two terms, its state, and what spoils it."""

import keras
import numpy as np
import tensorflow as tf

import ntk_keras as nk

X = np.linspace(0, 1, 6)[:, None]


START = np.array([[0.0], [0.1]])


# Keras keeps learning rates in float32: a power of two stays what it is.
RATE = 0.125


def network(outputs=1, inputs=1, dtype="float32", regularizer=None):
    """Two hidden layers of eight neurons, the same at every call."""
    units = {"first": 8, "second": 8, "last": outputs}
    dense = [
        keras.layers.Dense(
            count,
            None if name == "last" else "tanh",
            kernel_initializer=keras.initializers.GlorotNormal(seed=seed),
            kernel_regularizer=regularizer,
            dtype=dtype,
            name=name,
        )
        for seed, (name, count) in enumerate(units.items())
    ]
    return keras.Sequential([keras.Input((inputs,), dtype=dtype), *dense])


def value(u, points):
    return u(points)[:, 0]


def slope(u, points):
    return nk.derivatives.gradient(u, points)[:, 0, 0] - 1


def two_terms():
    return [nk.Term("equation", slope, X), nk.Term("start", value, START)]


def build(terms=None, weighting="constant", *, net=None, optimizer=None, compiled=None, **kwargs):
    """A compiled model; by default plain gradient descent on two terms with fixed points."""
    model = nk.PINNModel(net or network(), terms or two_terms(), weighting, seed=1, **kwargs)
    model.compile(
        optimizer or keras.optimizers.SGD(RATE), **{"jit_compile": False, **(compiled or {})}
    )
    return model


def still():
    """An optimizer that changes nothing, so that every step sees the same parameters."""
    return keras.optimizers.SGD(0.0)


def fit(model, x=None, *, epochs=1, steps=1, **kwargs):
    return model.fit(x, epochs=epochs, steps_per_epoch=steps, verbose=0, **kwargs).history


def numbers(variables):
    return [variable.numpy() for variable in variables]


def state(model):
    """Everything a run depends on."""
    return {
        "network": numbers(model.network.variables),
        "optimizer": numbers(model.optimizer.variables),
        "weighting": numbers(model.weighting.variables),
        # Where the random state stands shows in the next step's points.
        "next points": tf.nest.flatten([block.points for block in model.blocks().values()]),
    }


def assert_same(actual, desired):
    """Bit for bit."""
    assert actual.keys() == desired.keys()
    for part in desired:
        assert len(actual[part]) == len(desired[part])
        for a, b in zip(actual[part], desired[part], strict=True):
            np.testing.assert_array_equal(a, b, err_msg=part)


@tf.custom_gradient
def steep(x, factor):
    """The identity with a gradient of ``factor``."""
    return x, lambda upstream: (upstream * factor, None)


class Disturbance(keras.callbacks.Callback):
    """Spoils a term at one step, or from it on, and keeps the state from before it."""

    def __init__(self, step, residual=0.0, gradient=1.0, lasting=False):
        super().__init__()
        self.step, self.spoilt, self.lasting = step, (residual, gradient), lasting
        self.values = tf.Variable([0.0, 1.0], trainable=False)
        self.steps = 0

    def residual(self, u, points):
        shift, factor = tf.unstack(self.values)
        return steep(value(u, points) + shift, factor)

    def on_train_batch_begin(self, batch, logs=None):
        if self.steps == self.step:
            self.before = state(self.model)
        now = self.steps >= self.step if self.lasting else self.steps == self.step
        self.values.assign(self.spoilt if now else [0.0, 1.0])
        self.steps += 1
