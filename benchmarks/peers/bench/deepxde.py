"""DeepXDE on PyTorch: Adam, then L-BFGS, then its Nyström-Newton-CG method ("NNCG").

Columns of points are those of ntk_keras. The points inside are drawn anew every 100 steps of Adam,
and stay for the other methods, as in DeepXDE's examples. Periodic problems have a periodic network.
"""

import os
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

os.environ.setdefault("DDE_BACKEND", "pytorch")

import deepxde as dde
import numpy as np
import torch

from benchmarks.peers.bench.curve import Curve, Task, main

PI = np.pi
RESAMPLING = 100  # steps of Adam


class Case(NamedTuple):
    """A problem.

    Attributes:
        geometry: domain.
        equation: function of points and outputs that returns residuals.
        conditions: what holds at the boundary.
        features: inputs of the network as a function of points; None for the points.
        inputs: number of inputs of the network.
        outputs: number of its outputs.
    """

    geometry: Any
    equation: Callable[[Any, Any], Any]
    conditions: Sequence[Any]
    features: Callable[[Any], Any] | None = None
    inputs: int = 2
    outputs: int = 1


def d(u: Any, p: Any, *axes: int, output: int = 0) -> Any:
    """Returns a partial derivative, ``[n, 1]``."""
    for axis in axes:
        u, output = dde.grad.jacobian(u, p, i=output, j=axis), 0
    return u


def laplacian(u: Any, p: Any) -> Any:
    """Returns the sum of second derivatives, ``[n, 1]``."""
    return sum(d(u, p, axis, axis) for axis in range(p.shape[1]))


def periodic(lower: float, period: float) -> Callable[[Any], Any]:
    """Returns features (t, sin, cos) of points (t, x)."""

    def features(p: Any) -> Any:
        angle = 2 * PI * (p[:, 1:] - lower) / period
        return torch.cat([p[:, :1], torch.sin(angle), torch.cos(angle)], dim=1)

    return features


def held(geometry: Any, value: Callable[[np.ndarray], Any], *sides: tuple[int, float]) -> Any:
    """Returns the condition that the value is given on some sides, or on all."""

    def applies(p: np.ndarray, on_boundary: bool) -> bool:
        return on_boundary and (
            not sides or any(np.isclose(p[axis], place) for axis, place in sides)
        )

    return dde.icbc.DirichletBC(geometry, value, applies)


def still(geometry: Any) -> Any:
    """Returns the condition u_t = 0 at t = 0."""

    def velocity(p: Any, u: Any, _: np.ndarray) -> Any:
        return d(u, p, 0)

    return dde.icbc.OperatorBC(
        geometry, velocity, lambda p, on_boundary: on_boundary and np.isclose(p[0], 0)
    )


def zero(p: np.ndarray) -> float:
    """Returns zero."""
    return 0.0


def evolution(
    end: float,
    lower: float,
    upper: float,
    equation: Callable[[Any, Any], Any],
    start: Callable[[np.ndarray], Any],
    closed: bool = False,
) -> Case:
    """Returns a problem with initial values, periodic in x or zero at both ends."""
    box = dde.geometry.Rectangle([0, lower], [end, upper])
    conditions = [held(box, lambda p: start(p[:, 1:]), (0, 0.0))]
    if closed:
        return Case(box, equation, [*conditions, held(box, zero, (1, lower), (1, upper))])
    return Case(box, equation, conditions, periodic(lower, upper - lower), inputs=3)


def stationary(
    geometry: Any, equation: Callable[[Any, Any], Any], value: Callable[[np.ndarray], Any]
) -> Case:
    """Returns a problem whose values are given on the boundary."""
    return Case(geometry, equation, [held(geometry, value)], inputs=geometry.dim)


def wave() -> Case:
    """Returns the wave equation."""
    case = evolution(
        1,
        0,
        1,
        lambda p, u: d(u, p, 0, 0) - 4 * d(u, p, 1, 1),
        lambda x: np.sin(PI * x) + np.sin(4 * PI * x) / 2,
        closed=True,
    )
    return case._replace(conditions=[*case.conditions, still(case.geometry)])


def burgers() -> Case:
    """Returns Burgers' equation."""
    return evolution(
        1,
        -1,
        1,
        lambda p, u: d(u, p, 0) + u * d(u, p, 1) - 0.01 / PI * d(u, p, 1, 1),
        lambda x: -np.sin(PI * x),
        closed=True,
    )


def allen_cahn() -> Case:
    """Returns the Allen-Cahn equation."""
    return evolution(
        1,
        -1,
        1,
        lambda p, u: d(u, p, 0) - 1e-4 * d(u, p, 1, 1) - 5 * u + 5 * u**3,
        lambda x: x**2 * np.cos(PI * x),
    )


def kdv() -> Case:
    """Returns the Korteweg-de Vries equation."""
    return evolution(
        1,
        -1,
        1,
        lambda p, u: d(u, p, 0) + u * d(u, p, 1) + 0.022**2 * d(u, p, 1, 1, 1),
        lambda x: np.cos(PI * x),
    )


def kuramoto_sivashinsky() -> Case:
    """Returns the Kuramoto-Sivashinsky equation."""

    def equation(p: Any, u: Any) -> Any:
        second = d(u, p, 1, 1)
        linear = second * 100 / 16**2 + d(second, p, 1, 1) * 100 / 16**4
        return d(u, p, 0) + 100 / 16 * u * d(u, p, 1) + linear

    return evolution(0.1, 0, 2 * PI, equation, lambda x: np.cos(x) * (1 + np.sin(x)))


def convection() -> Case:
    """Returns the convection equation."""
    return evolution(1, 0, 2 * PI, lambda p, u: d(u, p, 0) + 50 * d(u, p, 1), np.sin)


def reaction() -> Case:
    """Returns the reaction equation; its solution is periodic."""
    return evolution(
        1,
        0,
        2 * PI,
        lambda p, u: d(u, p, 0) - 5 * u * (1 - u),
        lambda x: np.exp(-(((x - PI) / (PI / 4)) ** 2) / 2),
    )


def heat_1d() -> Case:
    """Returns the heat equation."""
    return evolution(
        1,
        0,
        1,
        lambda p, u: d(u, p, 0) - d(u, p, 1, 1) / 4,
        lambda x: np.sin(PI * x),
        closed=True,
    )


def helmholtz() -> Case:
    """Returns the Helmholtz equation."""

    def equation(p: Any, u: Any) -> Any:
        wave = torch.sin(PI * p[:, :1]) * torch.sin(4 * PI * p[:, 1:])
        return laplacian(u, p) + u - (1 - 17 * PI**2) * wave

    return stationary(dde.geometry.Rectangle([-1, -1], [1, 1]), equation, zero)


def poisson_2d() -> Case:
    """Returns the Poisson equation on a square."""

    def equation(p: Any, u: Any) -> Any:
        return laplacian(u, p) + 2 * PI**2 * torch.prod(torch.sin(PI * p), dim=1, keepdim=True)

    return stationary(dde.geometry.Rectangle([0, 0], [1, 1]), equation, zero)


def poisson_5d() -> Case:
    """Returns the Poisson equation in five dimensions."""

    def equation(p: Any, u: Any) -> Any:
        return laplacian(u, p) + PI**2 * torch.sum(torch.cos(PI * p), dim=1, keepdim=True)

    cube = dde.geometry.Hypercube([0] * 5, [1] * 5)
    return stationary(cube, equation, lambda p: np.cos(PI * p).sum(axis=1, keepdims=True))


def advection_diffusion() -> Case:
    """Returns advection and diffusion on the disk."""

    def value(p: np.ndarray) -> np.ndarray:
        x, y = p[:, :1], p[:, 1:]
        return np.exp((5 - 41**0.5) * x) * np.cos(4 * y) + np.exp(10 * (x - 1))

    disk = dde.geometry.Disk([0, 0], 1)
    return stationary(disk, lambda p, u: d(u, p, 0) - laplacian(u, p) / 10, value)


def van_der_pol() -> Case:
    """Returns the oscillator of Van der Pol."""
    line = dde.geometry.TimeDomain(0, 6)

    def equation(t: Any, u: Any) -> Any:
        x, y = u[:, :1], u[:, 1:]
        rates = [d(u, t, 0, output=k) for k in (0, 1)]
        return [rates[0] - y, rates[1] - (1 - x**2) * y + x]

    conditions = [
        dde.icbc.IC(line, lambda _, value=value: value, lambda _, initial: initial, component=k)
        for k, value in enumerate((2.0, 0.0))
    ]
    return Case(line, equation, conditions, inputs=1, outputs=2)


CASES = {
    case.__name__: case
    for case in (
        *(wave, burgers, allen_cahn, kdv, helmholtz, convection, reaction, poisson_2d),
        *(heat_1d, poisson_5d, advection_diffusion, kuramoto_sivashinsky, van_der_pol),
    )
}


class Follower(dde.callbacks.Callback):
    """Adds errors to the curve, and ends a method when its part of the time is over.

    Args:
        curve: curve of the training.
        points: points of the errors.
        part: part of the time after which the method ends.
    """

    def __init__(self, curve: Curve, points: np.ndarray, part: float):
        super().__init__()
        self.curve, self.points, self.part = curve, points, part

    def on_epoch_end(self) -> None:
        """Evaluates the network now and then."""
        if self.curve.is_due():
            steps = self.model.train_state.step
            self.curve.add(steps, self.model.predict(self.points))
        if self.curve.spent() >= self.part * self.curve.seconds:
            self.model.stop_training = True


def train(task: Task) -> Curve:
    """Trains by Adam and L-BFGS, half of the time each, or the three methods by thirds."""
    dde.config.set_default_float("float64")
    dde.config.set_random_seed(task.seed)
    dde.optimizers.set_LBFGS_options(maxiter=10**7)
    case = CASES[task.problem]()
    data = dde.data.PDE(
        case.geometry,
        case.equation,
        list(case.conditions),
        num_domain=task.num_inside,
        num_boundary=task.num_boundary,
        train_distribution="pseudo",
    )
    sizes = [case.inputs, *[task.width] * task.depth, case.outputs]
    net = dde.nn.FNN(sizes, "tanh", "Glorot normal")
    if case.features is not None:
        net.apply_feature_transform(case.features)
    model = dde.Model(data, net)
    curve = Curve(task.seconds, task.truth)
    methods = ("adam", "L-BFGS", "NNCG")[: 3 if task.way == "nncg" else 2]
    for number, method in enumerate(methods, 1):
        model.compile(method, lr=1e-3 if method == "adam" else None, verbose=0)
        follower = Follower(curve, task.points, number / len(methods))
        resampler = dde.callbacks.PDEPointResampler(period=RESAMPLING)
        model.train(
            iterations=10**9,
            display_every=10**9,
            callbacks=[follower, *([resampler] if method == "adam" else [])],
            verbose=0,
        )
    return curve


if __name__ == "__main__":
    main(train)
