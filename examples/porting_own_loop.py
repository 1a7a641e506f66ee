"""Port a custom loop of Adam in a tf.function and then L-BFGS by SciPy: weight, then freeze.

    python examples/porting_own_loop.py

``Before`` trains with equal weights. ``After`` differs in the lines marked ``# <-``: a balancer
weights the losses in Adam's step; L-BFGS, whose line search needs a loss that stays what it is,
keeps the weights that the last step of Adam had. Both solve the heat equation u_t = u_xx / 10 on
0 < t, x < 1 with u = sin(3 pi x) at first and u = 0 at the ends. With 1000 steps of Adam and 300 of
L-BFGS, seed 0, the relative L2 error is 1.1e-1 before and 8.5e-2 after. With sin(pi x) at first,
where the terms train at like speeds, weights do not help: 2.3e-3 before and 3.8e-3 after.
"""

import math

import keras
import numpy as np
import scipy.optimize
import tensorflow as tf

import ntk_keras as nk

FREQUENCY = 3 * math.pi


def draw_points(seed=0):
    """Points ``[n, 2]`` of every condition, columns (t, x)."""
    generator = np.random.default_rng(seed)
    interior, initial, ends = (generator.random((n, 2)) for n in (200, 50, 50))
    initial[:, 0] = 0
    ends[:, 1] = np.round(ends[:, 1])
    return [tf.constant(points, tf.float32) for points in (interior, initial, ends)]


def exact(points):
    """The solution, ``[n, 1]``."""
    t, x = points[:, :1], points[:, 1:]
    return np.exp(-(FREQUENCY**2) * t / 10) * np.sin(FREQUENCY * x)


class Before:
    """A network, its points, and a step of each optimizer."""

    def __init__(self):
        keras.utils.set_random_seed(0)
        hidden = [keras.layers.Dense(20, "tanh") for _ in range(2)]
        self.network = keras.Sequential([keras.Input((2,)), *hidden, keras.layers.Dense(1)])
        self.theta = self.network.trainable_variables
        self.optimizer = keras.optimizers.Adam(5e-3)
        self.optimizer.build(self.theta)
        self.interior, self.initial, self.ends = draw_points()

    def equation(self, points):
        t, x = points[:, :1], points[:, 1:]
        with tf.GradientTape() as outer:
            outer.watch(x)
            with tf.GradientTape(persistent=True) as inner:
                inner.watch([t, x])
                u = self.network(tf.concat([t, x], axis=1))
            u_x = inner.gradient(u, x)
        return inner.gradient(u, t) - outer.gradient(u_x, x) / 10

    def residuals(self):
        return {
            "equation": self.equation(self.interior),
            "initial": self.network(self.initial) - tf.sin(FREQUENCY * self.initial[:, 1:]),
            "ends": self.network(self.ends),
        }

    def loss(self):
        return tf.add_n([tf.reduce_mean(r**2) for r in self.residuals().values()])

    @tf.function
    def adam_step(self):
        with tf.GradientTape() as tape:
            loss = self.loss()
        self.optimizer.apply(tape.gradient(loss, self.theta), self.theta)

    @tf.function
    def loss_and_gradients(self):
        with tf.GradientTape() as tape:
            loss = self.loss()
        return loss, tape.gradient(loss, self.theta)

    def objective(self, flat):
        """Loss and gradient at a flat vector of parameters, as SciPy wants them."""
        cuts = np.cumsum([math.prod(v.shape) for v in self.theta])[:-1]
        for variable, part in zip(self.theta, np.split(flat, cuts), strict=True):
            variable.assign(part.reshape(variable.shape))
        loss, gradients = self.loss_and_gradients()
        return float(loss), np.concatenate([np.ravel(g) for g in gradients]).astype("float64")

    def polish(self, steps):
        start = np.concatenate([np.ravel(v.numpy()) for v in self.theta]).astype("float64")
        options = {"maxiter": steps}
        found = scipy.optimize.minimize(
            self.objective, start, jac=True, options=options, method="L-BFGS-B"
        )
        self.objective(found.x)


class After(Before):
    """The same with NTK weights; ``equation``, ``objective`` and ``polish`` stay as they are."""

    def __init__(self):
        super().__init__()
        self.balancer = nk.LossBalancer(["equation", "initial", "ends"])  # <-

    def residuals(self):
        # Over sqrt(n): sums of their squares, to which the weights belong, are means.
        return {name: r / r.shape[0] ** 0.5 for name, r in super().residuals().items()}  # <-

    def loss(self):
        weights = (
            self.balancer.weighting.loss_weights.value
        )  # <- as the last step of Adam left them
        losses = [tf.reduce_sum(r**2) for r in self.residuals().values()]  # <-
        return tf.tensordot(weights, tf.stack(losses), 1)  # <-

    @tf.function
    def adam_step(self):
        with tf.GradientTape(persistent=True) as tape:  # <-
            residuals = self.residuals()  # <-
            losses = [tf.reduce_sum(r**2) for r in residuals.values()]  # <-
        weights = self.balancer(residuals, tape, self.theta)  # <-
        gradients = tape.gradient(losses, self.theta, list(weights.values()))  # <-
        self.optimizer.apply(gradients, self.theta)


def train(kind, adam_steps=1000, polish_steps=300):
    """Trains either kind; returns it and its relative L2 error."""
    training = kind()
    for _ in range(adam_steps):
        training.adam_step()
    training.polish(polish_steps)
    grid = np.stack(np.meshgrid(*[np.linspace(0, 1, 51)] * 2), -1).reshape(-1, 2)
    prediction = training.network.predict(grid, batch_size=len(grid), verbose=0)
    return training, float(np.linalg.norm(prediction - exact(grid)) / np.linalg.norm(exact(grid)))


def main(**kwargs):
    """Trains before and after; returns both errors."""
    _, before = train(Before, **kwargs)
    training, after = train(After, **kwargs)
    print("loss weights:", training.balancer.loss_weights)
    print(f"relative L2 error: {before:.2e} before, {after:.2e} after")
    return before, after


if __name__ == "__main__":
    main()
