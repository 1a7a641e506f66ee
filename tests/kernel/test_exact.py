import keras
import numpy as np
import pytest
import tensorflow as tf

from ntk_keras import Block, derivatives, kernel
from ntk_keras.kernel import per_sample

# The quadratic predictor of the paper: R_i = sum_j theta_j^2 x_i^j - y_i, so that
# J_ij = 2 theta_j x_i^j, and K = J J^T has rank 3.
THETA = np.array([0.5, -1.2, 0.8])
X = np.array([-1.0, -0.4, 0.1, 0.7, 1.3])
Y = np.array([1.0, 0.0, -1.0, 2.0, 0.5])
JACOBIAN = 2 * THETA * X[:, None] ** np.arange(3)
KERNEL = JACOBIAN @ JACOBIAN.T


def parameters(dtype="float64"):
    return tf.Variable(THETA, dtype=dtype)


def quadratic(theta, rows=slice(None), scale=1.0):
    """The predictor's residuals at some of the points, as a block."""

    def residual(points):
        x, y = points
        return tf.linalg.matvec(tf.stack([tf.ones_like(x), x, x**2], axis=-1), theta**2) - y

    return Block(
        residual, (tf.constant(X[rows], theta.dtype), tf.constant(Y[rows], theta.dtype)), scale
    )


def two_blocks(theta):
    return {"first": quadratic(theta, slice(0, 2)), "second": quadratic(theta, slice(2, 5))}


def by_block(values, dtype="float64"):
    return {"first": tf.constant(values[:2], dtype), "second": tf.constant(values[2:], dtype)}


def roundings(dtype="float64", number=50):
    """Entries of J and K are sums of a few products of order one, each rounded once."""
    return {"rtol": number * np.finfo(dtype).eps, "atol": number * np.finfo(dtype).eps}


# Closed form.


@pytest.mark.parametrize("chunk_size", [None, 1, 2, 100])  # 2 does not divide the 5 points
def test_the_jacobian_agrees_with_its_closed_form(chunk_size, dtype):
    theta = parameters(dtype)
    jacobian = kernel.jacobian(quadratic(theta), [theta], chunk_size=chunk_size)
    assert jacobian.dtype == dtype
    np.testing.assert_allclose(jacobian, JACOBIAN, **roundings(dtype))


@pytest.mark.parametrize("chunk_size", [None, 2, 100])
def test_the_kernel_agrees_with_its_closed_form(chunk_size, dtype):
    theta = parameters(dtype)
    K = kernel.matrix(quadratic(theta), [theta], chunk_size=chunk_size)
    assert K.dtype == dtype
    np.testing.assert_allclose(K, KERNEL, **roundings(dtype))


def test_the_kernel_may_be_computed_point_by_point():
    theta = parameters()
    K = kernel.matrix(quadratic(theta, slice(0, 3)), [theta], chunk_size=1)
    np.testing.assert_allclose(K, KERNEL[:3, :3], **roundings())


def test_a_wide_network_has_few_gradients_in_memory_at_a_time():
    """2 x 1000 neurons, where 4 MB are a gradient and 8 MB a pass through 1000 points."""
    layers = [keras.layers.Dense(n) for n in (1000, 1000, 1)]
    variables = keras.Sequential([keras.Input((2,)), *layers]).trainable_variables
    assert per_sample.points_in(per_sample.CHUNK_BYTES, variables) == 8
    assert per_sample.points_in(96 * 2**20, variables, each_through=1000) == 8


@pytest.mark.parametrize("chunk_size", [None, 2])
def test_the_diagonal_agrees_with_its_closed_form(chunk_size, dtype):
    theta = parameters(dtype)
    entries = kernel.diagonal(two_blocks(theta), [theta], chunk_size=chunk_size)
    assert list(entries) == ["first", "second"]
    assert entries["first"].dtype == dtype
    np.testing.assert_allclose(entries["first"], np.diag(KERNEL)[:2], **roundings(dtype))
    np.testing.assert_allclose(entries["second"], np.diag(KERNEL)[2:], **roundings(dtype))


def test_the_traces_agree_with_their_closed_form():
    theta = parameters()
    traces = kernel.traces(two_blocks(theta), [theta], chunk_size=2)
    assert list(traces) == ["first", "second"]
    np.testing.assert_allclose(traces["first"], np.diag(KERNEL)[:2].sum(), **roundings())
    np.testing.assert_allclose(traces["second"], np.diag(KERNEL)[2:].sum(), **roundings())


@pytest.mark.parametrize("chunk_size", [None, 2])
def test_the_blocks_agree_with_their_closed_form(chunk_size):
    theta = parameters()
    diagonal_blocks = kernel.blocks(two_blocks(theta), [theta], chunk_size=chunk_size)
    assert list(diagonal_blocks) == ["first", "second"]
    np.testing.assert_allclose(diagonal_blocks["first"], KERNEL[:2, :2], **roundings())
    np.testing.assert_allclose(diagonal_blocks["second"], KERNEL[2:, 2:], **roundings())


def test_eigenvalues_come_largest_first(dtype):
    theta = parameters(dtype)
    eigenvalues = kernel.eigenvalues(quadratic(theta), [theta]).numpy()
    desired = np.linalg.eigvalsh(KERNEL)[::-1]
    # An eigenvalue errs by a few roundings of the largest, and two of the five are zero.
    atol = 50 * np.finfo(dtype).eps * desired[0]
    np.testing.assert_allclose(eigenvalues, desired, rtol=0, atol=atol)
    assert np.all(eigenvalues[:3] > 100 * atol)
    assert np.all(np.diff(eigenvalues) <= 0)


def test_a_product_agrees_with_its_closed_form(dtype):
    theta = parameters(dtype)
    v = np.array([1.0, -2.0, 0.5, 3.0, -1.0])
    product = kernel.product(two_blocks(theta), [theta], by_block(v, dtype))
    assert product["first"].dtype == dtype
    actual = np.concatenate([product["first"], product["second"]])
    np.testing.assert_allclose(actual, KERNEL @ v, **roundings(dtype))


def test_a_product_takes_arrays_and_leaves_out_what_the_vector_does():
    theta = parameters()
    product = kernel.product(two_blocks(theta), [theta], {"second": np.ones(3)})
    assert list(product) == ["second"]
    np.testing.assert_allclose(product["second"], KERNEL[2:, 2:].sum(1), **roundings())


MISTAKES = {
    "a subset of no block": (
        lambda blocks, theta: kernel.diagonal(blocks, theta, subset={"frist": [0]}),
        r"keys of subset must be names of blocks.*Unknown: \['frist'\]",
    ),
    "a vector of no block": (
        lambda blocks, theta: kernel.product(blocks, theta, {"frist": np.ones(2)}),
        r"keys of vector must be names of blocks.*Unknown: \['frist'\]",
    ),
    "chunks of nothing": (
        lambda blocks, theta: kernel.traces(blocks, theta, chunk_size=0),
        "chunk_size must be an integer of at least 1. Received 0",
    ),
    "no variables": (
        lambda blocks, theta: kernel.matrix(blocks, []),
        "at least one residual block and one variable. Received 2 blocks and 0 variables",
    ),
    "no blocks": (lambda blocks, theta: kernel.jacobian({}, theta), "Received 0 blocks and 1"),
    "a loss": (
        lambda blocks, theta: kernel.traces(lambda: tf.reduce_sum(blocks["first"]()), theta),
        "Received a scalar. Give the residuals themselves",
    ),
}


@pytest.mark.parametrize("case", MISTAKES.values(), ids=MISTAKES)
def test_mistakes_are_named(case):
    call, message = case
    theta = parameters()
    with pytest.raises(ValueError, match=f"(?s){message}"):
        call(two_blocks(theta), [theta])


def test_a_subset_of_a_block_without_points_may_be_a_list():
    theta = parameters()
    block = quadratic(theta)
    diagonal = kernel.diagonal({"all": lambda: block()}, [theta], subset={"all": [3, 0]})
    np.testing.assert_allclose(diagonal["all"], np.diag(KERNEL)[[3, 0]], **roundings())


def test_products_with_unit_vectors_are_columns_of_the_kernel():
    theta = parameters()
    for column, unit in zip(KERNEL, np.eye(5), strict=True):
        product = kernel.product(two_blocks(theta), [theta], by_block(unit))
        actual = np.concatenate([product["first"], product["second"]])
        np.testing.assert_allclose(actual, column, **roundings())


@pytest.mark.parametrize(("jit_compile", "dtype"), [(False, "float64"), (True, "float32")])
def test_exact_quantities_are_the_same_in_a_graph(jit_compile, dtype):
    theta, v, chunk_size = parameters(dtype), np.arange(5.0), 3

    @tf.function(jit_compile=jit_compile)
    def quantities():
        blocks = two_blocks(theta)
        whole = quadratic(theta)
        return {
            "jacobian": kernel.jacobian(whole, [theta], chunk_size=chunk_size),
            "matrix": kernel.matrix(whole, [theta], chunk_size=chunk_size),
            "traces": kernel.traces(blocks, [theta], chunk_size=chunk_size),
            "product": kernel.product(blocks, [theta], by_block(v, dtype)),
        }

    actual = quantities()
    diagonal = np.diag(KERNEL)
    np.testing.assert_allclose(actual["jacobian"], JACOBIAN, **roundings(dtype))
    np.testing.assert_allclose(actual["matrix"], KERNEL, **roundings(dtype))
    np.testing.assert_allclose(actual["traces"]["first"], diagonal[:2].sum(), **roundings(dtype))
    np.testing.assert_allclose(actual["traces"]["second"], diagonal[2:].sum(), **roundings(dtype))
    product = np.concatenate([actual["product"]["first"], actual["product"]["second"]])
    np.testing.assert_allclose(product, KERNEL @ v, **roundings(dtype))


def test_eigenvalues_compile():
    theta = parameters()

    @tf.function(autograph=False, jit_compile=True)
    def eigenvalues():
        return kernel.eigenvalues(quadratic(theta), [theta])

    desired = np.linalg.eigvalsh(KERNEL)[::-1]
    # XLA's Jacobi sweeps stop at a relative 1e-6 of the largest.
    np.testing.assert_allclose(eigenvalues(), desired, rtol=0, atol=1e-6 * desired[0])


def test_a_graph_takes_any_number_of_points():
    theta = parameters()
    residual = quadratic(theta).residual

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float64)])
    def quantities(x):
        block = Block(residual, (x, tf.zeros_like(x)))
        return (
            kernel.jacobian(block, [theta], chunk_size=2),
            kernel.matrix(block, [theta]),
        )

    for n in (1, 5):
        jacobian, matrix = quantities(tf.constant(X[:n]))
        np.testing.assert_allclose(jacobian, JACOBIAN[:n], **roundings())
        np.testing.assert_allclose(matrix, KERNEL[:n, :n], **roundings())


def test_the_kernel_is_that_of_the_present_parameters():
    theta = parameters()
    evaluate = tf.function(lambda: kernel.jacobian(quadratic(theta), [theta]))
    np.testing.assert_allclose(evaluate(), JACOBIAN, **roundings())
    theta.assign(3 * THETA)
    np.testing.assert_allclose(evaluate(), 3 * JACOBIAN, **roundings())
    np.testing.assert_allclose(
        kernel.jacobian(quadratic(theta), [theta]), 3 * JACOBIAN, **roundings()
    )


# Blocks of every kind.


def test_a_block_by_itself_is_named_residual():
    theta = parameters()
    assert list(kernel.diagonal(quadratic(theta), [theta])) == ["residual"]
    assert list(kernel.traces(quadratic(theta), [theta])) == ["residual"]


def test_blocks_are_stacked_in_the_order_of_their_dict():
    theta = parameters()
    swapped = dict(reversed(two_blocks(theta).items()))
    order = [2, 3, 4, 0, 1]
    K = kernel.matrix(swapped, [theta], chunk_size=2)
    np.testing.assert_allclose(kernel.jacobian(swapped, [theta]), JACOBIAN[order], **roundings())
    np.testing.assert_allclose(K, KERNEL[np.ix_(order, order)], **roundings())


@pytest.mark.parametrize("chunk_size", [None, 2])
def test_a_function_without_arguments_is_a_block(chunk_size):
    theta = parameters()
    functions = {
        "first": quadratic(theta, slice(0, 2)).__call__,
        "second": quadratic(theta, slice(2, 5)),
    }
    jacobian = kernel.jacobian(functions, [theta], chunk_size=chunk_size)
    np.testing.assert_allclose(jacobian, JACOBIAN, **roundings())
    entries = kernel.diagonal(functions, [theta], chunk_size=chunk_size)
    np.testing.assert_allclose(entries["first"], np.diag(KERNEL)[:2], **roundings())


def test_functions_without_arguments_have_kernels_and_products():
    theta = parameters()

    def first():
        return quadratic(theta, slice(0, 2))()

    def second():
        return quadratic(theta, slice(2, 5))()

    functions = {"first": first, "second": second}
    v = np.array([1.0, -2.0, 0.5, 3.0, -1.0])
    K = kernel.matrix(functions, [theta], chunk_size=2)
    np.testing.assert_allclose(K, KERNEL, **roundings())
    product = kernel.product(functions, [theta], by_block(v))
    np.testing.assert_allclose(product["second"], (KERNEL @ v)[2:], **roundings())


@pytest.mark.parametrize("chunk_size", [None, 2])
def test_rows_of_a_function_without_arguments_may_depend_on_anything(chunk_size):
    theta = parameters()
    whole = quadratic(theta)

    def centred():
        residuals = whole()
        return residuals - tf.reduce_mean(residuals)

    jacobian = kernel.jacobian(centred, [theta], chunk_size=chunk_size)
    np.testing.assert_allclose(jacobian, JACOBIAN - JACOBIAN.mean(0), **roundings())


def pair(theta):
    """Two components at every point: R and x R."""
    block = quadratic(theta)

    def residual(points):
        values = block.residual(points)
        return tf.stack([values, points[0] * values], axis=-1)

    jacobian = np.stack([JACOBIAN, X[:, None] * JACOBIAN], axis=1).reshape(10, 3)
    return Block(residual, block.points), jacobian


@pytest.mark.parametrize("chunk_size", [None, 2])
def test_vector_residuals_have_a_row_for_each_component_point_by_point(chunk_size):
    theta = parameters()
    block, jacobian = pair(theta)
    actual = kernel.jacobian(block, [theta], chunk_size=chunk_size)
    np.testing.assert_allclose(actual, jacobian, **roundings())


@pytest.mark.parametrize("chunk_size", [None, 3])
def test_vector_residuals_have_kernels_diagonals_and_products(chunk_size):
    theta = parameters()
    block, jacobian = pair(theta)
    K, v = jacobian @ jacobian.T, np.arange(10.0)
    matrix = kernel.matrix(block, [theta], chunk_size=chunk_size)
    entries = kernel.diagonal(block, [theta], chunk_size=chunk_size)["residual"]
    product = kernel.product({"pair": block}, [theta], {"pair": tf.constant(v)})["pair"]
    np.testing.assert_allclose(matrix, K, **roundings())
    np.testing.assert_allclose(entries, np.diag(K), **roundings())
    np.testing.assert_allclose(product, K @ v, **roundings())


@pytest.mark.parametrize("make", [tf.Variable, keras.Variable], ids=["bare", "keras"])
def test_parameters_of_any_shape_have_their_columns_in_order(make):
    dtype = {"dtype": "float32"}
    scalar, idle, rows = (
        make(2.0, **dtype),
        make([[1.0, 1.0]], **dtype),
        make([[3.0], [4.0]], **dtype),
    )
    points = tf.constant([[1.0, 2.0], [5.0, -1.0]])

    def residual(points):
        return tf.convert_to_tensor(scalar) * tf.matmul(points, tf.convert_to_tensor(rows))[:, 0]

    # d/d scalar, two zeros for the parameter nobody reads, d/d rows.
    desired = np.array([[11.0, 0, 0, 2, 4], [11.0, 0, 0, 10, -2]])
    block, variables = Block(residual, points), [scalar, idle, rows]
    np.testing.assert_allclose(kernel.jacobian(block, variables), desired, rtol=1e-6)
    entries = kernel.diagonal(block, variables)["residual"]
    np.testing.assert_allclose(entries, np.sum(desired**2, axis=1), rtol=1e-6)


# Invariants.


def test_a_scale_enters_the_kernel_squared():
    theta = parameters()
    scaled = quadratic(theta, scale=0.25)
    v = {"residual": tf.ones(5, tf.float64)}
    np.testing.assert_allclose(kernel.jacobian(scaled, [theta]), JACOBIAN / 4, **roundings())
    np.testing.assert_allclose(
        kernel.matrix(scaled, [theta], chunk_size=2), KERNEL / 16, **roundings()
    )
    trace = kernel.traces(scaled, [theta])["residual"]
    np.testing.assert_allclose(trace, np.trace(KERNEL) / 16, **roundings())
    product = kernel.product({"residual": scaled}, [theta], v)["residual"]
    np.testing.assert_allclose(product, KERNEL.sum(1) / 16, **roundings())


# A residual of a differential equation and a condition, of a small network.


def tiny_network():
    initializer = keras.initializers.GlorotNormal(seed=1)
    dense = {"dtype": "float64", "kernel_initializer": initializer, "bias_initializer": initializer}
    return keras.Sequential(
        [
            keras.Input((2,), dtype="float64"),
            keras.layers.Dense(4, activation="tanh", **dense),
            keras.layers.Dense(1, **dense),
        ]
    )


def wave_blocks(network):
    generator = np.random.default_rng(0)

    def equation(points):
        second = derivatives.hessian_diagonal(network, points)
        return second[:, 0, 0] - 4.0 * second[:, 0, 1]

    def condition(points):
        return network(points)[:, 0] - tf.sin(points[:, 1])

    return {
        "equation": Block(equation, tf.constant(generator.uniform(size=(5, 2))), 0.5),
        "condition": Block(condition, tf.constant(generator.uniform(size=(3, 2)))),
    }


def jacobian_by_tape(blocks, variables):
    with tf.GradientTape(persistent=True) as tape:
        stacked = tf.concat([block() for block in blocks.values()], axis=0)
    parts = tape.jacobian(
        stacked,
        [v.value for v in variables],
        unconnected_gradients="zero",
        experimental_use_pfor=False,  # one reverse pass a row: nothing to compile
    )
    return np.concatenate([part.numpy().reshape(8, -1) for part in parts], axis=1)


@pytest.fixture(scope="module")
def wave():
    """Blocks, variables and the Jacobian that the tape computes."""
    network = tiny_network()
    blocks, variables = wave_blocks(network), network.trainable_variables
    return blocks, variables, jacobian_by_tape(blocks, variables)


@pytest.mark.parametrize("chunk_size", [None, 2])
def test_the_jacobian_of_a_network_agrees_with_the_tapes(wave, chunk_size):
    blocks, variables, jacobian = wave
    actual = kernel.jacobian(blocks, variables, chunk_size=chunk_size)
    np.testing.assert_allclose(actual, jacobian, **roundings(number=500))


def test_the_kernel_of_a_network_is_symmetric_and_positive_semidefinite(wave):
    blocks, variables, jacobian = wave
    K = kernel.matrix(blocks, variables).numpy()
    np.testing.assert_allclose(K, jacobian @ jacobian.T, **roundings(number=500))
    np.testing.assert_allclose(K, K.T, **roundings())  # a product sums in an order of its own
    eigenvalues = np.linalg.eigvalsh(K)
    assert eigenvalues[0] >= -roundings()["atol"] * eigenvalues[-1]


def test_block_traces_of_a_network_sum_to_the_trace_of_its_kernel(wave):
    blocks, variables, _ = wave
    traces = kernel.traces(blocks, variables)
    trace = np.trace(kernel.matrix(blocks, variables))
    np.testing.assert_allclose(sum(traces.values()), trace, **roundings(number=500))
    assert all(value > 0 for value in traces.values())


def test_products_with_the_kernel_of_a_network_need_no_kernel(wave, staged):
    blocks, variables, jacobian = wave
    v = np.arange(8.0) - 3

    @staged
    def product():
        vector = {"equation": tf.constant(v[:5]), "condition": tf.constant(v[5:])}
        return kernel.product(blocks, variables, vector)

    actual = product()
    stacked = np.concatenate([actual["equation"], actual["condition"]])
    desired = jacobian @ (jacobian.T @ v)
    atol = roundings(number=500)["atol"] * np.abs(desired).max()
    np.testing.assert_allclose(stacked, desired, rtol=0, atol=atol)


def test_the_traces_of_a_network_compile(wave):
    blocks, variables, jacobian = wave

    @tf.function(autograph=False, jit_compile=True)
    def traces():
        return kernel.traces(blocks, variables)

    squares = np.sum(jacobian**2, axis=1)
    np.testing.assert_allclose(traces()["equation"], squares[:5].sum(), **roundings(number=500))
    np.testing.assert_allclose(traces()["condition"], squares[5:].sum(), **roundings(number=500))
