"""A worker: one package in a process of its own, asked by lines on standard input.

    python -m benchmarks.peers.worker MODULE SETTING

The module has a class ``Package``, a :class:`Contender`. Each line is a JSON object with a
``command``, each answer a JSON object in a line:

- ``describe``: versions of what is measured, and the cases;
- ``residuals``: by term, at the fixed points of :mod:`benchmarks.peers.problem`;
- ``prepare`` with a ``case``: builds and compiles it; the seconds of its first step, and of a step
  when it is warm;
- ``run`` with a ``case`` and ``steps``: trains at least so many steps; seconds and steps;
- ``peak``: GB of resident memory at the peak of the process, so far;
- whatever else the package lists in ``commands``;
- ``stop``.

Whatever fails is answered by ``{"error": traceback}``. Needs NumPy alone.
"""

import abc
import dataclasses
import importlib
import importlib.metadata
import json
import os
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TextIO

from benchmarks.peers.problem import Setting
from benchmarks.processes import peak_memory

# Trains at least so many steps, and returns the seconds they took and their number.
Train = Callable[[int], tuple[float, int]]


@dataclasses.dataclass(frozen=True)
class Case:
    """One way to train with a package.

    Attributes:
        name: of the case.
        weights: of the loss, and how often they change, for the table.
        compiled: what compiles the step, for the table.
        thinned: rows of the table in which what the case does beside the steps of ``plain`` comes
            every so many steps only.
        plain: name of the case without weights.
    """

    name: str
    weights: str
    compiled: str
    thinned: Sequence[int] = ()
    plain: str = ""

    @property
    def adaptive(self) -> bool:
        """Whether weights change."""
        return not self.weights.startswith("constant")


class Contender(abc.ABC):
    """A package that trains the wave problem.

    Args:
        setting: the sizes.
    """

    distributions: Sequence[str] = ()
    cases: Sequence[Case] = ()
    # Methods that take the arguments of a request and return its answer.
    commands: Sequence[str] = ()

    def __init__(self, setting: Setting):
        self.setting = setting

    @abc.abstractmethod
    def residuals(self) -> Mapping[str, Any]:
        """Residuals by term at the fixed points, arrays ``[n]``, by the code that trains."""

    @abc.abstractmethod
    def prepare(self, case: str) -> Train:
        """A model of the fixed network, ready to train with points redrawn at every step."""

    def describe(self) -> dict[str, Any]:
        """What is measured."""
        versions = {name: importlib.metadata.version(name) for name in self.distributions}
        return {"versions": versions, "cases": [dataclasses.asdict(case) for case in self.cases]}


def timed_loop(step: Callable[[], object], wait: Callable[[], object] = lambda: None) -> Train:
    """Trains by calling a step; ``wait`` returns when all of them are done."""

    def train(steps: int) -> tuple[float, int]:
        began = time.perf_counter()
        for _ in range(steps):
            step()
        wait()
        return time.perf_counter() - began, steps

    return train


class Server:
    """Answers commands.

    Args:
        package: what is asked.
    """

    def __init__(self, package: Contender):
        self.package = package
        self.prepared: dict[str, Train] = {}

    def answer(
        self, command: str, case: str = "", steps: int = 1, **arguments: Any
    ) -> dict[str, Any]:
        """The answer to one command."""
        if command in self.package.commands:
            return getattr(self.package, command)(**arguments)
        if command == "describe":
            return self.package.describe()
        if command == "residuals":
            values = self.package.residuals()
            return {term: [float(r) for r in rows] for term, rows in values.items()}
        if command == "prepare":
            train = self.prepared[case] = self.package.prepare(case)
            first, _ = train(1)  # compiles
            seconds, done = train(1)
            return {"seconds": seconds / done, "first": first}
        if command == "run":
            seconds, done = self.prepared[case](steps)
            return {"seconds": seconds, "steps": done}
        if command == "peak":
            return {"gigabytes": peak_memory()}
        raise ValueError(f"Unknown command {command!r}.")

    def serve(self, commands: TextIO, answers: TextIO) -> None:
        """Answers line by line until ``stop`` or the end of the commands."""
        for line in commands:
            request = json.loads(line)
            if request["command"] == "stop":
                return
            try:
                result = self.answer(**request)
            except Exception:
                result = {"error": traceback.format_exc()}
            print(json.dumps(result), file=answers, flush=True)


def private_standard_output() -> TextIO:
    """What was standard output; libraries that print write to standard error from now on."""
    channel = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    return channel


def main(arguments: Sequence[str]) -> None:
    """Serves one package."""
    answers = private_standard_output()
    module, setting = arguments
    package = importlib.import_module(module).Package(Setting.from_json(setting))
    Server(package).serve(sys.stdin, answers)


if __name__ == "__main__":
    main(sys.argv[1:])
