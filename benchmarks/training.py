"""Steps and seconds to a given error, by estimator and averaging rate.

There is one run of the wave problem for every network width, estimator, rate and seed. A run ends
when it reaches the smallest requested error, or when it does not reach the largest one in time. A
finished run has a row in a CSV file and is not repeated. An interrupted run resumes from its
checkpoint. Several processes can share the work, each with its own file; :func:`report` merges the
files.
"""

import dataclasses
import gc
import itertools
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras

from benchmarks.contenders import CONTENDERS
from benchmarks.tables import read_csv, write_csv
from ntk_keras import problems
from ntk_keras.callbacks import Checkpoint, HistoryFile, Stopwatch, read_history
from ntk_keras.problems import Settings
from ntk_keras.training.nan_check import TrainingDivergedError

RATES = (1e-3, 1e-2, 5e-2, 1.0)
SEEDS = (0, 1, 2)
THRESHOLDS = (0.2, 0.1, 0.05, 0.02)
HOPELESS_AFTER = 12_000  # number of steps in which the largest threshold must be reached


@dataclasses.dataclass(frozen=True)
class Study:
    """The settings that all runs of a width share.

    Attributes:
        preset: preset of the wave problem.
        changes: changes to its settings, apart from weighting, rate, seed and steps.
        thresholds: errors that runs should reach, from :data:`THRESHOLDS`.
    """

    preset: str
    changes: Mapping[str, Any]
    thresholds: Sequence[float]


STUDIES = {
    # With this learning rate, some runs reach 2 % in 20 000 steps. The preset's stops at a few per
    # cent.
    100: Study(
        "quick",
        {"learning_rate": 2e-3, "decay_steps": 3000, "steps_per_epoch": 250},
        THRESHOLDS,
    ),
    500: Study("paper", {"steps_per_epoch": 250}, THRESHOLDS[:3]),
}


@dataclasses.dataclass(frozen=True)
class Job:
    """The settings of one run.

    Attributes:
        width: width of the network, a key of :data:`STUDIES`.
        estimator: name in :data:`CONTENDERS`, or ``"constant"``.
        rate: averaging rate; None for constant weights.
        seed: seed of the run.
        steps: number of training steps.
    """

    width: int
    estimator: str
    rate: float | None
    seed: int
    steps: int

    @property
    def labels(self) -> dict[str, str]:
        """The values that identify the job, in a row and in a folder name."""
        rate = "" if self.rate is None else f"{self.rate:g}"
        return {
            "width": str(self.width),
            "estimator": self.estimator,
            "rate": rate,
            "seed": str(self.seed),
            "steps": str(self.steps),
        }

    @property
    def name(self) -> str:
        """The name of the run's folder."""
        return "-".join(label for label in self.labels.values() if label)

    @property
    def settings(self) -> Settings:
        """The settings of the problem for this run."""
        weights: dict[str, Any] = {"weighting": "constant"}
        if self.rate is not None:
            weights = {
                "weighting": "ntk",
                "estimator": CONTENDERS[self.estimator],
                "averaging_rate": self.rate,
            }
        study = STUDIES[self.width]
        return dataclasses.replace(
            problems.get("wave").presets[study.preset],
            **study.changes,
            **weights,
            seed=self.seed,
            steps=self.steps,
        )


def jobs(
    width: int, estimators: Sequence[str], rates: Sequence[float], seeds: Iterable[int], steps: int
) -> list[Job]:
    """Returns all runs, ordered by seed, so that early rows cover all estimators."""
    kinds: list[tuple[str, float | None]] = [
        (e, r) for e, r in itertools.product(estimators, rates) if e != "constant"
    ]
    if "constant" in estimators:
        kinds.insert(0, ("constant", None))
    return [Job(width, estimator, rate, seed, steps) for seed in seeds for estimator, rate in kinds]


def train(todo: Sequence[Job], logdir: Path, out: Path, part: tuple[int, int] = (0, 1)) -> None:
    """Does the runs that have no row yet, and appends a row after each.

    Args:
        todo: all runs of all processes.
        logdir: folder of the runs' folders.
        out: folder of the CSV files.
        part: numbers (k, n), to do every n-th run from the k-th on.
    """
    first, total = part
    path = out / ("training.csv" if total == 1 else f"training-{first}of{total}.csv")
    for number, job in enumerate(todo):
        if number % total == first and job.labels not in map(_labels_of, rows_in(out)):
            row = run(job, logdir)
            write_csv(path, [*read_csv(path), row])
            print(f"{number + 1}/{len(todo)} {row}", flush=True)


class StopWhenDecided(keras.callbacks.Callback):
    """Ends training at the smallest of some errors, or if the largest is not reached in time."""

    def __init__(self, thresholds: Sequence[float]) -> None:
        super().__init__()
        self.thresholds = thresholds

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        error = (logs or {})["val_relative_l2"]
        late = int(self.model.optimizer.iterations) >= HOPELESS_AFTER
        if error <= min(self.thresholds) or (late and error > max(self.thresholds)):
            self.model.stop_training = True


def run(job: Job, logdir: Path) -> dict[str, Any]:
    """Starts or resumes a run, and returns its row. The error of a diverged run is nan."""
    folder, settings = logdir / job.name, job.settings
    problem = problems.get(settings.problem)
    model = problems.build_model(problem, settings)
    checkpoint, file = Checkpoint(folder / "c.weights.h5"), HistoryFile(folder / "history.csv")
    diverged = False
    try:
        model.fit(
            epochs=settings.epochs,
            initial_epoch=checkpoint.restore(model),
            steps_per_epoch=settings.steps_per_epoch,
            validation_data=problem.validation_data(settings.dtype),
            verbose=0,
            callbacks=[
                Stopwatch(),
                file,
                StopWhenDecided(STUDIES[job.width].thresholds),
                checkpoint,
            ],
        )
    except TrainingDivergedError:
        diverged = True
    keras.backend.clear_session()  # models of earlier runs would fill the memory
    gc.collect()
    history = read_history(file.path)
    reached = dict(zip(map(name_of, THRESHOLDS), steps_to(history, THRESHOLDS), strict=True))
    error = math.nan if diverged else history[-1]["val_relative_l2"]
    return {**job.labels, **reached, "relative_l2": f"{error:.5g}"}


def steps_to(
    history: Iterable[Mapping[str, float]], thresholds: Sequence[float]
) -> list[int | None]:
    """Returns the step of the first epoch with an error of at most each threshold, or None."""
    errors = [(int(row["step"]), row["val_relative_l2"]) for row in history]
    return [
        next((step for step, error in errors if error <= threshold), None)
        for threshold in thresholds
    ]


def rows_in(out: Path) -> list[dict[str, str]]:
    """Returns the rows of all files, with each run once."""
    rows = [row for path in sorted(out.glob("training*.csv")) for row in read_csv(path)]
    return list({tuple(_labels_of(row).values()): row for row in rows}.values())


def summary(
    rows: Iterable[dict[str, str]], times: Mapping[str, Mapping[str, float]]
) -> list[dict[str, str]]:
    """Returns medians over seeds, one row for every width, estimator and rate.

    Args:
        rows: rows of all runs.
        times: milliseconds per step by width and estimator. Without them, seconds are left out.

    Returns:
        Rows of a table. A threshold that half of the runs or more do not reach has a dash.
    """
    return [
        _summary_row(kind, members, times.get(kind[0], {}).get(kind[1]))
        for kind, members in _kinds(rows).items()
    ]


def _kinds(rows: Iterable[dict[str, str]]) -> dict[tuple[str, ...], list[dict[str, str]]]:
    """Returns the rows by width, estimator, rate and requested steps."""
    kinds: dict[tuple[str, ...], list[dict[str, str]]] = {}
    for row in rows:
        kind = (row["width"], row["estimator"], row["rate"], row["steps"])
        kinds.setdefault(kind, []).append(row)
    return kinds


def report(out: Path) -> list[dict[str, str]]:
    """Merges the files of all parts into ``training.csv``, and returns the rows of the summary.

    Seconds are numbers of steps times the time per step in ``step.csv``, if
    :mod:`benchmarks.step` has written one.
    """
    rows = sorted(rows_in(out), key=_order)
    write_csv(out / "training.csv", rows)
    return summary(rows, {str(width): times(out, width) for width in STUDIES})


def times(out: Path, width: int) -> dict[str, float]:
    """Returns milliseconds per step by estimator; constant weights use Taylor mode if measured."""
    found = {row["method"]: float(row["ms"]) for row in step_rows(out, width)}
    return found | ({"constant": found["taylor"]} if "taylor" in found else {})


def step_rows(out: Path, width: int) -> list[dict[str, str]]:
    """Returns the rows of :mod:`benchmarks.step` for the wave problem and a network width."""
    case = {"equation": "wave, 2-D", "network": f"3 x {width}", "residuals": "900"}
    return [row for row in read_csv(out / "step.csv") if case.items() <= row.items()]


def best_runs(out: Path, width: int, threshold: float = 0.05) -> dict[str, list[dict[str, str]]]:
    """Returns runs of all seeds by estimator, at the rate with the fewest median steps."""
    found: dict[str, tuple[float, list[dict[str, str]]]] = {}
    kinds = _kinds(row for row in rows_in(out) if row["width"] == str(width))
    for (_, estimator, _, _), members in kinds.items():
        steps = _median([member[name_of(threshold)] for member in members])
        if estimator not in found or steps < found[estimator][0]:
            found[estimator] = steps, members
    return {estimator: members for estimator, (_, members) in found.items()}


def _summary_row(
    kind: tuple[str, ...], members: Sequence[Mapping[str, str]], time: float | None
) -> dict[str, str]:
    """Returns one row: the kind of run, steps and seconds, the median error, the time of a step."""
    width, estimator, rate, steps = kind
    row = {"network": f"3 x {width}", "estimator": estimator, "rate": rate or "-"}
    row |= {"steps": steps, "runs": str(len(members))}
    for threshold in THRESHOLDS:
        name, asked = name_of(threshold), threshold in STUDIES[int(width)].thresholds
        row[name] = _steps_and_seconds(_median([m[name] for m in members]), time) if asked else ""
    error = _median([m["relative_l2"] for m in members])
    row["relative L2"] = f"{error:.3g}" if math.isfinite(error) else "-"
    row["ms per step"] = "-" if time is None else f"{time:.1f}"
    return row


def _steps_and_seconds(steps: float, time: float | None) -> str:
    if not math.isfinite(steps):
        return "-"
    return f"{steps:.0f}" if time is None else f"{steps:.0f} ({steps * time / 1000:.0f} s)"


def _median(values: Iterable[str]) -> float:
    """Returns the median, where an empty value or nan counts as infinite."""
    numbers = [float(value) if value not in ("", "nan") else math.inf for value in values]
    return statistics.median(numbers)


def name_of(threshold: float) -> str:
    """Returns the column name of a threshold, such as ``"steps to 20 %"``."""
    return f"steps to {100 * threshold:g} %"


def _labels_of(row: Mapping[str, str]) -> dict[str, str]:
    return {name: row[name] for name in ("width", "estimator", "rate", "seed", "steps")}


def _order(row: Mapping[str, str]) -> tuple[Any, ...]:
    place = (row["estimator"] != "constant", row["estimator"], float(row["rate"] or 0))
    return (int(row["width"]), *place, row["seed"])
