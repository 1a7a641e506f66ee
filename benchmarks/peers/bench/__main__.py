"""Runs the peers one after another, and puts their errors beside those of ``benchmarks.bench``.

Curves of finished runs are kept in ``results/peers-bench-curves.csv``, so it can be spread over
days. A run that is there is not made again. Run it on an idle machine.

    python -m benchmarks.peers.bench --peers deepxde jinns --problems burgers kdv --seeds 0
"""

import argparse
import dataclasses
import itertools
import json
import os
import statistics
import subprocess
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.bench import PROBLEMS
from benchmarks.peers import environments
from benchmarks.peers.bench.curve import Task
from benchmarks.peers.environments import DEFAULT_FOLDER, Peer
from benchmarks.tables import RESULTS, read_csv, write_csv, write_table
from ntk_keras import problems

# The environment of a contender, and its way to train.
CONTENDERS: dict[str, tuple[str, str]] = {
    "deepxde": ("deepxde", "lbfgs"),
    "deepxde-nncg": ("deepxde", "nncg"),
    "jinns": ("jinns", "natural"),
}
PEERS = {
    "deepxde": Peer("DeepXDE", "benchmarks.peers.bench.deepxde", "deepxde-pytorch.txt"),
    "jinns": Peer("jinns", "benchmarks.peers.bench.jinns", "jinns.txt"),
}
TITLES = {
    "deepxde": "DeepXDE, Adam + L-BFGS",
    "deepxde-nncg": "DeepXDE, Adam + L-BFGS + NNCG",
    "jinns": "jinns, natural gradient",
}
OURS = "natural-gradient"
CURVES = "peers-bench-curves"
NOTE = """Relative L2 errors at the end of a run, medians over seeds; in parentheses the number of
seeds if it is not one. All networks have the same width and depth and as many points, in double
precision, and seconds include compilation. A blank was not run, or the package has no place for the
problem."""


def task_of(problem: str, way: str, seed: int, seconds: float, reference: Path) -> Task:
    """Writes the reference solution of a problem, and returns the task at the standard sizes.

    Args:
        problem: name of the problem.
        way: way to train.
        seed: seed of network and points.
        seconds: seconds of the training.
        reference: file to write.
    """
    definition = problems.get(problem)
    settings = definition.presets[OURS]
    known = definition.validation_data("float64")
    assert known is not None, f"{problem} has no solution"
    points, truth = known
    np.savez(reference, points=points, truth=truth)
    inside = settings.points["equation"]
    return Task(
        problem,
        way,
        seed,
        seconds,
        settings.width,
        settings.depth,
        num_inside=inside,
        num_boundary=sum(settings.points.values()) - inside,
        reference=str(reference),
    )


def run(contender: str, problem: str, seed: int, seconds: float, folder: Path) -> list[dict]:
    """Trains in the peer's environment, and returns the rows of the curve; none if it failed.

    Args:
        contender: key of :data:`CONTENDERS`.
        problem: name of the problem.
        seed: seed of network and points.
        seconds: seconds of the training.
        folder: folder of the environments.
    """
    name, way = CONTENDERS[contender]
    python = environments.python_of(name, folder, PEERS)
    with tempfile.TemporaryDirectory() as scratch:
        task = task_of(problem, way, seed, seconds, Path(scratch) / "reference.npz")
        rows = Path(scratch) / "rows.json"
        command = [python, "-m", PEERS[name].module, json.dumps(dataclasses.asdict(task)), rows]
        done = subprocess.run(
            list(map(str, command)),
            env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            print(f"{contender} on {problem}: {done.stderr.splitlines()[-1:]}", flush=True)
            return []
        head = {"problem": problem, "contender": contender, "seed": seed}
        return [head | row for row in json.loads(rows.read_text())]


def table(curves: Iterable[dict[str, Any]], ours: Iterable[dict[str, Any]]) -> list[dict[str, str]]:
    """Returns errors at the end of the runs, a row for each problem.

    Args:
        curves: rows of the peers' curves.
        ours: rows of ``benchmarks.bench``.
    """
    last: dict[tuple[str, str], dict[str, float]] = {}
    named = [
        *((row, row["contender"]) for row in curves),
        *((row, "ours") for row in ours if row["way"] == OURS),
    ]
    for row, contender in named:
        ends = last.setdefault((row["problem"], contender), {})
        ends[row["seed"]] = float(row["relative_l2"])
    titles = {"ours": "ntk_keras, natural gradient", **TITLES}
    found = [name for name in PROBLEMS if any(problem == name for problem, _ in last)]
    return [
        {"problem": name}
        | {title: _median(last.get((name, contender), {})) for contender, title in titles.items()}
        for name in found
    ]


def _median(by_seed: dict[str, float]) -> str:
    if not by_seed:
        return ""
    count = f" ({len(by_seed)})" if len(by_seed) > 1 else ""
    return f"{statistics.median(by_seed.values()):.1e}{count}"


def main(arguments: Sequence[str] | None = None) -> None:
    """Makes the runs that are missing, and writes curves and table after each."""
    top = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    top.add_argument("--peers", nargs="+", choices=CONTENDERS, default=list(CONTENDERS))
    top.add_argument("--problems", nargs="+", default=PROBLEMS, help="names of problems")
    top.add_argument("--seeds", nargs="+", type=int, default=[0], help="seeds of the runs")
    top.add_argument("--seconds", type=float, default=300.0, help="seconds of each run")
    top.add_argument("--environments", type=Path, default=DEFAULT_FOLDER)
    top.add_argument("--out", type=Path, default=RESULTS, help="folder of the results")
    options = top.parse_args(arguments)
    for name in {CONTENDERS[contender][0] for contender in options.peers}:
        environments.install(name, options.environments, PEERS)
    file = options.out / f"{CURVES}.csv"
    curves: list[dict[str, Any]] = list(read_csv(file))
    for seed, problem, contender in itertools.product(
        options.seeds, options.problems, options.peers
    ):
        key = (problem, contender, str(seed))
        if key in {(row["problem"], row["contender"], str(row["seed"])) for row in curves}:
            continue
        rows = run(contender, problem, seed, options.seconds, options.environments)
        curves += rows
        if rows:
            last = rows[-1]["relative_l2"]
            print(f"{contender} on {problem}, seed {seed}: {last:.1e}", flush=True)
            write_csv(file, curves)
            found = table(curves, read_csv(options.out / "bench.csv"))
            write_table(options.out, "peers-bench", found, NOTE)


if __name__ == "__main__":
    main()
