"""Datasets of every shape give the losses of their batches; what would never end is refused."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import ntk_keras as nk
from ntk_keras.training import data as data_module
from tests.support.models import two_terms

X, Y = np.linspace(0, 1, 6)[:, None], np.linspace(2, 3, 5)[:, None]
SINGLE = 1e-5  # Keras averages what it logs in float32


def still(reduction="sum"):
    """u = 2 x, which nothing trains, on two terms without points."""
    dense = keras.layers.Dense(
        1, use_bias=False, kernel_initializer=lambda shape, dtype: 2 * tf.ones(shape, dtype)
    )
    terms = [
        nk.Term("inside", lambda u, x: u(x)[:, 0]),
        nk.Term("data", lambda u, data: u(data["x"]) - data["y"]),
    ]
    network = keras.Sequential([keras.Input((1,)), dense])
    model = nk.PINNModel(network, terms, "exact-ntk", reduction=reduction, seed=0)
    model.compile(keras.optimizers.SGD(0.0), run_eagerly=reduction == "mean", jit_compile=False)
    return model


def by_term(inside, data):
    return {"inside": inside, "data": {"x": data, "y": data}}


def losses(inside, data, reduce=np.sum):
    """Of the residuals 2 x and 2 x - x."""
    return [reduce((2 * inside) ** 2) / 2, reduce(data**2) / 2]


def logged(history):
    return [history[f"loss/{name}"] for name in ("inside", "data")]


def test_endless_sets_of_unequal_length_go_together():
    """Batches of 4 of 6 points and 2 of 5, each begun anew when it is through."""
    inside = tf.data.Dataset.from_tensor_slices(X).batch(4).repeat()
    data = tf.data.Dataset.from_tensor_slices(Y).batch(2).repeat()
    together = tf.data.Dataset.zip((inside, data)).map(by_term)
    history = still().fit(together, epochs=2, steps_per_epoch=2, verbose=0).history
    steps = [(X[:4], Y[:2]), (X[4:], Y[2:4]), (X[:4], Y[4:]), (X[4:], Y[:2])]
    single = np.array([losses(*step) for step in steps])
    expected = [single[:2].mean(axis=0), single[2:].mean(axis=0)]
    np.testing.assert_allclose(np.transpose(logged(history)), expected, rtol=SINGLE)


@pytest.mark.parametrize("reduction", ["sum", "mean"])
def test_a_generator_of_sets_of_changing_length(reduction):
    sets = [(X, Y[:3]), (X[3:4], Y)]

    def generate():
        for inside, data in sets:
            yield by_term(inside, data)

    column = tf.TensorSpec((None, 1), tf.float64)
    dataset = tf.data.Dataset.from_generator(
        generate, output_signature={"inside": column, "data": {"x": column, "y": column}}
    )
    history = still(reduction).fit(dataset, steps_per_epoch=2, verbose=0).history
    reduce = {"sum": np.sum, "mean": np.mean}[reduction]
    expected = np.mean([losses(*each, reduce) for each in sets], axis=0)
    np.testing.assert_allclose(np.squeeze(logged(history)), expected, rtol=SINGLE)


class Endless(keras.utils.PyDataset):
    num_batches = None


ENDLESS = {
    "repeat": tf.data.Dataset.from_tensors(X).repeat().map(lambda x: x + 1).prefetch(1),
    "PyDataset": Endless(),
}


@pytest.mark.parametrize("data", ENDLESS.values(), ids=ENDLESS)
def test_what_never_ends_needs_a_number_of_steps(data):
    with pytest.raises(ValueError, match="x is a dataset that never ends.*as in steps=100"):
        data_module.check_ends("x", data, None, "steps")
    data_module.check_ends("x", data, 3, "steps")


@pytest.mark.parametrize(
    "data", [None, {"a": X}, (X, X), tf.data.Dataset.from_tensors(X).repeat(2)]
)
def test_what_ends_needs_none(data):
    data_module.check_ends("x", data, None, "steps")


def test_the_number_of_validation_points():
    assert data_module.length(({"x": X, "y": X}, X)) == 6
    assert data_module.length(tf.data.Dataset.from_tensors((X, X))) is None


def test_no_thread_tunes_data_that_is_the_same_at_every_step():
    """The iterator of a fit that failed would wait for it, as long again as it has lived."""
    terms, strategy = two_terms(), tf.distribute.get_strategy()
    trained = data_module.for_steps({"equation": X}, terms, "float32", strategy).batches
    held_out, _ = data_module.for_validation({"equation": X}, terms, "float32", None)
    for batches in (trained, held_out):
        assert batches.options().autotune.enabled is False
    # One's own dataset may have something to tune.
    own = tf.data.Dataset.from_tensor_slices({"equation": X}).batch(2)
    assert data_module.for_steps(own, terms, "float32", strategy).batches is own
