"""Poisson's equation on six shapes by Adam and natural gradients, and the cost of drawing points.

The solution is a product of cosines. Networks have two or three hidden layers, points are redrawn
at every step, weights are NTK weights, and everything else has its default. Adam's learning rate
decays as in the presets of the problems. Only the time of training steps counts, including
compilation.

    python -m benchmarks.shapes --study errors --seconds 60
    python -m benchmarks.shapes --study draws
"""

import argparse
import functools
import itertools
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import skfem
import tensorflow as tf
import trimesh

import ntk_keras as nk
from benchmarks.tables import RESULTS, write_table
from ntk_keras import derivatives
from ntk_keras.callbacks import Stopwatch
from ntk_keras.domains import Body, Box, Disk, Mesh, Polygon, Shape

WAVES = np.array([2.0, 3.0, 1.0])
OPTIMIZERS = ("adam", "natural gradient")


def solution(x: Any) -> Any:
    """Returns ``cos(2x + 1/2) cos(3y + 1/2) cos(z + 1/2)``, ``[n]``; without the last in 2-D."""
    return tf.reduce_prod(tf.cos(_phases(x)), axis=1)


def slope(x: Any, normal: Any) -> Any:
    """Returns the derivative of the solution along normals, ``[n]``."""
    steepness = tf.reduce_sum(_waves(x) * tf.tan(_phases(x)) * normal, axis=1)
    return -solution(x) * steepness


def equation(u: Any, x: Any) -> Any:
    """Returns the residual of ``Lap u = -|w|^2 solution``."""
    right = tf.reduce_sum(_waves(x) ** 2) * solution(x)
    return derivatives.laplacian(u, x)[:, 0] + right


def dirichlet(u: Any, points: Any) -> Any:
    """Returns the residual of given values."""
    return u(points[0])[:, 0] - solution(points[0])


def neumann(u: Any, points: Any) -> Any:
    """Returns the residual of given derivatives along the outward normals."""
    x, normal = points
    along = tf.reduce_sum(derivatives.gradient(u, x)[:, 0] * normal, axis=1)
    return along - slope(x, normal)


def robin(u: Any, points: Any) -> Any:
    """Returns the residual of given sums of value and normal derivative."""
    return neumann(u, points) + dirichlet(u, points)


def disk() -> tuple[Shape, dict[str, Any]]:
    """Returns a disk with a Robin condition on the whole boundary."""
    return Disk(), {"circle": robin}


def ell() -> tuple[Shape, dict[str, Any]]:
    """Returns a union of boxes with given values on all sides."""
    shape = Box(x=(0, 2), y=(0, 1)) | Box(x=(0, 1), y=(0, 2))
    return shape, dict.fromkeys(shape.parts, dirichlet)


def polygon() -> tuple[Shape, dict[str, Any]]:
    """Returns a polygon with normal derivatives given on its hole, and values outside."""
    hole = [(0.3, 0.3), (0.9, 0.4), (0.7, 0.8)]
    shape = Polygon([(0, 0), (1.5, 0), (2, 1), (1, 1.5), (0, 1)], [hole])
    return shape, {"outer": dirichlet, "hole_1": neumann}


def ring() -> tuple[Shape, dict[str, Any]]:
    """Returns a difference of disks with normal derivatives given inside, and values outside."""
    return Disk() - Disk(radius=0.4, part="hole"), {"circle": dirichlet, "hole": neumann}


def body() -> tuple[Shape, dict[str, Any]]:
    """Returns a torus from an STL file with a Robin condition on its surface."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "torus.stl"
        trimesh.creation.torus(0.7, 0.3, 48, 24).export(path)
        return Body.from_file(path), {"surface": robin}


def mesh() -> tuple[Shape, dict[str, Any]]:
    """Returns a ball of tetrahedra with values given below, and normal derivatives above."""
    ball = skfem.MeshTet.init_ball(3).with_boundaries({"above": lambda x: x[2] > 0})
    return Mesh.from_skfem(ball), {"above": neumann, "boundary": dirichlet}


SHAPES: dict[str, Callable[[], tuple[Shape, dict[str, Any]]]] = {
    "disk": disk,
    "L": ell,
    "polygon with a hole": polygon,
    "ring by difference": ring,
    "STL body": body,
    "tetrahedral mesh": mesh,
}


class Errors(keras.callbacks.Callback):
    """Records relative L2 errors on a shape, outside the training time, up to a time limit."""

    def __init__(self, shape: Shape, seconds: float):
        super().__init__()
        self.points = shape.interior(5000, "sobol").fixed(0)
        self.truth = np.array(solution(tf.constant(self.points)))
        self.limit = seconds
        self.rows: list[tuple[float, int, float]] = []  # seconds, steps, error

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Records the error, and stops training if the time is up."""
        predicted = self.model.predict(self.points, verbose=0)[:, 0]
        error = np.linalg.norm(predicted - self.truth) / np.linalg.norm(self.truth)
        seconds = logs["seconds"] + (self.rows[-1][0] if self.rows else 0.0)
        self.rows.append((seconds, logs["step"], float(error)))
        self.model.stop_training = seconds > self.limit


def train(name: str, optimizer: str, seconds: float, seed: int) -> list[tuple[float, int, float]]:
    """Trains, and returns seconds, steps and errors after every epoch.

    Args:
        name: name of the shape.
        optimizer: name in :data:`OPTIMIZERS`.
        seconds: seconds of training after which the run ends.
        seed: seed of network and points.
    """
    shape, conditions = SHAPES[name]()
    natural = optimizer == "natural gradient"
    size: dict[str, Any] = {"width": 24 if natural else 50, "depth": 2 if natural else 3}
    network = nk.networks.feedforward(
        shape, **size, seed=seed, dtype="float64" if natural else "float32"
    )
    inside = nk.Term("equation", equation, shape.interior(600))
    sides = [
        nk.Term(
            part,
            residual,
            shape.boundary(max(200 // len(conditions), 40), parts=part, normals=True),
            group=residual.__name__,
        )
        for part, residual in conditions.items()
    ]
    model = nk.PINNModel(network, [inside, *sides], seed=seed)
    falling = keras.optimizers.schedules.ExponentialDecay(1e-3, 1000, 0.9)
    model.compile(nk.optimizers.NaturalGradient() if natural else keras.optimizers.Adam(falling))
    errors = Errors(shape, seconds)
    steps = 10 if natural else 100
    model.fit(epochs=10**5, steps_per_epoch=steps, verbose=0, callbacks=[Stopwatch(), errors])
    keras.backend.clear_session()
    return errors.rows


def study_errors(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Returns errors after given seconds for all shapes and optimizers."""
    marks = [mark for mark in (30, 60, 120) if mark <= options.seconds] or [options.seconds]
    table = []
    for name in options.shapes:
        for optimizer in options.optimizers:
            rows = train(name, optimizer, options.seconds, options.seed)
            row: dict[str, Any] = {"shape": name, "optimizer": optimizer, "seed": options.seed}
            for mark in marks:
                before = [error for seconds, _, error in rows if seconds <= mark]
                row[f"after {mark:g} s"] = f"{before[-1]:.1e}" if before else ""
            table.append(row | {"steps": rows[-1][1]})
            print(table[-1], flush=True)
    return table


def study_draws(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Returns milliseconds of a draw in a graph, and of a 3 x 100 step with fixed points."""
    table = []
    for name in ["box", *options.shapes]:
        shape: Shape = Box(x=(0, 1), y=(0, 1)) if name == "box" else SHAPES[name]()[0]
        row: dict[str, Any] = {"shape": name}
        few, many = _draws(shape, 1000, 200), _draws(shape, 10**6, 3)
        step = _steps(shape, 50)
        times = [(few(), many(), step()) for _ in range(options.repeats + 1)]
        few_ms, many_ms, step_ms = np.min(times[1:], axis=0)  # the first ones compile
        row |= {"1000 points, ms": f"{few_ms:.3f}", "1e6 points, ms": f"{many_ms:.1f}"}
        row |= {"step, ms": f"{step_ms:.2f}", "of a step": f"{100 * few_ms / step_ms:.1f} %"}
        table.append(row)
        print(row, flush=True)
    return table


def _draws(shape: Shape, num_points: int, number: int) -> Callable[[], float]:
    """Returns a function that measures the milliseconds of a draw, averaged over several draws.

    They run in a graph that XLA does not compile as a whole.
    """
    sampler = shape.interior(num_points)
    seeds = itertools.count()

    @tf.function(autograph=False)
    def draw(seed: tf.Tensor) -> tf.Tensor:
        def another(index: tf.Tensor, total: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            return index + 1, total + tf.reduce_sum(sampler.draw(tf.stack([seed, index])))

        start = (tf.constant(0), tf.constant(0.0))
        return tf.while_loop(lambda i, _: i < number, another, start, parallel_iterations=1)[1]

    return lambda: _milliseconds(lambda: draw(tf.constant(next(seeds))).numpy()) / number


def _steps(shape: Shape, number: int) -> Callable[[], float]:
    """Returns a function that measures the milliseconds of a step, averaged over several steps."""
    term = nk.Term("equation", equation, shape.interior(1000).fixed(0))
    model = nk.PINNModel(nk.networks.feedforward(shape, width=100, depth=3), [term], seed=0)
    model.compile(keras.optimizers.Adam())
    fit = functools.partial(model.fit, epochs=1, steps_per_epoch=number, verbose=0)
    return lambda: _milliseconds(fit) / number


def _milliseconds(function: Callable[[], Any]) -> float:
    start = time.perf_counter()
    function()
    return 1e3 * (time.perf_counter() - start)


def _waves(x: Any) -> tf.Tensor:
    return tf.constant(WAVES[: x.shape[1]], x.dtype)


def _phases(x: Any) -> tf.Tensor:
    return _waves(x) * x + 0.5


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs one study from the command line, and writes its table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--study", choices=("errors", "draws"), required=True)
    parser.add_argument("--shapes", nargs="+", choices=list(SHAPES), default=list(SHAPES))
    parser.add_argument("--optimizers", nargs="+", choices=OPTIMIZERS, default=OPTIMIZERS)
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args(arguments)
    study = {"errors": study_errors, "draws": study_draws}[options.study]
    write_table(options.out, f"shapes-{options.study}", study(options))


if __name__ == "__main__":
    main()
