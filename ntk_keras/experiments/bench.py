"""The bench: several ways to train on many problems, each run with a budget of seconds.

Runs are made one at a time. Results are written after every run. An interrupted bench continues:
finished runs are kept, and an unfinished one goes on from its last checkpoint, also if it is given
more seconds than before.
"""

import csv
import dataclasses
import gc
import itertools
import math
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import keras

from ntk_keras import plots, problems
from ntk_keras.backend.files import replaced
from ntk_keras.callbacks import read_history
from ntk_keras.experiments import runs, tables
from ntk_keras.experiments.progress import duration
from ntk_keras.problems import Problem, Settings

__all__ = ["WAYS", "Run", "TimeLimit", "bench", "table", "write"]

Way = Callable[[Problem], Settings]
ENDLESS = 10**6  # epochs; a run ends by its seconds


def _constant(problem: Problem) -> Settings:
    return dataclasses.replace(problem.presets["quick"], weighting="constant")


def _ntk(problem: Problem) -> Settings:
    return dataclasses.replace(problem.presets["quick"], weighting="ntk")


def _natural(problem: Problem) -> Settings:
    return problem.presets["natural-gradient"]


# Ways to train by name, each a function from a problem to settings.
WAYS: dict[str, Way] = {
    "adam-constant": _constant,
    "adam-ntk": _ntk,
    "natural-gradient": _natural,
}


@dataclasses.dataclass(frozen=True)
class Run:
    """A run of the bench.

    Attributes:
        problem: problem to solve.
        way: name in :data:`WAYS`.
        seed: seed of network and points.
        folder: folder of the run.
        scale: factor of the equation's residual.
    """

    problem: Problem
    way: str
    seed: int
    folder: Path
    scale: float = 1.0

    @property
    def label(self) -> str:
        """The way, and the scale if the equation is scaled."""
        return self.way if self.scale == 1 else f"{self.way}-scale{self.scale:.12g}"

    @property
    def title(self) -> str:
        """Problem, way and seed."""
        return f"{self.problem.name}, {self.label}, seed {self.seed}"

    @property
    def rows(self) -> list[dict[str, float]]:
        """The history, one row for each epoch so far."""
        return read_history(self.folder / "history.csv")

    @property
    def spent(self) -> float:
        """Seconds of training so far."""
        return sum(row["seconds"] for row in self.rows)

    @property
    def curve(self) -> tuple[list[float], list[float]]:
        """Seconds of training and errors, one of each for each epoch."""
        seconds, errors, total = [], [], 0.0
        for row in self.rows:
            total += row["seconds"]
            seconds.append(total)
            errors.append(row["val_relative_l2"])
        return seconds, errors

    def error_within(self, seconds: float) -> float:
        """Returns the error of the last epoch that ended within some seconds; NaN if none did."""
        errors = [error for spent, error in zip(*self.curve, strict=True) if spent <= seconds]
        return errors[-1] if errors else math.nan

    def settings(self) -> Settings:
        """Returns the settings of the run, whose number of steps is without limit."""
        usual = WAYS[self.way](self.problem)
        return dataclasses.replace(
            usual,
            seed=self.seed,
            steps=usual.steps_per_epoch * ENDLESS,
            equation_scale=self.scale,
        )


class TimeLimit(keras.callbacks.Callback):
    """Ends training when the seconds spent in steps reach a budget, and shows the progress.

    It comes after a :class:`~ntk_keras.callbacks.Stopwatch`.

    Args:
        seconds: budget.
        spent: seconds of an earlier part of the run.
        show: function that receives a line of progress after every epoch.
    """

    def __init__(self, seconds: float, spent: float, show: Callable[[str], None]):
        super().__init__()
        self.seconds = seconds
        self.spent = spent
        self.show = show

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Adds the seconds of the epoch."""
        logs = logs or {}
        self.spent += logs["seconds"]
        error = logs.get("val_relative_l2")
        measure = "" if error is None else f"  L2 error {error:.3g}"
        self.show(f"{min(self.spent, self.seconds):.0f} of {self.seconds:.0f} s{measure}")
        if self.spent >= self.seconds:
            self.model.stop_training = True


def bench(
    names: Sequence[str],
    ways: Sequence[str],
    seeds: Sequence[int],
    seconds: float,
    logdir: str | os.PathLike[str],
    *,
    scales: Sequence[float] = (1.0,),
    verbose: int | str = "auto",
) -> list[Run]:
    """Trains on every problem in every way with every seed, and writes table, CSV and figure.

    ``bench.md``, ``bench.csv`` and ``bench.png`` are written after every run, beside a folder for
    each run. With the folder of an earlier bench, its runs count as far as they went.

    Args:
        names: names of problems, or sources of custom ones.
        ways: names in :data:`WAYS`.
        seeds: seeds.
        seconds: seconds of training for each run, including compilation.
        logdir: folder of the results.
        scales: factors of the equation's residual, each of which is a way of its own. Results that
            depend on them depend on the unit of the equation.
        verbose: 0 for no progress, 1 for a line that is updated in place, 2 for a line per run;
            ``"auto"`` means 1 on a terminal and 2 elsewhere.

    Returns:
        The runs, finished.

    Raises:
        ValueError: if a name is unknown, a problem has no solution, nothing is chosen, or seconds
            or scales are not positive.
    """
    _check(names, ways, seeds, seconds, scales)
    folder = Path(logdir)
    planned = list(_runs(names, list(itertools.product(ways, scales)), seeds, folder))
    left = [run for run in planned if run.spent < seconds]
    kept = len(planned) - len(left)
    if verbose != 0:
        print(f"{len(planned)} runs of {seconds:.0f} s: {kept} finished, {len(left)} to do")
    began = time.monotonic()
    for number, run in enumerate(left):
        place = f"[{kept + number + 1} of {len(planned)}] {run.title}"
        _train(run, seconds, place, verbose)
        write([r for r in planned if r.spent >= seconds], folder, seconds)
        if verbose != 0 and number + 1 < len(left):
            each = (time.monotonic() - began) / (number + 1)
            remaining = duration(each * (len(left) - number - 1))
            print(f"next: {left[number + 1].title}; about {remaining} left", flush=True)
    write(planned, folder, seconds)
    return planned


def _check(
    names: Sequence[str],
    ways: Sequence[str],
    seeds: Sequence[int],
    seconds: float,
    scales: Sequence[float],
) -> None:
    unknown = sorted(set(ways) - set(WAYS))
    if unknown:
        raise ValueError(f"Unknown ways {unknown}. Known: {list(WAYS)}.")
    if not (names and ways and seeds and seconds > 0):
        raise ValueError(
            "bench needs problems, ways and seeds, and a positive number of seconds. Received "
            f"{list(names)}, {list(ways)}, {list(seeds)}, {seconds}."
        )
    if not scales or any(not 0 < scale < math.inf for scale in scales):
        raise ValueError(f"scales must be positive numbers. Received {list(scales)}.")


def _runs(
    names: Sequence[str], ways: Sequence[tuple[str, float]], seeds: Sequence[int], folder: Path
) -> Iterator[Run]:
    """All runs, with one seed before the next, so a bench that is stopped has results for all."""
    for seed in seeds:
        for name in names:
            problem = problems.get(name)
            if problem.solution is None:
                raise ValueError(
                    f"bench compares errors, but {name} has no solution. Give it one, or leave it "
                    "out."
                )
            for way, scale in ways:
                run = Run(problem, way, seed, folder, scale)
                name = f"{problem.name}-{run.label}-seed{seed}"
                yield dataclasses.replace(run, folder=folder / name)


def _train(run: Run, seconds: float, place: str, verbose: int | str) -> None:
    renewed = verbose == 1 or (verbose == "auto" and sys.stdout.isatty())

    def show(text: str) -> None:
        if renewed:
            sys.stdout.write(f"\r{place}  {text}  ")
            sys.stdout.flush()

    limit = TimeLimit(seconds, run.spent, show)
    runs.run(run.settings(), run.folder, resume=True, verbose=0, callbacks=[limit])
    if verbose != 0:
        print(f"{chr(13) if renewed else ''}{place}  L2 error {run.curve[1][-1]:.3g}", flush=True)
    gc.collect()  # otherwise graphs of many runs are freed during a later, timed one


def write(finished: Sequence[Run], folder: Path, seconds: float) -> None:
    """Writes ``bench.md``, ``bench.csv`` and ``bench.png``.

    Args:
        finished: runs whose budget is spent.
        folder: folder of the files.
        seconds: the budget.
    """
    with replaced(folder / "bench.md") as temporary:
        temporary.write_text(table(finished, seconds) + "\n")
    with replaced(folder / "bench.csv") as temporary, open(temporary, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["problem", "way", "seed", "seconds", "step", "relative_l2"])
        for run in finished:
            for (spent, error), row in zip(zip(*run.curve, strict=True), run.rows, strict=True):
                step = int(row["step"])
                writer.writerow(
                    [run.problem.name, run.label, run.seed, f"{spent:.2f}", step, error]
                )
    curves: dict[str, dict[str, list[tuple[list[float], list[float]]]]] = {}
    for run in finished:
        curves.setdefault(run.problem.name, {}).setdefault(run.label, []).append(run.curve)
    plots.error_panels(curves).savefig(folder / "bench.png", dpi=120)


def table(finished: Sequence[Run], seconds: float) -> str:
    """Returns the errors within the budget as a Markdown table with a heading.

    The last epoch of a run usually ends later and does not count. A cell is empty if a run has not
    ended an epoch by then.

    Args:
        finished: runs whose budget is spent.
        seconds: the budget.
    """
    ways = list(dict.fromkeys(run.label for run in finished))
    rows = []
    for name in dict.fromkeys(run.problem.name for run in finished):
        errors = {
            way: [
                r.error_within(seconds)
                for r in finished
                if (r.problem.name, r.label) == (name, way)
            ]
            for way in ways
        }
        rows.append([name, *(_cell(values) for values in errors.values())])
    count = len({run.seed for run in finished})
    heading = f"Relative L2 error after {seconds:.0f} s of training"
    if count > 1:
        heading += f", median of {count} seeds (smallest to largest)"
    return f"{heading}\n\n{tables.markdown(['problem', *ways], rows)}"


def _cell(errors: Sequence[float]) -> str:
    if not errors or any(math.isnan(error) for error in errors):
        return ""
    middle = f"{statistics.median(errors):.1e}"
    return middle if len(errors) == 1 else f"{middle} ({min(errors):.1e} to {max(errors):.1e})"
