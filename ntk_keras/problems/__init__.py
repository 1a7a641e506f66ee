"""The paper's problems, one short file each, imported when first used."""

import importlib
from collections.abc import Iterator, Mapping

from ntk_keras.problems.base import Problem, Settings, build_model, build_weighting

__all__ = ["PROBLEMS", "Problem", "Settings", "build_model", "get", "of"]


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


PROBLEMS: Mapping[str, Problem] = _Problems("poisson", "quadratic", "wave", "liquid_crystal")


def get(name: str) -> Problem:
    """Returns a problem by its name.

    Raises:
        ValueError: if the name is unknown.
    """
    if name not in PROBLEMS:
        raise ValueError(f"Unknown problem {name!r}. Known: {sorted(PROBLEMS)}.")
    return PROBLEMS[name]


def of(settings: Settings) -> Problem:
    """Returns the problem of a run, with the parameters of its settings.

    Raises:
        ValueError: if a name, preset or parameter is unknown, the sets of points are not the
            problem's, the weighting rejects an argument, or a value is out of range.
    """
    problem = get(settings.problem)
    if settings.preset not in problem.presets:
        raise ValueError(
            f"Unknown preset {settings.preset!r} of problem {problem.name!r}. Known: "
            f"{sorted(problem.presets)}."
        )
    wanted = problem.presets[settings.preset].points
    if set(settings.points) != set(wanted):
        raise ValueError(
            f"Problem {problem.name!r} needs numbers of points for {sorted(wanted)}. Received "
            f"{sorted(settings.points)}."
        )
    build_weighting(settings)
    return problem.with_parameters(settings.parameters)
