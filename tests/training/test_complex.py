"""Complex values: derivatives keep both parts, and what would drop one is refused."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import ntk_keras as nk
from ntk_keras.backend import saving

X = np.linspace(0, 1, 5)[:, None]
POINTS = tf.constant(X)


class Wave(keras.layers.Layer):
    """a exp(2 i z), complex, of real a and z."""

    def build(self, input_shape):
        self.amplitude = self.add_weight(shape=(), initializer="ones", name="amplitude")

    def call(self, z):
        phase = tf.exp(tf.complex(0 * z, 2 * z))
        return tf.complex(self.amplitude, 0 * self.amplitude) * phase


def wave(points):
    """exp(2 i x), whose derivatives are its products with 2 i."""
    return tf.exp(tf.complex(0 * points, 2 * points))


def network(last=None, dtype="float64"):
    dense = keras.layers.Dense(1, kernel_initializer="ones", bias_initializer="ones", dtype=dtype)
    rest = [] if last is None else [last]
    return keras.Sequential([keras.Input((1,), dtype=dtype), dense, *rest])


def model(residual, points=X, net=None, weighting="ntk", **kwargs):
    built = nk.PINNModel(
        net or network(), [nk.Term("a", residual, points)], weighting, seed=0, **kwargs
    )
    built.compile(keras.optimizers.SGD(0.0))
    return built


DERIVATIVES = {
    "gradient": (nk.derivatives.gradient, 1),
    "hessian_diagonal": (nk.derivatives.hessian_diagonal, 2),
    "laplacian": (nk.derivatives.laplacian, 2),
    "second_order": (lambda u, x: nk.derivatives.second_order(u, x, [1]), 2),
    "divergence": (nk.derivatives.divergence, 1),
    "biharmonic": (nk.derivatives.biharmonic, 4),
    "partial": (lambda u, x: nk.derivatives.partial(u, x, 0, 0, 0), 3),
    "value": (nk.derivatives.partial, 0),
}


@pytest.mark.parametrize("name", list(DERIVATIVES))
def test_derivatives_of_complex_outputs_keep_both_parts(name):
    derivative, order = DERIVATIVES[name]
    actual = np.reshape(derivative(wave, POINTS), [-1])
    np.testing.assert_allclose(actual, (2j) ** order * np.exp(2j * X[:, 0]), rtol=1e-12)


def test_outputs_and_axes_stay_in_their_places():
    points = tf.constant(np.random.default_rng(0).uniform(size=(4, 2)))
    x, y = points.numpy().T

    def u(p):
        return tf.stack([tf.exp(tf.complex(p[:, 0], 3 * p[:, 1])), tf.complex(p[:, 1], p[:, 0])], 1)

    first, second = np.exp(x + 3j * y), np.ones(4)
    desired = np.stack([np.stack([first, 3j * first], 1), np.stack([1j * second, second], 1)], 1)
    np.testing.assert_allclose(nk.derivatives.gradient(u, points), desired, rtol=1e-12)
    divergence = nk.derivatives.divergence(u, points)
    np.testing.assert_allclose(divergence, first + second, rtol=1e-12)


def both_parts(u, x):
    r = nk.derivatives.gradient(u, x)[:, 0, 0] - 1j * u(x)[:, 0]
    return tf.math.real(r), tf.math.imag(r)


def test_a_complex_layer_is_trained_by_both_parts():
    """a exp(2 i (w x + b)) has u' - i u = i (2 w - 1) u, so the loss is 1/2 a^2 (2 w - 1)^2 n."""
    built = model(both_parts, net=network(Wave(dtype="float64")), weighting="exact-ntk")
    history = built.fit(steps_per_epoch=1, verbose=0).history
    np.testing.assert_allclose(history["loss/a"], [len(X) / 2], rtol=1e-12)
    # d/dw, d/da and d/db of i (2 w - 1) a exp(...): |2 + 2 i x|^2 + 1 + 4 at w = a = 1.
    np.testing.assert_allclose(built.kernel_traces["a"], np.sum(4 + 4 * X**2 + 1 + 4), rtol=1e-12)


def test_a_complex_layer_within_a_network_of_real_outputs():
    net = network(Wave(dtype="float64"))
    net.add(keras.layers.Lambda(tf.math.real))
    actual = nk.derivatives.partial(nk.derivatives.NetworkView(net), POINTS, 0, 0)
    np.testing.assert_allclose(actual, -4 * np.cos(2 * (X + 1)), rtol=1e-12)


def test_complex_data_keeps_the_precision_of_the_network():
    seen = []

    def misfit(u, data):
        seen.append(data[1].dtype.name)
        difference = tf.cast(u(data[0])[:, 0], data[1].dtype) - data[1]
        return tf.math.real(difference), tf.math.imag(difference)

    for dtype, name in (("float32", "complex64"), ("float64", "complex128")):
        seen.clear()
        model(misfit, (X, X[:, 0] + 1j), network(dtype=dtype))
        assert set(seen) == {name}


def test_fixed_complex_points_are_saved():
    points = (X, np.array([1 + 2j, 3j], "complex64"), 1j)
    restored = saving.deserialize_points(saving.serialize_points("points", points))
    for a, b in zip(restored, points, strict=True):
        np.testing.assert_array_equal(a, b)
    assert restored[1].dtype == "complex64"


def test_the_relative_error_counts_both_parts():
    built = model(both_parts, net=network(Wave(dtype="float64")))
    truth = np.exp(2j * (X + 1))
    assert built.evaluate(X, truth, verbose=0) < 1e-12
    np.testing.assert_allclose(built.evaluate(X, 1j * truth, verbose=0), 2**0.5)


theta, complex_theta = tf.Variable(1.0), tf.Variable(1j)


def complex_residual():
    return tf.complex(theta, theta) * tf.ones(3, tf.complex64)


def recorded():
    with tf.GradientTape(persistent=True) as tape:
        residual = complex_residual()
    nk.LossBalancer(["a"])({"a": residual}, tape, [theta])


class ComplexWeight(keras.layers.Layer):
    def build(self, input_shape):
        self.factor = self.add_weight(shape=(), name="factor", dtype="complex64")

    def call(self, z):
        return z * tf.math.real(self.factor)


BOX = nk.domains.Box(x=(0, 1))

REFUSED = {
    "residual": (lambda: model(lambda u, x: wave(u(x))), ["complex128", "tf.math.imag(r)"]),
    "component of a residual": (
        lambda: model(lambda u, x: (x[:, 0] * tf.ones(1, x.dtype), wave(u(x))[:, 0])),
        ["component 1 of the residual is complex128", "tf.math.imag(c)"],
    ),
    "column of a residual": (
        lambda: nk.PINNModel(
            network(), nk.Term.columns(["a", "b"], lambda u, x: (u(x), wave(u(x))), X)
        ),
        ["component 1 of the residual is complex128", "tf.math.imag(c)"],
    ),
    "sum of both kinds": (
        lambda: model(lambda u, x: u(x)[:, 0] + tf.constant(2j, tf.complex64)),
        ["tf.cast(c, tf.complex128), which drops no part", "tf.math.imag(r)"],
    ),
    "residual on a tape": (recorded, ["Residual 'a' must be real", "tf.math.imag(r)"]),
    "residual of a kernel": (
        lambda: nk.kernel.traces(complex_residual, [theta]),
        ["must be real. Received complex64", "tf.math.imag(r)"],
    ),
    "parameter of a kernel": (
        lambda: nk.kernel.traces(lambda: tf.math.real(complex_theta) * tf.ones(3), [complex_theta]),
        ["Parameters must be real", "two"],
    ),
    "parameter of a layer": (
        lambda: model(lambda u, x: u(x)[:, 0], net=network(ComplexWeight())),
        ["Parameters must be real", "['factor']", "tf.complex"],
    ),
    "parameter of a function": (
        lambda: nk.networks.CallableNetwork(wave, [complex_theta]),
        ["Parameters must be real"],
    ),
    "points of a network": (
        lambda: model(lambda u, x: u(x)[:, 0], X + 1j),
        ["points are complex128", "two columns"],
    ),
    "points of derivatives": (
        lambda: nk.derivatives.gradient(wave, tf.constant(X + 1j)),
        ["real inputs", "complex128", "two columns"],
    ),
    "coefficients": (
        lambda: nk.derivatives.second_order(wave, POINTS, [1j]),
        ["real coefficients", "hessian_diagonal"],
    ),
    "computed coefficients": (
        lambda: nk.derivatives.second_order(wave, POINTS, tf.constant([1j])),
        ["real coefficients", "hessian_diagonal"],
    ),
    "unknown": (
        lambda: model(lambda u, x: u(x)[:, 0], unknowns={"k": np.array(1 + 2j)}),
        ["Unknown 'k' must be real", "1.+2.j", "tf.complex of both"],
    ),
    "pictures": (
        lambda: nk.callbacks.SolutionImages("logs", BOX, lambda p: np.exp(2j * p)),
        ["draws real values", "complex128", "imaginary parts"],
    ),
}


@pytest.mark.parametrize("case", list(REFUSED))
def test_what_would_lose_a_part_is_refused(case):
    attempt, pieces = REFUSED[case]
    with pytest.raises(ValueError, match="complex|real") as refusal:
        attempt()
    for piece in pieces:
        assert piece in str(refusal.value)
