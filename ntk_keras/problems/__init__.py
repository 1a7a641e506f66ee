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
        ValueError: for an unknown name, preset or parameter, other sets of points than the
            problem's, or a value out of range.
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
    return problem.with_parameters(settings.parameters)
