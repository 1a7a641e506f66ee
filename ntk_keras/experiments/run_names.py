"""Folder names of runs, which tell all settings apart."""

import dataclasses
import re
from collections.abc import Mapping
from typing import Any

from ntk_keras import problems
from ntk_keras.problems import Settings
from ntk_keras.problems.base import without_effect

__all__ = ["run_name", "size_name"]


def run_name(settings: Settings) -> str:
    """Returns the folder name of a run.

    It contains the weighting, the seed, and all settings that differ from the preset and have an
    effect.

    Args:
        settings: settings of the run.
    """
    usual = problems.preset_of(settings)
    parts = [size_name(settings), settings.weighting]
    if settings.weighting == "ntk" and settings.estimator != usual.estimator:
        parts.append(settings.estimator_label)
    if settings.redrawn != usual.redrawn:
        parts.append("redrawn" if settings.redrawn else "fixed")
    return "-".join([*parts, f"seed{settings.seed}"])


def size_name(settings: Settings) -> str:
    """Returns the part of a run's name before weighting, estimator, kind of points and seed.

    Args:
        settings: settings of the run.
    """
    usual = problems.preset_of(settings)
    changed = {
        name: value
        for name, value in settings.parameters.items()
        if usual.parameters.get(name) != value
    }
    apart = _IN_NAMES | without_effect(settings)
    for field in dataclasses.fields(settings):
        value = getattr(settings, field.name)
        if field.name not in apart and value != getattr(usual, field.name):
            changed[field.name] = value
    changes = [f"{name}={_as_text(value)}" for name, value in changed.items()]
    return "-".join([settings.problem, settings.preset, *changes])


# Settings that have their own place in folder names.
_IN_NAMES = {"problem", "source", "preset", "weighting", "seed", "estimator", "redrawn"}
_IN_NAMES |= {"parameters"}


def _as_text(value: Any) -> str:
    """Returns a setting as a part of a folder name."""
    if isinstance(value, Mapping):
        value = "+".join(f"{key}{part}" for key, part in value.items())
    return re.sub(r"[^\w.+-]", "_", str(value))
