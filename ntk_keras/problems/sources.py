"""Custom problems from Python files and modules: ``heat.py``, ``heat.py:NAME``, ``module:NAME``."""

import contextlib
import dataclasses
import functools
import importlib
import importlib.util
import re
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from ntk_keras.problems.base import Problem, Settings

__all__ = ["is_source", "load"]

USUAL_NAME = "PROBLEM"


def is_source(text: str) -> bool:
    """Whether a text names a Python file or an object in a module, and not a built-in problem."""
    place, _ = _split(text)
    return place.endswith(".py") or ":" in text


def load(source: str) -> Problem:
    """Returns a custom problem.

    Its presets know the problem's name, their own, and the source, so that runs write a
    ``settings.json`` from which the problem is found again.

    Args:
        source: Python file, whose ``PROBLEM`` is taken unless a name follows, as in
            ``"heat.py:HEAT"``; or name in a module, as in ``"package.module:PROBLEM"``. Modules are
            also looked for in the current folder.

    Raises:
        FileNotFoundError: if there is no such file or module.
        ValueError: if the file or module raises an exception, does not define the problem, or the
            problem cannot be run.
    """
    place, name = _split(source)
    if place.endswith(".py"):
        path = Path(place).resolve()
        if not path.is_file():
            raise FileNotFoundError(
                f"There is no file {path}. Expected a Python file that defines {name}, as "
                '`ntk-keras new` writes. If the file of a run has moved, change "source" in its '
                "settings.json."
            )
        module, place = _module_of_file(path, path.stat().st_mtime_ns), str(path)
    else:
        module = _imported(place)
    problem = _checked(getattr(module, name, None), name, module, place)
    known: dict[str, Any] = {"problem": problem.name, "source": f"{place}:{name}"}
    presets = {
        preset: dataclasses.replace(settings, preset=preset, **known)
        for preset, settings in problem.presets.items()
    }
    return dataclasses.replace(problem, presets=presets)


def _split(source: str) -> tuple[str, str]:
    """Returns the file or module of a source, and the name in it."""
    if source.endswith(".py"):
        return source, USUAL_NAME
    place, _, name = source.rpartition(":")
    return place, name or USUAL_NAME


@functools.lru_cache
def _module_of_file(path: Path, modified: int) -> ModuleType:
    """Runs a file as a module, once for each time that it was modified."""
    # A stem of its own, such as "wave", would hide a module of Python.
    spec = importlib.util.spec_from_file_location(f"ntk_keras_problem_{path.stem}", path)
    assert spec is not None  # as for all names that end in .py
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    try:
        with _modules_beside(path.parent):
            spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[spec.name]
        raise ValueError(_failure(path, error)) from error
    return module


def _imported(name: str) -> ModuleType:
    """Imports a module that is installed or in the current folder."""
    with _modules_beside(Path.cwd()):
        try:
            spec = importlib.util.find_spec(name)
        except (ModuleNotFoundError, ValueError):  # no such package, or no name at all
            spec = None
        if spec is None or spec.origin is None:
            raise FileNotFoundError(
                f"There is no module {name!r}, neither installed nor in {Path.cwd()}. Name a "
                "module and its problem, as in package.module:PROBLEM, or a file, as in heat.py."
            )
        try:
            return importlib.import_module(name)
        except Exception as error:
            raise ValueError(_failure(Path(spec.origin), error)) from error


@contextlib.contextmanager
def _modules_beside(folder: Path) -> Iterator[None]:
    """Lets imports find modules in a folder, as Python does for a script in it."""
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))


def _failure(path: Path, error: Exception) -> str:
    """Returns what went wrong in a file, and in which line of it."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if f.filename == str(path)]
    line, code = (frames[-1].lineno, frames[-1].line) if frames else (None, None)
    message = str(error)
    if isinstance(error, SyntaxError) and error.filename == str(path):
        line, code, message = error.lineno, error.text, error.msg
    place = f"{path}, line {line}" if line else str(path)
    shown = f"\n    {code.strip()}" if code else ""
    return f"{place}: {type(error).__name__}: {message}{shown}"


def _checked(problem: Any, name: str, module: ModuleType, place: str) -> Problem:
    """Returns the problem if it can be run."""
    if problem is None:
        found = sorted(n for n, value in vars(module).items() if isinstance(value, Problem))
        raise ValueError(
            f"{place} does not define {name}. Its problems: {found or 'none'}. Expected "
            f"`{name} = Problem(...)`, or another name after a colon, as in heat.py:HEAT."
        )
    if not isinstance(problem, Problem):
        raise ValueError(
            f"{name} in {place} must be an ntk_keras.problems.Problem. Received "
            f"{type(problem).__name__}: {problem!r}."
        )
    if not re.fullmatch(r"\w[\w.+-]*", problem.name):
        raise ValueError(
            f"Folders of runs are named after the problem: {place} needs a name of letters, "
            f"digits and _.+- only. Received name={problem.name!r}."
        )
    presets = problem.presets
    if not presets or not all(isinstance(settings, Settings) for settings in presets.values()):
        raise ValueError(
            f"Problem {problem.name!r} in {place} needs presets, such as "
            f"presets={{'quick': Settings(...)}}. Received {presets!r}."
        )
    return problem
