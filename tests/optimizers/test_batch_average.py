"""The average of the matrix over batches of points."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import ntk_keras as nk
from ntk_keras.optimizers import NaturalGradient, batch_average
from ntk_keras.optimizers.batch_average import MOST, BatchAverage, next_count

BOX = nk.domains.Box(x=(-1, 1))


def front(u, p):
    return u(p)[:, 0] - tf.tanh(100 * p[:, 0])


def trained(points, steps=25, method="primal"):
    """A model whose batches have few points in the front, and the counts after its steps."""
    network = nk.networks.feedforward(BOX, width=8, depth=1, dtype="float64", seed=0)
    model = nk.PINNModel(network, [nk.Term("front", front, points)], "constant", seed=0)
    model.compile(NaturalGradient(method=method), jit_compile=False)
    average = model.optimizer.average
    counts = []
    follow = keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda batch, logs: counts.append(float(average.count))
    )
    model.fit(steps_per_epoch=steps, callbacks=[follow] if average else [], verbose=0)
    return model, counts


@pytest.mark.parametrize(
    ("count", "surprise", "expected"),
    [
        (1.0, 1.0, 1.0),
        (1.0, 2.5, 2.0),
        (4.0, 2.5, MOST),
        (2.0, 1.9, 1.86),
        (1.0, 0.0, 1.0),
        (2.0, np.nan, 1.86),
    ],
)
def test_surprises_double_the_number_of_batches(count, surprise, expected):
    found = next_count(tf.constant(count, tf.float64), tf.constant(surprise, tf.float64))
    np.testing.assert_allclose(found, expected)


def test_matrices_are_averaged_after_a_surprise():
    average = BatchAverage(keras.optimizers.SGD(), 2)
    first, second, third = (tf.constant(np.diag([k, 2.0 * k])) for k in (1.0, 3.0, 7.0))
    one = tf.constant(1.0, tf.float64)
    np.testing.assert_array_equal(average.add(first, one, one), first)
    average.leave(one, one)
    # No surprise: four times the residuals have four times the loss.
    np.testing.assert_array_equal(average.add(4 * second, 4 * one, 4 * one), 4 * second)
    average.leave(one, 4 * one)
    np.testing.assert_array_equal(average.add(third, one, one), (second + third) / 2)
    assert float(average.count) == 2


def test_batches_with_few_points_in_a_front_are_averaged():
    _, counts = trained(BOX.interior(30))
    assert max(counts) > 1


def test_fixed_points_hold_no_surprise():
    _, counts = trained(np.linspace(-1, 1, 30)[:, np.newaxis])
    assert set(counts) == {1.0}


@pytest.mark.parametrize("case", ["dual", "many parameters"])
def test_some_have_no_average(case, monkeypatch):
    if case == "many parameters":
        monkeypatch.setattr(batch_average, "MOST_PARAMETERS", 10)
    model, _ = trained(BOX.interior(30), 2, "dual" if case == "dual" else "primal")
    assert model.optimizer.average is None
    assert len(model.optimizer.variables) == 4  # iterations, learning rate, damping, length
