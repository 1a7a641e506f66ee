"""PINA, with its trainer, wave equation and weightings. One epoch is one step.

PINA redraws points by refinement callbacks. In version 0.3.2, they change an attribute from which
no batch is made. PINA keeps a full batch until its data loaders are created again, which costs a
considerable part of a step. Here, a callback of Lightning puts new points into the batch itself,
which costs almost nothing.

The NTK weighting of PINA takes one gradient for each term, and weights the terms by the shares of
the gradient norms.
"""

import time
import warnings
from collections.abc import Callable
from typing import Any, ClassVar

import lightning
import numpy as np
import torch
from pina import Condition, LabelTensor, Trainer
from pina.domain import CartesianDomain
from pina.equation import AcousticWaveEquation, Equation, FixedValue
from pina.model import FeedForward
from pina.operator import grad
from pina.optim import TorchOptimizer
from pina.problem import SpatialProblem, TimeDependentProblem
from pina.solver import PhysicsInformedSingleModelSolver
from pina.weighting import NeuralTangentKernelWeighting, SelfAdaptiveWeighting

from benchmarks.peers.problem import (
    DEVIATION,
    FACES,
    LEARNING_RATE,
    MEAN,
    SPEED,
    Setting,
    fixed_points,
    network,
)
from benchmarks.peers.worker import Case, Contender, Train


def velocity(input_: LabelTensor, output_: LabelTensor) -> LabelTensor:
    """Returns ``u_t``."""
    return grad(output_, input_, components=["u"], d=["t"])


def initial(input_: LabelTensor, output_: LabelTensor) -> torch.Tensor:
    """Returns the value minus the initial value."""
    x = input_.extract(["x"])
    return output_ - torch.sin(torch.pi * x) - torch.sin(4 * torch.pi * x) / 2


EQUATIONS: dict[str, Any] = {
    "equation": AcousticWaveEquation(SPEED),
    "velocity": Equation(velocity),
    "initial": Equation(initial),
    "left": FixedValue(0.0),
    "right": FixedValue(0.0),
}


def _domain(term: str) -> CartesianDomain:
    columns = enumerate(("t", "x"))
    return CartesianDomain({name: FACES[term].get(column, [0, 1]) for column, name in columns})


class Wave(SpatialProblem, TimeDependentProblem):
    """The wave problem."""

    output_variables: ClassVar = ["u"]
    conditions: dict[str, Any] = {}  # noqa: RUF012 - the base asks for it; every problem has its own
    spatial_domain = CartesianDomain({"x": [0, 1]})
    temporal_domain = CartesianDomain({"t": [0, 1]})

    def __init__(self, points: dict[str, int]):
        self.domains = {term: _domain(term) for term in points}
        self.conditions = {
            term: Condition(domain=term, equation=EQUATIONS[term]) for term in points
        }
        super().__init__()
        for term, number in points.items():
            self.discretise_domain(number, mode="random", domains=term)


class Network(torch.nn.Module):
    """PINA's network on standardised inputs."""

    def __init__(self, setting: Setting):
        super().__init__()
        hidden = [setting.width] * setting.depth
        self.inner = FeedForward(2, 1, layers=hidden, func=torch.nn.Tanh)
        linears = [m for m in self.inner.model if isinstance(m, torch.nn.Linear)]
        layers = network(setting)
        layers[0] = layers[0][0][::-1], layers[0][1]  # PINA's inputs are (x, t)
        with torch.no_grad():
            for linear, (kernel, bias) in zip(linears, layers, strict=True):
                linear.weight.copy_(torch.from_numpy(kernel.T.copy()))
                linear.bias.copy_(torch.from_numpy(bias))

    def forward(self, points: torch.Tensor) -> torch.Tensor:
        """Evaluates the network with plain tensors, which avoids the cost of labels."""
        return self.inner((points.as_subclass(torch.Tensor) - MEAN) / DEVIATION)


class Redraw(lightning.pytorch.Callback):
    """A callback that draws new uniform points for every batch."""

    def on_train_batch_start(self, trainer: Any, solver: Any, batch: Any, index: int) -> None:
        """Replaces the points of all conditions by the same number of new ones."""
        for name, data in batch:
            data["input"] = solver.problem.domains[name].sample(len(data["input"]), "random")


class Clock(lightning.pytorch.Callback):
    """A callback that records the times at which epochs end."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def on_train_epoch_end(self, trainer: Any, solver: Any) -> None:
        """Records the time."""
        self.times.append(time.perf_counter())


class Package(Contender):
    """PINA."""

    distributions = ("pina-mathlab", "torch")
    cases = (
        Case("constant", "constant", "no"),
        Case("ntk", "its NTK weighting (gradient norms), every step", "no"),
        Case("self-adaptive", "its self-adaptive weighting (gradient norms), every step", "no"),
    )
    weightings: ClassVar[dict[str, Callable[[], Any]]] = {
        "constant": lambda: None,
        "ntk": NeuralTangentKernelWeighting,
        "self-adaptive": SelfAdaptiveWeighting,
    }

    def solver(self, case: str) -> PhysicsInformedSingleModelSolver:
        """Returns PINA's solver of the problem."""
        return PhysicsInformedSingleModelSolver(
            Wave(dict(self.setting.points)),
            Network(self.setting),
            optimizer=TorchOptimizer(torch.optim.Adam, lr=LEARNING_RATE),
            weighting=self.weightings[case](),
        )

    def residuals(self) -> dict[str, np.ndarray]:
        solver = self.solver("constant")
        solver.problem.move_discretisation_into_conditions()
        values = {}
        for term, points in fixed_points(self.setting).items():
            batch = {"input": LabelTensor(torch.from_numpy(points), ["t", "x"])}
            rows = solver.problem.conditions[term].evaluate(batch, solver)
            values[term] = rows.detach().as_subclass(torch.Tensor).numpy()[:, 0]
        return values

    def prepare(self, case: str) -> Train:
        warnings.simplefilter("ignore")
        clock = Clock()
        trainer = Trainer(
            self.solver(case),
            max_epochs=0,
            accelerator="cpu",
            callbacks=[Redraw(), clock],
            enable_progress_bar=False,
            enable_model_summary=False,
            enable_checkpointing=False,
            logger=False,
        )

        def train(steps: int) -> tuple[float, int]:
            clock.times.clear()
            trainer.fit_loop.max_epochs += (
                steps + 1
            )  # timed from the end of the first to the end of the last
            trainer.train()
            return clock.times[-1] - clock.times[0], steps

        return train
