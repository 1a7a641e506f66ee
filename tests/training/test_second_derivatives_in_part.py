"""Second derivatives of networks that are piecewise linear in part, or where no layer says so."""

import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf

import ntk_keras as nk
from ntk_keras.derivatives import laplacian

X = np.linspace(0, 1, 12)[:, None].astype("float32")


def hidden(x, activation):
    return keras.layers.Dense(1)(keras.layers.Dense(8, activation)(x))


def two_outputs():
    x = keras.Input((1,))
    return keras.Model(x, {"u": hidden(x, "tanh"), "k": hidden(x, "relu")})


def build(network, residual):
    return nk.PINNModel(network, [nk.Term("a", residual, X)], "constant", seed=0)


def by_tape(choose):
    def residual(v, x):
        with tf.GradientTape() as outer:
            outer.watch(x)
            with tf.GradientTape() as inner:
                inner.watch(x)
                values = choose(v, x)
            slope = inner.gradient(values, x)
        twice = outer.gradient(slope, x, unconnected_gradients="zero")
        return twice[:, 0] + v(x)["k"][:, 0] + v(x)["u"][:, 0]

    return residual


SMOOTH = {
    "beside it": lambda v, x: (v["k"](x) * laplacian(v["u"], x))[:, 0],
    "alone": lambda v, x: laplacian(v["u"], x)[:, 0],
    "by a tape": by_tape(lambda v, x: v["u"](x)),
    "by a tape, of all": by_tape(lambda v, x: v(x)["u"]),
}
BENT = {
    "alone": lambda v, x: laplacian(v["k"], x)[:, 0] + v["u"](x)[:, 0],
    "beside a smooth one": lambda v, x: laplacian(v["u"], x)[:, 0] + laplacian(v["k"], x)[:, 0],
    "by a tape": by_tape(lambda v, x: v["k"](x)),
    "by a tape, of all": by_tape(lambda v, x: v(x)["k"]),
}


@pytest.mark.parametrize("name", SMOOTH)
def test_a_smooth_output_of_a_network_that_has_others_passes(name):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        build(two_outputs(), SMOOTH[name])


@pytest.mark.parametrize("name", BENT)
def test_a_piecewise_linear_output_is_refused(name):
    with pytest.raises(ValueError, match="activation relu is piecewise linear: they are zero"):
        build(two_outputs(), BENT[name])


def functional(function):
    x = keras.Input((1,))
    return keras.Model(x, x * (1 - x) * keras.layers.Dense(1)(function(keras.layers.Dense(8)(x))))


class OwnCall(keras.Model):
    def __init__(self, combine):
        super().__init__()
        self.first, self.last = keras.layers.Dense(8), keras.layers.Dense(1)
        self.combine = combine

    def call(self, x):
        return self.combine(x, self.first, self.last)


UNNAMED = {
    "an operation": lambda: functional(keras.ops.relu),
    "maximum": lambda: functional(lambda z: keras.ops.maximum(z, 0.0)),
    "times x": lambda: OwnCall(lambda x, d, e: x * e(tf.nn.relu(d(x)))),
    "of a sine": lambda: OwnCall(lambda x, d, e: e(tf.nn.relu(d(tf.sin(x))))),
}
UNNAMED_SMOOTH = {
    "an operation": lambda: functional(keras.ops.arctan),
    "pieces that fit": lambda: functional(keras.ops.celu),
    "a sharp bend": lambda: OwnCall(lambda x, d, e: e(tf.tanh(d(tf.sin(200.0 * x))))),
    "never below": lambda: OwnCall(lambda x, d, e: e(tf.tanh(d(tf.sqrt(tf.maximum(x**2, 0) + 1))))),
}


@pytest.mark.parametrize("name", UNNAMED)
def test_bends_that_no_layer_names_are_warned_of(name):
    with pytest.warns(UserWarning, match="a part of layer .* piecewise linear, whose bends"):
        build(UNNAMED[name](), lambda u, x: laplacian(u, x)[:, 0])


@pytest.mark.parametrize("name", UNNAMED_SMOOTH)
def test_smooth_functions_that_no_layer_names_pass(name):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        build(UNNAMED_SMOOTH[name](), lambda u, x: laplacian(u, x)[:, 0])
