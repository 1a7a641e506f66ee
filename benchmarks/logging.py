r"""The cost of logging: the same training with callbacks that write events, and without.

Everything runs in one process and takes turns. A turn is a whole ``fit`` of the wave problem in the
preset "quick", without validation. Turns are compared by the processor time of all threads, which
other processes hardly affect. The share of a turn's time spent in callbacks is measured by the wall
clock, which also counts while steps wait.

The kinds of logging are ``NTKTensorBoard`` with its defaults; the same after every epoch
(``max_share=1``), which shows what rate-limiting saves; and all events of ``ntk-keras run``,
including kernels and images, for the same number of epochs.

    python -m benchmarks.logging                # all cases
    python -m benchmarks.logging --rounds 1     # quickly
"""

import argparse
import dataclasses
import functools
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import keras

from benchmarks.tables import RESULTS, write_table
from ntk_keras import PINNModel, problems
from ntk_keras.callbacks import NTKTensorBoard
from ntk_keras.experiments import runs
from ntk_keras.problems import Settings

# Steps per epoch, steps per turn, and kinds of logging to compare with none. One step per epoch is
# the default of `fit`.
CASES: tuple[tuple[int, int, tuple[str, ...]], ...] = (
    (1, 1000, ("default", "every epoch")),
    (10, 2000, ("default", "every epoch")),
    (500, 12_000, ("default", "run")),
)


class Timed(keras.callbacks.Callback):
    """Forwards calls to callbacks, and times them.

    Attributes:
        seconds: seconds spent in the callbacks.
    """

    def __init__(self, callbacks: Sequence[keras.callbacks.Callback]):
        super().__init__()
        self.callbacks = callbacks
        self.seconds = 0.0

    def set_model(self, model: keras.Model) -> None:
        super().set_model(model)
        for callback in self.callbacks:
            callback.set_model(model)

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        self._pass_on("on_train_begin", logs)

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        self._pass_on("on_train_end", logs)

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self._pass_on("on_epoch_begin", epoch, logs)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self._pass_on("on_epoch_end", epoch, logs)

    def _pass_on(self, name: str, *arguments: Any) -> None:
        began = time.perf_counter()
        for callback in self.callbacks:
            getattr(callback, name)(*arguments)
        self.seconds += time.perf_counter() - began


def callbacks_of(logging: str, folder: Path, settings: Settings) -> list[keras.callbacks.Callback]:
    """Returns the callbacks of a kind of logging in :data:`CASES`; none for ``"none"``."""
    known: dict[str, Callable[[], list[keras.callbacks.Callback]]] = {
        "none": list,
        "default": lambda: [NTKTensorBoard(folder)],
        "every epoch": lambda: [NTKTensorBoard(folder, max_share=1)],
        "run": functools.partial(runs.writers, folder, problems.of(settings), settings),
    }
    return known[logging]()


def turn(model: PINNModel, settings: Settings, logging: str) -> tuple[float, float, float]:
    """Returns processor seconds, seconds, and seconds in callbacks of one ``fit``."""
    with tempfile.TemporaryDirectory() as folder:
        timed = Timed(callbacks_of(logging, Path(folder), settings))
        processor, began = time.process_time(), time.perf_counter()
        model.fit(
            epochs=settings.epochs,
            steps_per_epoch=settings.steps_per_epoch,
            callbacks=[timed],
            verbose=0,
        )
        seconds = time.perf_counter() - began
        return time.process_time() - processor, seconds, timed.seconds


def rows(
    steps_per_epoch: int, steps: int, loggings: Sequence[str], rounds: int
) -> list[dict[str, Any]]:
    """Takes turns with each kind of logging and without, and returns a row for each kind."""
    quick = problems.get("wave").presets["quick"]
    settings = dataclasses.replace(quick, steps_per_epoch=steps_per_epoch, steps=steps)
    model = problems.build_model(problems.of(settings), settings)
    model.fit(steps_per_epoch=steps_per_epoch, verbose=0)  # compiles
    turns: dict[str, list[tuple[float, float, float]]] = {n: [] for n in ("none", *loggings)}
    for _ in range(rounds):
        for name, times in turns.items():
            times.append(turn(model, settings, name))
    sums = {
        name: [sum(column) for column in zip(*times, strict=True)] for name, times in turns.items()
    }
    plain = sums.pop("none")[0]
    return [
        {
            "steps an epoch": steps_per_epoch,
            "steps": steps,
            "logging": name,
            "processor s without": f"{plain / rounds:.1f}",
            "with": f"{processor / rounds:.1f}",
            "ratio": f"{processor / plain:.3f}",
            "of the time in callbacks": f"{100 * inside / whole:.2f} %",
            "turns": rounds,
        }
        for name, (processor, whole, inside) in sums.items()
    ]


def main() -> None:
    """Runs all cases and writes the table."""
    parser = argparse.ArgumentParser(description="Measure what logging costs.")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    table = []
    for case in CASES:
        table += rows(*case, rounds=options.rounds)
    write_table(options.out, "logging", table)


if __name__ == "__main__":
    main()
