"""The command line; see the package's text."""

import argparse
import statistics
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.peers import natural
from benchmarks.peers.environments import DEFAULT_FOLDER, Peer, install
from benchmarks.peers.host import Series, Worker, prepare, take_turns, workers
from benchmarks.peers.problem import Setting
from benchmarks.peers.report import differences
from benchmarks.step import significant
from benchmarks.tables import RESULTS, write_csv, write_table

PEERS: dict[str, Peer] = {
    "ours": Peer("ntk_keras", "benchmarks.peers.natural.ours"),
    "jax": Peer("JAX, rows by jacrev", "benchmarks.peers.natural.rows", "jax.txt"),
    "jinns": Peer("jinns", "benchmarks.peers.natural.jinns", "jinns.txt"),
}
SIDES = ("velocity", "initial", "left", "right")
WAVE = Setting(
    30, 3, {"equation": 2400} | dict.fromkeys(SIDES, 480), "sin", input_scale=1.75, dtype="float64"
)
# Two thirds of the equation's residuals, a third of values.
VALUES = dict.fromkeys(("initial", "left", "right"), 100)
KERNELS = {
    "900 residuals, 3 x 500, float32": Setting(500, 3, {"equation": 600} | VALUES),
    "4320 residuals, 3 x 30, float64": Setting(
        30, 3, {"equation": 2880} | dict.fromkeys(VALUES, 480), dtype="float64"
    ),
}
TRAININGS: list[tuple[str, str, dict[str, float]]] = [
    ("ours", "NTK weights", {}),
    ("jax", "NTK weights", {}),
    ("jinns", "weights 1", {}),
    ("jinns", "conditions weighted 500", {"conditions": 500.0}),
]
MARKS = (15, 30, 60, 120)

# Of the largest entry or residual: rounding of second derivatives, and what is wrong is far more.
TOLERANCES = {"float32": 5e-5, "float64": 1e-11}

NOTES = {
    "kernel": """K = J J^T at the same network and points: two thirds of the residuals are
u_tt - 4 u_xx, a third values. Medians of turns; "first" includes compilation. GB are the peak of a
process that does nothing else, "before" with the package imported and the network built. "Differs
by": the largest entry of the difference from ntk_keras over the largest entry of K.""",
    "step": """A natural-gradient step on the wave: 3 x 30 sine network, float64, 2400 + 4 x 480
points drawn anew and NTK weights at every step. JAX evaluates the loss of 26 candidates at once,
ntk_keras of some four, beginning at the last length, and it solves for an acceleration too.
Medians of turns; "first" includes compilation. GB are the peak of a process that does nothing else,
"before" with the package imported and the network built.""",
    "training": """Relative L2 errors on the wave, from the same network (3 x 30, sine, float64),
with 2400 + 4 x 480 new points at every step; seconds include compilation. jinns: `vanilla_ngd()`
with its defaults (damping 1e-5, backtracking); its losses are means, and its conditions at t = 0
share their points; 500 is the ratio of the NTK's means for equation and values at the start.""",
}


def study_kernel(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Seconds and memory of whole kernels."""
    rows = []
    for title, setting in KERNELS.items():
        rows += [{"kernel": title} | row for row in _side_by_side(options, setting, "kernel")]
    return rows


def study_step(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Milliseconds of a step."""
    return _side_by_side(options, WAVE, "step")


def study_training(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Errors by seconds, one training after the other."""
    table, curves = [], []
    for name, weights, arguments in TRAININGS:
        with workers(["ours", name], options.environments, WAVE, PEERS) as running:
            check_equal(running, WAVE)
            worker = running[name]
            rows = worker.ask("train", seconds=options.seconds, every=5, **arguments)["rows"]
        head = {"package": PEERS[name].title, "weights": weights}
        curves += [head | row for row in rows]
        table.append(head | by_seconds(rows, options.seconds))
        print(table[-1], flush=True)
    write_csv(options.out / "peers-natural-training-curves.csv", curves)
    return table


def check_equal(running: Mapping[str, Worker], setting: Setting) -> None:
    """Checks that all evaluate the same residuals.

    Args:
        running: the workers.
        setting: theirs.

    Raises:
        ValueError: if a package computes something else.
    """
    found = differences({name: worker.ask("residuals") for name, worker in running.items()})
    _refuse(found, setting, "Residuals")


def _side_by_side(options: argparse.Namespace, setting: Setting, case: str) -> list[dict[str, Any]]:
    """A row for ours and for JAX, in turns."""
    with workers(["ours", "jax"], options.environments, setting, PEERS) as running:
        before = {name: worker.ask("peak")["gigabytes"] for name, worker in running.items()}
        check_equal(running, setting)
        series = prepare(running, lambda known: known.name == case)
        take_turns(running, series, rounds=options.rounds, seconds=1.0, patience=60.0)
        rows = [_row(one, series[0], running[one.peer], before[one.peer]) for one in series]
        if case == "kernel":
            found = kernel_differences(running)
            _refuse(found, setting, "Kernels")
            for row, difference in zip(rows, found.values(), strict=True):
                row["differs by"] = f"{difference:.0e}"
    return rows


def kernel_differences(running: Mapping[str, Worker]) -> dict[str, float]:
    """By package: its largest deviation from our kernel, in units of the largest entry."""
    with tempfile.TemporaryDirectory() as folder:
        kernels = {}
        for name, worker in running.items():
            path = str(Path(folder) / f"{name}.npy")
            worker.ask("save_kernel", path=path)
            kernels[name] = np.load(path)
    ours = kernels["ours"]
    largest = np.max(np.abs(ours))
    return {name: float(np.max(np.abs(k - ours)) / largest) for name, k in kernels.items()}


def by_seconds(rows: Sequence[Mapping[str, float]], seconds: float) -> dict[str, str]:
    """The last error before each mark, and milliseconds of a step.

    Args:
        rows: of a curve.
        seconds: of the training; later marks are left out.
    """
    found = {}
    for mark in [m for m in MARKS if m <= seconds]:
        before = [row["error"] for row in rows if row["seconds"] <= mark]
        found[f"after {mark} s"] = f"{before[-1]:.1e}" if before else ""
    steps = rows[-1]["steps"] - rows[0]["steps"]
    spent = rows[-1]["seconds"] - rows[0]["seconds"]
    found["steps"] = f"{rows[-1]['steps']:.0f}"
    found["ms a step"] = f"{1000 * spent / steps:.0f}" if steps else ""
    return found


def _refuse(found: Mapping[str, float], setting: Setting, what: str) -> None:
    limit = TOLERANCES[setting.dtype]
    wrong = {name: value for name, value in found.items() if not value <= limit}
    if wrong:
        raise ValueError(f"{what} differ from ours by more than {limit}: {wrong}.")


def _row(one: Series, reference: Series, worker: Worker, before: float) -> dict[str, Any]:
    versions = worker.ask("describe")["versions"]
    ratios = [t / r for t, r in zip(one.times, reference.times, strict=False)]
    return {
        "package": PEERS[one.peer].title,
        "versions": ", ".join(f"{k} {v}" for k, v in versions.items()),
        "ms": significant(1000 * statistics.median(one.times)),
        "ratio": f"{statistics.median(ratios):.2f}",
        "turns": len(one.times),
        "first, s": f"{one.first:.1f}",
        "GB": f"{worker.ask('peak')['gigabytes']:.2f}",
        "GB before": f"{before:.2f}",
    }


STUDIES = {"kernel": study_kernel, "step": study_step, "training": study_training}


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = argparse.ArgumentParser(
        prog="python -m benchmarks.peers.natural",
        description=natural.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument("--study", choices=STUDIES, default="kernel")
    top.add_argument("--environments", type=Path, default=DEFAULT_FOLDER, help="their folder")
    top.add_argument("--install-only", action="store_true", help="make environments, measure none")
    top.add_argument("--rounds", type=int, default=9)
    top.add_argument("--seconds", type=float, default=120.0, help="of a training")
    top.add_argument("--out", type=Path, default=RESULTS, help="folder of the table")
    return top


def main(arguments: Sequence[str] | None = None) -> list[dict[str, Any]]:
    """Installs, measures, writes the table and returns its rows."""
    options = parser().parse_args(arguments)
    for name in PEERS:
        install(name, options.environments, PEERS)
    if options.install_only:
        return []
    rows = STUDIES[options.study](options)
    write_table(options.out, f"peers-natural-{options.study}", rows, NOTES[options.study])
    return rows


if __name__ == "__main__":
    main()
