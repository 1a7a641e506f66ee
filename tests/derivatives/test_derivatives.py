import itertools
import math

import keras
import numpy as np
import pytest
import tensorflow as tf

from ntk_keras import derivatives

# Manufactured fields: every output is a product of one factor for each input, so that a mixed
# derivative of any order is the product of the factors' derivatives. A factor is a pair: itself in
# TensorFlow, and its m-th derivative in NumPy.


def sine(rate):
    return lambda x: tf.sin(rate * x), lambda x, m: rate**m * np.sin(rate * x + m * np.pi / 2)


def exponential(rate):
    return lambda x: tf.exp(rate * x), lambda x, m: rate**m * np.exp(rate * x)


def polynomial(function, *coefficients):
    """A polynomial as a function, and its coefficients from the constant upwards."""
    exact = np.polynomial.Polynomial(coefficients)
    return function, lambda x, m: exact.deriv(m)(x)


FACTORS = [
    [sine(2.0), exponential(-1.0), polynomial(lambda x: x + 1, 1, 1)],
    [exponential(0.5), polynomial(lambda x: x * (x - 1), 0, -1, 1), sine(1.5)],
    # Does not depend on input 1.
    [
        polynomial(lambda x: tf.square(tf.square(x)), 0, 0, 0, 0, 1),
        polynomial(tf.ones_like, 1),
        exponential(1),
    ],
]
WIDTH = 3


def field(points):
    columns = tf.unstack(points, axis=1)
    outputs = [[f(x) for (f, _), x in zip(row, columns, strict=True)] for row in FACTORS]
    return tf.stack([a * b * c for a, b, c in outputs], axis=1)


def exact_partial(points, *axes):
    """The derivative along ``axes`` in closed form, ``[n, outputs]`` in float64."""
    orders = [axes.count(k) for k in range(WIDTH)]
    columns = np.asarray(points, "float64").T
    return np.stack(
        [
            math.prod(f(x, m) for (_, f), x, m in zip(row, columns, orders, strict=True))
            for row in FACTORS
        ],
        axis=1,
    )


def exact_diagonal(points, order):
    return np.stack([exact_partial(points, *[k] * order) for k in range(WIDTH)], axis=-1)


EXACT = {
    "gradient": lambda p: exact_diagonal(p, 1),
    "hessian_diagonal": lambda p: exact_diagonal(p, 2),
    "laplacian": lambda p: exact_diagonal(p, 2).sum(-1),
    "divergence": lambda p: np.trace(exact_diagonal(p, 1), axis1=1, axis2=2),
    "mixed": lambda p: exact_partial(p, 0, 1, 0),
}
FUNCTIONS = {
    "gradient": derivatives.gradient,
    "hessian_diagonal": derivatives.hessian_diagonal,
    "laplacian": derivatives.laplacian,
    "divergence": derivatives.divergence,
    "mixed": lambda u, p: derivatives.partial(u, p, 0, 1, 0),
}
every_function = pytest.mark.parametrize("name", list(FUNCTIONS))


def points_of(dtype, n=6, d=WIDTH):
    return tf.constant(np.random.default_rng(1).uniform(-1, 1, (n, d)), dtype)


def assert_close(actual, desired, dtype, factor=100):
    """Equal up to ``factor`` roundings of the largest entry.

    A derivative here is a sum of a few dozen products, and functions such as exp are rounded a few
    units in the last place, differently by each compiler.
    """
    atol = factor * np.finfo(dtype).eps * max(1.0, np.abs(desired).max())
    np.testing.assert_allclose(actual, desired, rtol=0, atol=atol)


@every_function
def test_a_derivative_agrees_with_its_closed_form(name, dtype):
    points = points_of(dtype)
    derivative = FUNCTIONS[name](field, points)
    assert derivative.dtype == dtype
    assert_close(derivative, EXACT[name](points), dtype)


@pytest.mark.parametrize(
    "axes",
    [
        (),
        (0,),
        (2, 2),
        (0, 1),
        (1, 0),
        (0, 0, 1),
        (2, 1, 0),
        (0, 0, 0, 0),
        (0, 1, 2, 0),
    ],
)
def test_a_partial_derivative_of_any_order_agrees_with_its_closed_form(axes, dtype):
    points = points_of(dtype)
    assert_close(derivatives.partial(field, points, *axes), exact_partial(points, *axes), dtype)


def test_the_biharmonic_operator_agrees_with_its_closed_form(dtype):
    points = points_of(dtype)
    expected = sum(exact_partial(points, j, j, k, k) for j in (0, 2) for k in (0, 2))
    assert_close(derivatives.biharmonic(field, points, axes=[2, 0]), expected, dtype)


@pytest.mark.parametrize("axes", [[], [0, 1, 0]])
def test_a_biharmonic_operator_takes_every_axis_once(axes):
    with pytest.raises(ValueError, match="none of them twice. Received axes="):
        derivatives.biharmonic(field, points_of("float64"), axes=axes)


@pytest.mark.parametrize("axes", [[0], [1, 2], [2, 0], [0, 1, 2]])
def test_a_laplacian_sums_over_the_axes_named(axes, dtype):
    points = points_of(dtype)
    desired = exact_diagonal(points, 2)[..., axes].sum(-1)
    assert_close(derivatives.laplacian(field, points, axes=axes), desired, dtype)


@pytest.mark.parametrize("axes", [[0, 1, 2], [2, 0, 1], [1, 1, 0]])
def test_a_divergence_pairs_outputs_with_the_axes_named(axes, dtype):
    points = points_of(dtype)
    desired = sum(exact_partial(points, axis)[:, j] for j, axis in enumerate(axes))
    assert_close(derivatives.divergence(field, points, axes=axes), desired, dtype)


def test_a_divergence_leaves_out_an_input_that_is_not_named():
    points = points_of("float64")
    divergence = derivatives.divergence(lambda p: field(p)[:, :2], points, axes=(1, 2))
    desired = exact_partial(points, 1)[:, 0] + exact_partial(points, 2)[:, 1]
    assert_close(divergence, desired, "float64")


@pytest.mark.parametrize(
    "convert", [np.array, tf.Variable, lambda p: keras.Variable(p, dtype="float64")]
)
def test_points_may_be_an_array_or_a_variable(convert):
    points = points_of("float64")
    derivative = derivatives.gradient(field, convert(points.numpy()))
    assert_close(derivative, exact_diagonal(points, 1), "float64")


def test_jacobian_is_another_name_of_gradient():
    assert derivatives.jacobian is derivatives.gradient


# A network, against Cauchy's integral formula: its derivatives are averages of its values on
# circles in the complex plane, exact up to rounding for a function that is analytic there.


def tiny_network(dtype="float64", inputs=2, outputs=2):
    initializer = keras.initializers.GlorotNormal(seed=3)
    dense = {"dtype": dtype, "kernel_initializer": initializer, "bias_initializer": initializer}
    return keras.Sequential(
        [
            keras.Input((inputs,), dtype=dtype),
            keras.layers.Dense(5, activation="tanh", **dense),
            keras.layers.Dense(4, activation="tanh", **dense),
            keras.layers.Dense(outputs, **dense),
        ]
    )


def on_complex_points(network):
    kernels_and_biases = network.get_weights()

    def values(points):
        for index in range(0, len(kernels_and_biases), 2):
            points = points @ kernels_and_biases[index] + kernels_and_biases[index + 1]
            points = np.tanh(points) if index + 2 < len(kernels_and_biases) else points
        return points

    return values


def cauchy_derivative(function, points, orders, radius=0.3, num_angles=24):
    """The trapezoidal rule on a circle for each axis; spectrally exact within the poles of tanh."""
    total = 0
    circles = [range(num_angles if order else 1) for order in orders]
    for steps in itertools.product(*circles):
        angles = 2j * np.pi * np.array(steps) / num_angles
        moved = points + radius * np.exp(angles) * (np.array(orders) > 0)
        total = total + function(moved) * np.exp(-angles @ np.array(orders))
    count = math.prod(len(circle) for circle in circles)
    factor = math.prod(math.factorial(m) / radius**m for m in orders)
    return (factor * total / count).real


# Rounding of the values is magnified by m!/radius^m, at most 3e3 for the orders below.
CAUCHY_FACTOR = 1e5


@pytest.mark.parametrize("axes", [(0,), (1, 1), (0, 1), (1, 0, 0), (0, 0, 0, 0), (1, 0, 1, 0)])
def test_a_partial_derivative_of_a_network_agrees_with_cauchys_formula(axes):
    network, points = tiny_network(), points_of("float64", d=2)
    orders = [axes.count(k) for k in range(2)]
    desired = cauchy_derivative(on_complex_points(network), points.numpy(), orders)
    assert np.abs(desired).max() > 1e-3  # or else agreement would mean little
    actual = derivatives.partial(network, points, *axes)
    assert_close(actual, desired, "float64", CAUCHY_FACTOR)


@pytest.mark.parametrize(("name", "order"), [("gradient", 1), ("hessian_diagonal", 2)])
def test_all_unmixed_derivatives_of_a_network_agree_with_cauchys_formula(name, order):
    network, points = tiny_network(), points_of("float64", d=2)
    values = on_complex_points(network)
    orders = [(order, 0), (0, order)]
    desired = np.stack([cauchy_derivative(values, points.numpy(), m) for m in orders], axis=-1)
    assert_close(FUNCTIONS[name](network, points), desired, "float64", CAUCHY_FACTOR)


@every_function
def test_a_point_does_not_depend_on_its_batch(name, dtype):
    network, points = tiny_network(dtype, WIDTH, WIDTH), points_of(dtype, 7)
    function = FUNCTIONS[name]
    whole = function(network, points).numpy()
    order = np.random.default_rng(2).permutation(7)
    assert_close(function(network, tf.gather(points, order)), whole[order], dtype)
    parts = [function(network, part) for part in (points[:1], points[1:5], points[5:])]
    assert_close(np.concatenate(parts), whole, dtype)


@pytest.mark.parametrize(("jit_compile", "dtype"), [(False, "float64"), (True, "float32")])
def test_all_derivatives_are_the_same_in_a_graph(jit_compile, dtype):
    network, points = tiny_network(dtype), points_of(dtype, d=2)

    @tf.function(jit_compile=jit_compile)
    def every(points):
        return {name: function(network, points) for name, function in FUNCTIONS.items()}

    for name, derivative in every(points).items():
        assert derivative.dtype == dtype
        assert_close(derivative, FUNCTIONS[name](network, points), dtype)


def test_a_graph_takes_batches_of_any_length():
    network = tiny_network()

    @tf.function(input_signature=[tf.TensorSpec([None, 2], tf.float64)])
    def second(points):
        return derivatives.hessian_diagonal(network, points)

    for n in (1, 4):
        points = points_of("float64", n, 2)
        assert_close(second(points), derivatives.hessian_diagonal(network, points), "float64")
    assert second(points_of("float64", 0, 2)).shape == (0, 2, 2)


# Zeros.


@every_function
@pytest.mark.parametrize(
    "u",
    [lambda p: tf.zeros_like(p) + 3.0, lambda p: tf.ones([6, WIDTH], p.dtype)],
    ids=["computed", "constant"],
)
def test_outputs_that_do_not_depend_on_the_points_have_zero_derivatives(name, u):
    points = points_of("float32")
    derivative = FUNCTIONS[name](u, points)
    np.testing.assert_array_equal(derivative, np.zeros(EXACT[name](points).shape))


def test_a_derivative_along_an_input_that_an_output_ignores_is_zero(staged):
    @staged
    def along_input_1(points):
        def u(p):
            return tf.stack([tf.sin(p[:, 1]), tf.sin(p[:, 0])], axis=1)

        return (
            derivatives.gradient(u, points)[..., 1],
            derivatives.hessian_diagonal(u, points)[..., 1],
            derivatives.partial(u, points, 1, 1, 1),
        )

    for derivative in along_input_1(points_of("float64")):
        assert np.all(derivative[:, 0] != 0)
        np.testing.assert_array_equal(derivative[:, 1], np.zeros(6))


def test_second_derivatives_of_a_linear_function_are_zero():
    points = points_of("float64")
    slopes = tf.constant(np.arange(6.0).reshape(3, 2))
    second = derivatives.hessian_diagonal(lambda p: p @ slopes, points)
    np.testing.assert_array_equal(second, np.zeros((6, 2, 3)))


# Parameters.


def test_a_derivative_is_differentiable_with_respect_to_parameters(staged, dtype):
    a, b = tf.Variable(0.7, dtype=dtype), tf.Variable(1.3, dtype=dtype)
    x = points_of(dtype, d=1)

    @staged
    def slopes(x):
        with tf.GradientTape() as tape:
            total = tf.reduce_sum(derivatives.laplacian(lambda p: a * tf.exp(b * p), x))
        return tape.gradient(total, [a, b])

    x64, growth = x.numpy().astype("float64"), np.exp(1.3 * x.numpy().astype("float64"))
    desired = [(1.3**2 * growth).sum(), (0.7 * (2 * 1.3 + 1.3**2 * x64) * growth).sum()]
    assert_close(slopes(x), np.array(desired), dtype)


@every_function
def test_a_networks_parameters_move_its_derivatives_at_the_rate_the_tape_says(name):
    network, points = tiny_network(inputs=WIDTH, outputs=WIDTH), points_of("float64")
    theta = network.get_weights()
    generator = np.random.default_rng(4)
    direction = [generator.normal(size=w.shape) for w in theta]

    def squared(step):
        network.set_weights([w + step * d for w, d in zip(theta, direction, strict=True)])
        return tf.reduce_sum(FUNCTIONS[name](network, points) ** 2)

    with tf.GradientTape() as tape:
        value = squared(0.0)
    variables = [v.value for v in network.trainable_variables]
    gradient = tape.gradient(value, variables, unconnected_gradients="zero")
    rate = sum(np.sum(g * d) for g, d in zip(gradient, direction, strict=True))
    h = 1e-3
    difference = (8 * (squared(h) - squared(-h)) - (squared(2 * h) - squared(-2 * h))) / (12 * h)
    # The difference errs by O(h^4) ~ 1e-12 times a fifth derivative, and by rounding, eps / h.
    np.testing.assert_allclose(difference, rate, rtol=1e-7)


# Messages.


@pytest.mark.parametrize("name", [*FUNCTIONS, "partial"])
def test_points_without_a_column_axis_are_refused(name):
    function = FUNCTIONS.get(name, derivatives.partial)
    with pytest.raises(ValueError, match=r"points of shape \[n, d\].*Received.*\(6,\)"):
        function(field, tf.zeros([6]))


@every_function
def test_integer_points_are_refused(name):
    with pytest.raises(ValueError, match="floating-point points. Received dtype int32"):
        FUNCTIONS[name](field, tf.zeros([6, WIDTH], tf.int32))


@pytest.mark.parametrize("axis", [WIDTH, -1])
def test_an_axis_that_is_no_input_is_refused(axis):
    points = points_of("float32")
    calls = [
        lambda: derivatives.partial(field, points, 0, axis),
        lambda: derivatives.laplacian(field, points, axes=[0, axis]),
        lambda: derivatives.divergence(field, points, axes=[0, 1, axis]),
    ]
    for call in calls:
        with pytest.raises(ValueError, match=rf"0 to 2 for points of width 3.*{axis}\]"):
            call()


@pytest.mark.parametrize("function", [derivatives.laplacian, derivatives.divergence])
def test_no_axes_at_all_are_refused(function):
    with pytest.raises(ValueError, match=r"needs at least one axis.*axes=\[\]"):
        function(field, points_of("float32"), axes=[])


@every_function
@pytest.mark.parametrize("shape", [[6], [6, 3, 1]])
def test_outputs_that_are_not_columns_are_refused(name, shape):
    points = points_of("float32")
    message = r"outputs have shape \[n, outputs\]. Received outputs of shape \(6,"
    with pytest.raises(ValueError, match=message):
        FUNCTIONS[name](lambda p: tf.reduce_sum(p) * tf.ones(shape), points)


@pytest.mark.parametrize("axes", [None, [0], [0, 1, 2]])
def test_a_divergence_needs_one_output_for_each_axis(axes):
    with pytest.raises(ValueError, match="one output for each axis. Received 2 outputs"):
        derivatives.divergence(lambda p: field(p)[:, :2], points_of("float32"), axes=axes)
