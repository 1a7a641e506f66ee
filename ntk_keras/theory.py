"""What the paper's theorems promise, as numbers to hold runs and samples against.

Nothing here trains or samples: arrays that a run left go in, bounds, averages, slopes and constants
come out.
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
    """The constants of Assumption 1 and the step length, as a run had them.

    Attributes:
        k_min: smallest eigenvalue of the kernel.
        k_max: largest.
        l_min: smallest loss weight.
        l_max: largest.
        lipschitz: L, the Lipschitz constant of grad F, F = 1/2 ||R||^2.
        learning_rate: eta.
    """

    k_min: float
    k_max: float
    l_min: float
    l_max: float
    lipschitz: float
    learning_rate: float

    @property
    def factor(self) -> float:
        """k_min l_min - L eta k_max l_max^2 / 2, what Theorem 1's proof divides by.

        The printed bound leaves it out. Where it is not positive the theorem promises nothing.
        """
        loss = self.lipschitz * self.learning_rate / 2 * self.k_max * self.l_max**2
        return self.k_min * self.l_min - loss

    @property
    def largest_learning_rate(self) -> float:
        """2 k_min l_min / (L k_max l_max^2), up to which the factor is positive."""
        if self.lipschitz == 0:
            return float("inf")
        return 2 * self.k_min * self.l_min / (self.lipschitz * self.k_max * self.l_max**2)

    def residual_bound(self, squares: ArrayLike) -> np.ndarray:
        """Theorem 1's bound on the averages of ||R||^2, infinite where it promises nothing.

        (||R(theta_0)||^2 - ||R(theta_T)||^2) / (2 T eta factor): F is half of the squared norm,
        and the factor is the one that the printed bound leaves out.

        Args:
            squares: ||R(theta_t)||^2 for t = 0 to T, ``[T + 1]``.

        Returns:
            For 1, ..., T steps, ``[T]``.
        """
        values = np.asarray(squares)
        decrease = (values[0] - values[1:]) / np.arange(1, len(values))
        if self.factor <= 0:
            return np.full(decrease.shape, np.inf)
        return decrease / (2 * self.learning_rate * self.factor)


def gradient_bound(
    squares: ArrayLike, weights: ArrayLike, learning_rate: float, lipschitz: float
) -> np.ndarray:
    """Inequality (10): the bound on averages of ||grad G||^2, before Theorem 1 is put into it.

    ((G_0 - G_T) / eta + sum_t max(change of Lambda) ||R(theta_{t+1})||^2 / (2 eta))
    / (T (1 - L eta / 2)). Corollary 2's rule keeps the sum below h(T).

    Args:
        squares: ||R_b(theta_t)||^2 by group, for t = 0 to T, ``[T + 1, groups]``.
        weights: Lambda(theta_t), likewise.
        learning_rate: eta.
        lipschitz: L, of grad G.

    Returns:
        For 1, ..., T steps, ``[T]``; infinite if eta is 2 / L or more.
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
    """The least L >= 0 with which the descent lemma holds at every step of a run.

    F(theta + d) = F(theta) + grad F . d + L/2 ||d||^2, solved for L at each step: the curvature of
    F along it. The proofs of Theorems 1 and 2 need no more of L than to be no smaller than these.

    Args:
        values: F before and after each step, ``[T, 2]``.
        slopes: grad F . d of each, ``[T]``.
        moves: ||d||^2 of each, ``[T]``.

    Returns:
        L; zero if no step moved, NaN if F became so.
    """
    values, moves = np.asarray(values), np.asarray(moves)
    change = values[:, 1] - values[:, 0] - np.asarray(slopes)
    # Converged to rounding, differences of F tell nothing of its curvature.
    resolved = (values[:, 0] > 1e-20 * values[0, 0]) & (moves != 0)
    return float(np.max(2 * change[resolved] / moves[resolved], initial=0.0))


def running_mean(values: ArrayLike) -> np.ndarray:
    """(1/T) sum_{t < T} of ``values``, ``[T]``, for T = 1, 2, ..."""
    values = np.asarray(values)
    return np.cumsum(values) / np.arange(1, len(values) + 1)


def log_slope(x: ArrayLike, y: ArrayLike) -> float:
    """The exponent of a power law through the points, by least squares of the logarithms.

    Args:
        x: positive, ``[m]``.
        y: positive, ``[m]``.
    """
    return float(np.polynomial.polynomial.polyfit(np.log(x), np.log(y), 1)[1])


def kernel_error(K: np.ndarray) -> float:
    """E ||K^ - K||_F^2 of one sketch with a Gaussian probe, for a vanishing difference step.

    ((n + 2) ||K||_F^2 + (Tr K)^2) / 2; a mean of N sketches divides it by N (Theorem 4).

    Args:
        K: the kernel, ``[n, n]``.
    """
    return float(((len(K) + 2) * np.sum(K**2) + np.trace(K) ** 2) / 2)


def trace_variance(K: np.ndarray) -> float:
    """Var(g^T K g) = 2 ||K||_F^2 of one Gaussian probe; a mean of N divides it by N.

    Args:
        K: the kernel, ``[n, n]``.
    """
    return float(2 * np.sum(K**2))
