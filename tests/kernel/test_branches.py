"""Residuals with tf.cond on something that is no point, which TensorFlow cannot vectorise."""

import logging

import pytest
import tensorflow as tf

import ntk_keras as nk
from tests.support.models import X, build, fit, value

STEP = tf.Variable(0, trainable=False)


def scheduled(u, x):
    return tf.cond(STEP < 5, lambda: u(x)[:, 0], lambda: 3 * u(x)[:, 0] - 1)


@pytest.fixture
def errors():
    found = []

    class Handler(logging.Handler):
        def emit(self, record):
            found.append(record)

    handler = Handler(logging.ERROR)
    tf.get_logger().addHandler(handler)
    yield found
    tf.get_logger().removeHandler(handler)
    STEP.assign(0)


@pytest.mark.parametrize("chunk_size", [None, 4])
def test_traces_are_those_of_the_branch_that_is_taken(chunk_size, errors):
    model = build([nk.Term("a", scheduled, X), nk.Term("b", value, X)])
    blocks, variables = model.blocks(), model.trainable_variables
    compute = tf.function(lambda: nk.kernel.traces(blocks, variables, chunk_size=chunk_size))
    for step, factor in ((0, 1), (5, 9)):
        STEP.assign(step)
        traces = compute()
        assert float(traces["a"]) == pytest.approx(factor * float(traces["b"]), rel=1e-4)
    assert not errors


def test_a_term_with_a_branch_trains_by_the_default_estimator(errors):
    model = build([nk.Term("a", scheduled, X), nk.Term("b", value, X)], "ntk")
    fit(model, steps=2)
    assert model.kernel_traces["a"] > 0
    assert not errors
