"""Outputs that are nested in others, chosen one after the other."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import ntk_keras as nk
from ntk_keras.derivatives import gradient

X = tf.constant(np.linspace(0, 1, 6)[:, None], "float32")


def functional():
    x = keras.Input((1,))
    h = keras.layers.Dense(8, "tanh")(x)
    u, v, w = (keras.layers.Dense(1)(h) for _ in range(3))
    return keras.Model(x, {"u": u, "f": {"v": v, "w": [w]}})


class OwnCall(keras.Model):
    def __init__(self):
        super().__init__()
        self.inner = functional()

    def call(self, x):
        return self.inner(x)


def slope(network, choose):
    with tf.GradientTape() as tape:
        tape.watch(X)
        values = choose(network(X))
    return tape.gradient(values, X)


def own_call():
    network = OwnCall()
    network(X)
    return network


@pytest.mark.parametrize("make", [functional, own_call])
@pytest.mark.parametrize("choose", [lambda u: u["f"]["v"], lambda u: u["f"]["w"][0]])
def test_values_and_derivatives_of_a_nested_output(make, choose):
    network = make()
    view = nk.derivatives.NetworkView(network)
    np.testing.assert_allclose(choose(view)(X), choose(network(X)), rtol=1e-5)
    np.testing.assert_allclose(
        gradient(choose(view), X)[:, 0], slope(network, choose), rtol=1e-4, atol=1e-6
    )
    assert view["f"](X).keys() == {"v", "w"}


def test_a_term_of_a_nested_output_is_factored():
    term = nk.Term("a", lambda u, x: gradient(u["f"]["v"], x)[:, 0, 0] - u["u"](x)[:, 0], X)
    model = nk.PINNModel(functional(), [term], seed=0)
    assert model._residuals.not_factored == {"a": None}


def test_messages_name_the_outputs_there_are():
    view = nk.derivatives.NetworkView(functional())
    with pytest.raises(ValueError, match=r"u\['f'\] of .* several.*gradient\(u\['f'\]\['v'\], po"):
        gradient(view["f"], X)
    with pytest.raises(
        ValueError, match=r"no output 'x' in u\['f'\]. Its outputs are \['v', 'w'\]"
    ):
        gradient(view["f"]["x"], X)
    with pytest.raises(ValueError, match=r"no output 'x'. Its outputs are \['u', 'f'\]"):
        gradient(view["x"], X)
    with pytest.raises(ValueError, match="outputs are one, to be had without an index"):
        gradient(view["u"]["x"], X)
