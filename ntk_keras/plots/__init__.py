"""Figures of solutions, training histories, points and kernels.

Every function returns a matplotlib ``Figure`` that belongs to no window and no global state.
"""

from ntk_keras.plots.error_panels import error_panels
from ntk_keras.plots.fields import curves, directors, kernel, points, solution, to_array
from ntk_keras.plots.histories import comparison, history

__all__ = [
    "comparison",
    "curves",
    "directors",
    "error_panels",
    "history",
    "kernel",
    "points",
    "solution",
    "to_array",
]
