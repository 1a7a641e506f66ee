"""Weightings by themselves, step by step, on residuals of five parameters."""

import numpy as np
import tensorflow as tf

import ntk_keras as nk

SEED = 11


SQUARES = {"a": lambda theta: theta[:3] ** 2, "b": lambda theta: theta[3:] ** 2}


SIZES = [3, 2]


def stepper(chosen, residuals=SQUARES, staged=lambda function: function):
    """Prepares a weighting for residuals of theta ``[5]``; returns ``step(index, theta)``.

    A step returns the loss weights it ends with.
    """
    theta = tf.Variable(np.ones(5))
    blocks = {name: lambda r=residual: r(theta) for name, residual in residuals.items()}
    sizes = {name: len(block()) for name, block in blocks.items()}
    chosen.prepare({name: name for name in blocks}, "float64", sizes)

    @staged
    def update(seed):
        chosen.update(nk.Linearization(blocks, [theta]), seed)

    def step(index, value):
        theta.assign(value)
        update(tf.constant([SEED, index]))
        return chosen.loss_weights.numpy()

    return step


def thetas(num_steps):
    """Parameters that wander, so that no two steps propose the same weights."""
    rng = np.random.default_rng(1)
    return rng.uniform(0.5, 2, size=(num_steps, 5))
