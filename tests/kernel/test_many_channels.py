"""Exact diagonals where many derivatives are carried: to the same numbers, by few operations."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import ntk_keras as nk
from ntk_keras.derivatives import NetworkView
from ntk_keras.kernel import factored


def factored_block(width):
    """The Laplacian and one first derivative, of a network that shares a layer."""
    points = keras.Input((width,), dtype="float64")
    dense = {"dtype": "float64", "bias_initializer": "glorot_normal"}
    shared = keras.layers.Dense(3, "tanh", **dense)
    hidden = shared(keras.layers.Dense(3, "tanh", **dense)(points))
    network = keras.Model(points, keras.layers.Dense(1, **dense)(shared(hidden)))
    x = tf.constant(np.random.default_rng(0).uniform(size=(4, width)))

    def residual(x, hook=None):
        u = NetworkView(network, "taylor", hook=hook, reuse=True)
        laplacian = nk.derivatives.laplacian(u, x)
        return tf.concat([laplacian, nk.derivatives.partial(u, x, 0)], axis=1)

    theta = network.trainable_variables
    return nk.kernel.Block(residual, x, with_hook=residual, hooked_variables=theta), theta


def diagonal(block, theta):
    linearization = nk.kernel.Linearization({"a": block}, theta, factored=True)
    return linearization.diagonal()["a"]


@pytest.mark.parametrize("width", [8, 40])
def test_blocks_of_channels_give_the_exact_diagonal(width):
    """40 inputs make 42 channels, and 84 of the layer that is shared."""
    block, theta = factored_block(width)
    desired = nk.kernel.diagonal(nk.kernel.Block(block.residual, block.points), theta)["residual"]
    np.testing.assert_allclose(diagonal(block, theta), desired, rtol=1e-10)


def test_blocks_and_pairs_agree(monkeypatch):
    block, theta = factored_block(8)
    by_blocks = diagonal(block, theta)
    monkeypatch.setattr(factored, "_FEW_CHANNELS", 100)
    np.testing.assert_allclose(by_blocks, diagonal(block, theta), rtol=1e-12)


def test_the_graph_grows_with_channels_and_not_with_their_pairs():
    def operations(width):
        block, theta = factored_block(width)
        graph = tf.function(lambda: diagonal(block, theta), autograph=False)
        parts = graph.get_concrete_function().graph.as_graph_def()
        return len(parts.node) + sum(len(f.node_def) for f in parts.library.function)

    assert operations(40) < 1.5 * operations(8)
