"""Recover the slowness of an Eikonal equation from observations of a solution with kinks.

    python examples/inverse_eikonal.py

-u_t + |u_x| = 1 / lambda with u = 0 at t = 1 and at x = -1, 1 is solved by
u = min(1 - t, 1 - |x|) / lambda; lambda = 3 is to be found, starting from 1. The problem is that of
Blechschmidt & Ernst, "Three ways to solve partial differential equations with neural networks"
(2021), where it is solved with 500 observations without noise. After 7000 steps, 20 seconds, seeds
0, 1, 2 give 3.003, 2.982 and 2.990; seed 0 with constant weights 3.035.
"""

import keras
import numpy as np
import tensorflow as tf

import ntk_keras as nk

BOX = nk.domains.Box(t=(0, 1), x=(-1, 1))
SLOWNESS = 3.0  # what is to be found; only `observe` knows it
REGISTER = keras.saving.register_keras_serializable("inverse_eikonal")


@REGISTER
def eikonal_equation(u, points):
    """-u_t + |u_x| - 1 / lambda. The columns of points are (t, x)."""
    u_t, u_x = tf.unstack(nk.derivatives.gradient(u, points)[:, 0], axis=1)
    return -u_t + tf.abs(u_x) - 1 / u.unknowns["slowness"]


@REGISTER
def misfit(u, points):
    """The value less what was observed."""
    where, observed = points
    return u(where)[:, 0] - observed


@REGISTER
def zero(u, points):
    """The value, which vanishes at the end and on both sides."""
    return u(points)[:, 0]


def exact(points):
    """The solution, ``[n]``."""
    t, x = points.T
    return np.minimum(1 - t, 1 - np.abs(x)) / SLOWNESS


def observe(count=500, noise=0.0, seed=0):
    """Points in the box, and the solution there, with Gaussian noise if wanted."""
    generator = np.random.default_rng(seed)
    points = BOX.sample(count).fixed(generator)
    return points, exact(points) + noise * generator.standard_normal(count)


def build(width=20, start=1.0, weighting="ntk", seed=0):
    """The model: the equation, the conditions, the observations, and one positive unknown."""
    terms = [
        nk.Term("equation", eikonal_equation, BOX.interior(500)),
        nk.Term("end", zero, BOX.face(t=1).sample(50)),
        nk.Term("sides", zero, BOX.boundary(50, axes=["x"])),
        nk.Term("observations", misfit, observe(seed=seed)),
    ]
    model = nk.PINNModel(
        nk.networks.feedforward(BOX, width=width, depth=2, seed=seed),
        terms,
        weighting=weighting,
        unknowns={"slowness": nk.Unknown(start, constraint="non_neg")},
        seed=seed,
    )
    rate = keras.optimizers.schedules.ExponentialDecay(1e-2, decay_steps=1000, decay_rate=0.8)
    model.compile(keras.optimizers.Adam(rate), steps_per_execution=50)
    return model


def main(epochs=14, steps_per_epoch=500, logdir="logs/inverse-eikonal", verbose=2, **kwargs):
    """Trains, logs, and returns the model."""
    model = build(**kwargs)
    callbacks = [nk.callbacks.NTKTensorBoard(logdir)] if logdir else []
    model.fit(epochs=epochs, steps_per_epoch=steps_per_epoch, callbacks=callbacks, verbose=verbose)
    print(f"slowness: {model.unknowns['slowness']:.4f}, exactly {SLOWNESS}")
    return model


if __name__ == "__main__":
    main()
