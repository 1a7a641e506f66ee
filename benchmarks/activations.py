"""Errors of natural gradients by the activation of the network, after some numbers of steps.

Everything else is as in the preset of the problem. Errors count steps and not seconds, so the
machine may have other work. A run in the table is not made again; delete its row to repeat it.

    python -m benchmarks.activations
    python -m benchmarks.activations --problems kdv --seeds 0 1 2
"""

import argparse
import dataclasses
import itertools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import keras

from benchmarks.tables import RESULTS, read_csv, write_table
from ntk_keras import problems

ACTIVATIONS = ("sin", "tanh", "sin_tanh")
PROBLEMS = ("burgers", "kdv", "allen_cahn", "convection", "helmholtz")
MARKS = (50, 100)
NAME = "activations"


def errors(name: str, activation: str, seed: int, marks: Sequence[int]) -> dict[str, str]:
    """Trains, and returns relative L2 errors by their columns.

    Args:
        name: name of the problem.
        activation: activation of the hidden layers.
        seed: seed of network and points.
        marks: numbers of steps after which errors are measured, in rising order.
    """
    problem = problems.get(name)
    settings = problem.presets["natural-gradient"]
    settings = dataclasses.replace(settings, activation=activation, seed=seed)
    model = problems.build_model(problem, settings)
    points, truth = problem.validation_data(settings.dtype) or (None, None)
    found, done = {}, 0
    for mark in marks:
        model.fit(epochs=1, steps_per_epoch=mark - done, verbose=0)
        values = model.evaluate(points, truth, batch_size=4096, verbose=0, return_dict=True)
        found[f"{mark} steps"], done = f"{values['relative_l2']:.1e}", mark
    keras.backend.clear_session()
    return found


def missing(
    options: argparse.Namespace, rows: Sequence[Mapping[str, str]]
) -> Iterator[dict[str, str]]:
    """Yields the beginnings of the rows that the table lacks."""
    known = {(row["problem"], row["activation"], row["seed"]) for row in rows}
    for seed, name, activation in itertools.product(
        options.seeds, options.problems, options.activations
    ):
        if (name, activation, str(seed)) not in known:
            yield {"problem": name, "activation": activation, "seed": str(seed)}


def main(arguments: Sequence[str] | None = None) -> list[dict[str, str]]:
    """Trains what the table lacks, writes it after every run, and returns its rows."""
    top = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    top.add_argument("--problems", nargs="+", default=PROBLEMS, help="names of problems")
    top.add_argument("--activations", nargs="+", default=ACTIVATIONS, help="activations to compare")
    top.add_argument("--seeds", nargs="+", type=int, default=[0], help="seeds of the runs")
    top.add_argument("--marks", nargs="+", type=int, default=MARKS, help="numbers of steps")
    top.add_argument("--out", type=Path, default=RESULTS, help="folder of the table")
    options = top.parse_args(arguments)
    rows = read_csv(options.out / f"{NAME}.csv")
    for head in missing(options, rows):
        found = errors(head["problem"], head["activation"], int(head["seed"]), options.marks)
        rows = sorted([*rows, head | found], key=lambda row: (row["problem"], row["seed"]))
        write_table(options.out, NAME, rows)
    return rows


if __name__ == "__main__":
    main()
