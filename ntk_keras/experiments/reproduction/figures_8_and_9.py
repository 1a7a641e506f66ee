"""Section 5.2.2, Figures 8 and 9: estimated weights while training on the wave equation."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path

import keras
import numpy as np

from ntk_keras import plots, problems
from ntk_keras.callbacks import ExactWeights, read_history
from ntk_keras.experiments import runs
from ntk_keras.experiments.reproduction.base import Reproduced
from ntk_keras.problems import Settings

__all__ = ["deviations", "solution", "train", "weights"]


def train(settings: Settings, folder: Path, verbose: int | str) -> runs.Result:
    """Trains on the wave equation with exact weights in the history, or resumes such a run.

    Args:
        settings: settings of the run.
        folder: folder that contains the folder of the run.
        verbose: verbosity as in Keras.
    """
    return runs.run(
        settings,
        folder / runs.run_name(settings),
        resume=True,
        verbose=verbose,
        callbacks=[ExactWeights()],
    )


def weights(result: runs.Result) -> Reproduced:
    """Returns Figure 8: exact and estimated weights over steps."""
    rows = read_history(result.folder / "history.csv")
    groups = [name.removeprefix("exact/") for name in rows[0] if name.startswith("exact/")]
    steps = np.array([row["step"] for row in rows])
    exact, estimated = (
        {group: np.array([row[f"{kind}/{group}"] for row in rows]) for group in groups}
        for kind in ("exact", "weights")
    )
    numbers = {
        "steps": int(steps[-1]),
        "moments compared": len(steps),
        "relative deviation": deviations(exact, estimated),
        "weights at the end": {
            group: {"exact": float(exact[group][-1]), "estimated": float(estimated[group][-1])}
            for group in groups
        },
    }
    return Reproduced(plots.curves(steps, exact, estimated), numbers)


def deviations(
    exact: Mapping[str, np.ndarray], estimated: Mapping[str, np.ndarray]
) -> dict[str, dict[str, float]]:
    """Returns medians and maxima of ``|estimated / exact - 1|`` over a run by group.

    Args:
        exact: exact weights by group, each ``[moments]``.
        estimated: estimated weights by group, each ``[moments]``.
    """
    found = {}
    for group in exact:
        deviation = np.abs(estimated[group] / exact[group] - 1)
        found[group] = {
            "median": float(np.median(deviation)),
            "worst": float(np.max(deviation)),
            "worst of the second half": float(np.max(deviation[len(deviation) // 2 :])),
            "median with its sign": float(np.median(estimated[group] / exact[group] - 1)),
        }
    return found


def solution(result: runs.Result) -> Reproduced:
    """Returns Figure 9: prediction, truth and error for the wave."""
    problem = problems.of(result.settings)
    network = keras.models.load_model(result.folder / "network.keras")
    prediction, truth = runs.on_grid(problem, network)
    numbers = {
        "relative L2 error": result.relative_l2,
        "largest error": float(np.max(np.abs(prediction - truth))),
        "settings": dataclasses.asdict(result.settings),
        "seconds in training": result.seconds,
        "milliseconds per step": result.milliseconds_per_step,
    }
    return Reproduced(runs.solution_figure(problem, prediction, truth), numbers)
