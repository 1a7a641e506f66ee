"""DeepXDE on the backend of ``DDE_BACKEND``, with its geometry, losses and training loop.

Two choices are in DeepXDE's favour. Conditions have their own points, drawn where the conditions
hold, not those that a filter selects from the points of the domain and its boundary, so the number
of residuals is that of the other packages. And points come from NumPy's uniform generator.

DeepXDE also evaluates the equation at the points of the conditions, and leaves those rows out of
the loss. It has no adaptive weights.
"""

import time
from collections.abc import Callable
from typing import Any

import deepxde as dde
import numpy as np
from deepxde import backend as bkd

from benchmarks.peers.problem import (
    DEVIATION,
    LEARNING_RATE,
    MEAN,
    SPEED,
    Setting,
    draw,
    fixed_points,
    network,
)
from benchmarks.peers.worker import Case, Contender, Train

BACKEND = bkd.backend_name
RANDOM = np.random.default_rng(2)


def equation(points: Any, u: Any) -> Any:
    """Returns the wave operator, ``[n, 1]``."""
    u_tt = dde.grad.hessian(u, points, i=0, j=0)
    return u_tt - SPEED**2 * dde.grad.hessian(u, points, i=1, j=1)


def velocity(points: Any, u: Any) -> Any:
    """Returns ``u_t``, ``[n, 1]``."""
    return dde.grad.jacobian(u, points, i=0, j=0)


def initial(points: Any, u: Any) -> Any:
    """Returns the value minus the initial value, ``[n, 1]``."""
    x = points[:, 1:2]
    return u - bkd.sin(np.pi * x) - bkd.sin(4 * np.pi * x) / 2


def value(points: Any, u: Any) -> Any:
    """Returns the value itself, ``[n, 1]``."""
    return u


CONDITIONS: dict[str, Callable[[Any, Any], Any]] = {
    "velocity": velocity,
    "initial": initial,
    "left": value,
    "right": value,
}


class Condition(dde.icbc.BC):
    """A condition with its own points.

    Args:
        geometry: geometry of the problem.
        term: name of the condition.
        number: number of points.
    """

    def __init__(self, geometry: Any, term: str, number: int):
        super().__init__(geometry, lambda _, on_boundary: on_boundary, 0)
        self.term, self.number = term, number

    def collocation_points(self, X: np.ndarray) -> np.ndarray:
        """Returns new points, independent of the given points of the domain."""
        return draw(self.term, self.number, RANDOM)

    def error(
        self, X: Any, inputs: Any, outputs: Any, beg: int, end: int, aux_var: Any = None
    ) -> Any:
        """Returns the residual at the condition's points, rows ``beg`` to ``end`` of all."""
        return CONDITIONS[self.term](inputs, outputs)[beg:end]


class Clock(dde.callbacks.Callback):
    """A callback that records the times at which steps end."""

    def __init__(self) -> None:
        super().__init__()
        self.times: list[float] = []

    def on_epoch_end(self) -> None:
        """Records the time."""
        self.times.append(time.perf_counter())


def build(setting: Setting, xla: bool) -> Any:
    """Returns DeepXDE's model."""
    geometry = dde.geometry.Rectangle([0, 0], [1, 1])  # axes (t, x)
    conditions = [Condition(geometry, term, setting.points[term]) for term in CONDITIONS]
    data = dde.data.PDE(
        geometry,
        equation,
        conditions,
        num_domain=setting.points["equation"],
        train_distribution="pseudo",
    )
    net = dde.nn.FNN(setting.sizes, "tanh", "Glorot normal")
    net.apply_feature_transform(lambda points: (points - MEAN) / DEVIATION)
    model = dde.Model(data, net)
    if BACKEND == "tensorflow":
        dde.config.enable_xla_jit(xla)
    model.compile("adam", lr=LEARNING_RATE, verbose=0)
    model.predict(fixed_points(setting)["equation"])  # creates the variables
    _load(net, setting)
    return model


def _load(net: Any, setting: Setting) -> None:
    """Gives a network the parameters that all packages share."""
    layers = network(setting)
    if BACKEND == "tensorflow":
        net.set_weights([array for layer in layers for array in layer])
        return
    import torch

    with torch.no_grad():
        for linear, (kernel, bias) in zip(net.linears, layers, strict=True):
            linear.weight.copy_(torch.as_tensor(kernel.T.copy()))
            linear.bias.copy_(torch.as_tensor(bias))


class Package(Contender):
    """DeepXDE."""

    distributions = ("deepxde", "tensorflow" if BACKEND == "tensorflow" else "torch")
    cases = (
        (Case("xla", "constant", "XLA"), Case("plain", "constant", "no"))
        if BACKEND == "tensorflow"
        else (Case("plain", "constant", "no"),)
    )

    def residuals(self) -> dict[str, np.ndarray]:
        model = build(self.setting, xla=False)
        operators = {"equation": equation, **CONDITIONS}
        return {
            term: model.predict(points, operator=operators[term])[:, 0]
            for term, points in fixed_points(self.setting).items()
        }

    def prepare(self, case: str) -> Train:
        model = build(self.setting, xla=case == "xla")
        resampler = dde.callbacks.PDEPointResampler(period=1, pde_points=True, bc_points=True)

        def train(steps: int) -> tuple[float, int]:
            clock = Clock()
            # The time starts at the end of the first step. The last step, which also evaluates the
            # loss for display, is not counted.
            model.train(
                iterations=steps + 2,
                display_every=10**9,
                callbacks=[resampler, clock],
                verbose=0,
            )
            return clock.times[steps] - clock.times[0], steps

        return train
