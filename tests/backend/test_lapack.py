"""SciPy's products and factors in a graph, against TensorFlow's."""

import numpy as np
import pytest
import tensorflow as tf

from ntk_keras.backend import graphs, lapack

ORDER = 300  # More than a block of rows that is mirrored.


def factor_of(rows, columns):
    return tf.constant(np.random.default_rng(0).normal(size=(rows, columns)))


@pytest.mark.parametrize("traced", [False, True])
@pytest.mark.parametrize("axis", [0, 1])
def test_a_symmetric_product_is_that_of_tensorflow(axis, traced):
    factor = factor_of(ORDER, 40) if axis == 0 else factor_of(40, ORDER)
    product = tf.function(lapack.symmetric_product) if traced else lapack.symmetric_product
    result = product(factor, axis)
    assert result.shape == (ORDER, ORDER)
    expected = tf.matmul(factor, factor, transpose_a=axis == 1, transpose_b=axis == 0)
    np.testing.assert_allclose(result, expected, rtol=1e-12, atol=1e-12)
    np.testing.assert_array_equal(result, tf.transpose(result))


def test_a_factor_is_lower_and_that_of_tensorflow():
    factor = factor_of(ORDER, ORDER)
    matrix = tf.matmul(factor, factor, transpose_b=True) + tf.eye(ORDER, dtype=tf.float64)
    np.testing.assert_allclose(lapack.cholesky(matrix), tf.linalg.cholesky(matrix), atol=1e-10)


def test_an_indefinite_matrix_has_no_factor():
    assert np.isnan(lapack.cholesky(-tf.eye(3, dtype=tf.float64))).all()


def test_it_serves_large_matrices_of_doubles_where_it_is_allowed(monkeypatch):
    double = tf.zeros([2, lapack.LEAST], tf.float64)
    assert not lapack.serves(double, lapack.LEAST)
    with lapack.lapack_allowed(True):
        assert lapack.serves(double, lapack.LEAST)
        assert not lapack.serves(double, lapack.LEAST - 1)
        assert not lapack.serves(double, None)
        assert not lapack.serves(tf.cast(double, tf.float32), lapack.LEAST)
        monkeypatch.setattr(graphs, "on_one_cpu", lambda: False)
        assert not lapack.serves(double, lapack.LEAST)
