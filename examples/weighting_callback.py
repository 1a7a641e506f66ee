"""NTK weights for a Keras model that already trains: one callback, Algorithm 1.

The model below knows nothing of ntk_keras but its derivatives, and those it could take from tapes
of its own. It solves u'' = -pi^2 sin(pi x), u(0) = u(1) = 0, with solution sin(pi x).

    python examples/weighting_callback.py
"""

import math

import keras
import numpy as np
import tensorflow as tf

import ntk_keras as nk


class Poisson(keras.Model):
    """A physics-informed model with its own train_step and a weight for each loss term."""

    def __init__(self):
        super().__init__()
        self.hidden = keras.layers.Dense(30, "tanh")
        self.last = keras.layers.Dense(1)
        # Variables, not numbers: the compiled step reads their present value.
        self.equation_weight = self.add_weight(initializer="ones", trainable=False)
        self.boundary_weight = self.add_weight(initializer="ones", trainable=False)
        self(tf.zeros([1, 1]))  # builds the layers

    def call(self, points):
        return self.last(self.hidden(points))

    def equation(self, points):
        forcing = -(math.pi**2) * tf.sin(math.pi * points)
        return nk.derivatives.laplacian(self, points) - forcing

    def train_step(self, data):
        interior, boundary = data
        with tf.GradientTape() as tape:
            equation = tf.reduce_mean(self.equation(interior) ** 2)
            values = tf.reduce_mean(self(boundary) ** 2)
            loss = self.equation_weight * equation + self.boundary_weight * values
        variables = self.trainable_variables
        gradients = tape.gradient(loss, [v.value for v in variables])
        self.optimizer.apply(gradients, variables)
        return {"loss": loss}


def main(epochs=20, verbose=0):
    """Trains and returns the model, its callback and the relative L2 error."""
    keras.utils.set_random_seed(0)
    model = Poisson()
    interior = tf.linspace([0.01], [0.99], 64)
    boundary = tf.constant([[0.0], [1.0]])
    weighting = nk.callbacks.NTKWeighting(
        # Blocks: functions of points, with the scale that makes means of squared sums.
        residuals={
            "equation": nk.Block(model.equation, interior, scale=64**-0.5),
            "boundary": nk.Block(model, boundary, scale=2**-0.5),
        },
        loss_weights={"equation": model.equation_weight, "boundary": model.boundary_weight},
        update_every=100,
    )
    data = tf.data.Dataset.from_tensors((interior, boundary)).repeat()
    model.compile(keras.optimizers.Adam(5e-3))
    model.fit(
        data,
        epochs=epochs,
        steps_per_epoch=100,
        shuffle=False,
        callbacks=[weighting],
        verbose=verbose,
    )

    grid = np.linspace(0, 1, 201, dtype="float32")[:, None]
    truth = np.sin(np.pi * grid)
    prediction = model.predict(grid, verbose=0)
    error = float(np.linalg.norm(prediction - truth) / np.linalg.norm(truth))
    print("loss weights:", weighting.weights)
    print("relative L2 error:", error)
    return model, weighting, error


if __name__ == "__main__":
    main()
