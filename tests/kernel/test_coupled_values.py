"""Rows that depend on others by their values alone: factored all the same, and never cut apart."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import ntk_keras as nk
from tests.kernel.test_coupled import trace
from tests.support.models import build, fit, value

X = np.linspace(0, 1, 40)[:, None]


def causal(u, points):
    rows = u(points)[:, 0]
    return rows * tf.stop_gradient(tf.exp(-tf.cumsum(rows**2)))


def normalized(u, points):
    """Divided by the largest row, which no gradient passes, in two components."""
    rows = tf.concat([u(points), 2 * u(points)], axis=1)
    return rows / tf.stop_gradient(tf.reduce_max(tf.abs(rows)))


def scaled_by_hand(u, points):
    return u(points)[:, 0] / tf.sqrt(tf.cast(tf.shape(points)[0], tf.float32))


def ranked(u, points):
    rows = u(points)[:, 0]
    places = tf.argsort(tf.argsort(rows))
    return rows * tf.cast(places, tf.float32)


RESIDUALS = [causal, normalized, scaled_by_hand, ranked]


@pytest.mark.parametrize("residual", RESIDUALS)
def test_traces_in_chunks_are_those_of_the_whole_residual(residual):
    model = build([nk.Term("a", residual, X)], nk.weighting.ExactNTK())
    expected = trace(model, residual, X)
    assert model._residuals.not_factored == {"a": None}
    blocks, variables = model.blocks(), model.trainable_variables
    for chunk_size in (None, 4):
        traces = nk.kernel.traces(blocks, variables, chunk_size=chunk_size)
        assert float(traces["a"]) == pytest.approx(expected, rel=1e-3)
        matrix = nk.kernel.matrix(blocks, variables, chunk_size=chunk_size)
        assert float(tf.linalg.trace(matrix)) == pytest.approx(expected, rel=1e-3)
    some = nk.kernel.diagonal(blocks, variables, subset={"a": [1, 31]})["a"]
    np.testing.assert_allclose(some, np.diag(matrix)[[1, 31]], rtol=1e-3)


def test_a_sample_of_entries_has_the_trace_as_its_mean():
    weighting = nk.weighting.NTK(nk.estimators.Diagonal(num_points=60), num_initial_probes=50)
    optimizer = keras.optimizers.SGD(0.0)
    model = build([nk.Term("a", normalized, X)], weighting, optimizer=optimizer)
    fit(model)
    error = model.trace_standard_errors["a"]
    assert abs(model.kernel_traces["a"] - trace(model, normalized, X)) < 5 * error


def test_rows_of_their_own_points_are_still_taken_by_themselves():
    model = build([nk.Term("a", value, X)])
    assert not model.blocks()["a"].coupled
