import functools

import keras
import numpy as np
import pytest
import tensorflow as tf

from ntk_keras import PINNModel, Term, derivatives, domains, networks
from ntk_keras.networks import FourierFeatures, PeriodicEmbedding

BOX = domains.Box(t=(0, 2), x=(-1, 1))
BUILDERS = {
    "feedforward": networks.feedforward,
    "residual": networks.residual,
    "gated": networks.gated,
    "piratenet": functools.partial(networks.piratenet, fourier_scale=None),
}
every_builder = pytest.mark.parametrize("build", list(BUILDERS.values()), ids=list(BUILDERS))


def points_of(dtype="float64", n=6):
    return tf.constant(np.random.default_rng(1).uniform(0, 1, (n, 2)), dtype)


@every_builder
def test_a_network_has_the_shapes_asked_for(build, dtype):
    network = build(BOX, 3, width=7, depth=2, dtype=dtype, seed=1)
    values = network(points_of(dtype))
    assert values.shape == (6, 3)
    assert values.dtype == dtype
    assert derivatives.NetworkView(network).unsupported is None


@every_builder
@pytest.mark.parametrize("half", ["float16", "bfloat16"])
def test_a_mixed_policy_keeps_points_and_parameters_in_single_precision(build, half):
    network = build(BOX, 3, width=7, depth=2, dtype=f"mixed_{half}")
    assert network.inputs[0].dtype == "float32"
    assert {v.dtype for v in network.variables} == {"float32"}
    assert network(points_of("float32")).dtype == half


@every_builder
def test_equal_seeds_give_equal_networks(build):
    one, same, other = (build(BOX, width=4, depth=1, seed=seed) for seed in (1, 1, 2))
    for a, b in zip(one.get_weights(), same.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    assert any(np.any(a != b) for a, b in zip(one.get_weights(), other.get_weights(), strict=True))


@every_builder
def test_inputs_are_standardised_over_the_box(build):
    network = build(BOX, width=4, depth=1)
    standardised = network.get_layer("standardise")(BOX.grid(101, 101))
    np.testing.assert_allclose(np.mean(standardised, axis=0), 0, atol=1e-6)
    np.testing.assert_allclose(np.std(standardised, axis=0), 1, rtol=0.02)


def test_inputs_may_be_spread_wider_for_a_sine_network():
    network = networks.feedforward(
        BOX, width=4, depth=1, activation=keras.ops.sin, input_scale=1.75, dtype="float64"
    )
    scaled = network.get_layer("standardise")(BOX.grid(101, 101))
    np.testing.assert_allclose(np.mean(scaled, axis=0), 0, atol=1e-6)
    np.testing.assert_allclose(np.std(scaled, axis=0), 1.75, rtol=0.02)
    assert derivatives.NetworkView(network).unsupported is None
    with pytest.raises(ValueError, match="input_scale must be positive. Received input_scale=0"):
        networks.feedforward(BOX, input_scale=0)


@every_builder
@pytest.mark.parametrize("name", ["outputs", "width", "depth"])
def test_counts_are_checked(build, name):
    with pytest.raises(ValueError, match=f"{name} must be an integer of at least 1"):
        build(BOX, **{name: 0})


@every_builder
def test_a_number_of_inputs_in_place_of_a_box_is_refused(build):
    with pytest.raises(TypeError, match=r"box of its inputs.*Box\(t=.*Received 2"):
        build(2)


@every_builder
def test_a_flat_box_is_refused(build):
    with pytest.raises(ValueError, match="flat along an axis"):
        build(domains.Box(t=(0, 1), x=(1, 1)))


def values_of(network, *names):
    """Inputs and outputs of layers by hand, from the weights of those named."""
    return [[w.numpy() for w in network.get_layer(name).weights] for name in names]


def test_the_residual_network_adds_what_its_blocks_say():
    network = networks.residual(BOX, width=5, depth=1, dtype="float64")
    x = network.get_layer("standardise")(points_of()).numpy()
    first, inner, outer, output = values_of(
        network, "hidden", "block_1_inner", "block_1_outer", "output"
    )
    h = np.tanh(x @ first[0] + first[1])
    h = h + np.tanh(np.tanh(h @ inner[0] + inner[1]) @ outer[0] + outer[1])
    np.testing.assert_allclose(network(points_of()), h @ output[0] + output[1], rtol=1e-12)


def test_the_gated_network_blends_its_encodings():
    network = networks.gated(BOX, width=5, depth=2, dtype="float64")
    x = network.get_layer("standardise")(points_of()).numpy()
    names = ["encoding_1", "encoding_2", "hidden_1", "hidden_2", "output"]
    *hidden, output = values_of(network, *names)
    u, v = (np.tanh(x @ kernel + bias) for kernel, bias in hidden[:2])
    h = x
    for kernel, bias in hidden[2:]:
        z = np.tanh(h @ kernel + bias)
        h = (1 - z) * u + z * v
    np.testing.assert_allclose(network(points_of()), h @ output[0] + output[1], rtol=1e-12)


def test_fourier_features_are_cosines_and_sines_of_fixed_frequencies():
    layer = FourierFeatures(200, scale=3.0, seed=1, dtype="float64")
    points = points_of()
    phases = points.numpy() @ (layer(points) is not None and layer.frequencies.numpy())
    np.testing.assert_allclose(layer(points)[:, :200], np.cos(phases), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(layer(points)[:, 200:], np.sin(phases), rtol=1e-12, atol=1e-12)
    assert layer.trainable_variables == []
    # 400 draws: their standard deviation is known to 1 / sqrt(800).
    assert abs(np.std(layer.frequencies) / 3 - 1) < 5 / np.sqrt(800)


def test_a_periodic_embedding_makes_the_network_periodic():
    network = keras.Sequential(
        [
            keras.Input((2,), dtype="float64"),
            PeriodicEmbedding([None, 0.5], dtype="float64"),
            keras.layers.Dense(5, "tanh", dtype="float64"),
            keras.layers.Dense(1, dtype="float64"),
        ]
    )
    points = points_of()
    for function in (derivatives.gradient, derivatives.hessian_diagonal):
        for shift, same in (([0.0, 0.5], True), ([0.5, 0.0], False)):
            moved = function(network, points + tf.constant(shift, "float64"))
            assert np.allclose(function(network, points), moved, rtol=1e-9) == same


def test_harmonics_follow_one_another():
    embedding = PeriodicEmbedding([None, 0.5, 2.0], harmonics=2, dtype="float64")
    points = np.random.default_rng(0).uniform(size=(4, 3))
    t, x, y = points.T
    phases = [4 * np.pi * x, np.pi * y, 8 * np.pi * x, 2 * np.pi * y]
    expected = np.stack([*map(np.cos, phases), *map(np.sin, phases), t], axis=1)
    np.testing.assert_allclose(embedding(points), expected, rtol=1e-12, atol=1e-12)


def test_a_network_is_built_on_the_box_of_embedded_points():
    box = domains.Box(t=(0, 3), x=(-1, 1))
    for embedding in (PeriodicEmbedding([None, 2.0], harmonics=3), FourierFeatures(4)):
        embedded = embedding(points_of("float32"))
        inside = embedding.embed(box)
        assert networks.feedforward(inside, width=5)(embedded).shape == (len(points_of()), 1)
    inside = PeriodicEmbedding([None, 2.0]).embed(box)
    assert inside.axes == ("feature_1", "feature_2", "t")
    np.testing.assert_array_equal([inside.lower, inside.upper], [[-1, -1, 0], [1, 1, 3]])
    with pytest.raises(ValueError, match="has 1 periods, its inputs 2 columns"):
        PeriodicEmbedding([2.0]).embed(box)


@pytest.mark.parametrize("periods", [[], [None, None], [1.0, 0.0], [None, -1.0]])
def test_periods_are_checked(periods):
    with pytest.raises(ValueError, match=r"one period for each input.*Received \["):
        PeriodicEmbedding(periods)


def test_a_period_is_needed_for_each_input():
    with pytest.raises(ValueError, match="has 3 periods, its inputs 2 columns"):
        PeriodicEmbedding([1.0, None, None])(points_of())
    with pytest.raises(ValueError, match="harmonics"):
        PeriodicEmbedding([None, 1.0], harmonics=0)


@pytest.mark.parametrize(
    "layer",
    [
        lambda: FourierFeatures(3, 2.0, seed=1),
        lambda: PeriodicEmbedding([None, 2]),
        lambda: PeriodicEmbedding([None, 2], harmonics=3),
    ],
)
def test_an_embedding_is_saved_with_its_network(layer, tmp_path):
    network = keras.Sequential([keras.Input((2,)), layer(), keras.layers.Dense(2)])
    network.save(tmp_path / "network.keras")
    loaded = keras.models.load_model(tmp_path / "network.keras")
    np.testing.assert_array_equal(network(points_of("float32")), loaded(points_of("float32")))
    assert network.layers[0].get_config() == loaded.layers[0].get_config()
    expected = network.layers[0].compute_output_shape((None, 2))
    assert network.layers[1].kernel.shape[0] == expected[-1]


# Functions with variables of their own.


def function_of(variable):
    return networks.CallableNetwork(lambda x: tf.tanh(x @ variable), [variable])


def test_a_function_lends_its_variables():
    variable = tf.Variable([[0.5], [2.0]], dtype="float64", name="net/kernel")
    network = function_of(variable)
    assert [v.value is variable for v in network.trainable_variables] == [True]
    assert (network.dtype, network.trainable_variables[0].name) == ("float64", "net_kernel")
    network.set_weights([np.array([[1.0], [3.0]])])
    np.testing.assert_array_equal(variable, [[1.0], [3.0]])
    expected = np.tanh(points_of() @ variable.numpy())
    np.testing.assert_allclose(network(points_of()), expected, rtol=1e-12)


def test_keras_variables_and_frozen_ones_are_taken_as_they_are():
    own, frozen = keras.Variable(tf.ones([2, 1])), tf.Variable(2.0, trainable=False)
    network = networks.CallableNetwork(lambda x: frozen * (x @ own), [own, frozen])
    assert network.trainable_variables == [own]
    assert [v.value is frozen for v in network.non_trainable_variables] == [True]


def test_a_function_stands_among_layers():
    variable = tf.Variable([[0.5], [2.0]], dtype="float64")
    x = keras.Input((2,), dtype="float64")
    model = keras.Model(x, x[:, :1] * function_of(variable)(x))
    points = points_of().numpy()
    expected = points[:, :1] * np.tanh(points @ variable.numpy())
    np.testing.assert_allclose(model(points), expected, rtol=1e-12)
    assert [v.value is variable for v in model.trainable_variables] == [True]


def test_weights_of_a_function_are_saved_and_restored(tmp_path):
    def build(value):
        variable = tf.Variable([[value], [2.0]])
        residual = Term("wall", lambda u, x: u(x)[:, 0], points_of("float32", 3).numpy())
        model = PINNModel(function_of(variable), [residual], seed=0)
        model.compile("adam", run_eagerly=True, jit_compile=False)
        return model, variable

    model, variable = build(0.5)
    model.fit(verbose=0)
    model.save_weights(tmp_path / "model.weights.h5")
    again, restored = build(7.0)
    again.load_weights(tmp_path / "model.weights.h5")
    assert variable[0, 0] != 0.5
    np.testing.assert_array_equal(restored, variable)
    with pytest.raises(ValueError, match="save_weights"):
        model.save(tmp_path / "model.keras")


def test_a_residual_that_goes_around_u_reaches_the_variables_of_a_function():
    """Its Jacobian must not pass for a factored one without any factor."""
    variable = tf.Variable(np.full((2, 40), 0.1))
    network = networks.CallableNetwork(lambda x: x @ variable, [variable])
    points = points_of().numpy()
    model = PINNModel(network, [Term("around", lambda u, x: x @ variable, points)], "exact-ntk")
    model.compile(keras.optimizers.SGD(0.0), run_eagerly=True, jit_compile=False)
    model.fit(verbose=0)
    assert model.kernel_traces["around"] == pytest.approx(40 * np.sum(points**2), rel=1e-12)


def test_networks_without_a_name_can_be_joined():
    x = keras.Input((2,))
    parts = [build(BOX, width=4, depth=1) for build in BUILDERS.values() for _ in range(2)]
    joined = keras.Model(x, keras.layers.Concatenate()([part(x) for part in parts]))
    assert len({part.name for part in parts}) == len(parts) == joined.output_shape[-1]
    assert networks.feedforward(BOX, width=4, name="mine").name == "mine"
    keras.utils.clear_session()
    names = [networks.feedforward(BOX, width=4).name for _ in range(2)]
    assert names == ["network", "network_1"]
