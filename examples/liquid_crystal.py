"""The liquid crystal of the paper (Section 5.2.3): a system of two equations, and no formula.

The network is held against finite elements, which need the extra ``fem``.

    python examples/liquid_crystal.py
    tensorboard --logdir logs

The same problem with checkpoints, figures and tables: ``ntk-keras run liquid_crystal``.
"""

import keras
import numpy as np
import tensorflow as tf

import ntk_keras as nk
from ntk_keras.references import liquid_crystal_fem as fem

L, A, C = 0.1, -0.25, 1.0
BOX = nk.domains.Box(t=(0, 2), x=(0, 2), y=(0, 2))


def flow(u, points):
    """Q_t = L Lap Q - a Q - c Tr(Q^2) Q for Q = [[q1, q2], [q2, -q1]], so Tr Q^2 = 2 |q|^2."""
    q = u(points)  # [n, 2]
    q_t = nk.derivatives.partial(u, points, 0)
    laplacian = nk.derivatives.laplacian(u, points, axes=(1, 2))
    return q_t - L * laplacian + A * q + 2 * C * tf.reduce_sum(q**2, axis=1, keepdims=True) * q


def at_start(x, y):
    """Q = d d^T - |d|^2 / 2 I, for the director d as the paper prints it."""
    first = (2 - x) * (2 + x) * (2 - y) * (2 + y)
    second = tf.sin(np.pi * x) * tf.sin(np.pi * y)
    length = tf.sqrt(1 + first**2 + second**2)
    d1, d2 = first / length, second / length
    return tf.stack([(d1**2 - d2**2) / 2, d1 * d2], axis=-1)


def initial_value(u, points):
    """Q is given at t = 0."""
    return u(points) - at_start(points[:, 1], points[:, 2])


def zero(u, points):
    """Q is to vanish on the boundary."""
    return u(points)


def build(width=100, seed=0):
    """The model: a network with two outputs, and three terms in two groups."""
    keras.utils.set_random_seed(seed)
    terms = [
        nk.Term("equation", flow, BOX.interior(300)),
        nk.Term("initial", initial_value, BOX.face(t=0).sample(300), group="boundary"),
        nk.Term("sides", zero, BOX.boundary(40, axes=["x", "y"]), group="boundary"),
    ]
    network = nk.networks.feedforward(BOX, outputs=2, width=width, depth=3)
    model = nk.PINNModel(network, terms, weighting=nk.weighting.NTK(averaging_rate=1e-2), seed=seed)
    rate = keras.optimizers.schedules.ExponentialDecay(1e-3, decay_steps=1000, decay_rate=0.9)
    model.compile(keras.optimizers.Adam(rate), steps_per_execution=50)
    return model


def reference(cells=64, steps=640):
    """The finite element solution: a function of points ``[m, 3]``."""
    settings = fem.SolverSettings(elasticity=L, a=A, c=C, cells=cells, steps=steps)
    x, y = fem.lines(settings)
    return fem.solve_cached(at_start(tf.constant(x), tf.constant(y)).numpy(), settings)


def main(
    epochs=24,
    steps_per_epoch=500,
    width=100,
    cells=64,
    logdir="logs/liquid-crystal-script",
    verbose=2,
):
    """Trains, logs, and returns the model, its history and the relative L2 errors by time."""
    model, truth = build(width), reference(cells)
    grid = BOX.grid(9, 33, 33)
    history = model.fit(
        epochs=epochs,
        steps_per_epoch=steps_per_epoch,
        validation_data=(grid, truth(grid)),
        callbacks=[nk.callbacks.NTKTensorBoard(logdir)],
        verbose=verbose,
    )
    errors = {}
    for time in (0.0, 0.5, 2.0):
        points = grid[grid[:, 0] == time]
        values, prediction = truth(points), model.predict(points, verbose=0)
        errors[time] = float(np.linalg.norm(prediction - values) / np.linalg.norm(values))
        print(f"relative L2 error at t = {time}: {errors[time]:.3e}")
    print("loss weights:", model.loss_weights)
    return model, history, errors


if __name__ == "__main__":
    main()
