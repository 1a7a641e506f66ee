"""The paper's problems, one short file each."""

from ntk_keras.problems import poisson, wave
from ntk_keras.problems.base import Problem, Settings, build_model

__all__ = ["PROBLEMS", "Problem", "Settings", "build_model", "get"]

PROBLEMS = {module.PROBLEM.name: module.PROBLEM for module in (poisson, wave)}


def get(name: str) -> Problem:
    """The problem of a name.

    Raises:
        ValueError: for an unknown name.
    """
    if name not in PROBLEMS:
        raise ValueError(f"Unknown problem {name!r}. Known: {sorted(PROBLEMS)}.")
    return PROBLEMS[name]
