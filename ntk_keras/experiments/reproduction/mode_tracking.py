"""Tracks curves through their crossings, such as eigenvalues that are sorted at each moment."""

import numpy as np
from scipy.optimize import linear_sum_assignment

__all__ = ["track_modes"]


def track_modes(values: np.ndarray) -> np.ndarray:
    """Orders the values of each moment so that every column is a smooth curve.

    From one moment to the next, curves and values are paired so that the sum of
    |step| + |change of step| in logarithms is smallest. Each curve thus takes a value that is close
    and bends it little. Where two sorted curves seem to touch and turn back, curves that cross bend
    less.

    Args:
        values: positive values ``[moments, curves]``, in any order, at evenly spaced moments.

    Returns:
        The same values, permuted within each row but the first.
    """
    logarithms = np.log(values)
    ordered = np.empty_like(logarithms)
    ordered[0] = logarithms[0]
    step = np.zeros(values.shape[1])
    for moment in range(1, len(values)):
        steps = logarithms[moment] - ordered[moment - 1][:, np.newaxis]  # [curves, values]
        cost = np.abs(steps) + np.abs(steps - step[:, np.newaxis])
        chosen = linear_sum_assignment(cost)[1]
        ordered[moment] = logarithms[moment, chosen]
        step = ordered[moment] - ordered[moment - 1]
    return np.exp(ordered)
