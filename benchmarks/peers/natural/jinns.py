"""jinns with its natural gradient, ``jinns.optimizers.vanilla_ngd``.

The initial velocity has no place in its losses of time-dependent equations, so the wave is a
stationary equation on the square of (t, x), a way the package has for conditions on a square's
sides: velocity and value at t = 0 share their points, nothing is asked for at t = 1. Its batches
are taken from more points than a training sees, its losses are means, and all conditions have one
weight.
"""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jinns
import jinns.validation
import numpy as np
from jax import grad, random, vmap
from jax.experimental import io_callback

from benchmarks.peers.natural.curves import Curve
from benchmarks.peers.problem import (
    MEAN,
    SPEED,
    Setting,
    fixed_points,
    grid,
    network,
)
from benchmarks.peers.worker import Contender, Train

BATCHES = 50  # of new points, before they are shuffled


class Wave(jinns.loss.PDEStatio):
    """The wave operator at one point (t, x)."""

    def equation(self, x: jax.Array, u: Any, params: Any) -> jax.Array:
        second = jax.jacfwd(grad(lambda x: u(x, params)[0]))(x)
        return (second[0, 0] - SPEED**2 * second[1, 1])[None]


class Conditions(jinns.loss.BoundaryConditionAbstract):
    """Velocity and value at t = 0, values at both ends; inputs are one point of each side."""

    def equation_u(self, inputs: jax.Array, u: Any, params: Any) -> tuple[jax.Array, ...]:
        start, left, right = inputs[:, 0], inputs[:, 2], inputs[:, 3]
        velocity = grad(lambda x: u(x, params)[0])(start)[:1]
        return velocity, u(start, params), u(left, params), u(right, params)

    def equation_f(
        self, inputs: jax.Array, params: Any, gridify: bool = False
    ) -> tuple[jax.Array, ...]:
        x = jnp.pi * inputs[1:, 0]
        zero = jnp.zeros_like(x)
        return zero, jnp.sin(x) + jnp.sin(4 * x) / 2, zero, zero


class Follower(jinns.validation.AbstractValidationModule):
    """Tells a curve the network's values on the grid; ends the training when time is over."""

    call_every: int = eqx.field(kw_only=True)
    u: Any = eqx.field(kw_only=True)
    points: jax.Array = eqx.field(kw_only=True)
    add: Any = eqx.field(kw_only=True, static=True)

    def __call__(self, params: Any) -> tuple[Any, jax.Array, jax.Array, jax.Array]:
        values = vmap(lambda x: self.u(x, params)[0])(self.points)
        kind = jax.ShapeDtypeStruct((), jnp.bool_)
        over = io_callback(self.add, kind, values, ordered=True)
        return self, over, jnp.zeros([]), jnp.array(False)


class Package(Contender):
    """jinns."""

    distributions = ("jinns", "jax", "optax")
    commands = ("train",)

    def __init__(self, setting: Setting):
        jax.config.update("jax_enable_x64", setting.dtype == "float64")
        super().__init__(setting)
        activation = getattr(jnp, setting.activation)
        layers: list[tuple[Any, ...]] = []
        for inputs, outputs in zip(setting.sizes[:-1], setting.sizes[1:], strict=True):
            layers += [(eqx.nn.Linear, inputs, outputs), (activation,)]
        self.u, initial = jinns.nn.PINN_MLP.create(
            key=random.PRNGKey(0),
            eqx_list=tuple(layers[:-1]),
            eq_type="PDEStatio",
            input_transform=lambda x, params: (x - MEAN) * setting.input_factor,
        )
        arrays = [jnp.asarray(a.T) for layer in network(setting) for a in layer]
        self.params = jinns.parameters.Params(
            nn_params=jax.tree.unflatten(jax.tree.structure(initial), arrays), eq_params={}
        )

    def residuals(self) -> dict[str, np.ndarray]:
        points = jax.tree.map(jnp.asarray, fixed_points(self.setting))
        found = {"equation": vmap(lambda x: Wave().evaluate(x, self.u, self.params))}
        for i, term in enumerate(("velocity", "initial", "left", "right")):

            def condition(x: jax.Array, i: int = i) -> jax.Array:
                sides = jnp.stack([x] * 4, axis=-1)
                return -Conditions().evaluate(sides, self.u, self.params)[i]

            found[term] = vmap(condition)
        return {term: np.ravel(function(points[term])) for term, function in found.items()}

    def prepare(self, case: str) -> Train:
        raise NotImplementedError("jinns has no function of its own for a single step.")

    def train(self, seconds: float, every: int, conditions: float = 1.0) -> dict[str, Any]:
        """Errors by seconds of a training.

        Args:
            seconds: at least.
            every: steps from one error to the next.
            conditions: weight of their losses, while that of the equation is 1.
        """
        loss = jinns.loss.LossPDEStatio(
            u=self.u,
            dynamic_loss=Wave(),
            boundary_condition=Conditions(),
            loss_weights=jinns.loss.LossWeightsPDEStatio(dyn_loss=1.0, boundary_loss=conditions),
            params=self.params,
        )
        inside, side = (self.setting.points[term] for term in ("equation", "velocity"))
        data = jinns.data.CubicMeshPDEStatio(
            key=random.PRNGKey(1),
            n=BATCHES * inside,
            nb=BATCHES * side * 4,
            omega_batch_size=inside,
            omega_border_batch_size=side,
            dim=2,
            min_pts=(0, 0),
            max_pts=(1, 1),
            method="uniform",
        )
        curve = Curve(seconds)
        calls = iter(range(10**9))

        def add(values: np.ndarray) -> np.ndarray:
            return np.array(curve.add(1 + every * next(calls), np.asarray(values)))

        at = jnp.asarray(grid(), self.setting.dtype)
        jinns.solve(
            init_params=self.params,
            data=data,
            optimizer=jinns.optimizers.vanilla_ngd(),
            loss=loss,
            n_iter=10**5,
            validation=Follower(call_every=every, u=self.u, points=at, add=add),
            print_loss_every=10**6,
        )
        return {"rows": curve.rows}
