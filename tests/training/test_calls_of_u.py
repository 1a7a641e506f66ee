"""What a residual may do with `u`: call it in every way, and ask it what it is made of."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import ntk_keras as nk

COLUMN = np.linspace(0, 1, 5)
POINTS = COLUMN[:, None]


def network():
    dense = [
        keras.layers.Dense(units, activation, kernel_initializer=keras.initializers.GlorotNormal(k))
        for k, (units, activation) in enumerate([(4, "tanh"), (1, None)])
    ]
    return keras.Sequential([keras.Input((1,)), *dense], name="net")


def build(residual, points=POINTS, weighting="ntk"):
    return nk.PINNModel(network(), [nk.Term("a", residual, points)], weighting, seed=0)


def laplacian(u, x):
    return nk.derivatives.laplacian(u, x)[:, 0]


CALLS = {
    "u(x)": lambda u, x: u(x)[:, 0],
    "u(x, training=True)": lambda u, x: u(x, training=True)[:, 0],
    "u(x, training=False)": lambda u, x: u(x, training=False)[:, 0],
    "u.call(x)": lambda u, x: u.call(x)[:, 0],
    "u.call(x, training=True)": lambda u, x: u.call(x, training=True)[:, 0],
    "u of [n]": lambda u, x: u(x[:, 0])[:, 0],
    "u of [n], training": lambda u, x: u(x[:, 0], training=True)[:, 0],
}


@pytest.mark.parametrize("way", list(CALLS))
def test_every_call_is_forward_and_factored(way):
    model = build(lambda u, x: CALLS[way](u, x) + laplacian(u, x))
    assert model._residuals.not_factored == {"a": None}
    assert "nested tapes" not in model.derivatives_summary()
    net, x = model.network, tf.constant(POINTS, "float32")
    desired = net(POINTS)[:, 0] + nk.derivatives.laplacian(net, x)[:, 0]
    np.testing.assert_allclose(model.blocks()["a"](), desired, rtol=1e-5, atol=1e-6)


def test_one_set_of_points_is_one_evaluation_however_it_is_called():
    model = build(lambda u, x: u(x)[:, 0] + u(x, training=True)[:, 0] + laplacian(u, x))
    assert "a: u, second_order(1)" in model.derivatives_summary()


def test_a_layer_that_minds_is_told_whether_it_is_training():
    noisy = keras.Sequential([keras.Input((1,)), keras.layers.Dropout(0.5), network()])
    view = nk.derivatives.NetworkView(noisy, training=True)
    x = tf.constant(POINTS, "float32")
    np.testing.assert_array_equal(view(x, training=False), noisy(x, training=False))
    assert np.any(view(x) != noisy(x, training=False))


def test_points_and_tapes_of_one_axis():
    def slope(u, x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            values = u(x)
        return tape.gradient(values, x)

    model = build(slope, COLUMN)
    x = tf.constant(POINTS, "float32")
    desired = nk.derivatives.gradient(model.network, x)[:, 0, 0]
    np.testing.assert_allclose(model.blocks()["a"](), desired, rtol=1e-5)


def test_u_is_made_of_what_the_network_is_made_of():
    net = network()
    u = nk.derivatives.NetworkView(net)
    assert u.layers == net.layers
    assert u.trainable_variables == net.trainable_variables
    assert u.weights == net.weights
    assert u.name == "net"
    assert u.get_layer(index=0) is net.layers[0]
    assert u.input_shape == (None, 1)
    with pytest.raises(AttributeError, match="'Sequential' object has no attribute 'nope'"):
        u.nope  # noqa: B018


def test_layers_may_be_applied_one_by_one():
    def by_layers(u, x):
        for layer in u.layers:
            x = layer(x)
        return x

    model = build(by_layers)
    np.testing.assert_allclose(model.blocks()["a"](), model.network(POINTS)[:, 0], rtol=1e-6)


@pytest.mark.parametrize(
    "residual",
    [
        lambda u, x: u(x)[:, 0] * len(x),
        lambda u, x: u(x)[:, 0] if tf.reduce_sum(x) > 0 else -u(x)[:, 0],
        lambda u, x: u(x)[:, 0] * float(x[0, 0]),
        lambda u, x: u(x)[:, 0] * sum(value for value in x[:, 0]),
    ],
)
def test_python_on_tensors_is_refused_with_the_way(residual):
    with pytest.raises(
        ValueError, match=r"not converted by AutoGraph.*Term\('a', tf.autograph.to_"
    ):
        build(residual)


def of_length_and_sign(u, x):
    values = u(x)[:, 0] / len(x)
    if x.shape[0] == 5 and x[0, 0] > -1:
        values = 2 * values
    return values


@pytest.mark.parametrize("convert", [tf.autograph.to_graph, tf.function])
def test_the_way_works(convert):
    model = build(convert(of_length_and_sign), weighting="constant")
    desired = 2 / 5 * model.network(POINTS)[:, 0]
    np.testing.assert_allclose(model.blocks()["a"](), desired, rtol=1e-6)


def test_numbers_without_gradient_are_refused():
    with pytest.raises(ValueError, match="no gradient passes. Call u\\(points\\)"):
        build(lambda u, x: u.predict(x)[:, 0])


def test_points_drawn_in_a_residual_are_told_of():
    with pytest.raises(ValueError, match="draws random points itself") as refusal:
        build(lambda u, x: u(tf.random.uniform([5, 1]))[:, 0])
    assert "points=box.interior(100)" in str(refusal.value)
    assert "Dropout" in str(refusal.value)


def test_columns_by_name_reach_the_network_as_they_are():
    inputs = {"t": keras.Input((1,), name="t"), "x": keras.Input((1,), name="x")}
    joined = keras.layers.Concatenate()(list(inputs.values()))
    net = keras.Model(inputs, keras.layers.Dense(1)(joined))

    def residual(u, points):  # watched columns are left to nested tapes
        with tf.GradientTape() as tape:
            tape.watch(points)
            values = u(points)
        return tape.gradient(values, points)["t"][:, 0]

    columns = {"t": POINTS, "x": 2 * POINTS}
    model = nk.PINNModel(net, [nk.Term("a", residual, columns)], "constant")
    slope = net.layers[-1].kernel[0, 0]
    np.testing.assert_allclose(model.blocks()["a"](), np.full(5, slope), rtol=1e-6)
