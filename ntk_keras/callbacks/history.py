"""The training history as a file."""

import csv
import os
import time
from pathlib import Path
from typing import Any

import keras

from ntk_keras.backend.files import replaced

__all__ = ["HistoryFile", "Stopwatch", "read_history"]


class Stopwatch(keras.callbacks.Callback):
    """Logs ``step`` and ``seconds``, the time spent in training steps, for each epoch.

    Validation and other callbacks do not count. Place it before callbacks that write.

    Example::

        watch = nk.callbacks.Stopwatch()
        model.compile("adam")
        history = model.fit(epochs=10, steps_per_epoch=100, callbacks=[watch])
        print(history.history["seconds"][-1])
    """

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self._began = time.perf_counter()
        self._ended: float | None = None

    def on_test_begin(self, logs: dict[str, Any] | None = None) -> None:
        self._ended = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        if logs is not None:
            logs["step"] = int(self.model.optimizer.iterations.numpy())
            logs["seconds"] = (self._ended or time.perf_counter()) - self._began


class HistoryFile(keras.callbacks.Callback):
    """Writes the logs of every epoch, and the kernel traces of a PINN, as a row of a CSV file.

    An existing file is continued: rows from the epoch at which training starts are replaced, so a
    resumed run leaves the same file as an uninterrupted one.

    Args:
        path: path of the file; its folder is created.

    Example::

        file = nk.callbacks.HistoryFile("run/history.csv")
        model.compile("adam")
        model.fit(epochs=10, steps_per_epoch=100, callbacks=[nk.callbacks.Stopwatch(), file])
        rows = nk.callbacks.read_history("run/history.csv")
        print(rows[-1]["loss"], rows[-1]["seconds"])
    """

    def __init__(self, path: str | os.PathLike[str]):
        super().__init__()
        self.path = Path(path)
        self._rows: list[dict[str, Any]] | None = None

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        self._rows = None

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        if self._rows is None:
            earlier = [row for row in read_history(self.path) if row["epoch"] < epoch]
            self._rows = [{**row, "epoch": int(row["epoch"])} for row in earlier]
        traces = getattr(self.model, "kernel_traces", {})
        values = {**(logs or {}), **{f"traces/{group}": trace for group, trace in traces.items()}}
        self._rows.append({"epoch": epoch, **{key: float(v) for key, v in values.items()}})
        names = list(dict.fromkeys(name for row in self._rows for name in row))
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with replaced(self.path) as temporary, open(temporary, "w", newline="") as file:
            writer = csv.DictWriter(file, names)
            writer.writeheader()
            writer.writerows(self._rows)


def read_history(path: str | os.PathLike[str]) -> list[dict[str, float]]:
    """Returns the rows of a history file, numbers by name; none if there is no file."""
    if not Path(path).exists():
        return []
    with open(path, newline="") as file:
        return [
            {name: float(value) for name, value in row.items() if value}
            for row in csv.DictReader(file)
        ]
