"""Port a model whose outputs are the residuals: its outputs become the terms of a PINNModel.

    python examples/porting_residual_outputs.py

``before`` builds a functional model from a network and layers that differentiate it, and fits it to
zeros with ``loss="mse"``. ``after`` takes the model as it is: each output, with the input it
depends on, is the residual of a term. Lines that are new are marked ``# <-``; the zeros are gone.
Both solve u'' + 25 u = 0, u(0) = 1, u'(0) = 0 on 0 < t < 1, with solution cos(5 t). After 2000
steps, seed 0, the relative L2 error is 0.86 before and 5.9e-4 after.
"""

import keras
import numpy as np
import tensorflow as tf

import ntk_keras as nk

FREQUENCY = 5.0


class Derivatives(keras.layers.Layer):
    """A network's value, first and second derivative, ``[n, 1]`` each."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def call(self, t):
        with tf.GradientTape() as outer:
            outer.watch(t)
            with tf.GradientTape() as inner:
                inner.watch(t)
                u = self.network(t)
            u_t = inner.gradient(u, t)
        return u, u_t, outer.gradient(u_t, t)


def build():
    """The network, and the model of its residuals: points of equation and start go in."""
    keras.utils.set_random_seed(0)
    hidden = [keras.layers.Dense(30, "tanh") for _ in range(2)]
    network = keras.Sequential([keras.Input((1,)), *hidden, keras.layers.Dense(1)])
    derivatives = Derivatives(network)
    interior, start = keras.Input((1,)), keras.Input((1,))
    u, _, u_tt = derivatives(interior)
    first, slope, _ = derivatives(start)
    residuals = [u_tt + FREQUENCY**2 * u, first - 1, slope]
    return network, keras.Model([interior, start], residuals)


def points():
    """Instants ``[64, 1]`` of equation and start; one length, because ``fit`` asks for it."""
    return [np.linspace(0, 1, 64, dtype="float32")[:, None], np.zeros((64, 1), "float32")]


def before(epochs=20, steps_per_epoch=100):
    """Fits the residuals to zeros, with equal weights."""
    network, model = build()
    model.compile(keras.optimizers.Adam(5e-3), loss="mse")
    zeros = [np.zeros((64, 1), "float32")] * 3
    data = tf.data.Dataset.from_tensors((tuple(points()), tuple(zeros))).repeat()
    model.fit(data, epochs=epochs, steps_per_epoch=steps_per_epoch, shuffle=False, verbose=0)
    return network


def after(epochs=20, steps_per_epoch=100):
    """Trains the same outputs as terms."""
    network, model = build()
    interior, start = points()
    terms = [  # <-
        term("equation", model.inputs[0], model.outputs[0], interior),  # <-
        term("value", model.inputs[1], model.outputs[1], start[:1]),  # <- one point is enough
        term("slope", model.inputs[1], model.outputs[2], start[:1]),  # <-
    ]
    pinn = nk.PINNModel(network, terms, reduction="mean")  # <-
    pinn.compile(keras.optimizers.Adam(5e-3))  # <-
    pinn.fit(epochs=epochs, steps_per_epoch=steps_per_epoch, verbose=0)  # <-
    print("loss weights:", pinn.loss_weights)
    return network


def term(name, inputs, output, where):
    """One output of the model as a term; it has the network inside, and needs no other ``u``."""
    residual = keras.Model(inputs, output)  # <-
    return nk.Term(name, lambda u, t: residual(t), where)  # <-


def error(network):
    """Relative L2 error of a trained network."""
    t = np.linspace(0, 1, 201, dtype="float32")[:, None]
    truth = np.cos(FREQUENCY * t)
    return float(np.linalg.norm(network.predict(t, verbose=0) - truth) / np.linalg.norm(truth))


def main(**kwargs):
    """Trains before and after; returns both errors."""
    errors = error(before(**kwargs)), error(after(**kwargs))
    print("relative L2 error: {:.2e} before, {:.2e} after".format(*errors))
    return errors


if __name__ == "__main__":
    main()
