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
from ntk_keras.problems import wave

__all__ = ["EQUATIONS", "Equation", "network"]

PI = np.pi
Residual = Callable[[Network, tf.Tensor], tf.Tensor]
VISCOSITY = 0.01 / PI


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


def burgers(u: Network, x: tf.Tensor) -> tf.Tensor:
    """Returns ``u_t + u u_x - nu u_xx``."""
    first = derivatives.gradient(u, x)[:, 0]
    second = derivatives.partial(u, x, 1, 1)[:, 0]
    return first[:, 0] + u(x)[:, 0] * first[:, 1] - VISCOSITY * second


def burgers_solution(points: np.ndarray) -> np.ndarray:
    """Returns the solution by the Cole-Hopf transformation and Gauss-Hermite quadrature."""
    nodes, weights = np.polynomial.hermite.hermgauss(200)
    t, x = points[:, :1], points[:, 1:]
    at = x - np.sqrt(4 * VISCOSITY * np.maximum(t, 1e-12)) * nodes
    exponent = -np.cos(PI * at) / (2 * PI * VISCOSITY)
    kernel = np.exp(exponent - exponent.max(axis=1, keepdims=True)) * weights
    moved = -(kernel * np.sin(PI * at)).sum(axis=1) / kernel.sum(axis=1)
    return np.where(t[:, 0] == 0, -np.sin(PI * x[:, 0]), moved)[:, None]


def allen_cahn(u: Network, x: tf.Tensor) -> tf.Tensor:
    """Returns ``u_t - 1e-4 u_xx + 5 u^3 - 5 u``."""
    second = derivatives.partial(u, x, 1, 1)[:, 0]
    now = u(x)[:, 0]
    return derivatives.partial(u, x, 0)[:, 0] - 1e-4 * second + 5 * now**3 - 5 * now


def allen_cahn_solution(
    points: np.ndarray | None = None, count: int = 2048, steps: int = 2000
) -> np.ndarray:
    """Returns the solution on the grid of 101 x 129 points.

    It is computed by a Fourier method in space and an exponential Runge-Kutta method of order four
    in time.
    """
    x = -1 + 2 * np.arange(count) / count
    h, wave_numbers = 1 / steps, PI * np.fft.fftfreq(count, 1 / count)
    linear = h * (5 - 1e-4 * wave_numbers**2)
    ring = linear[:, None] + np.exp(1j * PI * (np.arange(1, 33) - 0.5) / 32)
    full, half = np.exp(linear), np.exp(linear / 2)
    q = h * ((np.exp(ring / 2) - 1) / ring).mean(1).real
    f1 = h * ((-4 - ring + np.exp(ring) * (4 - 3 * ring + ring**2)) / ring**3).mean(1).real
    f2 = h * ((2 + ring + np.exp(ring) * (ring - 2)) / ring**3).mean(1).real
    f3 = h * ((-4 - 3 * ring - ring**2 + np.exp(ring) * (4 - ring)) / ring**3).mean(1).real

    def cubic(modes: np.ndarray) -> np.ndarray:
        return np.fft.fft(-5 * np.fft.ifft(modes).real ** 3)

    # The periodic continuation of the initial values has a kink, so their coefficients are computed
    # from many samples.
    many = -1 + 2 * np.arange(2**17) / 2**17
    start = np.fft.fft(many**2 * np.cos(PI * many)) * count / 2**17
    modes = np.concatenate([start[: count // 2], start[-count // 2 :]])
    rows = [np.fft.fft(x**2 * np.cos(PI * x))]
    for step in range(steps):
        n0 = cubic(modes)
        a = half * modes + q * n0
        na = cubic(a)
        b = half * modes + q * na
        nb = cubic(b)
        nc = cubic(half * a + q * (2 * nb - n0))
        modes = full * modes + n0 * f1 + 2 * (na + nb) * f2 + nc * f3
        if step % (steps // 100) == steps // 100 - 1:
            rows.append(modes)
    values = np.fft.ifft(np.stack(rows)).real[:, :: count // 128]
    return np.concatenate([values, values[:, :1]], axis=1).reshape(-1, 1)


def oscillation(t: tf.Tensor, x: tf.Tensor) -> tf.Tensor:
    """Returns the manufactured solution of the Klein-Gordon equation."""
    return x * tf.cos(5 * PI * t) + (t * x) ** 3


def klein_gordon(u: Network, points: tf.Tensor) -> tf.Tensor:
    """Returns ``u_tt - u_xx + u^3 - f``."""
    t, x = points[:, 0], points[:, 1]
    forcing = -25 * PI**2 * x * tf.cos(5 * PI * t) + 6 * t * x**3 - 6 * t**3 * x
    forcing += oscillation(t, x) ** 3
    return derivatives.second_order(u, points, [1, -1])[:, 0] + u(points)[:, 0] ** 3 - forcing


def helmholtz(u: Network, x: tf.Tensor) -> tf.Tensor:
    """Returns ``u_xx + u_yy + u - f`` with wave numbers a = (1, 4)."""
    forcing = (1 - 17 * PI**2) * tf.sin(PI * x[:, 0]) * tf.sin(4 * PI * x[:, 1])
    return derivatives.laplacian(u, x)[:, 0] + u(x)[:, 0] - forcing


def poisson(u: Network, x: tf.Tensor) -> tf.Tensor:
    """Returns ``u_xx + u_yy - f``."""
    return derivatives.laplacian(u, x)[:, 0] + 2 * PI**2 * tf.sin(PI * x[:, 0]) * tf.sin(
        PI * x[:, 1]
    )


def convection(u: Network, x: tf.Tensor) -> tf.Tensor:
    """Returns ``u_t + 50 u_x``."""
    first = derivatives.gradient(u, x)[:, 0]
    return first[:, 0] + 50 * first[:, 1]


def _sides(box: Box, residual: Residual) -> dict[str, tuple[dict[str, float], Residual]]:
    ends = zip(box.axes, box.lower, box.upper, strict=True)
    return {f"{axis}={end:g}": ({axis: end}, residual) for axis, *both in ends for end in both}


_UNIT, _SQUARE = Box(x=(0, 1), y=(0, 1)), Box(x=(-1, 1), y=(-1, 1))
_SPACE_TIME, _WIDE = Box(t=(0, 1), x=(0, 1)), Box(t=(0, 1), x=(-1, 1))
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
        _WIDE,
        burgers,
        {
            "initial": ({"t": 0.0}, equal(lambda p: -tf.sin(PI * p[:, 1]))),
            "left": ({"x": -1.0}, value),
            "right": ({"x": 1.0}, value),
        },
        burgers_solution,
        (101, 201),
        keras.ops.tanh,
    ),
    "allen-cahn": Equation(
        _WIDE,
        allen_cahn,
        {"initial": ({"t": 0.0}, equal(lambda p: p[:, 1] ** 2 * tf.cos(PI * p[:, 1])))},
        allen_cahn_solution,
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
        _SQUARE,
        helmholtz,
        _sides(_SQUARE, value),
        lambda p: (np.sin(PI * p[:, 0]) * np.sin(4 * PI * p[:, 1]))[:, None],
    ),
    "poisson": Equation(
        _UNIT,
        poisson,
        _sides(_UNIT, value),
        lambda p: (np.sin(PI * p[:, 0]) * np.sin(PI * p[:, 1]))[:, None],
    ),
    "convection": Equation(
        Box(t=(0, 1), x=(0, 2 * PI)),
        convection,
        {"initial": ({"t": 0.0}, equal(lambda p: tf.sin(p[:, 1])))},
        lambda p: np.sin(p[:, 1] - 50 * p[:, 0])[:, None],
        harmonics=1,
    ),
}
