"""The convergence test of the paper's Section 5.1, Figures 1 to 3 in numbers.

Four points, so that the network has more parameters than there are residuals and the kernel is
positive definite; gradient descent; exact weights at every step. The theorems then promise that
averages over T steps of the residual and of both gradients fall like 1/T.

    python examples/poisson.py
"""

import math

import keras
import numpy as np
import tensorflow as tf

import ntk_keras as nk

BOX = nk.domains.Box(x=(0, 1))
STEP_LENGTH = 5e-5


def poisson(u, points):
    """u_xx = -16 pi^2 sin(4 pi x)."""
    forcing = -16 * math.pi**2 * tf.sin(4 * math.pi * points[:, 0])
    return nk.derivatives.laplacian(u, points)[:, 0] - forcing


def zero(u, points):
    """U is to vanish at both ends."""
    return u(points)[:, 0]


def build(seed=0):
    """The model: one hidden layer, in double precision to see the loss fall to rounding."""
    network = nk.networks.feedforward(BOX, width=100, depth=1, dtype="float64", seed=seed)
    terms = [
        nk.Term("equation", poisson, BOX.interior(2).fixed(seed)),
        nk.Term("left", zero, np.array([[0.0]]), group="boundary"),
        nk.Term("right", zero, np.array([[1.0]]), group="boundary"),
    ]
    model = nk.PINNModel(network, terms, weighting="exact-ntk", seed=seed)
    model.compile(keras.optimizers.SGD(STEP_LENGTH))
    return model


def main(epochs=1000, verbose=0):
    """Trains an epoch of one step at a time; returns the squared residuals and the slopes."""
    model = build()
    averages = nk.callbacks.TimeAverages(spectrum=True)
    model.fit(epochs=epochs, callbacks=[averages], verbose=verbose)
    squares, slopes = averages.squares().sum(axis=1), averages.slopes()
    for epoch in range(0, epochs + 1, max(epochs // 10, 1)):
        print(f"epoch {epoch:5d}   |R|^2 = {squares[epoch]:.2e}")
    print("loss weights:", model.loss_weights)
    print("exponents of T in the averages over T steps:", slopes)
    print("eigenvalues of the kernel at the end:", averages.eigenvalues()[-1])
    constants = averages.constants(STEP_LENGTH)
    print("largest step length of Theorem 1:", constants.largest_learning_rate)
    return squares, slopes


if __name__ == "__main__":
    main()
