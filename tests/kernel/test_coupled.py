"""Rows that depend on other points: traces are those of the whole residual, layer or mean alike."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import ntk_keras as nk
from ntk_keras.kernel import Linearization
from tests.support.models import X, build, fit, network, numbers, value
from tests.support.models import slope as equation


def normalized(layer=None):
    keras.utils.set_random_seed(2)
    return keras.Sequential(
        [
            keras.Input((1,)),
            keras.layers.Dense(8, "tanh"),
            layer or keras.layers.BatchNormalization(),
            keras.layers.Dense(1),
        ]
    )


@keras.saving.register_keras_serializable("test_coupled")
class Centered(keras.layers.Layer):
    """Takes off the mean of the batch; assigns nothing."""

    def call(self, inputs):
        return inputs - tf.reduce_mean(inputs, axis=0)


def less_the_mean(u, points):
    values = u(points)[:, 0]
    return values - tf.reduce_mean(values)


CASES = {
    "BatchNormalization": (normalized, value),
    "a layer of one's own": (lambda: normalized(Centered()), value),
    "the residual itself": (network, less_the_mean),
}


def model_of(name, weighting, **options):
    net, residual = CASES[name]
    terms = [nk.Term("coupled", residual, X), nk.Term("start", value, X[:2])]
    return build(terms, weighting, net=net(), optimizer=keras.optimizers.SGD(0.0), **options)


def trace(model, residual, points):
    """||dR/dtheta||_F^2 of the whole residual in training, by TensorFlow's Jacobian."""
    inputs = tf.constant(points, tf.float32)
    with keras.StatelessScope(), tf.GradientTape(persistent=True) as tape:
        rows = residual(lambda x: model.network(x, training=True), inputs)
    # One reverse pass a row: nothing to compile.
    variables = [v.value for v in model.trainable_variables]
    parts = tape.jacobian(rows, variables, experimental_use_pfor=False)
    return sum(float(tf.reduce_sum(part**2)) for part in parts if part is not None)


@pytest.mark.parametrize("name", CASES)
def test_exact_traces_are_those_of_the_whole_residual(name):
    model = model_of(name, nk.weighting.ExactNTK())
    expected = {"coupled": trace(model, CASES[name][1], X), "start": trace(model, value, X[:2])}
    averages = numbers(model.network.non_trainable_variables)
    blocks = model.blocks()
    for traces in (
        nk.kernel.traces(blocks, model.trainable_variables),
        {n: np.trace(k) for n, k in nk.kernel.blocks(blocks, model.trainable_variables).items()},
        nk.estimators.estimate("exact", blocks, model.trainable_variables).traces,
    ):
        assert {n: float(t) for n, t in traces.items()} == pytest.approx(expected, rel=1e-3)
    for now, before in zip(numbers(model.network.non_trainable_variables), averages, strict=True):
        np.testing.assert_array_equal(now, before)  # looking at the kernel assigns nothing
    convergence = nk.callbacks.ExactWeights()
    history = fit(model, callbacks=[convergence])
    assert model.kernel_traces == pytest.approx(expected, rel=1e-3)
    assert history["exact/coupled"][0] == pytest.approx(model.loss_weights["coupled"], rel=1e-2)


@pytest.mark.parametrize("estimator", ["diagonal", "reverse", "product", "block-predictor"])
def test_sampled_traces_are_those_of_the_whole_residual(estimator):
    name = "BatchNormalization"
    model = model_of(name, nk.weighting.NTK(estimator, num_initial_probes=400))
    expected = trace(model, value, X)
    fit(model)
    error = model.trace_standard_errors["coupled"]
    assert 0 < error < 0.2 * expected
    assert abs(model.kernel_traces["coupled"] - expected) < 5 * error


def test_estimators_assign_nothing_that_layers_assign_in_training():
    averages = []
    for weighting in ("constant", "exact-ntk", nk.weighting.NTK("predictor", num_initial_probes=2)):
        model = model_of("BatchNormalization", weighting)
        fit(model, steps=2)
        averages.append(numbers(model.network.layers[1].non_trainable_variables))
    for others in averages[1:]:
        for a, b in zip(others, averages[0], strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-6)


def test_a_product_of_coupled_rows_agrees_with_their_jacobian():
    model = model_of("the residual itself", "ntk")
    blocks, variables = model.blocks(), model.trainable_variables
    kernel = nk.kernel.matrix(blocks["coupled"], variables).numpy()
    vector = np.linspace(-1, 1, len(X)).astype("float32")
    product = Linearization({"c": blocks["coupled"]}, variables).product({"c": tf.constant(vector)})
    np.testing.assert_allclose(product["c"], kernel @ vector, rtol=1e-3, atol=1e-4)
    some = nk.kernel.diagonal({"c": blocks["coupled"]}, variables, subset={"c": [1, 4]})["c"]
    np.testing.assert_allclose(some, np.diag(kernel)[[1, 4]], rtol=1e-3)


def test_spectral_normalization_is_refused_for_its_own_reason():
    dense = keras.layers.SpectralNormalization(keras.layers.Dense(8))
    with pytest.raises(ValueError, match=r"'equation'.*SpectralNormalization.*vector_u.*constant"):
        build([nk.Term("equation", equation, X)], "ntk", net=normalized(dense))
    model = build([nk.Term("equation", equation, X)], "constant", net=normalized(dense))
    fit(model)


def test_noise_is_refused_as_noise_beside_layers_that_assign():
    net = keras.Sequential([normalized(), keras.layers.GaussianNoise(0.1)])
    with pytest.raises(ValueError, match="holds noise"):
        build([nk.Term("value", value, X)], "ntk", net=net)


@pytest.mark.parametrize("training", [False, True])
def test_a_callback_for_other_models_takes_coupled_points_as_they_are(training):
    net = normalized()
    net.compile("sgd", "mse")
    averages = numbers(net.non_trainable_variables)
    points = tf.constant(X, tf.float32)
    blocks = {
        "a": nk.Block(lambda x: net(x, training=training)[:, 0], points),
        "b": nk.Block(lambda x: net(x, training=False)[:, 0], points[:2]),
    }
    weighting = nk.callbacks.NTKWeighting(blocks, lambda weights: None)
    weighting.set_model(net)
    weighting.on_train_begin()
    weighting.update()
    with keras.StatelessScope(), tf.GradientTape() as tape:
        rows = net(points, training=training)[:, 0]
    parts = tape.jacobian(rows, [v.value for v in net.trainable_variables])
    expected = sum(float(tf.reduce_sum(part**2)) for part in parts)
    assert weighting.traces["a"] == pytest.approx(expected, rel=1e-3)
    for now, before in zip(numbers(net.non_trainable_variables), averages, strict=True):
        np.testing.assert_array_equal(now, before)
