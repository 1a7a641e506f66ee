"""Solutions of periodic equations in one dimension by a Fourier method.

The equations have the form ``u_t = L u + f (d/dx)^m u^p``, where L has constant coefficients. Space
is represented by Fourier modes, without aliasing errors of the quadratic or cubic term. Time steps
are those of the exponential Runge-Kutta method ETDRK4, which treats L exactly and has order four.

Reference:
    Kassam, Trefethen, "Fourth-order time-stepping for stiff PDEs", SIAM J. Sci. Comput. 26 (2005).
"""

import dataclasses
from collections.abc import Callable

import numpy as np

from ntk_keras.backend.checks import check_count
from ntk_keras.references import cache

__all__ = ["Solution", "SolverSettings", "solve", "solve_cached"]

VERSION = 1  # of the method: raise it with every change of its numbers, and old files are left
SAMPLES = 2**17  # of the initial values, whose modes may decay slowly
CONTOUR_POINTS = 64
TIMES_IN_INTERPOLATION = 8
NEGLIGIBLE = 1e-14  # modes below it, relative to the largest, are not evaluated


@dataclasses.dataclass(frozen=True)
class SolverSettings:
    """Everything that determines a solution except its initial values.

    Attributes:
        lower: left end of a period.
        upper: right end of a period.
        final_time: final time T.
        linear: coefficients of ``u, u_x, u_xx, ...`` in ``L u``.
        factor: factor f of the nonlinear term.
        derivative: number m of derivatives of the nonlinear term.
        power: power p of the nonlinear term, 2 or 3.
        modes: number of Fourier modes, from wave number 0 on.
        steps: number of time steps.
        frames: number of equispaced times to keep, the first and the last among them.

    Raises:
        ValueError: if a count is not positive, the period or time is empty, the power is neither 2
            nor 3, or frames do not fall on steps.
    """

    lower: float
    upper: float
    final_time: float
    linear: tuple[float, ...]
    factor: float
    power: int
    derivative: int = 0
    modes: int = 256
    steps: int = 2000
    frames: int = 101

    def __post_init__(self) -> None:
        check_count("modes", self.modes)
        check_count("steps", self.steps)
        check_count("derivative", self.derivative, smallest=0)
        if not (self.upper > self.lower and self.final_time > 0):
            raise ValueError(f"upper must exceed lower, and final_time be positive. Got {self}.")
        if self.power not in (2, 3):
            raise ValueError(f"power must be 2 or 3. Received power={self.power}.")
        if self.frames < TIMES_IN_INTERPOLATION or self.steps % (self.frames - 1):
            raise ValueError(
                f"frames must be at least {TIMES_IN_INTERPOLATION}, and frames - 1 a divisor of "
                f"steps. Received frames={self.frames}, steps={self.steps}."
            )

    @property
    def wave_numbers(self) -> np.ndarray:
        """The wave numbers ``2 pi k / (upper - lower)`` of the modes."""
        return 2 * np.pi * np.arange(self.modes) / (self.upper - self.lower)


@dataclasses.dataclass(frozen=True)
class Solution:
    """A solution as Fourier modes at equispaced times.

    Attributes:
        times: times ``[frames]``.
        wave_numbers: wave numbers k, ``[modes]``.
        lower: left end of a period.
        modes: complex modes c, ``[frames, modes]``; values are the real part of
            ``sum_k c_k exp(i k (x - lower))``.
    """

    times: np.ndarray
    wave_numbers: np.ndarray
    lower: float
    modes: np.ndarray

    def __call__(self, points: np.ndarray) -> np.ndarray:
        """Evaluates the modes; between kept times, polynomials of degree 7 interpolate them.

        Args:
            points: columns (t, x), ``[m, 2]``.

        Returns:
            ``[m, 1]``.

        Raises:
            ValueError: if a time is outside those that are kept.
        """
        values = np.empty(len(points))
        times, places = np.unique(points[:, 0], return_inverse=True)
        for index, time in enumerate(times):
            here = places.ravel() == index
            modes = self.modes_at(time)
            large = np.abs(modes) > NEGLIGIBLE * np.abs(modes).max()
            phases = np.outer(points[here, 1] - self.lower, self.wave_numbers[large])
            values[here] = (np.exp(1j * phases) @ modes[large]).real
        return values[:, np.newaxis]

    def modes_at(self, time: float) -> np.ndarray:
        """Returns the modes at a time, ``[modes]``.

        Args:
            time: a time within those that are kept.

        Raises:
            ValueError: if it is not.
        """
        first, last = self.times[0], self.times[-1]
        if not first <= time <= last:
            raise ValueError(f"The solution is known from t={first} to {last}. Received t={time}.")
        place = (time - first) / (last - first) * (len(self.times) - 1)
        most = len(self.times) - TIMES_IN_INTERPOLATION
        start = int(np.clip(np.floor(place) - TIMES_IN_INTERPOLATION // 2 + 1, 0, most))
        near = np.arange(start, start + TIMES_IN_INTERPOLATION)
        weights = [np.prod([(place - j) / (i - j) for j in near if j != i]) for i in near]
        return np.array(weights) @ self.modes[near]


def solve(initial: Callable[[np.ndarray], np.ndarray], settings: SolverSettings) -> Solution:
    """Computes the solution from given initial values.

    Args:
        initial: function from x ``[n]`` to values ``[n]``.
        settings: settings of equation and method.

    Raises:
        FloatingPointError: if values become infinite, because steps are too long.
    """
    step = _step_function(settings)
    modes = _initial_modes(initial, settings)
    kept = [modes]
    for _ in range(settings.frames - 1):
        with np.errstate(over="ignore", invalid="ignore"):
            for _ in range(settings.steps // (settings.frames - 1)):
                modes = step(modes)
        if not np.all(np.isfinite(modes)):
            raise FloatingPointError(
                f"The solution became infinite. Take more steps than steps={settings.steps}."
            )
        kept.append(modes)
    times = np.linspace(0, settings.final_time, settings.frames)
    return Solution(times, settings.wave_numbers, settings.lower, np.stack(kept))


def solve_cached(initial: Callable[[np.ndarray], np.ndarray], settings: SolverSettings) -> Solution:
    """Returns the result of :func:`solve`, from disk if there (:mod:`ntk_keras.references.cache`).

    Args:
        initial: function from x ``[n]`` to values ``[n]``.
        settings: settings of equation and method.
    """
    described = {**dataclasses.asdict(settings), "version": VERSION}
    name = f"spectral-{cache.key(described, {'initial': _initial_modes(initial, settings)})}"
    arrays = cache.cached(
        name, lambda: {"times": (s := solve(initial, settings)).times, "modes": s.modes}
    )
    return Solution(arrays["times"], settings.wave_numbers, settings.lower, arrays["modes"])


def _initial_modes(
    initial: Callable[[np.ndarray], np.ndarray], settings: SolverSettings
) -> np.ndarray:
    x = settings.lower + (settings.upper - settings.lower) * np.arange(SAMPLES) / SAMPLES
    return _one_sided(np.fft.rfft(initial(x)) / SAMPLES)[: settings.modes]


def _one_sided(modes: np.ndarray) -> np.ndarray:
    """Modes whose real part is the function: those of positive wave numbers count twice."""
    return np.concatenate([modes[:1], 2 * modes[1:]])


def _step_function(settings: SolverSettings) -> Callable[[np.ndarray], np.ndarray]:
    h = settings.final_time / settings.steps
    symbol = np.polynomial.polynomial.polyval(1j * settings.wave_numbers, settings.linear)
    # Phi functions are means over a circle around each h L, which avoids their cancellation.
    angles = 2 * np.pi * (np.arange(CONTOUR_POINTS) + 0.5) / CONTOUR_POINTS
    z = h * symbol[:, np.newaxis] + np.exp(1j * angles)
    half, full = np.exp(h * symbol / 2), np.exp(h * symbol)
    q = h * ((np.exp(z / 2) - 1) / z).mean(1)
    first = h * ((-4 - z + np.exp(z) * (4 - 3 * z + z**2)) / z**3).mean(1)
    middle = 2 * h * ((2 + z + np.exp(z) * (z - 2)) / z**3).mean(1)
    last = h * ((-4 - 3 * z - z**2 + np.exp(z) * (4 - z)) / z**3).mean(1)
    term = _nonlinear_term(settings)

    def step(modes: np.ndarray) -> np.ndarray:
        at_start = term(modes)
        a = half * modes + q * at_start
        at_a = term(a)
        b = half * modes + q * at_a
        at_b = term(b)
        c = half * a + q * (2 * at_b - at_start)
        return full * modes + first * at_start + middle * (at_a + at_b) + last * term(c)

    return step


def _nonlinear_term(settings: SolverSettings) -> Callable[[np.ndarray], np.ndarray]:
    symbol = settings.factor * (1j * settings.wave_numbers) ** settings.derivative
    samples = 2 ** int(np.ceil(np.log2((settings.power + 1) * settings.modes)))  # no aliasing

    def term(modes: np.ndarray) -> np.ndarray:
        padded = np.zeros(samples // 2 + 1, complex)
        padded[: settings.modes] = modes * samples / 2
        padded[0] *= 2
        powers = np.fft.rfft(np.fft.irfft(padded, samples) ** settings.power)[: settings.modes]
        return symbol * _one_sided(powers / samples)

    return term
