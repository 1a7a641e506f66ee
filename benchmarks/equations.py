"""Seven common test equations with known solutions, for the benchmarks of natural gradients."""

import dataclasses
import functools
from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

from ntk_keras import Term, derivatives
from ntk_keras.derivatives import Network
from ntk_keras.domains import Box
from ntk_keras.problems import allen_cahn, burgers, helmholtz, poisson_2d, wave

__all__ = ["EQUATIONS", "Equation", "network"]

PI = np.pi
Residual = Callable[[Network, tf.Tensor], tf.Tensor]


@dataclasses.dataclass(frozen=True)
class Equation:
    """A problem on a box whose solution is known on a grid.

    Attributes:
        box: domain of the problem.
        equation: residual in the interior.
        conditions: residuals on faces by name, each with its face as ``{coordinate: value}``.
        solution: function from the points ``[m, 2]`` of ``box.grid(*shape)`` to values ``[m, 1]``.
        shape: number of points of the grid along each axis.
        activation: activation of the network.
        harmonics: number of frequencies of the second input, in which the network is periodic; 0
            for a network that is not.
    """

    box: Box
    equation: Residual
    conditions: dict[str, tuple[dict[str, float], Residual]]
    solution: Callable[[np.ndarray], np.ndarray]
    shape: tuple[int, int] = (101, 101)
    activation: Callable[[tf.Tensor], tf.Tensor] = keras.ops.sin
    harmonics: int = 0

    def terms(self, points: int, scale: float = 1.0) -> list[Term]:
        """Returns terms whose points are redrawn at every step.

        Args:
            points: number of points in the interior; a fifth as many for each condition.
            scale: factor of the equation's residual.
        """

        def equation(u: Network, x: tf.Tensor) -> tf.Tensor:
            return scale * self.equation(u, x)

        inside = Term("equation", equation, self.box.interior(points))
        faces = [
            Term(name, residual, self.box.face(**face).sample(points // 5))
            for name, (face, residual) in self.conditions.items()
        ]
        return [inside, *faces]


def network(
    equation: Equation, width: int, depth: int, seed: int, dtype: str = "float64"
) -> keras.Model:
    """Returns a network whose inputs are scaled to -3 to 3.

    Args:
        equation: equation to solve.
        width: number of neurons in each hidden layer.
        depth: number of hidden layers.
        seed: seed of the initial values.
        dtype: dtype of the network.
    """
    keras.utils.set_random_seed(seed)
    lower, upper = (np.array(x, float) for x in (equation.box.lower, equation.box.upper))
    scale = 6 / (upper - lower)
    inputs = keras.Input((2,), dtype=dtype)
    hidden = keras.layers.Rescaling(list(scale), list(-3 - scale * lower), dtype=dtype)(inputs)
    if equation.harmonics:
        angle = float(2 * PI / (upper[1] - lower[1])) * inputs[:, 1:]
        angles = [order * angle for order in range(1, equation.harmonics + 1)]
        circles = [f(a) for f in (keras.ops.sin, keras.ops.cos) for a in angles]
        hidden = keras.layers.Concatenate(dtype=dtype)([hidden[:, :1], *circles])
    dense = functools.partial(keras.layers.Dense, kernel_initializer="glorot_normal", dtype=dtype)
    for _ in range(depth):
        hidden = dense(width, equation.activation)(hidden)
    return keras.Model(inputs, dense(1)(hidden))


def value(u: Network, x: tf.Tensor) -> tf.Tensor:
    """Returns the residual of ``u = 0``."""
    return u(x)[:, 0]


def equal(target: Callable[[tf.Tensor], tf.Tensor]) -> Residual:
    """Returns the residual function of ``u = target``."""
    return lambda u, x: u(x)[:, 0] - target(x)


def oscillation(t: tf.Tensor, x: tf.Tensor) -> tf.Tensor:
    """Returns the manufactured solution of the Klein-Gordon equation."""
    return x * tf.cos(5 * PI * t) + (t * x) ** 3


def klein_gordon(u: Network, points: tf.Tensor) -> tf.Tensor:
    """Returns ``u_tt - u_xx + u^3 - f``."""
    t, x = points[:, 0], points[:, 1]
    forcing = -25 * PI**2 * x * tf.cos(5 * PI * t) + 6 * t * x**3 - 6 * t**3 * x
    forcing += oscillation(t, x) ** 3
    return derivatives.second_order(u, points, [1, -1])[:, 0] + u(points)[:, 0] ** 3 - forcing


def convection(u: Network, x: tf.Tensor) -> tf.Tensor:
    """Returns ``u_t + 50 u_x``."""
    first = derivatives.gradient(u, x)[:, 0]
    return first[:, 0] + 50 * first[:, 1]


def _sides(box: Box, residual: Residual) -> dict[str, tuple[dict[str, float], Residual]]:
    ends = zip(box.axes, box.lower, box.upper, strict=True)
    return {f"{axis}={end:g}": ({axis: end}, residual) for axis, *both in ends for end in both}


_SPACE_TIME = Box(t=(0, 1), x=(0, 1))
_known = equal(lambda p: oscillation(p[:, 0], p[:, 1]))

EQUATIONS: dict[str, Equation] = {
    "wave": Equation(
        wave.BOX,
        wave.equation,
        {
            "initial": ({"t": 0.0}, wave.initial_value),
            "velocity": ({"t": 0.0}, wave.initial_velocity),
            "left": ({"x": 0.0}, wave.boundary_value),
            "right": ({"x": 1.0}, wave.boundary_value),
        },
        lambda points: np.asarray(wave.solution(points)).reshape(-1, 1),
    ),
    "burgers": Equation(
        burgers.BOX,
        burgers.Equation(),
        {
            "initial": ({"t": 0.0}, burgers.initial_value),
            "left": ({"x": -1.0}, value),
            "right": ({"x": 1.0}, value),
        },
        burgers.PROBLEM.solution,
        (101, 201),
        keras.ops.tanh,
    ),
    "allen-cahn": Equation(
        allen_cahn.BOX,
        allen_cahn.equation,
        {"initial": ({"t": 0.0}, allen_cahn.initial_value)},
        allen_cahn.solution,
        (101, 129),
        keras.ops.tanh,
        harmonics=1,
    ),
    "klein-gordon": Equation(
        _SPACE_TIME,
        klein_gordon,
        {
            "initial": ({"t": 0.0}, _known),
            "velocity": ({"t": 0.0}, lambda u, p: derivatives.partial(u, p, 0)[:, 0]),
            "left": ({"x": 0.0}, _known),
            "right": ({"x": 1.0}, _known),
        },
        lambda p: (p[:, 1] * np.cos(5 * PI * p[:, 0]) + (p[:, 0] * p[:, 1]) ** 3)[:, None],
    ),
    "helmholtz": Equation(
        helmholtz.BOX,
        helmholtz.equation,
        _sides(helmholtz.BOX, value),
        helmholtz.PROBLEM.solution,
    ),
    "poisson": Equation(
        poisson_2d.BOX,
        poisson_2d.equation,
        _sides(poisson_2d.BOX, value),
        poisson_2d.PROBLEM.solution,
    ),
    "convection": Equation(
        Box(t=(0, 1), x=(0, 2 * PI)),
        convection,
        {"initial": ({"t": 0.0}, equal(lambda p: tf.sin(p[:, 1])))},
        lambda p: np.sin(p[:, 1] - 50 * p[:, 0])[:, None],
        harmonics=1,
    ),
}
