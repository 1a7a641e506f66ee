"""JAX alone, as its users write Gauss-Newton steps: rows of J by ``jacrev``, ``vmap`` over points.

The step weights the terms by the traces of the kernel, as ours does, from the rows that it has;
solves the normal equations of the fewer of residuals and parameters by Cholesky's method; and takes
the best of as many lengths as ours evaluates candidates, all at once by ``vmap``. The damping is
halved after long steps and doubled after short ones.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import jacrev, jit, jvp, random, vmap
from jax.flatten_util import ravel_pytree
from jax.scipy.linalg import cho_factor, cho_solve

from benchmarks.peers.natural.curves import follow
from benchmarks.peers.problem import (
    FACES,
    MEAN,
    SPEED,
    Setting,
    fixed_points,
    grid,
    network,
)
from benchmarks.peers.worker import Case, Contender, Train, timed_loop

CANDIDATES = 26  # as many as we have: 13 lengths, with and without acceleration
LENGTHS = 0.8 ** np.arange(CANDIDATES)  # down to 0.004
DAMPING = 1e-2  # at the start, in units of the mean eigenvalue
GOOD, SHORT = 0.1, 0.03  # lengths from which on, and below which, the damping changes
LEAST = 1e-12

Residual = Callable[[Any, jax.Array], jax.Array]


def residual_functions(setting: Setting) -> dict[str, Residual]:
    """The residual of one point ``[2]`` by term, and ``"u"``, the network itself."""
    activation = getattr(jnp, setting.activation)
    axes = jnp.eye(2, dtype=setting.dtype)

    def u(params: Any, point: jax.Array) -> jax.Array:
        z = (point - MEAN) * setting.input_factor
        for kernel, bias in params[:-1]:
            z = activation(z @ kernel + bias)
        kernel, bias = params[-1]
        return (z @ kernel + bias)[0]

    def first(params: Any, point: jax.Array, axis: int) -> jax.Array:
        return jvp(lambda x: u(params, x), (point,), (axes[axis],))[1]

    def second(params: Any, point: jax.Array, axis: int) -> jax.Array:
        return jvp(lambda x: first(params, x, axis), (point,), (axes[axis],))[1]

    def initial(params: Any, point: jax.Array) -> jax.Array:
        x = jnp.pi * point[1]
        return u(params, point) - jnp.sin(x) - jnp.sin(4 * x) / 2

    return {
        "u": u,
        "equation": lambda p, x: second(p, x, 0) - SPEED**2 * second(p, x, 1),
        "velocity": lambda p, x: first(p, x, 0),
        "initial": initial,
        "left": u,
        "right": u,
    }


class Package(Contender):
    """JAX."""

    distributions = ("jax", "jaxlib")
    cases = (Case("kernel", "kernel from rows", "jit"), Case("step", "whole step", "jit"))
    commands = ("save_kernel", "train")

    def __init__(self, setting: Setting):
        jax.config.update("jax_enable_x64", setting.dtype == "float64")
        super().__init__(setting)
        self.functions = residual_functions(setting)
        params = jax.tree.map(jnp.asarray, network(setting))
        self.params, self.unravel = ravel_pytree(params)
        self.points = jax.tree.map(jnp.asarray, fixed_points(setting))
        self.state = random.PRNGKey(0), jnp.asarray(DAMPING, setting.dtype)
        self.kernel = jit(self._kernel)
        self.update = jit(self._update)

    def residuals(self) -> dict[str, np.ndarray]:
        parts = jit(self._residuals)(self.params, self.points)
        return {term: np.asarray(values) for term, values in parts.items()}

    def prepare(self, case: str) -> Train:
        if case == "kernel":
            return timed_loop(lambda: np.asarray(self.kernel(self.params, self.points)))
        return timed_loop(self.step, lambda: jax.block_until_ready(self.params))

    def save_kernel(self, path: str) -> dict[str, Any]:
        """Writes the kernel at the fixed points to a file."""
        np.save(path, np.asarray(self.kernel(self.params, self.points)))
        return {}

    def train(self, seconds: float, every: int) -> dict[str, Any]:
        """Errors by seconds of a new training, its points drawn anew at every step."""
        at = jnp.asarray(grid(), self.setting.dtype)
        u = jit(lambda flat: vmap(self.functions["u"], (None, 0))(self.unravel(flat), at))
        rows = follow(lambda: self.step, lambda: np.asarray(u(self.params)), seconds, every)
        return {"rows": rows}

    def step(self) -> None:
        """One step."""
        self.params, self.state = self.update(self.params, self.state)

    def _residuals(self, flat: jax.Array, points: dict[str, jax.Array]) -> dict[str, jax.Array]:
        params = self.unravel(flat)
        return {
            term: vmap(self.functions[term], (None, 0))(params, batch)
            for term, batch in points.items()
        }

    def _rows(self, flat: jax.Array, points: dict[str, jax.Array]) -> dict[str, jax.Array]:
        """J by term, ``[n, p]``."""

        def rows(function: Residual, batch: jax.Array) -> jax.Array:
            row = jacrev(lambda flat, point: function(self.unravel(flat), point))
            return vmap(row, (None, 0))(flat, batch)

        return {term: rows(self.functions[term], batch) for term, batch in points.items()}

    def _kernel(self, flat: jax.Array, points: dict[str, jax.Array]) -> jax.Array:
        parts = self._rows(flat, points)
        # jit has sorted the terms by name.
        rows = jnp.concatenate([parts[term] for term in self.setting.points])
        return rows @ rows.T

    def _draw(self, key: jax.Array) -> dict[str, jax.Array]:
        points = {}
        keys = random.split(key, len(self.setting.points))
        for own, (term, number) in zip(keys, self.setting.points.items(), strict=True):
            points[term] = random.uniform(own, (number, 2), self.setting.dtype)
            for column, value in FACES[term].items():
                points[term] = points[term].at[:, column].set(value)
        return points

    def _update(
        self, flat: jax.Array, state: tuple[jax.Array, jax.Array]
    ) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
        key, damping = state
        key, own = random.split(key)
        points = self._draw(own)
        rows = self._rows(flat, points)
        traces = {term: jnp.sum(part**2) for term, part in rows.items()}
        whole = sum(traces.values())
        scales = {term: jnp.sqrt(whole / trace) for term, trace in traces.items()}

        def weighted(parts: dict[str, jax.Array]) -> jax.Array:
            return jnp.concatenate([scales[term] * part for term, part in parts.items()])

        def residuals(flat: jax.Array) -> jax.Array:
            return weighted(self._residuals(flat, points))

        direction = solve(weighted(rows), residuals(flat), damping)
        candidates = flat - LENGTHS[:, None] * direction
        losses = vmap(lambda flat: jnp.sum(residuals(flat) ** 2))(candidates)
        losses = jnp.where(jnp.isfinite(losses), losses, jnp.inf)
        best = jnp.argmin(losses)
        lower = losses[best] < jnp.sum(residuals(flat) ** 2)
        length = jnp.where(lower, jnp.asarray(LENGTHS)[best], 0.0)
        factor = jnp.where(length >= GOOD, 0.5, jnp.where(length < SHORT, 2.0, 1.0))
        damping = jnp.maximum(damping * factor, LEAST).astype(damping.dtype)
        return jnp.where(lower, candidates[best], flat), (key, damping)


def solve(rows: jax.Array, residuals: jax.Array, damping: jax.Array) -> jax.Array:
    """The damped Gauss-Newton direction ``[p]``."""

    def damped(matrix: jax.Array) -> Any:
        size = len(matrix)
        return cho_factor(matrix + damping * jnp.trace(matrix) / size * jnp.eye(size))

    if rows.shape[0] < rows.shape[1]:
        return rows.T @ cho_solve(damped(rows @ rows.T), residuals)
    return cho_solve(damped(rows.T @ rows), rows.T @ residuals)
