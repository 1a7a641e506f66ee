"""Tasks of the peers' bench and their curves: errors over seconds. Needs NumPy alone."""

import dataclasses
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

__all__ = ["Curve", "Task", "main"]

EVERY = 5.0  # seconds from one error to the next


@dataclasses.dataclass(frozen=True)
class Task:
    """A training.

    Attributes:
        problem: name of the problem.
        way: way to train, of those that the package has.
        seed: seed of network and points.
        seconds: seconds of the training.
        width: neurons of a hidden layer.
        depth: number of hidden layers.
        num_inside: points of the equation.
        num_boundary: points of all conditions.
        reference: file of points ``[m, d]`` and solution ``[m, outputs]``.
    """

    problem: str
    way: str
    seed: int
    seconds: float
    width: int
    depth: int
    num_inside: int
    num_boundary: int
    reference: str

    @property
    def points(self) -> np.ndarray:
        """Points of the errors, ``[m, d]``."""
        return np.load(self.reference)["points"]

    @property
    def truth(self) -> np.ndarray:
        """The solution there, ``[m, outputs]``."""
        return np.load(self.reference)["truth"]


class Curve:
    """Relative L2 errors by seconds since the start.

    Args:
        seconds: seconds of the training.
        truth: the solution, ``[m, outputs]``.

    Attributes:
        rows: seconds, steps and errors, in order.
    """

    def __init__(self, seconds: float, truth: np.ndarray):
        self.seconds = seconds
        self.rows: list[dict[str, float]] = []
        self._truth = truth
        self._began = time.perf_counter()
        self._last = 0.0

    def spent(self) -> float:
        """Returns the seconds since the start."""
        return time.perf_counter() - self._began

    def is_due(self) -> bool:
        """Whether the next error is to be taken."""
        return self.spent() >= min(self._last + EVERY, self.seconds)

    def add(self, steps: int, values: np.ndarray) -> None:
        """Takes values ``[m, outputs]`` of the network at the points of the errors."""
        self._last = self.spent()
        difference = np.reshape(values, self._truth.shape) - self._truth
        error = np.linalg.norm(difference) / np.linalg.norm(self._truth)
        self.rows.append({"seconds": self._last, "step": steps, "relative_l2": float(error)})


def main(train: Callable[[Task], Curve]) -> None:
    """Trains the task of the first argument, JSON, and writes its rows to the file of the second.

    Args:
        train: function that trains.
    """
    task, file = sys.argv[1:]
    curve = train(Task(**json.loads(task)))
    Path(file).write_text(json.dumps(curve.rows))
