"""The bounds of the paper's theorems as numbers, to compare runs and samples with.

Nothing here trains or samples. The functions map arrays recorded in a run to bounds, averages,
slopes and constants.
"""

import dataclasses

import numpy as np
from numpy.typing import ArrayLike

__all__ = [
    "Constants",
    "gradient_bound",
    "kernel_error",
    "largest_curvature",
    "log_slope",
    "running_mean",
    "trace_variance",
]


@dataclasses.dataclass(frozen=True)
class Constants:
    """The constants of Assumption 1 and the step length, as measured in a run.

    Attributes:
        k_min: smallest eigenvalue of the kernel.
        k_max: largest eigenvalue of the kernel.
        l_min: smallest loss weight.
        l_max: largest loss weight.
        lipschitz: Lipschitz constant L of ``grad F``, with ``F = 1/2 ||R||^2``.
        learning_rate: step length eta.
    """

    k_min: float
    k_max: float
    l_min: float
    l_max: float
    lipschitz: float
    learning_rate: float

    @property
    def factor(self) -> float:
        """The factor ``k_min l_min - L eta k_max l_max^2 / 2`` that Theorem 1's proof divides by.

        The printed bound leaves it out. If it is not positive the theorem gives no bound.
        """
        loss = self.lipschitz * self.learning_rate / 2 * self.k_max * self.l_max**2
        return self.k_min * self.l_min - loss

    @property
    def largest_learning_rate(self) -> float:
        """The bound ``2 k_min l_min / (L k_max l_max^2)`` up to which the factor is positive."""
        if self.lipschitz == 0:
            return float("inf")
        return 2 * self.k_min * self.l_min / (self.lipschitz * self.k_max * self.l_max**2)

    def residual_bound(self, squares: ArrayLike) -> np.ndarray:
        """Returns Theorem 1's bound on the averages of ``||R||^2``, infinite if there is none.

        The bound is ``(||R(theta_0)||^2 - ||R(theta_T)||^2) / (2 T eta factor)``: F is half of the
        squared norm, and the factor is the one that the printed bound leaves out.

        Args:
            squares: values of ``||R(theta_t)||^2`` for t = 0 to T, ``[T + 1]``.

        Returns:
            Bounds for 1, ..., T steps, ``[T]``.
        """
        values = np.asarray(squares)
        decrease = (values[0] - values[1:]) / np.arange(1, len(values))
        if self.factor <= 0:
            return np.full(decrease.shape, np.inf)
        return decrease / (2 * self.learning_rate * self.factor)


def gradient_bound(
    squares: ArrayLike, weights: ArrayLike, learning_rate: float, lipschitz: float
) -> np.ndarray:
    """Returns inequality (10), the bound on averages of ``||grad G||^2`` before Theorem 1 is used.

    The bound is ``((G_0 - G_T) / eta + sum_t max(change of Lambda) ||R(theta_{t+1})||^2 / (2 eta))
    / (T (1 - L eta / 2))``. Corollary 2's rule keeps the sum below ``h(T)``.

    Args:
        squares: values of ``||R_b(theta_t)||^2`` by group for t = 0 to T, ``[T + 1, groups]``.
        weights: weights ``Lambda(theta_t)``, ``[T + 1, groups]``.
        learning_rate: step length eta.
        lipschitz: Lipschitz constant L of ``grad G``.

    Returns:
        Bounds for 1, ..., T steps, ``[T]``; infinite if eta is 2 / L or more.
    """
    squares, weights = np.asarray(squares), np.asarray(weights)
    losses = np.sum(weights * squares, axis=1) / 2
    changes = np.cumsum(np.max(np.diff(weights, axis=0), axis=1) * np.sum(squares[1:], axis=1))
    steps = np.arange(1, len(losses))
    slack = 1 - lipschitz * learning_rate / 2
    if slack <= 0:
        return np.full(len(steps), np.inf)
    return (losses[0] - losses[1:] + changes / 2) / (learning_rate * slack * steps)


def largest_curvature(values: ArrayLike, slopes: ArrayLike, moves: ArrayLike) -> float:
    """Returns the least L >= 0 for which the descent lemma holds at every step of a run.

    At each step ``F(theta + d) = F(theta) + grad F . d + L/2 ||d||^2`` is solved for L, the
    curvature of F along it. The proofs of Theorems 1 and 2 only require L to be no smaller than
    these.

    Args:
        values: values of F before and after each step, ``[T, 2]``.
        slopes: value of ``grad F . d`` of each step, ``[T]``.
        moves: value of ``||d||^2`` of each step, ``[T]``.

    Returns:
        The constant L; zero if no step moved, NaN if F became NaN.
    """
    values, moves = np.asarray(values), np.asarray(moves)
    change = values[:, 1] - values[:, 0] - np.asarray(slopes)
    # Once converged to rounding, differences of F do not reveal its curvature.
    resolved = (values[:, 0] > 1e-20 * values[0, 0]) & (moves != 0)
    return float(np.max(2 * change[resolved] / moves[resolved], initial=0.0))


def running_mean(values: ArrayLike) -> np.ndarray:
    """Returns ``(1/T) sum_{t < T}`` of ``values``, ``[T]``, for T = 1, 2, ..."""
    values = np.asarray(values)
    return np.cumsum(values) / np.arange(1, len(values) + 1)


def log_slope(x: ArrayLike, y: ArrayLike) -> float:
    """Returns the exponent of a power law through the points, by least squares of logarithms.

    Args:
        x: positive numbers ``[m]``.
        y: positive numbers ``[m]``.
    """
    return float(np.polynomial.polynomial.polyfit(np.log(x), np.log(y), 1)[1])


def kernel_error(K: np.ndarray) -> float:
    """Returns ``E ||K^ - K||_F^2`` of a sketch with a Gaussian probe and a vanishing step.

    The value is ``((n + 2) ||K||_F^2 + (Tr K)^2) / 2``. A mean of N sketches divides it by N
    (Theorem 4).

    Args:
        K: kernel ``[n, n]``.
    """
    return float(((len(K) + 2) * np.sum(K**2) + np.trace(K) ** 2) / 2)


def trace_variance(K: np.ndarray) -> float:
    """Returns ``Var(g^T K g) = 2 ||K||_F^2`` of a Gaussian probe; a mean of N divides it by N.

    Args:
        K: kernel ``[n, n]``.
    """
    return float(2 * np.sum(K**2))
