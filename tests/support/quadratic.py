"""Whole runs on the regression of Section 5.2.1, step by step."""

from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

import ntk_keras as nk
from tests.support import transcription

# Powers of two, which a conversion through float32 leaves as they are.
STEP = 2.0**-10


LEARNING_RATE = 2.0**-12


AVERAGING_RATE = 2.0**-3


SEED = 11


# Difference quotients are right to 1e-12 in float64 (1e-15 over the step), and a few steps of a
# well-conditioned recursion add a digit or two.
ROUNDING = 1e-10


THETA = np.array([0.47, 0.52, 0.41])


HALVES = [slice(0, 20), slice(20, 50)]


THIRDS = [slice(0, 20), slice(20, 35), slice(35, 50)]


class SquaredParameters(keras.layers.Layer):
    """The quadratic predictor of Section 5.2.1, (theta * theta) . (1, x, x^2)."""

    def build(self, input_shape):
        initializer = keras.initializers.Constant(THETA)
        self.theta = self.add_weight(shape=(3,), initializer=initializer, name="theta")

    def call(self, x):
        return tf.stack([x**0, x, x**2], axis=1) @ (self.theta.value**2)[:, tf.newaxis]


def misfit(u, points):
    x, y = points
    return u(x)[:, 0] - y


def quadratic_model(chosen, parts, groups=None, jit_compile=False):
    """The regression of Section 5.2.1, its data shared out among terms named a, b, ..."""
    x, y = transcription.quadratic_data()
    groups = groups or [None] * len(parts)
    terms = [
        nk.Term(name, misfit, (x[part], y[part]), group=group)
        for name, part, group in zip("abcd", parts, groups, strict=False)
    ]
    model = nk.PINNModel(SquaredParameters(dtype="float64"), terms, chosen, seed=SEED)
    optimizer = keras.optimizers.SGD(LEARNING_RATE)
    model.compile(optimizer=optimizer, jit_compile=jit_compile)
    return model


class Record(NamedTuple):
    """State of a model after one step: the weights and traces of the step, the next theta."""

    traces: np.ndarray
    weights: np.ndarray
    theta_next: np.ndarray
    K: np.ndarray | None


class Recorder(keras.callbacks.Callback):
    """Keeps a record of every step."""

    def on_train_begin(self, logs=None):
        self.records = []

    def on_train_batch_end(self, batch, logs=None):
        kernel = getattr(self.model.weighting, "kernel", None)
        self.records.append(
            Record(
                np.array(list(self.model.kernel_traces.values())),
                np.array(list(self.model.loss_weights.values())),
                np.concatenate([np.ravel(v.numpy()) for v in self.model.trainable_variables]),
                None if kernel is None else kernel.numpy(),
            )
        )


def trained(model, num_steps):
    """The records of so many steps."""
    recorder = Recorder()
    model.fit(steps_per_epoch=num_steps, callbacks=[recorder], verbose=0)
    return recorder.records


def indices(*parts):
    return np.concatenate([np.arange(50)[part] for part in parts])
