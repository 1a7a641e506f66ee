"""Errors over the seconds of a training, for workers. Needs NumPy alone."""

import time
from collections.abc import Callable

import numpy as np

from benchmarks.peers.problem import relative_error

__all__ = ["Curve", "follow"]


class Curve:
    """Relative L2 errors on the grid by seconds since the start, the first step's compilation too.

    Args:
        seconds: after which it is over.

    Attributes:
        rows: seconds, steps and errors, in order.
    """

    def __init__(self, seconds: float) -> None:
        self.rows: list[dict[str, float]] = []
        self._seconds = seconds
        self._began = time.perf_counter()

    def add(self, steps: int, values: np.ndarray) -> bool:
        """Takes the values ``[m]`` of the network on the grid; whether time is over."""
        spent = time.perf_counter() - self._began
        self.rows.append({"seconds": spent, "steps": steps, "error": relative_error(values)})
        return spent >= self._seconds


def follow(
    prepare: Callable[[], Callable[[], object]],
    values: Callable[[], np.ndarray],
    seconds: float,
    every: int,
) -> list[dict[str, float]]:
    """The curve of a training by single steps.

    Args:
        prepare: makes the step, which it may have taken once.
        values: of the network on the grid, ``[m]``.
        seconds: at least.
        every: steps from one error to the next.
    """
    curve = Curve(seconds)
    step = prepare()
    steps, over = 0, False
    while not over:
        for _ in range(every):
            step()
        steps += every
        over = curve.add(steps, values())
    return curve.rows
