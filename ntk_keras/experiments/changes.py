"""Settings of a run: a preset of a problem, and changes to it."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from ntk_keras import problems
from ntk_keras.problems import Problem, Settings
from ntk_keras.problems.base import without_effect

__all__ = ["changed"]

# Settings that a problem's own network may not use.
_OF_NETWORKS = ("width", "depth", "activation")


def changed(problem: Problem, preset: str, changes: Mapping[str, Any]) -> Settings:
    """Returns a preset with changes.

    Args:
        problem: problem of the run.
        preset: name of the preset.
        changes: settings by name. Points and parameters that are left out keep their values.

    Raises:
        ValueError: if the preset is unknown, a change has no effect, or the settings do not fit
            the problem.
    """
    if preset not in problem.presets:
        raise ValueError(
            f"Unknown preset {preset!r} of problem {problem.name!r}. Known: "
            f"{sorted(problem.presets)}. Choose one by --preset."
        )
    usual = problem.presets[preset]
    merged: dict[str, Any] = {
        name: {**getattr(usual, name), **value} if name in ("points", "parameters") else value
        for name, value in changes.items()
    }
    settings = dataclasses.replace(usual, **merged)
    idle = sorted(set(changes) & without_effect(settings))
    if idle:
        raise ValueError(
            f"{', '.join(idle)}: without effect under {settings.weighting!r} weights and the "
            f"optimizer {settings.optimizer!r}. Leave it out, or choose another --weighting or "
            "--optimizer."
        )
    problems.of(settings)  # refuses what it does not know
    unused = [n for n in _OF_NETWORKS if n in changes and n not in _read(problem, settings)]
    if unused:
        raise ValueError(
            f"The network of {problem.name!r} does not use {', '.join(unused)}. Leave it out."
        )
    return settings


def _read(problem: Problem, settings: Settings) -> set[str]:
    """Returns the settings that a problem's own network uses; all if it has none."""
    if problem.network is None:
        return set(_OF_NETWORKS)
    read: set[str] = set()

    class Watched(Settings):
        def __getattribute__(self, name: str) -> Any:
            read.add(name)
            return super().__getattribute__(name)

    watched = Watched(**{f.name: getattr(settings, f.name) for f in dataclasses.fields(settings)})
    read.clear()  # what checks of the settings have read
    problem.network(watched)
    return read
