"""Functions decorated by `tf.function`, run in place; and nothing of it afterwards."""

import threading

import numpy as np
import pytest
import tensorflow as tf

from ntk_keras.backend.inlining import inlined_functions

X = tf.constant([1.0, -2.0])


@tf.function
def halved(x, by=2.0):
    assert x.shape == (2,)
    if tf.reduce_sum(x) > 0:
        return x
    return x / by


def traces():
    return halved.experimental_get_tracing_count()


def test_it_is_neither_traced_nor_looked_up_inside_and_is_afterwards():
    before = type(halved).__call__, type(halved).get_concrete_function, traces()

    def inside():
        np.testing.assert_array_equal(halved(X), X / 2)
        with inlined_functions():
            np.testing.assert_array_equal(halved(X.numpy(), by=4.0), X / 4)
        np.testing.assert_array_equal(halved.get_concrete_function(X)(X), X / 2)
        halved(X[:1])

    with pytest.raises(AssertionError), inlined_functions():
        inside()
    assert (type(halved).__call__, type(halved).get_concrete_function, traces()) == before
    np.testing.assert_array_equal(halved(X), X / 2)
    assert traces() == before[2] + 1


@pytest.mark.parametrize("converted", [True, False])
def test_in_a_graph_autograph_converts_it_even_where_nothing_else_is_converted(converted):
    function = tf.function(halved.python_function, autograph=converted)

    @tf.autograph.experimental.do_not_convert
    def whole(x):
        with inlined_functions():
            return function(x)

    whole = tf.function(whole, autograph=False)
    if converted:
        np.testing.assert_array_equal(whole(X), X / 2)
        np.testing.assert_array_equal(whole(-X), -X)
    else:
        with pytest.raises(TypeError):
            whole(X)


def test_loops_that_tensorflow_traces_stay_what_they_are():
    with inlined_functions(), tf.GradientTape() as tape:
        tape.watch(X)
        values = tf.vectorized_map(lambda x: x**2, X)
        jacobian = tape.jacobian(values, X)  # a loop of a graph
    np.testing.assert_array_equal(jacobian, np.diag(2 * X))


def test_other_threads_go_on_tracing():
    function = tf.function(lambda x: x + 1)
    with inlined_functions():
        other = threading.Thread(target=function, args=(X,))
        other.start()
        other.join()
        function(X)
    assert function.experimental_get_tracing_count() == 1
