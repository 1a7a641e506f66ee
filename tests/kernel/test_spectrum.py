"""The largest eigenvalues by Lanczos iteration, and the effective rank, against NumPy."""

import numpy as np
import pytest
import tensorflow as tf

from ntk_keras import Block, kernel
from ntk_keras.kernel import exact
from ntk_keras.kernel import spectrum as spectrum_module

# One hidden layer, u(x) = a . tanh(W x + b) + c, whose Jacobian NumPy writes in one line each.
GENERATOR = np.random.default_rng(0)
THETA = [
    GENERATOR.normal(size=(2, 8)),
    GENERATOR.normal(size=8),
    GENERATOR.normal(size=8),
    GENERATOR.normal(size=()),
]
NUM = 6


def network_jacobian(theta, points):
    W, b, a, _ = theta
    hidden = np.tanh(points @ W + b)
    slope = a * (1 - hidden**2)
    weights = points[:, :, None] * slope[:, None, :]
    ones = np.ones([len(points), 1])
    return np.concatenate([weights.reshape(len(points), -1), slope, hidden, ones], axis=1)


def network_problem(dtype="float64", sizes=(30, 10)):
    """Blocks of unequal scale, variables, and J by NumPy in double precision at the same theta."""
    variables = [tf.Variable(values, dtype=dtype) for values in THETA]
    W, b, a, c = variables

    def residual(points):
        return tf.linalg.matvec(tf.tanh(points @ W + b), a) + c - 1.0

    generator = np.random.default_rng(1)
    points = [generator.uniform(-1, 1, (size, 2)).astype(dtype) for size in sizes]
    blocks = {
        "equation": Block(residual, tf.constant(points[0]), 0.5),
        "condition": Block(residual, tf.constant(points[1])),
    }
    theta = [v.numpy().astype("float64") for v in variables]
    rows = [network_jacobian(theta, x.astype("float64")) for x in points]
    return blocks, variables, np.concatenate([0.5 * rows[0], rows[1]])


def linear_problem(jacobian, dtype="float64"):
    """R = A theta, so that J = A."""
    theta = tf.Variable(np.ones(jacobian.shape[1]), dtype=dtype)
    return Block(lambda rows: tf.linalg.matvec(rows, theta), tf.constant(jacobian, dtype)), [theta]


def spectrum(jacobian):
    """Eigenvalues of J J^T, largest first."""
    return np.linalg.eigvalsh(jacobian @ jacobian.T)[::-1]


def roundings(largest, dtype, number=50):
    """Eigenvalues err by some roundings of the largest, those of J included."""
    return {"rtol": 0, "atol": number * np.finfo(dtype).eps * largest}


@pytest.fixture
def no_matrix(monkeypatch):
    """Makes whatever forms K or J fail."""

    def refused(*args, **kwargs):
        raise AssertionError("formed a matrix")

    monkeypatch.setattr(spectrum_module, "matrix", refused)
    monkeypatch.setattr(exact, "jacobian", refused)


# The largest eigenvalues.


def test_the_largest_eigenvalues_need_no_matrix(no_matrix, dtype):
    blocks, variables, jacobian = network_problem(dtype)
    desired = spectrum(jacobian)[:NUM]
    actual = kernel.eigenvalues(blocks, variables, num=NUM)
    assert actual.dtype == dtype
    tolerance = roundings(desired[0], dtype)
    assert desired[-1] > 100 * tolerance["atol"]
    np.testing.assert_allclose(actual, desired, **tolerance)


def test_five_thousand_residuals_are_no_matter(no_matrix):
    blocks, variables, jacobian = network_problem("float32", (4000, 1000))
    desired = np.linalg.eigvalsh(jacobian.T @ jacobian)[::-1][:NUM]  # those of J J^T but for zeros
    actual = kernel.eigenvalues(blocks, variables, num=NUM)
    np.testing.assert_allclose(actual, desired, **roundings(desired[0], "float32"))


def test_the_residual_is_evaluated_once_and_compiled_once(no_matrix):
    blocks, variables, _ = network_problem()
    calls = []

    def counted(points):
        calls.append(tf.executing_eagerly())
        return blocks["equation"].residual(points)

    kernel.eigenvalues(Block(counted, blocks["equation"].points), variables, num=2)
    assert sorted(calls) == [False, True]


def test_equal_calls_have_equal_results(no_matrix):
    blocks, variables, _ = network_problem()
    first, second = (kernel.eigenvalues(blocks, variables, num=NUM) for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_eigenvalues_beyond_the_rank_are_zero(no_matrix, dtype):
    jacobian = np.random.default_rng(2).normal(size=(40, 3))
    desired = spectrum(jacobian)[:8]
    actual = kernel.eigenvalues(*linear_problem(jacobian, dtype), num=8)
    np.testing.assert_allclose(actual, desired, **roundings(desired[0], dtype))


def test_a_kernel_that_is_zero_has_eigenvalues_zero(no_matrix):
    actual = kernel.eigenvalues(*linear_problem(np.zeros([40, 3]), "float32"), num=2)
    assert actual.dtype == tf.float32
    np.testing.assert_array_equal(actual, [0, 0])


@pytest.mark.parametrize(("n", "num"), [(1, 1), (19, 2), (40, 20), (40, 39), (40, 40)])
def test_where_few_are_most_all_are_computed(monkeypatch, n, num):
    monkeypatch.setattr("scipy.sparse.linalg.eigsh", None)
    jacobian = np.random.default_rng(3).normal(size=(n, 50))
    desired = spectrum(jacobian)
    actual = kernel.eigenvalues(*linear_problem(jacobian), num=num)
    np.testing.assert_allclose(actual, desired[:num], **roundings(desired[0], "float64"))


@pytest.mark.parametrize("num", [0, -1, 41, 2.0, True, "two"])
def test_a_number_of_eigenvalues_that_is_none_is_refused(num):
    blocks, variables, _ = network_problem()
    with pytest.raises(ValueError, match=f"num must be an integer from 1 to n = 40. .* {num!r}"):
        kernel.eigenvalues(blocks, variables, num=num)


def test_a_graph_cannot_hold_the_iteration():
    blocks, variables, _ = network_problem()
    with pytest.raises(RuntimeError, match=r"Call it outside tf\.function.*slice"):
        tf.function(lambda: kernel.eigenvalues(blocks, variables, num=2), autograph=False)()


def test_a_kernel_that_is_not_finite_is_refused():
    jacobian = np.ones([40, 3])
    jacobian[7, 1] = np.nan
    with pytest.raises(ValueError, match="kernel is not finite: a residual or its gradient"):
        kernel.eigenvalues(*linear_problem(jacobian), num=2)


# The effective rank.


def entropy_rank(values):
    shares = values[values > 0] / values[values > 0].sum()
    return np.exp(-np.sum(shares * np.log(shares)))


def participation_ratio(values):
    return values.sum() ** 2 / np.sum(values**2)


DEFINITIONS = {1: entropy_rank, 2: participation_ratio}


@pytest.mark.parametrize("order", DEFINITIONS)
def test_equal_eigenvalues_count_one_each(order):
    rows, _ = np.linalg.qr(np.random.default_rng(4).normal(size=(12, 5)))
    rank = kernel.effective_rank(*linear_problem(3 * rows), order=order)
    # Of twelve eigenvalues five are equal and the others zero up to a rounding e of the largest,
    # each of which adds -e log e to the entropy.
    assert float(rank) == pytest.approx(5, rel=12 * 36 * np.finfo("float64").eps)


@pytest.mark.parametrize("order", DEFINITIONS)
def test_the_effective_rank_is_that_of_the_eigenvalues(order, dtype):
    blocks, variables, jacobian = network_problem(dtype)
    rank = kernel.effective_rank(blocks, variables, order=order)
    assert rank.dtype == dtype
    eps = np.finfo(dtype).eps
    # Each of n eigenvalues errs by a few roundings, which the logarithm of the smallest multiplies.
    rtol = 5 * len(jacobian) * eps * -np.log(eps)
    desired = DEFINITIONS[order](spectrum(jacobian))
    assert 1.5 < desired < 5
    np.testing.assert_allclose(rank, desired, rtol=rtol)


def test_orders_are_ordered():
    blocks, variables, jacobian = network_problem()
    second, first = (float(kernel.effective_rank(blocks, variables, order=o)) for o in (2, 1))
    assert 1 < second < first < np.linalg.matrix_rank(jacobian)


@pytest.mark.parametrize("factor", [1e-15, 1e15])
@pytest.mark.parametrize("order", DEFINITIONS)
def test_the_size_of_the_kernel_does_not_matter(order, factor):
    jacobian = np.random.default_rng(5).normal(size=(10, 3))
    rank = kernel.effective_rank(*linear_problem(factor * jacobian, "float32"), order=order)
    np.testing.assert_allclose(rank, DEFINITIONS[order](spectrum(jacobian)), rtol=1e-4)


@pytest.mark.parametrize("order", DEFINITIONS)
def test_a_kernel_that_is_zero_has_no_effective_rank(order):
    assert np.isnan(kernel.effective_rank(*linear_problem(np.zeros([4, 3])), order=order))


@pytest.mark.parametrize("order", DEFINITIONS)
def test_the_effective_rank_compiles(order):
    blocks, variables, jacobian = network_problem()
    compiled = tf.function(
        lambda: kernel.effective_rank(blocks, variables, order=order), jit_compile=True
    )
    # XLA's Jacobi sweeps stop at a relative 1e-6 of the largest eigenvalue.
    desired = DEFINITIONS[order](spectrum(jacobian))
    np.testing.assert_allclose(compiled(), desired, rtol=40 * 1e-6 * -np.log(1e-6))


def test_other_orders_are_refused():
    blocks, variables, _ = network_problem()
    with pytest.raises(ValueError, match="order must be 1 or 2. Received 3"):
        kernel.effective_rank(blocks, variables, order=3)
