"""Second derivatives of piecewise linear networks: refused before training, by whichever way."""

import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf

import ntk_keras as nk

X = np.random.default_rng(0).uniform(20, 60, (12, 2))  # metres


def sequential(*hidden):
    return keras.Sequential(
        [
            keras.Input((2,)),
            keras.layers.Rescaling([1 / 20, 1 / 20], [-2.0, -2.0]),
            *hidden,
            keras.layers.Dense(1),
        ]
    )


def dense(activation=None):
    return keras.layers.Dense(8, activation)


def bent(z):
    return tf.where(z > 0, z, 0.1 * z)


class Bent(keras.layers.Layer):
    def call(self, z):
        return tf.maximum(z, 0.0)


class OwnCall(keras.Model):
    def __init__(self):
        super().__init__()
        self.first, self.last = dense(), dense()

    def call(self, x):
        return self.last(keras.ops.relu(self.first(x / 60)))[:, :1]


def operations():
    x = keras.Input((2,))
    return keras.Model(x, keras.layers.Dense(1)(keras.ops.relu(dense()(x / 60))))


def by_hand():
    kernels = [tf.Variable(tf.random.stateless_normal(s, [1, 2])) for s in ([2, 8], [8, 1])]
    return nk.networks.CallableNetwork(
        lambda x: tf.nn.relu(x / 60 @ kernels[0]) @ kernels[1], kernels
    )


PIECEWISE_LINEAR = {
    "relu": lambda: sequential(dense("relu")),
    "leaky_relu": lambda: sequential(dense("leaky_relu")),
    "hard_sigmoid": lambda: sequential(dense("hard_sigmoid")),
    "hard_tanh": lambda: sequential(dense("hard_tanh")),
    "relu6": lambda: sequential(dense("relu6")),
    "one's own activation": lambda: sequential(dense(bent)),
    "a layer": lambda: sequential(dense(), keras.layers.LeakyReLU()),
    "a layer with parameters": lambda: sequential(dense(), keras.layers.PReLU()),
    "one's own layer": lambda: sequential(dense(), Bent()),
    "a model's own call": OwnCall,
    "operations": operations,
    "no Keras model": by_hand,
}


def laplacian(u, x):
    return nk.derivatives.laplacian(u, x)[:, 0] - 1


def own_tapes(u, x):
    with tf.GradientTape() as outer:
        outer.watch(x)
        with tf.GradientTape() as inner:
            inner.watch(x)
            values = u(x)
        slope = inner.gradient(values, x)[:, 0]
    return outer.gradient(slope, x, unconnected_gradients="zero")[:, 1] + u(x)[:, 0]


def columns(u, x):
    """Klein-Gordon, of columns that a persistent tape watches, as most code has it."""
    with tf.GradientTape(persistent=True) as tape:
        t, x = x[:, :1], x[:, 1:]
        tape.watch([t, x])
        values = u(tf.concat([t, x], axis=1))
        u_t = tape.gradient(values, t)
    return tape.gradient(u_t, t, unconnected_gradients="zero")[:, 0] + values[:, 0]


def by_tf_gradients(u, x):
    values = u(x)
    slope = tf.gradients(values, x)[0][:, 0]
    return tf.gradients(slope, x, unconnected_gradients="zero")[0][:, 0] + values[:, 0]


def first_order(u, x):
    return nk.derivatives.gradient(u, x)[:, 0, 0] - u(x)[:, 0]


def first_order_by_tape(u, x):
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(x)
        values = u(x)
    return tape.gradient(values, x)[:, 0] - values[:, 0]


def build(network, *residuals, **kwargs):
    terms = [nk.Term(residual.__name__, residual, X) for residual in residuals]
    return nk.PINNModel(network, terms, "constant", seed=0, **kwargs)


@pytest.mark.parametrize("name", list(PIECEWISE_LINEAR))
def test_a_piecewise_linear_network_is_refused(name):
    with pytest.raises(ValueError, match="Term 'laplacian'.* piecewise linear: they are zero"):
        build(PIECEWISE_LINEAR[name](), laplacian)


def test_the_message_names_layer_and_mend():
    with pytest.raises(ValueError, match="activation relu is piecewise") as refusal:
        build(sequential(keras.layers.Dense(8, "relu", name="hidden")), laplacian)
    assert "layer 'hidden'" in str(refusal.value)
    assert '"tanh", "sin"' in str(refusal.value)


@pytest.mark.parametrize("residual", [own_tapes, columns, by_tf_gradients])
def test_whichever_way_a_residual_takes_them(residual):
    with pytest.raises(ValueError, match="second derivatives of the network"):
        build(sequential(dense("relu")), residual)


def test_registered_derivatives_make_no_difference():
    nk.derivatives.register_activation(
        bent, lambda z: [bent(z), tf.where(z > 0, 1.0, 0.1), 0 * z, 0 * z]
    )
    network = sequential(dense(bent))
    assert nk.derivatives.NetworkView(network).unsupported is None
    with pytest.raises(ValueError, match="activation bent is piecewise linear"):
        build(network, laplacian)


SMOOTH = ["tanh", "elu", "selu", "celu", "hard_silu", "softplus", "gelu", "mish", None]


@pytest.mark.parametrize("activation", SMOOTH)
def test_smooth_and_linear_networks_pass(activation):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        build(sequential(dense(activation)), own_tapes)


def test_first_derivatives_of_a_piecewise_linear_network_pass():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        build(sequential(dense("relu")), first_order, first_order_by_tape)


def test_a_network_that_is_piecewise_linear_in_part_is_told_of():
    with pytest.warns(UserWarning, match="activation relu is piecewise linear, whose bends"):
        build(sequential(dense("relu"), dense("tanh")), laplacian)


def test_a_loop_of_ones_own_is_warned_while_its_graph_is_built():
    network = sequential(dense("relu"))
    step = tf.function(lambda x: nk.derivatives.laplacian(network, x))
    with pytest.warns(UserWarning, match="bends of layer .* activation relu"):
        step.get_concrete_function(tf.constant(X, "float32"))


def test_saturated_networks_are_no_piecewise_linear_ones():
    """Far from the origin softplus has no second derivative in single precision either."""
    build(keras.Sequential([keras.Input((2,)), dense("softplus"), dense()]), own_tapes)


class OfTwo(keras.Model):
    """Of time and space in a call of its own, which no layer tells of."""

    def __init__(self, activation, by_name):
        super().__init__()
        self.bend, self.by_name = activation, by_name
        self.first, self.last = keras.layers.Dense(4), keras.layers.Dense(1)

    def call(self, inputs):
        t, x = (inputs["t"], inputs["x"]) if self.by_name else inputs
        return self.last(self.bend(self.first(tf.concat([t, x], axis=1))))


def bend_in_space(by_name):
    def residual(u, points):
        t, x = points[:, :1], points[:, 1:]
        with tf.GradientTape() as outer:
            outer.watch(x)
            with tf.GradientTape() as inner:
                inner.watch(x)
                value = u({"t": t, "x": x}) if by_name else u([t, x])
            slope = inner.gradient(value, x)
        return (outer.gradient(slope, x, unconnected_gradients="zero") + value)[:, 0]

    return residual


@pytest.mark.parametrize("by_name", [False, True])
def test_a_call_of_several_inputs_is_looked_at(by_name):
    def build(activation):
        term = nk.Term("bend", bend_in_space(by_name), np.random.default_rng(0).normal(size=(9, 2)))
        return nk.PINNModel(OfTwo(activation, by_name), [term], "constant")

    with pytest.raises(ValueError, match=r"and model 'of_two\w*' is piecewise linear.*zero"):
        build(tf.nn.relu)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        build(tf.tanh)
        build(tf.identity)
