"""jinns with its natural gradient, ``jinns.optimizers.vanilla_ngd``, on problems in rectangles.

Initial velocities have no place in its losses of time-dependent equations, and points at t = 0 are
drawn with those of the other sides here. So every problem is a stationary one on its rectangle, a
way that the package has for conditions on a rectangle's sides. Its losses are means, and all have
the weight one. Batches are taken from more points than a training sees.
"""

import itertools
from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jinns
import numpy as np
from jax import random

from benchmarks.peers.bench.curve import Curve, Task, main
from benchmarks.peers.natural.jinns import Follower

PI = np.pi
BATCHES = 50  # of new points, before they are shuffled
CALL_EVERY = 10  # steps
FIRST_LOW, FIRST_HIGH, SECOND_LOW, SECOND_HIGH = range(4)  # sides, in the order of jinns

Scalar = Callable[[jax.Array], jax.Array]


class Case(NamedTuple):
    """A problem.

    Attributes:
        lower: lower corner.
        upper: upper corner.
        equation: function of u and a point that returns the residual.
        conditions: side, and function of u and a point that returns the residual.
        is_periodic: whether the network has the period of the second axis.
    """

    lower: tuple[float, ...]
    upper: tuple[float, ...]
    equation: Callable[[Scalar, jax.Array], jax.Array]
    conditions: tuple[tuple[int, Callable[[Scalar, jax.Array], jax.Array]], ...]
    is_periodic: bool = False


def d(u: Scalar, *axes: int) -> Scalar:
    """Returns a partial derivative."""
    for axis in axes:
        u = _partial(u, axis)
    return u


def _partial(u: Scalar, axis: int) -> Scalar:
    return lambda p: jax.grad(u)(p)[axis]


def held(value: Callable[[jax.Array], Any]) -> Callable[[Scalar, jax.Array], jax.Array]:
    """Returns the condition that the value is given."""
    return lambda u, p: u(p) - value(p)


def zero(u: Scalar, p: jax.Array) -> jax.Array:
    """Returns the value, for the condition u = 0."""
    return u(p)


def evolution(
    end: float,
    lower: float,
    upper: float,
    equation: Callable[[Scalar, jax.Array], jax.Array],
    start: Callable[[jax.Array], Any],
    closed: bool = False,
) -> Case:
    """Returns a problem with initial values, periodic in x or zero at both ends."""
    ends = ((SECOND_LOW, zero), (SECOND_HIGH, zero)) if closed else ()
    conditions = ((FIRST_LOW, held(lambda p: start(p[1]))), *ends)
    return Case((0.0, lower), (end, upper), equation, conditions, is_periodic=not closed)


def stationary(
    lower: float, upper: float, equation: Callable[[Scalar, jax.Array], jax.Array]
) -> Case:
    """Returns a problem on a square with zero boundary values."""
    return Case((lower,) * 2, (upper,) * 2, equation, tuple((side, zero) for side in range(4)))


def wave() -> Case:
    """Returns the wave equation."""
    case = evolution(
        1.0,
        0.0,
        1.0,
        lambda u, p: d(u, 0, 0)(p) - 4 * d(u, 1, 1)(p),
        lambda x: jnp.sin(PI * x) + jnp.sin(4 * PI * x) / 2,
        closed=True,
    )
    still = (FIRST_LOW, lambda u, p: d(u, 0)(p))
    return case._replace(conditions=(*case.conditions, still))


def burgers() -> Case:
    """Returns Burgers' equation."""
    return evolution(
        1.0,
        -1.0,
        1.0,
        lambda u, p: d(u, 0)(p) + u(p) * d(u, 1)(p) - 0.01 / PI * d(u, 1, 1)(p),
        lambda x: -jnp.sin(PI * x),
        closed=True,
    )


def allen_cahn() -> Case:
    """Returns the Allen-Cahn equation."""
    return evolution(
        1.0,
        -1.0,
        1.0,
        lambda u, p: d(u, 0)(p) - 1e-4 * d(u, 1, 1)(p) - 5 * u(p) + 5 * u(p) ** 3,
        lambda x: x**2 * jnp.cos(PI * x),
    )


def kdv() -> Case:
    """Returns the Korteweg-de Vries equation."""
    return evolution(
        1.0,
        -1.0,
        1.0,
        lambda u, p: d(u, 0)(p) + u(p) * d(u, 1)(p) + 0.022**2 * d(u, 1, 1, 1)(p),
        lambda x: jnp.cos(PI * x),
    )


def kuramoto_sivashinsky() -> Case:
    """Returns the Kuramoto-Sivashinsky equation."""
    a, b, c = (100 / 16**power for power in (1, 2, 4))

    def equation(u: Scalar, p: jax.Array) -> jax.Array:
        linear = b * d(u, 1, 1)(p) + c * d(u, 1, 1, 1, 1)(p)
        return d(u, 0)(p) + a * u(p) * d(u, 1)(p) + linear

    return evolution(0.1, 0.0, 2 * PI, equation, lambda x: jnp.cos(x) * (1 + jnp.sin(x)))


def convection() -> Case:
    """Returns the convection equation."""
    return evolution(1.0, 0.0, 2 * PI, lambda u, p: d(u, 0)(p) + 50 * d(u, 1)(p), jnp.sin)


def reaction() -> Case:
    """Returns the reaction equation; its solution is periodic."""
    return evolution(
        1.0,
        0.0,
        2 * PI,
        lambda u, p: d(u, 0)(p) - 5 * u(p) * (1 - u(p)),
        lambda x: jnp.exp(-(((x - PI) / (PI / 4)) ** 2) / 2),
    )


def heat_1d() -> Case:
    """Returns the heat equation."""
    return evolution(
        1.0,
        0.0,
        1.0,
        lambda u, p: d(u, 0)(p) - d(u, 1, 1)(p) / 4,
        lambda x: jnp.sin(PI * x),
        closed=True,
    )


def helmholtz() -> Case:
    """Returns the Helmholtz equation."""

    def equation(u: Scalar, p: jax.Array) -> jax.Array:
        forcing = (1 - 17 * PI**2) * jnp.sin(PI * p[0]) * jnp.sin(4 * PI * p[1])
        return d(u, 0, 0)(p) + d(u, 1, 1)(p) + u(p) - forcing

    return stationary(-1.0, 1.0, equation)


def poisson_2d() -> Case:
    """Returns the Poisson equation on a square."""

    def equation(u: Scalar, p: jax.Array) -> jax.Array:
        forcing = 2 * PI**2 * jnp.prod(jnp.sin(PI * p))
        return d(u, 0, 0)(p) + d(u, 1, 1)(p) + forcing

    return stationary(0.0, 1.0, equation)


CASES = {
    case.__name__: case
    for case in (
        *(wave, burgers, allen_cahn, kdv, helmholtz, convection, reaction, poisson_2d, heat_1d),
        kuramoto_sivashinsky,
    )
}


class Equation(jinns.loss.PDEStatio):
    """The equation of a case at one point."""

    case: Case = eqx.field(kw_only=True, static=True)

    def equation(self, x: jax.Array, u: Any, params: Any) -> jax.Array:
        return self.case.equation(lambda p: u(p, params)[0], x)[None]


class Conditions(jinns.loss.BoundaryConditionAbstract):
    """The conditions of a case; inputs are one point of each side."""

    case: Case = eqx.field(kw_only=True, static=True)

    def equation_u(self, inputs: jax.Array, u: Any, params: Any) -> tuple[jax.Array, ...]:
        return tuple(
            condition(lambda p: u(p, params)[0], inputs[:, side])[None]
            for side, condition in self.case.conditions
        )

    def equation_f(
        self, inputs: jax.Array, params: Any, gridify: bool = False
    ) -> tuple[jax.Array, ...]:
        return tuple(jnp.zeros(1) for _ in self.case.conditions)


def network(case: Case, task: Task) -> tuple[Any, Any]:
    """Returns jinns' network, whose inputs are standardised, and its parameters."""
    lower, upper = jnp.asarray(case.lower), jnp.asarray(case.upper)

    def features(p: jax.Array, params: Any) -> jax.Array:
        unit = (2 * p - lower - upper) / (upper - lower)
        if not case.is_periodic:
            return unit
        return jnp.array([unit[0], jnp.sin(PI * unit[1]), jnp.cos(PI * unit[1])])

    layers: list[tuple[Any, ...]] = []
    sizes = [3 if case.is_periodic else 2] + [task.width] * task.depth + [1]
    for inputs, outputs in itertools.pairwise(sizes):
        layers += [(eqx.nn.Linear, inputs, outputs), (jnp.tanh,)]
    return jinns.nn.PINN_MLP.create(
        key=random.PRNGKey(task.seed),
        eqx_list=tuple(layers[:-1]),
        eq_type="PDEStatio",
        input_transform=features,
    )


def train(task: Task) -> Curve:
    """Trains by natural gradients."""
    jax.config.update("jax_enable_x64", True)
    case = CASES[task.problem]()
    u, initial = network(case, task)
    params = jinns.parameters.Params(nn_params=initial, eq_params={})
    loss = jinns.loss.LossPDEStatio(
        u=u,
        dynamic_loss=Equation(case=case),
        boundary_condition=Conditions(case=case),
        loss_weights=jinns.loss.LossWeightsPDEStatio(dyn_loss=1.0, boundary_loss=1.0),
        params=params,
    )
    side = task.num_boundary // 4
    data = jinns.data.CubicMeshPDEStatio(
        key=random.PRNGKey(task.seed + 1),
        n=BATCHES * task.num_inside,
        nb=BATCHES * side * 4,
        omega_batch_size=task.num_inside,
        omega_border_batch_size=side,
        dim=2,
        min_pts=tuple(case.lower),
        max_pts=tuple(case.upper),
        method="uniform",
    )
    curve = Curve(task.seconds, task.truth)
    calls = iter(range(10**9))

    def add(values: np.ndarray) -> np.ndarray:
        curve.add(1 + CALL_EVERY * next(calls), np.asarray(values))
        return np.array(curve.spent() >= task.seconds)

    jinns.solve(
        init_params=params,
        data=data,
        optimizer=jinns.optimizers.vanilla_ngd(),
        loss=loss,
        n_iter=10**5,
        validation=Follower(call_every=CALL_EVERY, u=u, points=jnp.asarray(task.points), add=add),
        print_loss_every=10**6,
    )
    return curve


if __name__ == "__main__":
    main(train)
