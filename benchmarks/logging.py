r"""What it costs to watch a run: the same training with callbacks that write, and without.

Everything runs in one process and takes turns; a turn is a whole ``fit`` of the wave problem in the
preset "quick", without validation. Turns are compared by the processor time of all threads, which
whatever else the machine does leaves alone; and the share of a turn's time that passes in its
callbacks is taken by the clock, which counts while steps wait.

Logging: ``NTKTensorBoard`` as it is by default; the same after every epoch (``max_share=1``), which
is what rate-limiting saves; and all events of ``ntk-keras run``, kernels and pictures included, for
as many epochs as that has.

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

# Steps an epoch, steps a turn, and what is set beside a turn without logging. One step an epoch is
# what `fit` does if it is not told otherwise.
CASES: tuple[tuple[int, int, tuple[str, ...]], ...] = (
    (1, 1000, ("default", "every epoch")),
    (10, 2000, ("default", "every epoch")),
    (500, 12_000, ("default", "run")),
)


class Timed(keras.callbacks.Callback):
    """Passes on what callbacks are told, and times them.

    Attributes:
        seconds: spent in the callbacks.
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
    """The callbacks of a name in :data:`CASES`; none for ``"none"``."""
    known: dict[str, Callable[[], list[keras.callbacks.Callback]]] = {
        "none": list,
        "default": lambda: [NTKTensorBoard(folder)],
        "every epoch": lambda: [NTKTensorBoard(folder, max_share=1)],
        "run": functools.partial(runs.writers, folder, problems.of(settings), settings),
    }
    return known[logging]()


def turn(model: PINNModel, settings: Settings, logging: str) -> tuple[float, float, float]:
    """Of a ``fit``: processor seconds, seconds, and those of them that pass in callbacks."""
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
    """Turns with each logging and without, round after round; one row for each logging."""
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
