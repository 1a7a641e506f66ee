"""Moving and uniform points: errors after equal times on Burgers' equation and a moving front.

The solution of Burgers' equation with viscosity 0.01 / pi steepens to a layer at a fixed place.
With a forcing, a front oscillates through the domain. Networks have three hidden layers, weights
are NTK weights, and everything else has its default. Uniform points are redrawn at every step.
Only the time of training steps counts, including compilation.

    python -m benchmarks.moving_points --seconds 120
    python -m benchmarks.moving_points --optimizers "natural gradient" --kinds uniform RAD
"""

import argparse
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

import ntk_keras as nk
from benchmarks.equations import EQUATIONS, Equation, equal, network
from benchmarks.tables import RESULTS, write_table
from ntk_keras.callbacks import Stopwatch
from ntk_keras.derivatives import Network
from ntk_keras.domains import R3, RAD, RAR, Box, Sampler
from ntk_keras.problems.burgers import Equation as Burgers

WIDTH = 0.02  # width of the front
BURGERS = Burgers()


def front(points: Any) -> Any:
    """Returns the values ``[n]`` of an oscillating front at tensors or arrays ``[n, 2]``."""
    t, x = points[:, 0], points[:, 1]
    return tf.tanh((x - 0.5 - 0.25 * tf.sin(2 * np.pi * t)) / WIDTH)


def driven(u: Network, points: tf.Tensor) -> tf.Tensor:
    """Returns the residual of Burgers' equation with the forcing that drives the front."""
    speed = 0.5 * np.pi * tf.cos(2 * np.pi * points[:, 0])
    now = front(points)
    slope = (1 - now**2) / WIDTH
    forcing = slope * (now - speed + 2 * BURGERS.viscosity * now / WIDTH)
    return BURGERS(u, points) - forcing


PROBLEMS: dict[str, Equation] = {
    "burgers": EQUATIONS["burgers"],
    "front": Equation(
        Box(t=(0, 1), x=(0, 1)),
        driven,
        {
            "initial": ({"t": 0.0}, equal(front)),
            "left": ({"x": 0.0}, equal(front)),
            "right": ({"x": 1.0}, equal(front)),
        },
        lambda points: np.array(front(points))[:, None],
        (101, 201),
        keras.ops.tanh,
    ),
}

# Functions of a sampler and the number of steps between moves. R3 moves points at every step.
KINDS: dict[str, Callable[[Sampler, int], Sampler]] = {
    "uniform": lambda sampler, every: sampler,
    "RAD": lambda sampler, every: RAD(sampler, every=every),
    "RAD, weighted": lambda sampler, every: RAD(sampler, every=every, importance_weights=True),
    "R3": lambda sampler, every: R3(sampler),
    "RAR": lambda sampler, every: RAR(sampler, every=every),
}

# Number of steps from one move to the next, and in an epoch.
OPTIMIZERS = {"adam": 100, "natural gradient": 5}


class Errors(keras.callbacks.Callback):
    """Records relative L2 errors on the grid, outside the training time, up to a time limit."""

    def __init__(self, problem: Equation, seconds: float):
        super().__init__()
        self.points = problem.box.grid(*problem.shape)
        self.truth = problem.solution(self.points)
        self.limit = seconds
        self.rows: list[tuple[float, float]] = []  # seconds, error

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Records the error, and stops training if the time is up."""
        difference = self.model.predict(self.points, verbose=0) - self.truth
        error = float(np.linalg.norm(difference) / np.linalg.norm(self.truth))
        seconds = logs["seconds"] + (self.rows[-1][0] if self.rows else 0.0)
        self.rows.append((seconds, error))
        self.model.stop_training = seconds > self.limit


def train(
    name: str, optimizer: str, kind: str, seed: int, options: argparse.Namespace
) -> list[tuple[float, float]]:
    """Trains, and returns seconds and errors after every epoch.

    Args:
        name: name of the problem.
        optimizer: name in :data:`OPTIMIZERS`.
        kind: kind of points, a name in :data:`KINDS`.
        seed: seed of network and points.
        options: options of the command line.
    """
    problem, every = PROBLEMS[name], OPTIMIZERS[optimizer]
    natural = optimizer == "natural gradient"
    terms = problem.terms(options.points)
    terms[0].points = KINDS[kind](problem.box.interior(options.points), every)
    if natural:
        solver = network(problem, 30, 3, seed)
    else:
        solver = nk.networks.feedforward(problem.box, width=50, depth=3, seed=seed)
    model = nk.PINNModel(solver, terms, seed=seed)
    model.compile(nk.optimizers.NaturalGradient() if natural else keras.optimizers.Adam())
    errors = Errors(problem, options.seconds)
    model.fit(epochs=10**6, steps_per_epoch=every, verbose=0, callbacks=[Stopwatch(), errors])
    if options.figures is not None and isinstance(terms[0].points, nk.domains.MovingSampler):
        options.figures.mkdir(parents=True, exist_ok=True)
        figure = nk.plots.points(model.current_points()["equation"], problem.box.axes)
        figure.savefig(options.figures / f"{name}, {optimizer}, {kind}, {seed}.png")
    keras.backend.clear_session()
    return errors.rows


def measure(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Returns median, smallest and largest errors over seeds after given seconds.

    The table has a row for each problem, optimizer and kind of points.
    """
    marks = [mark for mark in (30, 60, 120, 300) if mark < options.seconds] + [options.seconds]
    table = []
    for name in options.problems:
        for optimizer in options.optimizers:
            for kind in options.kinds:
                runs = [train(name, optimizer, kind, seed, options) for seed in options.seeds]
                row: dict[str, Any] = {"problem": name, "optimizer": optimizer, "points": kind}
                for mark in marks:
                    row[f"after {mark:g} s"] = _summary([_last(run, mark) for run in runs])
                every = OPTIMIZERS[optimizer]
                row["steps"] = f"{statistics.median(every * len(run) for run in runs):.0f}"
                table.append(row)
                print(row, flush=True)
    return table


def _last(run: Sequence[tuple[float, float]], mark: float) -> float:
    """Returns the last error before a mark; infinity if there is none."""
    return next((error for seconds, error in reversed(run) if seconds <= mark), float("inf"))


def _summary(errors: Sequence[float]) -> str:
    return f"{statistics.median(errors):.1e} ({min(errors):.1e} to {max(errors):.1e})"


def main(arguments: Sequence[str] | None = None) -> list[dict[str, Any]]:
    """Measures, writes the table and returns its rows."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--problems", nargs="+", choices=PROBLEMS, default=list(PROBLEMS))
    parser.add_argument("--optimizers", nargs="+", choices=OPTIMIZERS, default=list(OPTIMIZERS))
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--points", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=120.0)
    parser.add_argument("--figures", type=Path, help="folder for pictures of the points")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the table")
    parser.add_argument("--name", default="moving-points", help="of the table's files")
    options = parser.parse_args(arguments)
    rows = measure(options)
    write_table(options.out, options.name, rows)
    return rows


if __name__ == "__main__":
    main()
