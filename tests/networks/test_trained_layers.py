"""Layers whose parameters are no kernels: derivatives, Jacobians, initialisation and files."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import ntk_keras as nk
from ntk_keras import derivatives, networks
from ntk_keras.kernel.linearization import Linearization
from ntk_keras.networks import AdaptiveActivation, AdaptiveResidual, FactorizedDense, Sine

BOX = nk.domains.Box(t=(0, 2), x=(-1, 1))
POINTS = np.random.default_rng(0).uniform(0, 1, (5, 2))


def factorized(**kwargs):
    return networks.feedforward(BOX, width=20, depth=1, factorized=True, **kwargs)


def one_slope(**kwargs):
    slope = AdaptiveActivation("swish", scale=5.0)
    return networks.residual(BOX, 2, width=6, depth=1, activation=slope, **kwargs)


def slope_by_neuron(**kwargs):
    slopes = AdaptiveActivation("tanh", per_neuron=True)
    return networks.gated(BOX, width=20, depth=1, activation=slopes, **kwargs)


def piratenet(**kwargs):
    return networks.piratenet(BOX, width=18, depth=1, **kwargs)


def siren(**kwargs):
    return networks.siren(BOX, width=6, depth=2, frequency=3, hidden_frequency=2, **kwargs)


def of_two_activations(**kwargs):
    return networks.feedforward(BOX, width=5, depth=2, activation=networks.sin_tanh, **kwargs)


NETWORKS = [factorized, one_slope, slope_by_neuron, piratenet, siren, of_two_activations]
every_network = pytest.mark.parametrize("make", NETWORKS)


def moved(network):
    """No parameter where it started: a weight of a block at zero would hide the block."""
    rng = np.random.default_rng(1)
    for v in network.trainable_variables:
        v.assign(v + 0.3 * rng.normal(size=v.shape).astype(v.dtype))
    return network


def wave(u, x):
    return derivatives.second_order(u, x, [1.0, -2.0])[:, 0] + u(x)[:, 0] ** 2


def pairs(u, x):
    """Two passes through every layer make a row."""
    return derivatives.partial(u, x, 1)[:, 0] - u(-x)[:, 0]


def model_of(network):
    terms = [nk.Term("wave", wave, POINTS), nk.Term("pairs", pairs, POINTS[:3])]
    return nk.PINNModel(network, terms, "exact-ntk", seed=0)


@every_network
def test_derivatives_go_forward_and_are_those_of_tapes(make):
    network = moved(make(dtype="float64", seed=1))
    views = [derivatives.NetworkView(network, mode) for mode in ("taylor", "tapes")]
    for function in (
        lambda u, x: u(x),
        derivatives.gradient,
        derivatives.biharmonic,
        lambda u, x: derivatives.second_order(u, x, [1.0, -2.0]),
        lambda u, x: derivatives.partial(u, x, 0, 1, 1),
    ):
        forward, nested = (function(view, tf.constant(POINTS)) for view in views)
        scale = np.max(np.abs(nested))
        np.testing.assert_allclose(forward, nested, rtol=0, atol=1e-12 * scale)


def jacobian_of(model, views):
    """Row by row, by a reverse pass of its own, through nested tapes."""
    with tf.GradientTape(persistent=True) as tape:
        rows = [
            row
            for term in model.terms
            for row in tf.unstack(term.evaluate(views, tf.constant(term.points)))
        ]
    rows = [tape.gradient(row, model.trainable_variables) for row in rows]
    return np.array([np.concatenate([np.ravel(part) for part in row]) for row in rows])


@pytest.mark.parametrize("make", NETWORKS[:4])  # a SIREN has kernels and biases alone
def test_rows_diagonals_and_products_are_those_of_tapes(make):
    network = moved(make(dtype="float64", seed=1))
    model = model_of(network)
    assert model._residuals.not_factored == {"wave": None, "pairs": None}
    J = jacobian_of(model, derivatives.NetworkView(network, "tapes"))
    v = np.arange(1.0, 9.0)
    by_block = {"wave": tf.constant(v[:5]), "pairs": tf.constant(v[5:])}
    one = Linearization(model.blocks(), model.trainable_variables, factored=True)
    assert all(map(one.is_factored, one.blocks))
    product = one.product(by_block)
    for found, expected in (
        (np.concatenate([one.rows(name) for name in one.blocks]), J),
        (one.rows("wave", tf.constant([4, 1])), J[[4, 1]]),
        (np.concatenate([*one.diagonal().values()]), np.sum(J**2, axis=1)),
        (one.diagonal({"wave": tf.constant([4, 1])})["wave"], np.sum(J[[4, 1]] ** 2, axis=1)),
        (one.gram(), J @ J.T),
        (np.concatenate([np.ravel(part) for part in one.vjp(by_block)]), v @ J),
        (np.concatenate([product["wave"], product["pairs"]]), J @ (v @ J)),
    ):
        scale = np.max(np.abs(expected))
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12 * scale)


@every_network
def test_a_file_gives_the_same_network_back(make, tmp_path):
    network = moved(make(seed=1))
    network.save(tmp_path / "network.keras")
    loaded = keras.models.load_model(tmp_path / "network.keras")
    np.testing.assert_array_equal(loaded(POINTS), network(POINTS))
    assert [v.shape for v in loaded.trainable_variables] == [
        v.shape for v in network.trainable_variables
    ]


def test_a_step_of_natural_gradients_moves_scales_and_slopes():
    slopes = AdaptiveActivation("tanh", per_neuron=True)
    network = networks.feedforward(
        BOX, width=18, depth=1, activation=slopes, factorized=True, dtype="float64", seed=1
    )
    terms = [nk.Term("wave", wave, POINTS), nk.Term("side", lambda u, x: u(x)[:, 0] - 1, POINTS)]
    model = nk.PINNModel(network, terms, seed=0)
    model.compile(nk.optimizers.NaturalGradient(), jit_compile=False)
    assert model._residuals.not_factored == {"wave": None, "side": None}
    before = {v.path: v.numpy() for v in model.trainable_variables}
    losses = model.fit(epochs=2, steps_per_epoch=1, verbose=0).history["loss"]
    assert losses[1] < 0.3 * losses[0]
    still = [v.path for v in model.trainable_variables if not np.any(v != before[v.path])]
    assert still == []


@pytest.mark.parametrize("half", ["mixed_float16", "mixed_bfloat16"])
def test_a_mixed_policy_computes_in_half_precision(half):
    for make in NETWORKS:
        network = make(dtype=half)
        assert {v.dtype for v in network.variables} == {"float32"}
        values = network(POINTS.astype("float32"))
        assert values.dtype == half.removeprefix("mixed_")
        assert np.all(np.isfinite(np.asarray(values, "float32")))


def test_a_factorized_layer_starts_as_a_dense_layer_of_two_factors():
    layer = FactorizedDense(400, "tanh", dtype="float64")
    values = layer(tf.constant(POINTS))
    scale, direction, bias = (v.numpy() for v in layer.trainable_variables)
    np.testing.assert_allclose(values, np.tanh(POINTS @ (direction * np.exp(scale)) + bias))
    np.testing.assert_allclose(layer.kernel, direction * np.exp(scale))
    # 400 draws from N(1, 0.1^2): mean and deviation to five standard errors; then Glorot's normal,
    # which is cut off at two deviations.
    assert abs(np.mean(scale) - 1) < 5 * 0.1 / 20
    assert abs(np.std(scale) / 0.1 - 1) < 5 / np.sqrt(800)
    assert abs(np.std(layer.kernel) / np.sqrt(2 / 402) - 1) < 5 / np.sqrt(1600)
    assert FactorizedDense(3, use_bias=False)(tf.ones([1, 2])).shape == (1, 3)


def test_slopes_start_where_the_layer_is_its_activation():
    layer = AdaptiveActivation("tanh", scale=5.0, dtype="float64")
    np.testing.assert_allclose(layer(POINTS), np.tanh(POINTS), rtol=1e-6)
    assert layer.slope.shape == ()
    assert float(layer.slope) == pytest.approx(0.2)
    layer.slope.assign(0.6)
    np.testing.assert_allclose(layer(POINTS), np.tanh(3 * POINTS), rtol=1e-6)
    with pytest.raises(ValueError, match="scale must be positive. Received scale=0"):
        AdaptiveActivation(scale=0)


def test_every_layer_has_slopes_of_its_own():
    network = slope_by_neuron()
    slopes = [v for v in network.trainable_variables if v.name == "slope"]
    assert [v.shape for v in slopes] == [(20,)] * 3


def test_a_piratenet_starts_as_a_linear_map_of_its_embedding():
    network = networks.piratenet(BOX, width=8, depth=2, fourier_scale=2.0, dtype="float64", seed=1)
    standard = network.get_layer("standardise")(POINTS).numpy()
    phases = standard @ network.get_layer("embedding").frequencies.numpy()
    features = np.concatenate([np.cos(phases), np.sin(phases)], axis=1)
    output = network.get_layer("output")
    np.testing.assert_allclose(network(POINTS), features @ output.kernel.numpy(), rtol=1e-12)
    assert [float(network.get_layer(f"block_{i}").alpha) for i in (1, 2)] == [0, 0]


def test_a_piratenet_computes_what_its_blocks_say():
    network = networks.piratenet(
        BOX, width=5, depth=1, fourier_scale=None, factorized=False, dtype="float64", seed=1
    )
    network.get_layer("block_1").alpha.assign(0.3)

    def dense(name, x):
        kernel, bias = (v.numpy() for v in network.get_layer(name).weights)
        return np.tanh(x @ kernel + bias)

    x = dense("embedding", network.get_layer("standardise")(POINTS).numpy())
    u, v = dense("encoding_1", x), dense("encoding_2", x)
    f = dense("block_1_1", x)
    g = dense("block_1_2", f * u + (1 - f) * v)
    h = dense("block_1_3", g * u + (1 - g) * v)
    kernel, bias = (v.numpy() for v in network.get_layer("output").weights)
    expected = (0.3 * h + 0.7 * x) @ kernel + bias
    np.testing.assert_allclose(network(POINTS), expected, rtol=1e-12)


def test_the_features_of_a_piratenet_need_an_even_width():
    with pytest.raises(ValueError, match="even width.*width=5, fourier_scale=1.0"):
        networks.piratenet(BOX, width=5)
    with pytest.raises(ValueError, match=r"\[f\(x\), x\].*one width"):
        AdaptiveResidual()([tf.ones([2, 3]), tf.ones([2, 1])])


def test_a_siren_starts_within_the_bounds_of_its_layers():
    network = networks.siren(BOX, width=300, depth=2, frequency=30.0, dtype="float64", seed=1)
    inputs = network.get_layer("standardise")(BOX.grid(3, 3)).numpy()
    assert (inputs.min(), inputs.max()) == pytest.approx((-1, 1))
    bounds = {"hidden_1": 1 / 2, "hidden_2": np.sqrt(6 / 300) / 30, "output": np.sqrt(6 / 300) / 30}
    for name, bound in bounds.items():
        kernel = network.get_layer(name).kernel.numpy()
        assert 0.98 < np.max(np.abs(kernel)) / bound <= 1
        # Of the uniform distribution; of 300 or more draws.
        assert np.std(kernel) == pytest.approx(bound / np.sqrt(3), rel=0.1)
    biases = network.get_layer("hidden_2").bias.numpy()
    assert 0.98 < np.max(np.abs(biases)) * np.sqrt(300) <= 1
    # Activations of every layer start alike, of arcsine distribution as the paper has it.
    hidden = keras.Model(network.inputs[0], network.get_layer("hidden_2_activation").output)
    points = BOX.sample(200).fixed(0)
    assert np.std(hidden(points)) == pytest.approx(np.sqrt(0.5), rel=0.1)


def test_a_siren_computes_sines_of_steeper_products():
    network = siren(dtype="float64", seed=1)
    x = network.get_layer("standardise")(POINTS).numpy()
    for name, rate in (("hidden_1", 3), ("hidden_2", 2)):
        kernel, bias = (v.numpy() for v in network.get_layer(name).weights)
        x = np.sin(rate * (x @ kernel + bias))
    kernel, bias = (v.numpy() for v in network.get_layer("output").weights)
    np.testing.assert_allclose(network(POINTS), x @ kernel + bias, rtol=1e-12)
    np.testing.assert_allclose(Sine(2.0)(tf.constant(POINTS, "float32")), np.sin(2 * POINTS), 1e-6)


def test_a_siren_checks_its_arguments():
    with pytest.raises(ValueError, match="hidden_frequency must be positive"):
        networks.siren(BOX, hidden_frequency=0)
    with pytest.raises(ValueError, match="width must be an integer"):
        networks.siren(BOX, width=0)
