"""Natural gradients: errors over time on seven equations, damping, scales, parts of a step.

Networks have three hidden layers in double precision, points are redrawn at every step, and weights
are NTK weights. Everything that a study does not vary has its default. Only the time of training
steps counts, including compilation.

    python -m benchmarks.natural_gradient --study equations --seconds 300
    python -m benchmarks.natural_gradient --study rules --points 1200 --width 20 --steps 100
    python -m benchmarks.natural_gradient --study scales --equations wave --seconds 30
    python -m benchmarks.natural_gradient --study methods --seconds 60
    python -m benchmarks.natural_gradient --study parts
"""

import argparse
import dataclasses
import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import keras
import numpy as np
import tensorflow as tf

from benchmarks.equations import EQUATIONS, network
from benchmarks.tables import RESULTS, write_table
from ntk_keras import Linearization, PINNModel
from ntk_keras.backend import lapack
from ntk_keras.callbacks import CollocationAlarm, Stopwatch
from ntk_keras.optimizers import NaturalGradient, methods, normal_equations, step_lengths
from ntk_keras.optimizers.methods import Method


class Rule(NamedTuple):
    """A rule for the length of a step and for the damping.

    Attributes:
        fair: smallest accepted decrease of the loss, relative to that of linear residuals.
        fair_of_noise: same ratio where linear residuals would not lose nearly all of the loss.
        damping: initial damping.
        quarter: step length from which on the damping is quartered.
        half: step length from which on the damping is halved.
        double: step length below which the damping is doubled.
    """

    fair: float = step_lengths.FAIR
    fair_of_noise: float = step_lengths.FAIR_OF_NOISE
    damping: float = NaturalGradient().initial_damping
    quarter: float = step_lengths.LONG
    half: float = step_lengths.GOOD
    double: float = step_lengths.SHORT


RULES = (
    Rule(),
    Rule(0.15, 0.15),
    Rule(0.05, 0.05),
    Rule(0.3, 0.3),
    Rule(0.15, 0.15, damping=1e-2),
    Rule(0.15, 0.15, damping=1e-8),
    Rule(0.15, 0.15, quarter=0.7, half=0.35, double=0.2),
)
SCALES = (1e-3, 1.0, 1e3)
METHODS: dict[tuple[int, int], tuple[Method, ...]] = {
    (10000, 30): ("primal", "sketched"),
    (2400, 100): ("dual", "sketched", "matrix-free"),
    (10000, 100): ("sketched", "matrix-free"),
}
SIZES = ((1000, 20), (1000, 40), (2400, 30), (5000, 30), (10000, 30), (2400, 50))


@dataclasses.dataclass(frozen=True)
class Case:
    """The settings of one training run.

    Attributes:
        equation: name of the equation.
        seed: seed of network and points.
        points: number of points in the interior; a fifth as many for each condition.
        width: number of neurons in each of the three hidden layers.
        weighting: weighting of the model.
        scale: factor of the equation's residual.
        method: method of the optimizer.
        damping: initial damping.
        steps: largest number of steps.
        seconds: seconds of training after which the run ends.
    """

    equation: str
    seed: int
    points: int
    width: int
    weighting: str = "ntk"
    scale: float = 1.0
    method: Method = "auto"
    damping: float = NaturalGradient().initial_damping
    steps: int = 10**6
    seconds: float = float("inf")


class Errors(keras.callbacks.Callback):
    """Records relative L2 errors on the grid, outside the training time, up to a time limit."""

    def __init__(self, case: Case):
        super().__init__()
        equation = EQUATIONS[case.equation]
        self.points = equation.box.grid(*equation.shape)
        self.solution = equation.solution(self.points)
        self.case = case
        self.rows: list[dict[str, Any]] = []
        self.seconds = 0.0

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Records a row after an epoch of ten steps, and stops training at a limit."""
        difference = self.model.predict(self.points, verbose=0) - self.solution
        error = np.linalg.norm(difference) / np.linalg.norm(self.solution)
        self.seconds += logs["seconds"]
        row = {"step": 10 * (epoch + 1), "seconds": self.seconds, "error": error}
        row["held out"] = logs["held_out_loss"] / logs["loss"]
        self.rows.append(row | {k: logs[k] for k in ("loss", "damping", "step_length")})
        if self.seconds > self.case.seconds or row["step"] >= self.case.steps:
            self.model.stop_training = True


def train(case: Case) -> list[dict[str, Any]]:
    """Trains, and returns a row for every ten steps."""
    equation = EQUATIONS[case.equation]
    model = PINNModel(
        network(equation, case.width, 3, case.seed),
        equation.terms(case.points, case.scale),
        case.weighting,
        seed=case.seed,
    )
    model.compile(NaturalGradient(method=case.method, damping=case.damping))
    errors = Errors(case)
    callbacks = [Stopwatch(), CollocationAlarm(every_epochs=1), errors]
    model.fit(epochs=10**5, steps_per_epoch=10, verbose=0, callbacks=callbacks)
    keras.backend.clear_session()
    return errors.rows


def by_seconds(rows: Sequence[dict[str, Any]], marks: Iterable[float]) -> dict[str, str]:
    """Returns the last error before each mark."""
    found = {}
    for mark in marks:
        before = [row["error"] for row in rows if row["seconds"] <= mark]
        found[f"after {mark:g} s"] = f"{before[-1]:.1e}" if before else ""
    return found


def study_equations(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Returns errors after given seconds for all equations."""
    marks = [m for m in (15, 30, 60, 120, 180, 300, 600) if m <= options.seconds]
    table = []
    for case in _cases(options, seconds=options.seconds):
        rows = train(case)
        # The ratio of the loss at fixed points to that of new batches. Few points may dominate it.
        held_out = {"held out": f"{statistics.median(row['held out'] for row in rows[-10:]):.1f}"}
        table.append(_head(case) | by_seconds(rows, marks) | held_out | _pace(rows))
        print(table[-1], flush=True)
    return table


def study_rules(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Returns errors after given steps for some rules of step length and damping."""
    table = []
    for case in _cases(options, steps=options.steps):
        for rule in RULES:
            constants: dict[str, Any] = {
                "LONG": rule.quarter,
                "GOOD": rule.half,
                "SHORT": rule.double,
                "FAIR": rule.fair,
                "FAIR_OF_NOISE": rule.fair_of_noise,
            }
            with mock.patch.multiple(step_lengths, **constants):
                rows = train(dataclasses.replace(case, damping=rule.damping))
            marks = {f"step {r['step']}": f"{r['error']:.1e}" for r in rows if r["step"] % 20 == 0}
            table.append(_head(case) | rule._asdict() | marks)
            print(table[-1], flush=True)
    return table


def study_scales(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Returns errors with the equation multiplied by a number, with and without NTK weights."""
    table = []
    for case in _cases(options, seconds=options.seconds):
        for weighting in ("ntk", "constant"):
            for scale in SCALES:
                scaled = dataclasses.replace(case, weighting=weighting, scale=scale)
                rows = train(scaled)
                named = {"weighting": weighting, "scale": scale}
                table.append(_head(case) | named | by_seconds(rows, [options.seconds]))
                print(table[-1], flush=True)
    return table


def study_methods(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Returns errors on the wave by method, for many points or parameters."""
    table = []
    for (points, width), names in METHODS.items():
        for method in names:
            case = Case("wave", 0, points, width, method=method, seconds=options.seconds)
            rows = train(case)
            head = {"points": points, "width": width, "method": method}
            steps = {"steps": rows[-1]["step"]}
            table.append(head | steps | by_seconds(rows, [options.seconds]) | _pace(rows))
            print(table[-1], flush=True)
    return table


def study_parts(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Returns milliseconds of the parts of a step on the wave, as medians over turns."""
    table = []
    for points, width in SIZES:
        parts = _parts(points, width)
        sizes = {"residuals": parts.pop("residuals"), "parameters": parts.pop("parameters")}
        table.append(sizes | {name: f"{1e3 * t:.0f}" for name, t in parts.items()})
        print(table[-1], flush=True)
    return table


def _parts(points: int, width: int) -> dict[str, float]:
    model = _wave(points, width)
    with mock.patch.object(lapack, "serves", return_value=False):
        tensorflow = _wave(points, width)  # its step is traced without LAPACK
    blocks = model.blocks()
    variables = model.trainable_variables
    scale = tf.ones([sum(int(tf.size(block())) for block in blocks.values())], tf.float64)

    @tf.function(autograph=False)
    def matrix() -> tf.Tensor:
        recorded = Linearization(blocks, variables, factored=True)
        with lapack.lapack_allowed(True):
            system = methods.system_of(recorded, scale, "auto", tf.constant([0, 0]))
        assert isinstance(system, normal_equations.NormalEquations)
        return system.matrix

    @tf.function(autograph=False)
    def factor() -> tf.Tensor:
        with lapack.lapack_allowed(True):
            return normal_equations.cholesky_with_damping(made, tf.constant(1e-6, tf.float64))[0]

    made = matrix()
    timed: dict[str, Callable[[], Any]] = {
        "matrix": matrix,
        "factor": factor,
        "step": lambda: model.fit(steps_per_epoch=3, verbose=0),
        "step, TensorFlow alone": lambda: tensorflow.fit(steps_per_epoch=3, verbose=0),
    }
    seconds: dict[str, list[float]] = {name: [] for name in timed}
    for turn in range(6):
        for name, function in timed.items():
            start = time.perf_counter()
            function()
            if turn:  # the first traces
                seconds[name].append(time.perf_counter() - start)
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    medians |= {name: value / 3 for name, value in medians.items() if name.startswith("step")}
    parameters = sum(int(np.prod(v.shape)) for v in variables)
    return {"residuals": int(scale.shape[0]), "parameters": parameters, **medians}


def _wave(points: int, width: int) -> PINNModel:
    """A model whose step is traced."""
    equation = EQUATIONS["wave"]
    model = PINNModel(network(equation, width, 3, 0), equation.terms(points), seed=0)
    model.compile(NaturalGradient())
    model.fit(verbose=0)
    return model


def _cases(options: argparse.Namespace, **limits: Any) -> list[Case]:
    return [
        Case(name, seed, options.points, options.width, **limits)
        for name in options.equations
        for seed in options.seeds
    ]


def _pace(rows: Sequence[dict[str, Any]]) -> dict[str, str]:
    seconds = statistics.median(np.diff([0, *(row["seconds"] for row in rows)])) / 10
    return {"ms a step": f"{1e3 * seconds:.0f}"}


def _head(case: Case) -> dict[str, Any]:
    return {"equation": case.equation, "seed": case.seed}


STUDIES = {
    "equations": study_equations,
    "rules": study_rules,
    "scales": study_scales,
    "methods": study_methods,
    "parts": study_parts,
}


def parser() -> argparse.ArgumentParser:
    """Returns the parser of the command line."""
    top = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    top.add_argument("--study", choices=STUDIES, default="equations")
    top.add_argument("--equations", nargs="+", choices=EQUATIONS, default=list(EQUATIONS))
    top.add_argument("--seeds", nargs="+", type=int, default=[0])
    top.add_argument("--points", type=int, default=2400)
    top.add_argument("--width", type=int, default=30)
    top.add_argument("--seconds", type=float, default=300.0)
    top.add_argument("--steps", type=int, default=100)
    top.add_argument("--out", type=Path, default=RESULTS, help="folder of the table")
    top.add_argument("--name", help="of the table's files; that of the study by default")
    return top


def main(arguments: Sequence[str] | None = None) -> list[dict[str, Any]]:
    """Measures, writes the table and returns its rows."""
    options = parser().parse_args(arguments)
    rows = STUDIES[options.study](options)
    write_table(options.out, options.name or f"natural-gradient-{options.study}", rows)
    return rows


if __name__ == "__main__":
    main()
