"""Runs: from settings to a folder of results. An interrupted run resumes to the same result."""

import dataclasses
import functools
import json
import math
import os
import shutil
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
from matplotlib.figure import Figure

from ntk_keras import plots, problems
from ntk_keras.backend.files import replaced
from ntk_keras.callbacks import (
    Checkpoint,
    HistoryFile,
    NTKTensorBoard,
    SolutionImages,
    Stopwatch,
    read_history,
)
from ntk_keras.experiments import labels, progress, tables
from ntk_keras.experiments.estimates import Estimate, check, estimates, table_rows
from ntk_keras.experiments.run_names import run_name, size_name
from ntk_keras.problems import Problem, Settings
from ntk_keras.problems.base import without_effect
from ntk_keras.training.lbfgs import polish
from ntk_keras.training.model import PINNModel

__all__ = [
    "Result",
    "load_settings",
    "on_grid",
    "result_table",
    "run",
    "run_name",
    "size_name",
    "solution_figure",
    "writers",
]

CHECKPOINT = "checkpoint.weights.h5"
KERNELS_IN_A_RUN = 5
ERROR = "relative L2 error"


@dataclasses.dataclass(frozen=True)
class Result:
    """The results of a finished run.

    Attributes:
        settings: settings of the run.
        folder: folder with history, figures, events and network.
        relative_l2: error of the final network on the problem's grid; None if the solution is not
            known.
        losses: losses ``1/2 ||R_b||^2`` by term, averaged over the last epoch.
        weights: final loss weights by group.
        seconds: seconds spent in training steps, including compilation, over all parts of the run.
        milliseconds_per_step: median time over all epochs but the first, which compiles.
        unknowns: estimates of the problem's unknown coefficients by name.
    """

    settings: Settings
    folder: Path
    relative_l2: float | None
    losses: dict[str, float]
    weights: dict[str, float]
    seconds: float
    milliseconds_per_step: float
    unknowns: dict[str, Estimate] = dataclasses.field(default_factory=dict)

    @property
    def error(self) -> float:
        """The relative L2 error, or the sum of all losses if the solution is not known."""
        return sum(self.losses.values()) if self.relative_l2 is None else self.relative_l2


def run(
    settings: Settings,
    folder: str | os.PathLike[str],
    *,
    resume: bool = False,
    overwrite: bool = False,
    verbose: int | str = "auto",
    callbacks: Sequence[keras.callbacks.Callback] = (),
    title: str | None = None,
) -> Result:
    """Trains on a problem, and writes all results to a folder.

    ``settings.json`` and TensorBoard events are written at the start, ``history.csv`` and a
    checkpoint after every epoch, and ``network.keras``, ``result.json`` and figures at the end.

    Args:
        settings: settings of the run.
        folder: folder of the run.
        resume: whether to continue from the last checkpoint in the folder, or from the start if
            there is none.
        overwrite: whether to delete the run in the folder, if it has the same settings.
        verbose: 0 for no progress, 1 for a line that is updated in place, 2 for a line per epoch;
            ``"auto"`` means 1 on a terminal and 2 elsewhere.
        callbacks: further callbacks, whose logs are also written to the history.
        title: name of the run in its progress; by default problem, weighting and seed.

    Raises:
        FileExistsError: if the folder holds a run and neither ``resume`` nor ``overwrite`` is set.
        ImportError: if the problem's reference needs a package that is not installed.
        ValueError: if the run to resume or replace has other settings, a run to resume has none, or
            the settings do not fit the problem.
    """
    folder = Path(folder)
    problem = problems.of(settings)
    validation_data = problem.validation_data(settings.dtype)
    model = problems.build_model(problem, settings)  # refuses what it cannot use
    check(problem, model)
    _prepare(folder, settings, resume, overwrite)
    checkpoint, path = Checkpoint(folder / CHECKPOINT), folder / "history.csv"
    done = checkpoint.restore(model)
    steps = settings.steps + settings.lbfgs_steps
    with progress.shown(title or labels.title(settings), steps, verbose) as line:
        # The checkpoint comes last, so that all epochs it counts are written everywhere.
        watching: dict[str, Any] = {
            "validation_data": validation_data,
            "verbose": 0,
            "callbacks": [
                *(Stopwatch(), *callbacks, *line),
                *(*writers(folder, problem, settings), HistoryFile(path), checkpoint),
            ],
        }
        if done < settings.epochs:
            model.fit(
                epochs=settings.epochs,
                initial_epoch=done,
                steps_per_epoch=settings.steps_per_epoch,
                **watching,
            )
        if settings.lbfgs_steps and done <= settings.epochs:  # all iterations are one epoch
            polish(
                model,
                iterations_per_epoch=settings.lbfgs_steps,
                initial_epoch=settings.epochs,
                **watching,
            )
    rows = read_history(path)
    result = _result(settings, folder, rows, estimates(problem, model))
    _write_results(folder, problem, model, rows, result)
    return result


def writers(
    folder: str | os.PathLike[str], problem: Problem, settings: Settings
) -> list[keras.callbacks.Callback]:
    """Returns the callbacks that write the TensorBoard events of a run.

    Args:
        folder: folder of the run.
        problem: problem to solve.
        settings: settings of the run.
    """
    return [
        NTKTensorBoard(
            folder,
            kernel_every_epochs=math.ceil(settings.epochs / KERNELS_IN_A_RUN),
            settings=dataclasses.asdict(settings),
        ),
        SolutionImages(
            folder,
            problem.shown,
            problem.solution,
            problem.grid,
            figure=functools.partial(solution_figure, problem),
        ),
    ]


def load_settings(path: str | os.PathLike[str]) -> Settings:
    """Returns the settings that a run has written.

    Raises:
        ValueError: if the file does not contain settings; the message names the file.
    """
    try:
        return Settings(**json.loads(Path(path).read_text()))
    except (OSError, TypeError, ValueError) as error:
        raise ValueError(f"{path} holds no settings of a run: {error}") from error


def result_table(result: Result) -> str:
    """Returns a result as a readable table."""
    rows = [
        ("sum of losses" if result.relative_l2 is None else ERROR, f"{result.error:.3e}"),
        *table_rows(result.unknowns),
        *((f"loss, {term}", f"{loss:.3e}") for term, loss in result.losses.items()),
        *((f"weight, {group}", f"{weight:.4g}") for group, weight in result.weights.items()),
        ("seconds in training", f"{result.seconds:.1f}"),
        ("ms per step", f"{result.milliseconds_per_step:.2f}"),
    ]
    return f"{run_name(result.settings)}\n{tables.two_columns(rows)}"


def _prepare(folder: Path, settings: Settings, resume: bool, overwrite: bool) -> None:
    """Prepares the folder and writes the settings, or checks that a run to resume has the same."""
    path = folder / "settings.json"
    left = [name for name in (CHECKPOINT, "history.csv") if (folder / name).exists()]
    if left and not path.exists() and not overwrite:
        raise ValueError(
            f"{folder} holds {left} of a run whose settings.json is gone, so nobody knows what it "
            "was. Replace it with --overwrite, or choose another --logdir."
        )
    if path.exists():
        if not (resume or overwrite):
            raise FileExistsError(
                f"{folder} holds a run. Continue it with --resume, replace it with --overwrite, "
                "or choose another --logdir."
            )
        _check_same(folder, load_settings(path), settings)
        if resume:
            return
    if left or path.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with replaced(path) as temporary:
        temporary.write_text(json.dumps(dataclasses.asdict(settings), indent=2) + "\n")


def _check_same(folder: Path, found: Settings, settings: Settings) -> None:
    """Refuses to resume or replace a run that has other settings."""
    stored, wanted = dataclasses.asdict(found), dataclasses.asdict(settings)
    idle = without_effect(settings)
    other = {k: (stored[k], wanted[k]) for k in wanted.keys() - idle if stored[k] != wanted[k]}
    if other:
        raise ValueError(
            f"{folder} holds a run with other settings, (there, here): {other}. It is neither "
            "resumed nor replaced: choose another --logdir, or delete that folder."
        )


def _result(
    settings: Settings,
    folder: Path,
    rows: Sequence[Mapping[str, float]],
    unknowns: dict[str, Estimate],
) -> Result:
    def last(prefix: str) -> dict[str, float]:
        return {
            name.removeprefix(prefix): value
            for name, value in rows[-1].items()
            if name.startswith(prefix)
        }

    seconds = [row["seconds"] for row in rows]
    steps = seconds[: settings.epochs]  # without L-BFGS
    typical = statistics.median(steps[1:] or steps)
    return Result(
        settings=settings,
        folder=folder,
        relative_l2=rows[-1].get("val_relative_l2"),
        losses=last("loss/"),
        weights=last("weights/"),
        seconds=sum(seconds),
        milliseconds_per_step=1000 * typical / settings.steps_per_epoch,
        unknowns=unknowns,
    )


def _write_results(
    folder: Path,
    problem: Problem,
    model: PINNModel,
    rows: Sequence[Mapping[str, float]],
    result: Result,
) -> None:
    model.network.save(folder / "network.keras")
    summary: dict[str, Any] = dataclasses.asdict(result)
    summary["folder"] = folder.name
    (folder / "result.json").write_text(json.dumps(summary, indent=2) + "\n")
    plots.history(rows).savefig(folder / "history.png", dpi=120)
    prediction, truth = on_grid(problem, model.network)
    solution_figure(problem, prediction, truth).savefig(folder / "solution.png", dpi=120)


def on_grid(problem: Problem, network: keras.Model) -> tuple[np.ndarray, Any]:
    """Returns the prediction of a network on the grid of a problem, and the solution there.

    Args:
        problem: problem that was solved.
        network: network that was trained on the problem.

    Returns:
        Prediction and solution, each ``[*grid, outputs]``, or None for an unknown solution.
    """
    points, shape = problem.shown.grid(*problem.grid), (*problem.grid, problem.outputs)
    prediction = keras.ops.convert_to_numpy(network(points)).reshape(shape)
    truth = None if problem.solution is None else problem.solution(points).reshape(shape)
    return prediction, truth


def solution_figure(problem: Problem, prediction: np.ndarray, truth: np.ndarray | None) -> Figure:
    """Draws prediction, truth and error, in the problem's own figure if it has one.

    Of a grid with more than two axes, the last two are drawn, at the end of the others.

    Args:
        problem: problem that was solved.
        prediction: prediction on the problem's grid, ``[*grid, outputs]``.
        truth: solution on the grid, of the same shape, or None if it is unknown.
    """
    if problem.figure is not None:
        return problem.figure(prediction, truth)
    shown, drawn = problem.shown, [k for k, count in enumerate(problem.grid) if count > 1]
    lines = shown.lines(*problem.grid)
    drawn = drawn[-2:]
    shape = (-1, *(problem.grid[k] for k in drawn), problem.outputs)
    return plots.solution(
        [lines[k] for k in drawn],
        prediction.reshape(shape)[-1],
        None if truth is None else truth.reshape(shape)[-1],
        [shown.axes[k] for k in drawn],
    )
