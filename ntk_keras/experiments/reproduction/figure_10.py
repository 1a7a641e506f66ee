"""Section 5.2.3, Figure 10: a liquid crystal by finite elements, and with and without weights."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
from matplotlib.figure import Figure

from ntk_keras import plots, problems
from ntk_keras.experiments import runs
from ntk_keras.experiments.reproduction.base import Reproduced
from ntk_keras.problems import Settings
from ntk_keras.problems.liquid_crystal import (
    INITIAL_FIELDS,
    SHOWN,
    director_angles,
    errors_at_frames,
    transmitted_light,
)

__all__ = ["compared", "train"]


def train(settings: Settings, folder: Path, verbose: int | str) -> dict[str, runs.Result]:
    """Trains with the weights of the settings, and with constant weights.

    Args:
        settings: settings of the weighted run.
        folder: folder that contains the folders of runs, which are resumed.
        verbose: verbosity as in Keras.
    """
    variants = {
        "NTK-PINN": settings,
        "PINN": dataclasses.replace(settings, weighting="constant"),
    }
    return {
        name: runs.run(variant, folder / runs.run_name(variant), resume=True, verbose=verbose)
        for name, variant in variants.items()
    }


def compared(results: Mapping[str, runs.Result]) -> Reproduced:
    """Returns Figure 10: light and directors at three times, and both initial fields."""
    settings = next(iter(results.values())).settings
    problem = problems.of(settings)
    fields: dict[str, np.ndarray] = {}
    numbers: dict[str, Any] = {}
    times = problem.box.lines(*problem.grid)[0][SHOWN]
    for name, result in results.items():
        network = keras.models.load_model(result.folder / "network.keras")
        prediction, truth = runs.on_grid(problem, network)
        fields |= {"FEM": truth, name: prediction}
        # On the boundary, initial and boundary values may disagree, as on the paper's square.
        inside = (slice(None), slice(1, -1), slice(1, -1))
        numbers[name] = {
            "relative L2 error": result.relative_l2,
            "at times": _by_time(times, prediction, truth),
            "without the boundary": _by_time(times, prediction[inside], truth[inside]),
            "seconds in training": result.seconds,
            "milliseconds per step": result.milliseconds_per_step,
            "weights at the end": result.weights,
        }
    readings = _readings(settings)
    numbers["largest light of the reference"] = {
        name: [float(np.max(transmitted_light(q))) for q in values[SHOWN]]
        for name, values in readings.items()
    }
    numbers["settings"] = dataclasses.asdict(settings)
    return Reproduced(
        _directors(problem, fields), numbers, {"readings": _directors(problem, readings)}
    )


def _by_time(times: np.ndarray, prediction: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """Returns relative L2 errors at the paper's three times, and over all times of the grid."""
    errors = errors_at_frames(prediction, truth)[SHOWN]
    total = np.linalg.norm(prediction - truth) / np.linalg.norm(truth)
    named = zip([f"{time:g}" for time in times] + ["all"], [*errors, total], strict=True)
    return {name: float(error) for name, error in named}


def _readings(settings: Settings) -> dict[str, np.ndarray]:
    """Returns the reference on the grid for each reading of the initial field."""
    found = {}
    for initial in INITIAL_FIELDS:
        parameters = {**settings.parameters, "initial": initial}
        problem = problems.of(dataclasses.replace(settings, parameters=parameters))
        values = problem.solution(problem.box.grid(*problem.grid))
        found[f"FEM, {initial}"] = values.reshape((*problem.grid, 2))
    return found


def _directors(problem: problems.Problem, fields: Mapping[str, np.ndarray]) -> Figure:
    """Draws light and directors of several fields at the paper's three times."""
    lines = problem.box.lines(*problem.grid)
    return plots.directors(
        lines[1:],
        {name: transmitted_light(q[SHOWN]) for name, q in fields.items()},
        {name: director_angles(q[SHOWN]) for name, q in fields.items()},
        [f"t = {time:g}" for time in lines[0][SHOWN]],
    )
