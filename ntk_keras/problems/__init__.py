"""The paper's problems, one short file each."""

from ntk_keras.problems import liquid_crystal, poisson, quadratic, wave
from ntk_keras.problems.base import Problem, Settings, build_model

__all__ = ["PROBLEMS", "Problem", "Settings", "build_model", "get", "of"]

PROBLEMS = {
    module.PROBLEM.name: module.PROBLEM for module in (poisson, quadratic, wave, liquid_crystal)
}


def get(name: str) -> Problem:
    """The problem of a name.

    Raises:
        ValueError: for an unknown name.
    """
    if name not in PROBLEMS:
        raise ValueError(f"Unknown problem {name!r}. Known: {sorted(PROBLEMS)}.")
    return PROBLEMS[name]


def of(settings: Settings) -> Problem:
    """The problem of a run, with the parameters of its settings.

    Raises:
        ValueError: for an unknown name or parameter, or a value out of range.
    """
    return get(settings.problem).with_parameters(settings.parameters)
