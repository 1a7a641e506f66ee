"""What users feel: steps and seconds to a given error, by estimator and averaging rate.

One run of the wave problem for every width of the network, estimator, rate and seed. It ends at the
smallest error asked for, or when the largest is not reached in time: there is nothing more to learn
from it. A run that is done has a row in a CSV file and is not run again; one that was interrupted
resumes from its checkpoint. Several processes may share the work, each with a file of its own;
:func:`report` merges them.
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
HOPELESS_AFTER = 12_000  # steps without the largest of them


@dataclasses.dataclass(frozen=True)
class Study:
    """What all runs of a width have in common.

    Attributes:
        preset: of the wave problem.
        changes: to its settings, beside weighting, rate, seed and steps.
        thresholds: those of :data:`THRESHOLDS` that runs are asked for.
    """

    preset: str
    changes: Mapping[str, Any]
    thresholds: Sequence[float]


STUDIES = {
    # A learning rate that gets some runs to 2 % in 20 000 steps, where the preset stops at a few
    # per cent.
    100: Study(
        "quick",
        {"learning_rate": 2e-3, "decay_steps": 3000, "steps_per_epoch": 250},
        THRESHOLDS,
    ),
    500: Study("paper", {"steps_per_epoch": 250}, THRESHOLDS[:3]),
}


@dataclasses.dataclass(frozen=True)
class Job:
    """One run.

    Attributes:
        width: of the network, one of :data:`STUDIES`.
        estimator: a name of :data:`CONTENDERS`, or ``"constant"``.
        rate: averaging rate; None for constant weights.
        seed: of the run.
        steps: of the run.
    """

    width: int
    estimator: str
    rate: float | None
    seed: int
    steps: int

    @property
    def labels(self) -> dict[str, str]:
        """What names the job, in a row as in a file."""
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
        """Of the run's folder."""
        return "-".join(label for label in self.labels.values() if label)

    @property
    def settings(self) -> Settings:
        """Of the run."""
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
    """All runs, seed after seed, so that early rows cover all estimators."""
    kinds: list[tuple[str, float | None]] = [
        (e, r) for e, r in itertools.product(estimators, rates) if e != "constant"
    ]
    if "constant" in estimators:
        kinds.insert(0, ("constant", None))
    return [Job(width, estimator, rate, seed, steps) for seed in seeds for estimator, rate in kinds]


def train(todo: Sequence[Job], logdir: Path, out: Path, part: tuple[int, int] = (0, 1)) -> None:
    """Runs what has no row yet; appends a row after each run.

    Args:
        todo: all runs, of all processes.
        logdir: where the runs' folders go.
        out: folder of the CSV files.
        part: (k, n) takes every n-th run, from the k-th on.
    """
    first, total = part
    path = out / ("training.csv" if total == 1 else f"training-{first}of{total}.csv")
    for number, job in enumerate(todo):
        if number % total == first and job.labels not in map(_labels_of, rows_in(out)):
            row = run(job, logdir)
            write_csv(path, [*read_csv(path), row])
            print(f"{number + 1}/{len(todo)} {row}", flush=True)


class StopWhenDecided(keras.callbacks.Callback):
    """Ends training at the smallest of some errors, or if the largest comes too late."""

    def __init__(self, thresholds: Sequence[float]) -> None:
        super().__init__()
        self.thresholds = thresholds

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        error = (logs or {})["val_relative_l2"]
        late = int(self.model.optimizer.iterations) >= HOPELESS_AFTER
        if error <= min(self.thresholds) or (late and error > max(self.thresholds)):
            self.model.stop_training = True


def run(job: Job, logdir: Path) -> dict[str, Any]:
    """Trains, or goes on, and reads off one row; the error of a run that diverged is nan."""
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
    """The step of the first epoch whose error is no larger, for every threshold; None if none."""
    errors = [(int(row["step"]), row["val_relative_l2"]) for row in history]
    return [
        next((step for step, error in errors if error <= threshold), None)
        for threshold in thresholds
    ]


def rows_in(out: Path) -> list[dict[str, str]]:
    """The rows of all files, each run once."""
    rows = [row for path in sorted(out.glob("training*.csv")) for row in read_csv(path)]
    return list({tuple(_labels_of(row).values()): row for row in rows}.values())


def summary(
    rows: Iterable[dict[str, str]], times: Mapping[str, Mapping[str, float]]
) -> list[dict[str, str]]:
    """Medians over seeds, one row for every width, estimator and rate.

    Args:
        rows: of all runs.
        times: milliseconds per step by width and estimator; those unknown give no seconds.

    Returns:
        Rows of a table. A threshold that half of the runs or more do not reach has a dash.
    """
    return [
        _summary_row(kind, members, times.get(kind[0], {}).get(kind[1]))
        for kind, members in _kinds(rows).items()
    ]


def _kinds(rows: Iterable[dict[str, str]]) -> dict[tuple[str, ...], list[dict[str, str]]]:
    """The rows by width, estimator, rate and steps asked for."""
    kinds: dict[tuple[str, ...], list[dict[str, str]]] = {}
    for row in rows:
        kind = (row["width"], row["estimator"], row["rate"], row["steps"])
        kinds.setdefault(kind, []).append(row)
    return kinds


def report(out: Path) -> list[dict[str, str]]:
    """Merges the files of all parts into ``training.csv`` and returns the summary's rows.

    Seconds are steps times their price in ``step.csv``, if :mod:`benchmarks.step` left one.
    """
    rows = sorted(rows_in(out), key=_order)
    write_csv(out / "training.csv", rows)
    return summary(rows, {str(width): times(out, width) for width in STUDIES})


def times(out: Path, width: int) -> dict[str, float]:
    """Milliseconds per step by estimator; constant weights in their cheapest way."""
    found = {row["method"]: float(row["ms"]) for row in step_rows(out, width)}
    return found | ({"constant": found["taylor"]} if "taylor" in found else {})


def step_rows(out: Path, width: int) -> list[dict[str, str]]:
    """What :mod:`benchmarks.step` measured on the wave problem with a network of this width."""
    case = {"equation": "wave, 2-D", "network": f"3 x {width}", "residuals": "900"}
    return [row for row in read_csv(out / "step.csv") if case.items() <= row.items()]


def best_runs(out: Path, width: int, threshold: float = 0.05) -> dict[str, list[dict[str, str]]]:
    """The runs of all seeds by estimator, at the averaging rate whose median is there first."""
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
    """One row: what was run, the median error, the price of a step, steps and seconds."""
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
    """The median, where an empty value or nan counts as beyond all others."""
    numbers = [float(value) if value not in ("", "nan") else math.inf for value in values]
    return statistics.median(numbers)


def name_of(threshold: float) -> str:
    """The column of a threshold, as in ``"steps to 20 %"``."""
    return f"steps to {100 * threshold:g} %"


def _labels_of(row: Mapping[str, str]) -> dict[str, str]:
    return {name: row[name] for name in ("width", "estimator", "rate", "seed", "steps")}


def _order(row: Mapping[str, str]) -> tuple[Any, ...]:
    place = (row["estimator"] != "constant", row["estimator"], float(row["rate"] or 0))
    return (int(row["width"]), *place, row["seed"])
