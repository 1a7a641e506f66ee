"""Problems of the paper and of the literature, imported when first used, and custom ones."""

import importlib
from collections.abc import Iterator, Mapping

from ntk_keras.problems import sources
from ntk_keras.problems.base import Problem, Settings
from ntk_keras.problems.models import build_model, build_weighting

__all__ = ["PROBLEMS", "Problem", "Settings", "build_model", "get", "of", "preset_of"]


class _Problems(Mapping[str, Problem]):
    """Problems by name, each the ``PROBLEM`` of a module of its name in this folder."""

    def __init__(self, *names: str):
        self._names = names

    def __getitem__(self, name: str) -> Problem:
        if name not in self._names:
            raise KeyError(name)
        return importlib.import_module(f"{__name__}.{name}").PROBLEM

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


PROBLEMS: Mapping[str, Problem] = _Problems(
    "poisson",
    "quadratic",
    "wave",
    "liquid_crystal",
    "advection_diffusion",
    "allen_cahn",
    "burgers",
    "cavity",
    "convection",
    "heat_1d",
    "heat_inverse",
    "helmholtz",
    "kdv",
    "kuramoto_sivashinsky",
    "poisson_10d",
    "poisson_2d",
    "poisson_5d",
    "reaction",
    "robertson",
    "van_der_pol",
)


def get(name: str) -> Problem:
    """Returns a problem by its name, or a custom problem by its file or module.

    Args:
        name: name of a built-in problem; or a source as for
            :func:`ntk_keras.problems.sources.load`, such as ``"heat.py"``.

    Raises:
        FileNotFoundError: if there is no such file or module.
        ValueError: if the name is unknown, a custom problem has the name of a built-in one, or
            it cannot be loaded.
    """
    if name in PROBLEMS:
        return PROBLEMS[name]
    if not sources.is_source(name):
        raise ValueError(
            f"Unknown problem {name!r}. Known: {sorted(PROBLEMS)}. Or give the file of a custom "
            "problem, such as heat.py."
        )
    problem = sources.load(name)
    if problem.name in PROBLEMS:
        raise ValueError(
            f"The problem in {name} has the name of a built-in problem, {problem.name!r}, and its "
            f"runs would have the same folders. Change its name. Taken: {sorted(PROBLEMS)}."
        )
    return problem


def preset_of(settings: Settings) -> Settings:
    """Returns the preset that settings began as.

    Raises:
        FileNotFoundError: if the file of a custom problem is gone.
        ValueError: if the problem or preset is unknown.
    """
    return _preset(_unchanged(settings), settings)


def of(settings: Settings) -> Problem:
    """Returns the problem of a run, with the parameters of its settings.

    Raises:
        FileNotFoundError: if the file of a custom problem is gone.
        ValueError: if a name, preset or parameter is unknown, the sets of points are not the
            problem's, the weighting rejects an argument, or a value is out of range.
    """
    problem = _unchanged(settings)
    wanted = _preset(problem, settings).points
    if set(settings.points) != set(wanted):
        raise ValueError(
            f"Problem {problem.name!r} needs numbers of points for {sorted(wanted)}. Received "
            f"{sorted(settings.points)}."
        )
    build_weighting(settings)
    return problem.with_parameters(settings.parameters)


def _unchanged(settings: Settings) -> Problem:
    """Returns the problem that settings name, with its own parameters."""
    problem = get(settings.source or settings.problem)
    if problem.name != settings.problem:
        raise ValueError(
            f"These are settings of the problem {settings.problem!r}, but {settings.source} "
            f"defines {problem.name!r}. Was it renamed? Then start a new run."
        )
    return problem


def _preset(problem: Problem, settings: Settings) -> Settings:
    if settings.preset not in problem.presets:
        raise ValueError(
            f"Unknown preset {settings.preset!r} of problem {problem.name!r}. Known: "
            f"{sorted(problem.presets)}."
        )
    return problem.presets[settings.preset]
