"""Time of a training step with constant, sketched and exact NTK weights, side by side.

The wave problem of Section 5.2.2 at the paper's size by default: 3 x 500 neurons, 900 residuals
redrawn at every step. All weightings run in one process and take turns, so that whatever else the
machine does falls on all of them alike. Each step is what ``fit`` runs, drawing of points and
optimizer included.

    python benchmarks/step_time.py [--width 500] [--rounds 15] [--csv FILE]
"""

import argparse
import csv
import dataclasses
import itertools
import os
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf

from ntk_keras import problems

# Settings by the name in the table.
WEIGHTINGS: dict[str, dict[str, Any]] = {
    "constant": {"weighting": "constant"},
    "predictor": {"weighting": "ntk", "estimator": "predictor"},
    "block-predictor": {"weighting": "ntk", "estimator": "block-predictor"},
    "exact": {"weighting": "exact-ntk"},
}


def compiled_step(name: str, width: int, jit_compile: bool) -> Callable[[], object]:
    """One training step of the wave problem as a compiled function, already traced and warm."""
    problem = problems.get("wave")
    settings = dataclasses.replace(problem.presets["paper"], width=width, **WEIGHTINGS[name])
    model = problems.build_model(problem, settings)
    model.optimizer.build(model.trainable_variables)
    step = tf.function(lambda: model.train_step(None), jit_compile=jit_compile, autograph=False)
    step()  # traces, and takes the initial samples
    step()
    return step


def milliseconds(step: Callable[[], object]) -> float:
    """Time of one step."""
    began = time.perf_counter()
    step()
    return 1000 * (time.perf_counter() - began)


def measure(width: int, jit_compile: bool, rounds: int) -> dict[str, list[float]]:
    """Times of all steps, taken in turns; the exact one, far longer, has three."""
    steps = {name: compiled_step(name, width, jit_compile) for name in WEIGHTINGS}
    times: dict[str, list[float]] = {name: [] for name in WEIGHTINGS}
    for index, name in itertools.product(range(rounds), WEIGHTINGS):
        if name != "exact" or index < 3:
            times[name].append(milliseconds(steps[name]))
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
                "steps": len(values),
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
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--csv", help="also write the rows to this file")
    options = parser.parse_args(arguments)
    rows = []
    for jit in (True, False):
        rows += rows_of(measure(options.width, jit, options.rounds), options.width, jit)
    print(markdown(rows))
    if options.csv:
        write_csv(options.csv, rows)
    return rows


if __name__ == "__main__":
    main()
