"""This package: the kernel from factors, and its natural-gradient optimizer."""

import dataclasses
from typing import Any

import keras
import numpy as np
import tensorflow as tf

import ntk_keras as nk
from benchmarks.peers.natural.curves import follow
from benchmarks.peers.problem import Setting, fixed_points, grid, network
from benchmarks.peers.worker import Case, Contender, Train, timed_loop
from benchmarks.step import execution
from ntk_keras.problems import wave


class Package(Contender):
    """ntk_keras."""

    distributions = ("tensorflow", "keras")
    cases = (Case("kernel", "kernel from factors", "graph"), Case("step", "whole step", "XLA"))
    commands = ("save_kernel", "train")

    def __init__(self, setting: Setting):
        super().__init__(setting)
        every = dict.fromkeys(wave.POINTS, 1) | dict(setting.points)
        terms = wave.terms(dataclasses.replace(wave.PROBLEM.presets["paper"], points=every))
        net = nk.networks.feedforward(
            wave.BOX,
            width=setting.width,
            depth=setting.depth,
            activation=getattr(keras.ops, setting.activation),
            input_scale=setting.input_scale,
            dtype=setting.dtype,
        )
        net.set_weights([array for layer in network(setting) for array in layer])
        self.model = nk.PINNModel(net, [t for t in terms if t.name in setting.points], seed=0)
        self.model.compile(nk.optimizers.NaturalGradient())
        points = fixed_points(setting)
        self.kernel = self._kernel({name: points[name] for name in setting.points})

    def residuals(self) -> dict[str, np.ndarray]:
        blocks = self.model.blocks(fixed_points(self.setting))
        return {name: block().numpy() for name, block in blocks.items()}

    def prepare(self, case: str) -> Train:
        if case == "kernel":
            return timed_loop(lambda: self.kernel().numpy())
        return timed_loop(execution(self.model))

    def save_kernel(self, path: str) -> dict[str, Any]:
        """Writes the kernel at the fixed points to a file."""
        np.save(path, self.kernel().numpy())
        return {}

    def train(self, seconds: float, every: int) -> dict[str, Any]:
        """Errors by seconds of a new training, its points drawn anew at every step."""
        points = tf.constant(grid(), self.setting.dtype)
        net = self.model.network
        rows = follow(lambda: execution(self.model), lambda: net(points).numpy(), seconds, every)
        return {"rows": rows}

    def _kernel(self, points: dict[str, np.ndarray]) -> Any:
        variables = self.model.trainable_variables

        @tf.function(autograph=False)  # XLA makes it slower, and holds more
        def kernel() -> tf.Tensor:
            return nk.kernel.matrix(self.model.blocks(points), variables)

        return kernel
