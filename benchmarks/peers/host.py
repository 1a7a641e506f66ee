"""The host of :mod:`benchmarks.peers.worker`, which starts workers and lets them take turns."""

import contextlib
import dataclasses
import json
import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.peers.environments import PEERS, Peer, python_of
from benchmarks.peers.problem import Setting
from benchmarks.peers.worker import Case

ROOT = Path(__file__).parents[2]


class WorkerError(RuntimeError):
    """The failure of a worker, with its error output."""


class Worker:
    """A worker process.

    Args:
        python: interpreter of the worker's environment.
        module: name of the module with the worker's ``Package``.
        setting: setting of the problem.
        variables: environment variables of the worker, in addition to those of this process.
    """

    def __init__(
        self, python: Path, module: str, setting: Setting, variables: Mapping[str, str]
    ) -> None:
        self.module = module
        self._folder = tempfile.TemporaryDirectory()  # for files that a package may write
        self._errors = open(Path(self._folder.name) / "stderr.txt", "w+")  # noqa: SIM115
        self._process = subprocess.Popen(
            [str(python), "-m", "benchmarks.peers.worker", module, setting.to_json()],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            cwd=self._folder.name,
            env={
                **os.environ,
                "PYTHONPATH": str(ROOT),
                "CUDA_VISIBLE_DEVICES": "-1",
                "TF_CPP_MIN_LOG_LEVEL": "3",
                **variables,
            },
        )

    def ask(self, command: str, **arguments: Any) -> dict[str, Any]:
        """Sends a command, and returns the answer.

        Raises:
            WorkerError: if the worker fails, or has ended.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            print(
                json.dumps({"command": command, **arguments}), file=self._process.stdin, flush=True
            )
        line = self._process.stdout.readline()
        if not line:
            self._errors.seek(0)
            raise WorkerError(f"{self.module} ended at {command!r}: {self._errors.read()[-3000:]}")
        answer = json.loads(line)
        if "error" in answer:
            raise WorkerError(f"{self.module} failed at {command!r}: {answer['error']}")
        return answer

    def close(self) -> None:
        """Ends the process, by force if it does not respond."""
        try:
            self._process.communicate('{"command": "stop"}\n', timeout=30)
        except BrokenPipeError:  # it has already ended
            self._process.wait()
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.communicate()
        finally:
            self._errors.close()
            self._folder.cleanup()


@contextlib.contextmanager
def workers(
    names: Sequence[str], folder: Path, setting: Setting, peers: Mapping[str, Peer] = PEERS
) -> Iterator[dict[str, Worker]]:
    """Yields a worker for each peer, and ends the workers afterwards."""
    with contextlib.ExitStack() as stack:
        running = {}
        for name in names:
            peer = peers[name]
            worker = Worker(python_of(name, folder, peers), peer.module, setting, peer.variables)
            stack.callback(worker.close)
            running[name] = worker
        yield running


@dataclasses.dataclass
class Series:
    """The turns of one case of one worker.

    Attributes:
        peer: name of the worker.
        case: case that the worker trains.
        usual: smallest seconds per step so far.
        times: seconds per step by round, for fewer rounds if the case exceeded its patience.
        spent: seconds of all turns.
        first: seconds of the first step, including compilation.
    """

    peer: str
    case: Case
    usual: float
    times: list[float] = dataclasses.field(default_factory=list)
    spent: float = 0.0
    first: float = 0.0

    def turn(self, worker: Worker, seconds: float) -> None:
        """Trains for about the given seconds, after a warm-up step unless a step takes as long."""
        steps = max(round(seconds / self.usual), 1)
        if self.usual < seconds:
            worker.ask("run", case=self.case.name, steps=1)  # warms up the caches
        answer = worker.ask("run", case=self.case.name, steps=steps)
        self.times.append(answer["seconds"] / answer["steps"])
        self.spent += answer["seconds"]
        self.usual = min(self.usual, self.times[-1])


def prepare(
    running: Mapping[str, Worker], chosen: Callable[[Case], bool] = lambda case: True
) -> list[Series]:
    """Builds and compiles all chosen cases of all workers, one after the other."""
    series = []
    for name, worker in running.items():
        for case in (Case(**described) for described in worker.ask("describe")["cases"]):
            if not chosen(case):
                continue
            answer = worker.ask("prepare", case=case.name)
            series.append(Series(name, case, answer["seconds"], first=answer["first"]))
            print(f"{name}, {case.weights}: {1000 * answer['seconds']:.0f} ms", flush=True)
    return series


def take_turns(
    running: Mapping[str, Worker],
    series: Sequence[Series],
    *,
    rounds: int,
    seconds: float,
    patience: float,
    report: Callable[[int], object] = lambda index: None,
) -> None:
    """Measures all cases in turns, round after round. Only one worker trains at a time.

    Args:
        running: workers by name.
        series: series of the cases, to which times are added.
        rounds: number of rounds.
        seconds: seconds of a turn.
        patience: seconds after which a case has no further turns, after at least two.
        report: function that is called with the index of every finished round.
    """
    for index in range(rounds):
        for one in series:
            if index < 2 or one.spent < patience:
                one.turn(running[one.peer], seconds)
        report(index)
