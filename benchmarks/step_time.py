"""Time of a training step with constant weights and with each estimator of NTK weights.

The wave problem of Section 5.2.2 at the paper's size by default: 3 x 500 neurons, 900 residuals
redrawn at every step. All weightings run in one process and take turns of ten steps, so that
whatever else the machine does falls on all of them alike. Each step is what ``fit`` runs, drawing
of points and optimizer included.

    python -m benchmarks.step_time [--width 500] [--rounds 9] [--csv FILE]
"""

import argparse
import csv
import dataclasses
import functools
import itertools
import os
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf

from ntk_keras import PINNModel, problems
from ntk_keras.estimators import ESTIMATORS, Diagonal
from ntk_keras.weighting import NTK, Constant, ExactNTK, Weighting

# Weightings by the name in the table.
WEIGHTINGS: dict[str, Callable[[], Weighting]] = {
    "constant": Constant,
    **{name: functools.partial(NTK, name) for name in ESTIMATORS if name != "exact"},
    "diagonal, 16 points": lambda: NTK(Diagonal(16)),
    "diagonal, every 10th step": lambda: NTK("diagonal", update_every=10),
    "exact": ExactNTK,
}
STEPS = 10  # in a turn; a multiple of every interval between updates
SLOW = {"exact": 3}  # steps in all, for those far slower than the others


def compiled_step(name: str, width: int, jit_compile: bool) -> Callable[[], object]:
    """One training step of the wave problem as a compiled function, already traced and warm."""
    problem = problems.get("wave")
    settings = dataclasses.replace(problem.presets["paper"], width=width)
    usual = problems.build_model(problem, settings)
    model = PINNModel(usual.network, usual.terms, WEIGHTINGS[name](), seed=0)
    model.compile(usual.optimizer)
    step = tf.function(lambda: model.train_step(None), jit_compile=jit_compile, autograph=False)
    step()  # traces, and takes the initial samples
    step()
    return step


def milliseconds(step: Callable[[], object], steps: int) -> float:
    """Time of one of several steps."""
    began = time.perf_counter()
    for _ in range(steps):
        step()
    return 1000 * (time.perf_counter() - began) / steps


def measure(
    names: Sequence[str], width: int, jit_compile: bool, rounds: int
) -> dict[str, list[float]]:
    """Times of a step in every turn; slow weightings have turns of one step, and few."""
    steps = {name: compiled_step(name, width, jit_compile) for name in names}
    times: dict[str, list[float]] = {name: [] for name in names}
    for index, name in itertools.product(range(rounds), names):
        if index < SLOW.get(name, rounds):
            times[name].append(milliseconds(steps[name], 1 if name in SLOW else STEPS))
    return times


def rows_of(times: Mapping[str, Sequence[float]], width: int, jit: bool) -> list[dict[str, Any]]:
    """Median, quartiles and ratio to constant weights, one row a weighting."""
    base = statistics.median(times["constant"])
    rows = []
    for name, values in times.items():
        low, median, high = statistics.quantiles(values, n=4, method="inclusive")
        rows.append(
            {
                "network": f"3 x {width}",
                "xla": "yes" if jit else "no",
                "weighting": name,
                "ms": round(median, 1),
                "quartiles": f"{low:.1f} to {high:.1f}",
                "ratio": round(median / base, 2),
                "turns": len(values),
            }
        )
    return rows


def markdown(rows: Sequence[Mapping[str, Any]]) -> str:
    """The rows as a Markdown table."""
    names = list(rows[0])
    lines = [names, ["---"] * len(names), *([str(row[n]) for n in names] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def write_csv(path: str | os.PathLike[str], rows: Sequence[Mapping[str, Any]]) -> None:
    """Writes the rows to a file, which is never half written; its folder is made."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name("new-" + path.name)
    with open(temporary, "w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    os.replace(temporary, path)


def read_csv(path: str | os.PathLike[str]) -> list[dict[str, str]]:
    """The rows of a file; none if there is no file."""
    if not Path(path).exists():
        return []
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def main(arguments: Sequence[str] | None = None) -> list[dict[str, Any]]:
    """Measures with and without XLA, prints the table and returns its rows."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--width", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--weightings", nargs="+", choices=WEIGHTINGS, default=list(WEIGHTINGS))
    parser.add_argument("--csv", help="also write the rows to this file")
    options = parser.parse_args(arguments)
    rows = []
    for jit in (True, False):
        times = measure(options.weightings, options.width, jit, options.rounds)
        rows += rows_of(times, options.width, jit)
    print(markdown(rows))
    if options.csv:
        write_csv(options.csv, rows)
    return rows


if __name__ == "__main__":
    main()
