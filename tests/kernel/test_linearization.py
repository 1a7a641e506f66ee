import keras
import numpy as np
import pytest
import tensorflow as tf

from ntk_keras import Block, Linearization
from ntk_keras.backend.variables import parameters_at

# R(theta) = A theta^2 - y, so J = 2 A diag(theta); THETA holds values that rounding would disturb.
THETA = np.array([1 / 3, -2e-5, 7.1e4])
ORDINARY = np.array([0.3, -1.1, 0.7])
A = np.array([[1.0, 0.5, 0.25], [1.0, -1.0, 1.0], [1.0, 2.0, 4.0], [1.0, 0.1, 0.01]])
Y = np.array([0.1, 0.2, 0.3, 0.4])
JACOBIAN = 2 * A * ORDINARY

VARIABLES = {
    "bare": lambda value, dtype: tf.Variable(value, dtype=dtype),
    "keras": lambda value, dtype: keras.Variable(value, dtype=dtype),
}
every_kind = pytest.mark.parametrize("make", list(VARIABLES.values()), ids=list(VARIABLES))


def predictor(theta):
    """R(theta) in two blocks of two rows, one with points and one without."""
    dtype = keras.backend.standardize_dtype(theta.dtype)

    def rows(points):
        row, y = points
        return tf.linalg.matvec(row, tf.convert_to_tensor(theta) ** 2) - y

    a, y = tf.constant(A, dtype), tf.constant(Y, dtype)
    return {"first": Block(rows, (a[:2], y[:2])), "second": lambda: rows((a[2:], y[2:]))}


def by_block(values, dtype):
    return {"first": tf.constant(values[:2], dtype), "second": tf.constant(values[2:], dtype)}


def stacked(residuals):
    return np.concatenate([residuals["first"], residuals["second"]])


def roundings(dtype, number=20):
    """Sums of a handful of products of order one, each rounded once."""
    return {"rtol": number * np.finfo(dtype).eps, "atol": number * np.finfo(dtype).eps}


def tiny_network(dtype="float64"):
    return keras.Sequential(
        [
            keras.Input((2,), dtype=dtype),
            keras.layers.Dense(3, activation="tanh", dtype=dtype),
            keras.layers.Dense(1, dtype=dtype),
        ]
    )


# Blocks.


def test_a_block_flattens_its_residuals_point_by_point():
    points = tf.constant([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
    np.testing.assert_array_equal(Block(lambda p: p, points)(), [1, 2, 3, 4, 5, 6])


def test_a_block_passes_its_points_on_as_they_are():
    nest = {"x": tf.ones([2, 1]), "pair": (tf.zeros(2), tf.range(2))}
    seen = []
    Block(lambda points: seen.append(points) or points["x"], nest)()
    assert seen[0] is nest


@pytest.mark.parametrize("scale", [3, 3.0, tf.constant(3.0), tf.constant(3.0, tf.float64)])
def test_a_block_scales_its_residuals_in_their_dtype(scale, dtype):
    points = tf.constant([1.0, 2.0], dtype)
    values = Block(lambda p: p, points, scale)()
    assert values.dtype == dtype
    np.testing.assert_array_equal(values, [3, 6])


def test_a_block_without_points_calls_its_function_without_any():
    np.testing.assert_array_equal(Block(lambda: tf.ones([2, 2]), scale=0.5)(), [0.5] * 4)


def test_a_block_keeps_its_scale_at_other_points():
    block = Block(lambda p: p**2, tf.constant([1.0]), scale=2.0)
    np.testing.assert_array_equal(block.at(tf.constant([2.0, 3.0])), [8, 18])


# J^T v.


@every_kind
def test_residuals_and_vjp_agree_with_the_closed_form(make, staged, dtype):
    theta = make(ORDINARY, dtype)
    v = np.array([0.5, -1.0, 2.0, 3.0])

    @staged
    def evaluate():
        linearization = Linearization(predictor(theta), [theta])
        return linearization.residuals, linearization.vjp(by_block(v, dtype))

    residuals, pulled = evaluate()
    np.testing.assert_allclose(stacked(residuals), A @ ORDINARY**2 - Y, **roundings(dtype))
    assert len(pulled) == 1
    np.testing.assert_allclose(pulled[0], JACOBIAN.T @ v, **roundings(dtype))


def test_a_block_left_out_of_the_cotangents_counts_as_zero():
    theta = tf.Variable(ORDINARY)
    (pulled,) = Linearization(predictor(theta), [theta]).vjp(
        {"second": tf.constant([1.0, 2.0], tf.float64)}
    )
    np.testing.assert_allclose(pulled, JACOBIAN[2:].T @ [1, 2], **roundings("float64"))


def test_cotangents_may_come_in_any_order_and_any_number_of_times():
    theta = tf.Variable(ORDINARY)
    linearization = Linearization(predictor(theta), [theta])
    v = by_block(np.array([1.0, -2.0, 3.0, 0.5]), "float64")
    (forwards,) = linearization.vjp(v)
    (backwards,) = linearization.vjp(dict(reversed(v.items())))
    np.testing.assert_allclose(forwards, backwards, **roundings("float64"))


@every_kind
def test_a_parameter_that_no_residual_reads_has_a_zero_gradient(make):
    theta, idle = make(ORDINARY, "float64"), make(np.ones([2, 3]), "float64")
    v = by_block(np.ones(4), "float64")
    pulled = Linearization(predictor(theta), [idle, theta]).vjp(v)
    np.testing.assert_array_equal(pulled[0], np.zeros([2, 3]))
    np.testing.assert_allclose(pulled[1], JACOBIAN.sum(0), **roundings("float64"))


def test_the_vjp_of_a_network_agrees_with_its_explicit_jacobian(staged):
    network = tiny_network()
    points = tf.constant(np.random.default_rng(0).normal(size=(4, 2)))
    v = np.array([1.0, -0.5, 2.0, 0.1])
    variables = network.trainable_variables

    @staged
    def pulled():
        linearization = Linearization({"value": Block(network, points)}, variables)
        return linearization.vjp({"value": tf.constant(v)})

    with tf.GradientTape() as tape:
        values = network(points)[:, 0]
    jacobian = tape.jacobian(values, [variable.value for variable in variables])
    for actual, variable, rows in zip(pulled(), variables, jacobian, strict=True):
        assert actual.shape == variable.shape
        np.testing.assert_allclose(actual, np.tensordot(v, rows, 1), **roundings("float64"))


def test_a_linearization_may_be_restricted_to_one_block():
    theta = tf.Variable(ORDINARY)
    part = Linearization(predictor(theta), [theta]).restricted("second")
    assert list(part.residuals) == ["second"]
    (pulled,) = part.vjp({"second": tf.constant([1.0, 2.0], tf.float64)})
    np.testing.assert_allclose(pulled, JACOBIAN[2:].T @ [1, 2], **roundings("float64"))
    there = part.residuals_at([tf.constant(2 * ORDINARY)])
    assert list(there) == ["second"]
    desired = (A @ (2 * ORDINARY) ** 2 - Y)[2:]
    np.testing.assert_allclose(there["second"], desired, **roundings("float64"))


# Other parameters.


@every_kind
def test_residuals_at_other_parameters_are_those_of_the_new_values(make, staged, dtype):
    theta = make(THETA, dtype)
    before = theta.numpy().tobytes()

    @staged
    def evaluate():
        linearization = Linearization(predictor(theta), [theta])
        there = linearization.residuals_at([tf.constant(ORDINARY, dtype)])
        return linearization.residuals, there, tf.convert_to_tensor(theta)

    here, there, after = evaluate()
    np.testing.assert_allclose(stacked(there), A @ ORDINARY**2 - Y, **roundings(dtype))
    assert after.numpy().tobytes() == theta.numpy().tobytes() == before
    # Exact values cancel: the third parameter is 7e4, squared 5e9.
    atol = 20 * np.finfo(dtype).eps * np.max(THETA**2) * np.max(A)
    np.testing.assert_allclose(stacked(here), A @ THETA**2 - Y, rtol=0, atol=atol)


def test_bare_and_keras_variables_may_be_mixed(staged):
    bare, wrapped = tf.Variable([1 / 3, 2.0]), keras.Variable([0.1, 0.2])
    blocks = {"product": lambda: bare * tf.convert_to_tensor(wrapped)}

    @staged
    def evaluate():
        return Linearization(blocks, [bare, wrapped]).residuals_at(
            [tf.constant([2.0, 3.0]), tf.constant([5.0, 7.0])]
        )

    before = bare.numpy().tobytes() + wrapped.numpy().tobytes()
    np.testing.assert_array_equal(evaluate()["product"], [10, 21])
    assert bare.numpy().tobytes() + wrapped.numpy().tobytes() == before


def test_a_network_shows_the_new_values_and_keeps_its_own(staged):
    network, other = tiny_network("float32"), tiny_network("float32")
    points = tf.constant(np.random.default_rng(0).normal(size=(4, 2)), tf.float32)
    values = [variable.value for variable in other.trainable_variables]
    before = [w.tobytes() for w in network.get_weights()]

    @staged
    def evaluate():
        linearization = Linearization(
            {"value": Block(network, points)}, network.trainable_variables
        )
        return linearization.residuals_at([tf.convert_to_tensor(value) for value in values])

    there = evaluate()["value"]
    np.testing.assert_allclose(there, other(points)[:, 0], **roundings("float32"))
    assert not np.allclose(there, network(points)[:, 0], atol=1e-3)
    assert [w.tobytes() for w in network.get_weights()] == before


@every_kind
def test_parameters_stay_when_a_residual_raises(make, staged):
    theta = make(THETA, "float32")
    before = theta.numpy().tobytes()
    broken = []

    def residual():
        if broken:
            raise ValueError("broken residual")
        return tf.convert_to_tensor(theta) ** 2

    def evaluate():
        linearization = Linearization({"value": residual}, [theta])
        broken.append(True)
        return linearization.residuals_at([tf.constant(ORDINARY, "float32")])

    with pytest.raises(ValueError, match="broken residual"):
        staged(evaluate)()
    assert theta.numpy().tobytes() == before


@every_kind
@pytest.mark.parametrize(
    "values", [[[9.0, 9.0]], [[9.0, 9.0], [1.0, 2.0]]], ids=["too few", "second of another shape"]
)
def test_parameters_stay_when_the_new_values_do_not_fit(make, values):
    variables = [make([1 / 3, 2.0], "float32"), make([3.0], "float32")]
    with (
        pytest.raises(ValueError, match="shorter|shape"),
        parameters_at(variables, [tf.constant(value) for value in values]),
    ):
        pass
    np.testing.assert_array_equal(variables[0], np.float32([1 / 3, 2.0]))
    np.testing.assert_array_equal(variables[1], [3.0])


def test_a_thousand_excursions_leave_no_trace():
    theta = tf.Variable(THETA, dtype=tf.float32)
    linearization = Linearization({"value": lambda: theta * 1.0}, [theta])

    @tf.function
    def wander():
        for step in tf.range(1000):
            linearization.residuals_at([theta * (1.1 + tf.cast(step, tf.float32))])

    before = theta.numpy().tobytes()
    wander()
    assert theta.numpy().tobytes() == before


# Vectors in parameter space.


@every_kind
def test_shifted_parameters_are_theta_plus_a_step(make, dtype):
    variables = [make(ORDINARY, dtype), make([[1.0], [2.0]], dtype)]
    linearization = Linearization({"value": lambda: tf.ones(1)}, variables)
    direction = [tf.ones(3, dtype), tf.constant([[0.0], [2.0]], dtype)]
    first, second = linearization.shifted(direction, tf.constant(0.5))
    np.testing.assert_allclose(first, ORDINARY + 0.5, **roundings(dtype))
    np.testing.assert_array_equal(second, [[1], [3]])


@every_kind
def test_the_norm_is_taken_over_all_parameters(make, staged, dtype):
    variables = [make([3.0, 0.0], dtype), make([[4.0], [12.0]], dtype)]
    norm = staged(lambda: Linearization({"value": lambda: tf.ones(1)}, variables).norm())()
    np.testing.assert_allclose(norm, 13, **roundings(dtype))
