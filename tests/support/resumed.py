"""Models that move in every part, and what goes on with their saved files in another process.

Run as ``python -m tests.support.resumed FOLDER``: every ``NAME.keras`` there is loaded, trained for
one more epoch, and its state and history written to ``NAME.npz``.
"""

import gc
import os
import sys
from pathlib import Path

os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
if __name__ == "__main__":
    gc.disable()  # a short life, which collections would take a third of

import keras
import numpy as np
import tensorflow as tf

import ntk_keras as nk

BOX = nk.domains.Box(t=(0, 1), x=(-1, 1))
STEPS = 4  # in an epoch
SMALL = {"averaging_rate": 0.1, "num_initial_probes": 3}
REGISTER = keras.saving.register_keras_serializable("resumed")


@REGISTER
def heat(u, points):
    u_t, u_xx = nk.derivatives.partial(u, points, 0), nk.derivatives.laplacian(u, points, [1])
    return (u_t - u_xx)[:, 0]


@REGISTER
def periodic(u, points):
    lower, upper = points
    return u(lower)[:, 0] - u(upper)[:, 0]


@REGISTER
def misfit(u, points):
    return u(points["where"])[:, 0] - points["value"]


@REGISTER
class Halves(nk.domains.Sampler):
    """A sampler of one's own."""

    def __init__(self, num_points):
        self._num_points = num_points

    @property
    def num_points(self):
        return self._num_points

    def draw(self, seed, dtype="float32"):
        return tf.random.stateless_uniform([self.num_points, 2], seed, 0, 0.5, dtype, alg="philox")

    def fixed(self, seed=None):
        return np.random.default_rng(seed).random((self.num_points, 2)) / 2

    def get_config(self):
        return {"num_points": self.num_points}


@REGISTER
class FirstPoint:
    """An estimator of one's own: n times the first entry of the diagonal."""

    def traces(self, linearization, seed):
        first = linearization.diagonal({name: tf.constant([0]) for name in linearization.blocks})
        return {
            name: value[0] * tf.cast(tf.size(linearization.residuals[name]), value.dtype)
            for name, value in first.items()
        }

    def get_config(self):
        return {}

    @classmethod
    def from_config(cls, config):
        return cls()


WEIGHTINGS = {
    "constant": lambda: nk.weighting.Constant({"data": 3.0}),
    "exact-ntk": lambda: nk.weighting.ExactNTK(update_every=3),
    **{
        estimator: lambda estimator=estimator: nk.weighting.NTK(estimator, **SMALL)
        for estimator in nk.estimators.ESTIMATORS
        if estimator != "exact"
    },
    "own estimator": lambda: nk.weighting.NTK(FirstPoint(), **SMALL),
    "rules": lambda: nk.weighting.NTK(
        {"name": "diagonal", "num_points": 2},
        bounds=(0.1, 50.0),
        exclude="data",
        gate=nk.weighting.Gate(),
        update_every=2,
        **SMALL,
    ),
    "uncertainty": nk.weighting.Uncertainty,
    "relobralo": lambda: nk.weighting.ReLoBRaLo(memory=0.5),
}

# Ways to compile, each with a weighting; all others are compiled as usual.
EAGER = {"run_eagerly": True}
COMPILED = {
    **dict.fromkeys(["exact-ntk", "predictor", "product", "own estimator"], EAGER),
    "diagonal": {"steps_per_execution": STEPS},
    "relobralo": {
        "optimizer": keras.optimizers.Adam(
            keras.optimizers.schedules.ExponentialDecay(0.01, 2, 0.5),
            use_ema=True,
            ema_overwrite_frequency=3,
        )
    },
}

NAMES = list(WEIGHTINGS)
BETWEEN_POINTS = {"constant", "predictor", "product", "rules"}  # the models with such a term


def build(name):
    """Terms of every kind of points, one weighting, one way to compile."""
    keras.utils.set_random_seed(0)
    where = np.array([[0.25, 0.5], [0.125, -0.3], [0.75, 0.1]])
    data = {"where": where, "value": tf.constant([0.1, 0.2, -0.1])}
    terms = [
        nk.Term("equation", heat, BOX.interior(5, "sobol")),
        nk.Term("start", misfit, data, group="data"),
    ]
    if name in BETWEEN_POINTS:
        terms.insert(1, nk.Term("ends", periodic, BOX.periodic("x", 3), group="boundary"))
    if name == "constant":  # every kind of points once
        terms += [
            nk.Term("halves", heat, Halves(4), group="boundary"),
            nk.Term("fixed", periodic, BOX.periodic("x", 2).fixed(1), group="boundary"),
            nk.Term("faces", heat, BOX.boundary(4), group="boundary"),
        ]
    model = nk.PINNModel(
        nk.networks.feedforward(BOX, width=6, depth=1, seed=0),
        terms,
        WEIGHTINGS[name](),
        seed=1,
    )
    options = {"optimizer": keras.optimizers.Adam(0.01), **COMPILED.get(name, {})}
    model.compile(jit_compile=False, **options)
    return model


def train(model, epochs=1):
    return model.fit(epochs=epochs, steps_per_epoch=STEPS, verbose=0).history


def state(model, history):
    """All that a run depends on, and its last logs, as arrays by name."""
    parts = {
        "network": model.network.variables,
        "optimizer": model.optimizer.variables,
        "weighting": model.weighting.variables,
        "points": tf.nest.flatten([block.points for block in model.blocks().values()]),
    }
    arrays = {
        f"{part} {index}": np.asarray(value)
        for part, values in parts.items()
        for index, value in enumerate(values)
    }
    return {**arrays, **{f"log {key}": np.asarray(values[-1]) for key, values in history.items()}}


def main(folder):
    for path in sorted(Path(folder).glob("*.keras")):
        model = keras.models.load_model(path)
        np.savez(path.with_suffix(".npz"), **state(model, train(model)))


if __name__ == "__main__":
    main(sys.argv[1])
