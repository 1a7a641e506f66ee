"""Residuals that call Python, whose shapes TensorFlow does not know in a graph."""

import functools

import numpy as np
import pytest
import tensorflow as tf

import ntk_keras as nk
from tests.support.models import START, X, build, fit, network, still, value

TIMES = np.linspace(0, 1, 11)
TABLE = np.cos(3 * TIMES)


def table(x):
    return np.interp(x, TIMES, TABLE).astype(x.dtype)


def flat(u, x):
    return nk.derivatives.laplacian(u, x)[:, 0] + tf.numpy_function(table, [x[:, 0]], x.dtype)


def eager(u, x):
    values = tf.py_function(lambda x: table(x.numpy()), [x[:, 0]], x.dtype)
    return nk.derivatives.laplacian(u, x)[:, 0] + values


def column(u, x):
    return nk.derivatives.laplacian(u, x) + tf.numpy_function(table, [x], x.dtype)


def components(u, x):
    return nk.derivatives.laplacian(u, x), u(x)[:, 0] - tf.numpy_function(table, [x], x.dtype)[:, 0]


def in_the_graph(u, x):
    return nk.derivatives.laplacian(u, x)[:, 0] + nk.domains.GridInterpolator(TIMES, TABLE)(x)


def trained(residual, points=X, *, data=None, **kwargs):
    terms = [nk.Term("equation", residual, points), nk.Term("start", value, START)]
    return fit(build(terms, **kwargs), data, steps=2)


@functools.cache
def expected():
    return trained(in_the_graph, weighting="ntk")


@pytest.mark.parametrize("residual", [flat, eager, column])
def test_python_trains_as_the_graph_does(residual):
    actual = trained(residual, weighting="ntk")
    assert actual.keys() == expected().keys()
    for name, values in expected().items():
        np.testing.assert_allclose(actual[name], values, rtol=1e-4, err_msg=name)


def test_nested_tapes_and_sketches_take_them():
    def options():
        weighting = nk.weighting.NTK("block-predictor", num_initial_probes=1)
        return {"derivatives": "tapes", "reduction": "mean", "weighting": weighting}

    desired, actual = trained(in_the_graph, **options()), trained(flat, **options())
    np.testing.assert_allclose(actual["loss"], desired["loss"], rtol=1e-3)


def test_components_as_terms_of_their_own():
    model = build(nk.Term.columns(["a", "b"], components, X), "ntk", optimizer=still())
    first, second = components(model.network, tf.constant(X, tf.float32))
    logs = fit(model)
    np.testing.assert_allclose(logs["loss/a"], [np.sum(first**2) / 2], rtol=1e-4)
    np.testing.assert_allclose(logs["loss/b"], [np.sum(second**2) / 2], rtol=1e-4)


def test_batches_of_a_length_that_is_not_known():
    batches = tf.data.Dataset.from_tensor_slices({"equation": X}).batch(len(X)).repeat()
    actual = trained(flat, None, data=batches, weighting="ntk")
    np.testing.assert_allclose(actual["loss"], expected()["loss"], rtol=1e-4)


def by_gradients(u, x):
    slopes = tf.gradients(u(x), x)[0][:, 0]
    return slopes - tf.numpy_function(table, [x[:, 0]], x.dtype)


def test_what_is_first_seen_in_a_graph_says_its_shape():
    with pytest.raises(ValueError, match=r"Term 'equation'.*tf.ensure_shape\(values, points.shape"):
        trained(by_gradients)


@pytest.mark.parametrize("residual", [flat, eager])
def test_xla_is_refused_before_it_fails(residual):
    terms = [nk.Term("equation", residual, X)]
    message = r"Term 'equation': its residual calls Python.*jit_compile=False.*points=\(x, values\)"
    model = build(terms, compiled={"jit_compile": True})
    with pytest.raises(ValueError, match=message):
        fit(model)
    with pytest.raises(ValueError, match=message):
        model.evaluate(verbose=0)


def test_kernels_say_what_is_missing():
    net = network()
    block = nk.Block(lambda x: flat(net, x), tf.constant(X, tf.float32))
    with pytest.raises(ValueError, match="known number of entries.*tf.ensure_shape"):
        nk.kernel.traces(block, net.trainable_variables)
