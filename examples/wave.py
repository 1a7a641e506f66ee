"""The wave equation of the paper, from a Keras network to curves in TensorBoard.

    python examples/wave.py
    tensorboard --logdir logs

The same problem with checkpoints, figures and tables: ``ntk-keras run wave``.
"""

import math

import keras
import numpy as np
import tensorflow as tf

import ntk_keras as nk

BOX = nk.domains.Box(t=(0, 1), x=(0, 1))


def wave_equation(u, points):
    """u_tt - 4 u_xx, at every point. The columns of points are (t, x), the box's order."""
    second = nk.derivatives.hessian_diagonal(u, points)  # [n, outputs, 2]
    return second[:, 0, 0] - 4.0 * second[:, 0, 1]


def initial_velocity(u, points):
    """u_t is to vanish at t = 0."""
    return nk.derivatives.gradient(u, points)[:, 0, 0]


def initial_value(u, points):
    """U is to be sin(pi x) + 1/2 sin(4 pi x) at t = 0."""
    x = points[:, 1]
    return u(points)[:, 0] - tf.sin(math.pi * x) - 0.5 * tf.sin(4 * math.pi * x)


def zero(u, points):
    """U is to vanish at both ends."""
    return u(points)[:, 0]


def exact(points):
    """The solution, to measure the error with."""
    t, x = points[:, :1], points[:, 1:]
    return np.sin(np.pi * x) * np.cos(2 * np.pi * t) + 0.5 * np.sin(4 * np.pi * x) * np.cos(
        8 * np.pi * t
    )


def build(width=100, weighting="ntk", seed=0, dtype=None):
    """The model: a network, and five terms in three groups that share a weight each."""
    keras.utils.set_random_seed(seed)
    network = nk.networks.feedforward(BOX, width=width, depth=3, dtype=dtype)
    start = BOX.face(t=0)
    terms = [
        nk.Term("equation", wave_equation, BOX.interior(300)),
        nk.Term("velocity", initial_velocity, start.sample(300)),
        nk.Term("initial", initial_value, start.sample(100), group="boundary"),
        nk.Term("left", zero, BOX.face(x=0).sample(100), group="boundary"),
        nk.Term("right", zero, BOX.face(x=1).sample(100), group="boundary"),
    ]
    model = nk.PINNModel(network, terms, weighting=weighting, seed=seed)
    rate = keras.optimizers.schedules.ExponentialDecay(1e-3, decay_steps=1000, decay_rate=0.9)
    model.compile(keras.optimizers.Adam(rate), steps_per_execution=50)
    return model


def main(epochs=30, steps_per_epoch=500, width=100, logdir="logs/wave-script", verbose=2):
    """Trains, logs, and returns the model and its history."""
    model = build(width)
    grid = BOX.grid(101, 101)
    history = model.fit(
        epochs=epochs,
        steps_per_epoch=steps_per_epoch,
        validation_data=(grid, exact(grid)),
        callbacks=[nk.callbacks.NTKTensorBoard(logdir)],
        verbose=verbose,
    )
    print("loss weights:", model.loss_weights)
    print("relative L2 error:", history.history["val_relative_l2"][-1])
    return model, history


if __name__ == "__main__":
    main()
