"""Curves among values that come sorted: eigenvalues followed through their crossings."""

import numpy as np
from scipy.optimize import linear_sum_assignment

__all__ = ["track_modes"]


def track_modes(values: np.ndarray) -> np.ndarray:
    """Puts the values of each moment in an order that makes columns smooth.

    From one moment to the next each curve takes the value that lies nearest and bends it least,
    both in logarithms: the pairing whose sum of |step| + |change of step| is smallest. Where two
    sorted curves seem to touch and turn, curves that cross have the smaller bends.

    Args:
        values: positive, ``[moments, curves]``, in any order; moments evenly spaced.

    Returns:
        The same values, rows permuted; the first as it is.
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
