"""This package, trained as by ``fit``."""

import dataclasses
import time

import keras
import numpy as np

from benchmarks.peers.problem import LEARNING_RATE, Setting, fixed_points, network
from benchmarks.peers.worker import Case, Contender, Train
from benchmarks.step import METHODS, Method, execution
from ntk_keras import PINNModel, networks
from ntk_keras.problems import wave

STEPS = 5  # steps per execution, in a loop inside the graph as in the problem's presets


class Package(Contender):
    """ntk_keras."""

    distributions = ("tensorflow", "keras")
    cases = (
        Case("taylor", "constant", "XLA"),
        Case("tapes", "constant, derivatives by nested tapes", "XLA"),
        Case("exact", "NTK, exact, every step", "XLA"),
        Case("predictor", "NTK, the paper's estimate, every step", "XLA"),
    )

    def __init__(self, setting: Setting):
        super().__init__(setting)
        preset = wave.PROBLEM.presets["paper"]
        self.terms = wave.terms(dataclasses.replace(preset, points=setting.points))

    def model(self, method: Method) -> PINNModel:
        """Returns the model, with the network that all packages share."""
        net = networks.feedforward(wave.BOX, width=self.setting.width, depth=self.setting.depth)
        net.set_weights([array for layer in network(self.setting) for array in layer])
        model = PINNModel(
            net, self.terms, method.weighting(), derivatives=method.derivatives, seed=0
        )
        optimizer = keras.optimizers.Adam(LEARNING_RATE)
        model.compile(optimizer, jit_compile=True, steps_per_execution=STEPS)
        return model

    def residuals(self) -> dict[str, np.ndarray]:
        blocks = self.model(METHODS["taylor"]).blocks(fixed_points(self.setting))
        return {name: block().numpy() for name, block in blocks.items()}

    def prepare(self, case: str) -> Train:
        execute = execution(self.model(METHODS[case]))

        def train(steps: int) -> tuple[float, int]:
            executions = -(-steps // STEPS)
            began = time.perf_counter()
            for _ in range(executions):
                execute()
            return time.perf_counter() - began, executions * STEPS

        return train
