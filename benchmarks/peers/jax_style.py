"""A JAX program in the style of jaxpi (Wang, Sankaran, Wang, Perdikaris), which is not packaged.

As in jaxpi, nested ``grad`` gives the residual of one point, ``vmap`` maps it over points, and
``jit`` compiles the step and the update of the weights. Weights come from the exact diagonal of the
kernel, with one gradient for each residual, or from the norms of the terms' gradients. They are
updated with momentum 0.9, in jaxpi by default every 1000 steps. Unlike jaxpi, this program does not
use Flax, nor ``pmap``, since there is one device.
"""

import functools
from collections.abc import Callable
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import grad, jacrev, jit, random, vmap
from jax.flatten_util import ravel_pytree

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
from benchmarks.peers.worker import Case, Contender, Train, timed_loop

MOMENTUM = 0.9
UPDATE_EVERY = 1000


def u_net(params: Any, t: jax.Array, x: jax.Array) -> jax.Array:
    """Returns the value of the network at one point."""
    z = (jnp.stack([t, x]) - MEAN) / DEVIATION
    for kernel, bias in params[:-1]:
        z = jnp.tanh(jnp.dot(z, kernel) + bias)
    kernel, bias = params[-1]
    return (jnp.dot(z, kernel) + bias)[0]


def r_net(params: Any, t: jax.Array, x: jax.Array) -> jax.Array:
    """Returns the wave operator at one point."""
    u_tt = grad(grad(u_net, argnums=1), argnums=1)(params, t, x)
    u_xx = grad(grad(u_net, argnums=2), argnums=2)(params, t, x)
    return u_tt - SPEED**2 * u_xx


def v_net(params: Any, t: jax.Array, x: jax.Array) -> jax.Array:
    """Returns the velocity at one point."""
    return grad(u_net, argnums=1)(params, t, x)


def i_net(params: Any, t: jax.Array, x: jax.Array) -> jax.Array:
    """Returns the value minus the initial value at one point."""
    return u_net(params, t, x) - jnp.sin(jnp.pi * x) - jnp.sin(4 * jnp.pi * x) / 2


NETS: dict[str, Callable[..., jax.Array]] = {
    "equation": r_net,
    "velocity": v_net,
    "initial": i_net,
    "left": u_net,
    "right": u_net,
}


def residual(term: str, params: Any, batch: jax.Array) -> jax.Array:
    """Returns the residuals of a term at all its points, ``[n]``."""
    return vmap(NETS[term], (None, 0, 0))(params, batch[:, 0], batch[:, 1])


def losses(params: Any, batch: dict[str, jax.Array]) -> dict[str, jax.Array]:
    """Returns mean squared residuals by term."""
    return {term: jnp.mean(residual(term, params, points) ** 2) for term, points in batch.items()}


def loss(params: Any, weights: dict[str, jax.Array], batch: dict[str, jax.Array]) -> jax.Array:
    """Returns the weighted sum of the losses."""
    return sum(weights[term] * value for term, value in losses(params, batch).items())


def ntk_fn(net: Callable[..., jax.Array], params: Any, *args: jax.Array) -> jax.Array:
    """Returns K_ii of one point, the squared norm of its gradient."""
    flat, _ = ravel_pytree(grad(net)(params, *args))
    return jnp.dot(flat, flat)


def ntk_means(params: Any, batch: dict[str, jax.Array]) -> dict[str, jax.Array]:
    """Returns the mean of the kernel's diagonal by term."""
    means = {}
    for term, points in batch.items():
        one = functools.partial(ntk_fn, NETS[term])
        means[term] = jnp.mean(vmap(one, (None, 0, 0))(params, points[:, 0], points[:, 1]))
    return means


def gradient_norms(params: Any, batch: dict[str, jax.Array]) -> dict[str, jax.Array]:
    """Returns the norm of the gradient of every term's loss."""
    by_term = jacrev(losses)(params, batch)
    return {term: jnp.linalg.norm(ravel_pytree(g)[0]) for term, g in by_term.items()}


@functools.partial(jit, static_argnums=0)
def update_weights(
    measure: Callable[..., dict[str, jax.Array]],
    params: Any,
    weights: dict[str, jax.Array],
    batch: dict[str, jax.Array],
) -> dict[str, jax.Array]:
    """Returns weights inverse to a measure of every term, averaged over updates."""
    measured = measure(params, batch)
    mean = jnp.mean(jnp.stack(list(measured.values())))
    return {
        term: MOMENTUM * weights[term] + (1 - MOMENTUM) * mean / value
        for term, value in measured.items()
    }


class Training:
    """A training run whose points are redrawn at every step.

    Args:
        setting: setting of the problem.
        measure: function that gives the measure of every term for its weight, evaluated at every
            step; None for constant weights.
    """

    def __init__(self, setting: Setting, measure: Callable[..., Any] | None):
        self.params = jax.tree.map(jnp.asarray, network(setting))
        self.weights = {term: jnp.ones([]) for term in setting.points}
        self.measure = measure
        self.key = random.PRNGKey(0)
        optimizer = optax.adam(LEARNING_RATE)
        self.state = optimizer.init(self.params)

        @jit
        def sample(key: jax.Array) -> tuple[jax.Array, dict[str, jax.Array]]:
            key, *keys = random.split(key, 1 + len(setting.points))
            batch = {}
            for (term, number), own in zip(setting.points.items(), keys, strict=True):
                points = random.uniform(own, (number, 2))
                for column, value in FACES[term].items():
                    points = points.at[:, column].set(value)
                batch[term] = points
            return key, batch

        @jit
        def descend(params: Any, state: Any, weights: Any, batch: Any) -> tuple[Any, Any]:
            updates, state = optimizer.update(grad(loss)(params, weights, batch), state)
            return optax.apply_updates(params, updates), state

        self._sample, self._descend = sample, descend

    def step(self) -> None:
        """Makes one step, and updates the weights unless they are constant."""
        self.key, batch = self._sample(self.key)
        self.params, self.state = self._descend(self.params, self.state, self.weights, batch)
        if self.measure is not None:
            self.weights = update_weights(self.measure, self.params, self.weights, batch)

    def wait(self) -> None:
        """Waits until all pending computations are done."""
        jax.block_until_ready((self.params, self.weights))


class Package(Contender):
    """JAX."""

    distributions = ("jax", "jaxlib", "optax")
    cases = (
        Case("constant", "constant", "jit"),
        Case("ntk", "NTK, exact diagonal, every step", "jit", (UPDATE_EVERY,), "constant"),
        Case("grad-norm", "gradient norms, every step", "jit", (UPDATE_EVERY,), "constant"),
    )
    measures: ClassVar[dict[str, Any]] = {
        "constant": None,
        "ntk": ntk_means,
        "grad-norm": gradient_norms,
    }

    def residuals(self) -> dict[str, np.ndarray]:
        params = jax.tree.map(jnp.asarray, network(self.setting))
        points = fixed_points(self.setting)
        return {
            term: np.asarray(jit(functools.partial(residual, term))(params, jnp.asarray(batch)))
            for term, batch in points.items()
        }

    def prepare(self, case: str) -> Train:
        training = Training(self.setting, self.measures[case])
        return timed_loop(training.step, training.wait)
