"""Which rows are seen to depend on other points: any two, however many there are, in any dtype."""

import numpy as np
import pytest
import tensorflow as tf

import ntk_keras as nk
from ntk_keras.derivatives import NetworkView
from ntk_keras.kernel import factorable
from tests.support import models


def shifted(values):
    return tf.concat([values[1:], values[:1]], axis=0)


# What a row receives from the others.
COUPLINGS = {
    "neighbour": shifted,
    "difference": lambda values: values - shifted(values),
    "second difference": lambda v: shifted(v) - 2 * v + tf.roll(v, 1, axis=0),
    "running sum": lambda values: tf.cumsum(values, exclusive=True),
    "reversed": lambda values: values[::-1],
    "mean": lambda values: tf.reduce_mean(values, axis=0) * tf.ones_like(values),
}


def is_coupled(residual, count, dtype):
    """Whether gradients say so, of a residual against which the graph says nothing."""
    network = models.network(dtype=dtype)
    points = tf.reshape(tf.linspace(tf.constant(0, dtype), 1, count), [-1, 1])

    def evaluate(hook):
        return residual(NetworkView(network, training=True, reuse=True, hook=hook), points)

    def check():
        reason, _ = factorable.why_not(evaluate, count, network.trainable_variables)
        assert reason is None

    tf.function(check, autograph=False).get_concrete_function()
    return bool(factorable.points_are_coupled(evaluate, count)[0])


@pytest.mark.parametrize(
    ("count", "dtype", "weight"),
    [(2, "float64", 1e-9), (3, "float32", 1.0), (5, "float32", 1e-3), (60, "float32", 1e-3)],
)
def test_every_coupling_is_seen_however_weak(count, dtype, weight):
    for name, coupling in COUPLINGS.items():
        assert is_coupled(lambda u, x, c=coupling: u(x) + weight * c(u(x)), count, dtype), name


@pytest.mark.parametrize("pair", [(1, 2), (2, 0), (3, 59), (17, 40)])
def test_any_two_rows_are_told_apart(pair):
    """One row receives something of another."""
    count = max(3, 1 + max(pair))

    def residual(u, x):
        values = u(x)[:, 0]
        return values + 1e-3 * tf.one_hot(pair[0], count) * values[pair[1]]

    assert is_coupled(residual, count, "float32")


def test_components_do_not_make_up_for_each_other():
    def residual(u, x):
        values = u(x)
        mean = tf.reduce_mean(values, axis=0)
        return tf.concat([values - mean, values + mean], axis=1)

    assert is_coupled(residual, 5, "float32")


def test_small_rows_that_are_coupled_are_seen_beside_large_ones():
    def residual(u, x):
        values = u(x)[:, 0] * [1, 1e-6, 1e-6, 1e-6]
        return values + tf.one_hot(2, 4) * 1e-3 * values[3]

    assert is_coupled(residual, 4, "float32")


@pytest.mark.parametrize("size", [1e-12, 1e20])
def test_rounding_is_no_coupling(size, dtype):
    """Fourth derivatives, whose cotangents are sums of large numbers that cancel."""

    def residual(u, x):
        return size * (nk.derivatives.biharmonic(u, x) + u(x) ** 3 - nk.derivatives.laplacian(u, x))

    assert not is_coupled(residual, 100, dtype)


def mixing(receiver, giver):
    """A residual whose one row receives something of another's; none where there is one point."""

    def residual(u, x):
        values = u(x)[:, 0]
        count = values.shape[0]
        return values if count == 1 else values + tf.one_hot(receiver, count) * values[giver]

    return residual


def test_rows_one_and_two_of_three_train_as_by_tapes():
    """They had the same sign in the one pattern that was tried."""
    moved = []
    for derivatives in "auto", "tapes":
        model = models.build(
            [nk.Term("a", mixing(1, 2), np.array([[0.1], [0.5], [0.9]]))],
            nk.weighting.NTK("reverse"),
            derivatives=derivatives,
        )
        assert model.blocks()["a"].coupled
        models.fit(model, steps=2)
        moved.append(np.concatenate([v.numpy().ravel() for v in model.trainable_variables]))
    np.testing.assert_allclose(moved[0], moved[1], rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("pair", [(1, 2), (1, 3), (6, 5)])
def test_nested_tapes_see_any_two_rows_too(pair):
    """Three rows by themselves, the first, the last and one between, do not tell."""
    term = nk.Term("a", mixing(*pair), np.linspace(0, 1, 8)[:, None])
    model = nk.PINNModel(models.network(), [term], derivatives="tapes", seed=0)
    assert model.blocks()["a"].coupled
