"""A worker: one package in its own process, which reads commands from standard input.

    python -m benchmarks.peers.worker MODULE SETTING

The module has a class ``Package``, a subclass of :class:`Contender`. Each command is a line with a
JSON object that has a ``command``, and each answer is a line with a JSON object:

- ``describe`` returns versions of the measured packages, and the cases;
- ``residuals`` returns residuals by term at the fixed points of :mod:`benchmarks.peers.problem`;
- ``prepare`` with a ``case`` builds and compiles it, and returns the seconds of its first step and
  of a warm step;
- ``run`` with a ``case`` and ``steps`` trains for at least that many steps, and returns seconds and
  steps;
- ``peak`` returns the peak resident memory of the process so far, in GB;
- other commands are those that the package lists in ``commands``;
- ``stop`` ends the worker.

If a command fails, the answer is ``{"error": traceback}``. This module needs only NumPy.
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

# A function that trains for at least the given number of steps, and returns seconds and steps.
Train = Callable[[int], tuple[float, int]]


@dataclasses.dataclass(frozen=True)
class Case:
    """One way to train with a package.

    Attributes:
        name: name of the case.
        weights: description of the loss weights and of how often they change, for the table.
        compiled: name of the compiler of the step, for the table.
        thinned: numbers of steps for further rows of the table, in which the work beyond a step of
            ``plain`` is done only once in that many steps.
        plain: name of the case without adaptive weights.
    """

    name: str
    weights: str
    compiled: str
    thinned: Sequence[int] = ()
    plain: str = ""

    @property
    def adaptive(self) -> bool:
        """Whether the weights change."""
        return not self.weights.startswith("constant")


class Contender(abc.ABC):
    """A package that trains on the wave problem.

    Args:
        setting: setting of the problem.
    """

    distributions: Sequence[str] = ()
    cases: Sequence[Case] = ()
    # Names of methods that take the arguments of a request and return its answer.
    commands: Sequence[str] = ()

    def __init__(self, setting: Setting):
        self.setting = setting

    @abc.abstractmethod
    def residuals(self) -> Mapping[str, Any]:
        """Returns residuals ``[n]`` by term at the fixed points, from the code used in training."""

    @abc.abstractmethod
    def prepare(self, case: str) -> Train:
        """Returns a function that trains the fixed network, with points redrawn at every step."""

    def describe(self) -> dict[str, Any]:
        """Returns the versions of the measured packages, and the cases."""
        versions = {name: importlib.metadata.version(name) for name in self.distributions}
        return {"versions": versions, "cases": [dataclasses.asdict(case) for case in self.cases]}


def timed_loop(step: Callable[[], object], wait: Callable[[], object] = lambda: None) -> Train:
    """Returns a function that trains by calling a step, and calls ``wait`` after all steps."""

    def train(steps: int) -> tuple[float, int]:
        began = time.perf_counter()
        for _ in range(steps):
            step()
        wait()
        return time.perf_counter() - began, steps

    return train


class Server:
    """The part of a worker that answers commands.

    Args:
        package: package that carries out the commands.
    """

    def __init__(self, package: Contender):
        self.package = package
        self.prepared: dict[str, Train] = {}

    def answer(
        self, command: str, case: str = "", steps: int = 1, **arguments: Any
    ) -> dict[str, Any]:
        """Returns the answer to one command."""
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
    """Returns the original standard output, and redirects prints of libraries to standard error."""
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
