"""Shared behaviour of callbacks that write TensorBoard events within a share of the time."""

import os
import time
import warnings
import weakref
from collections.abc import Callable, Mapping
from typing import Any

import keras
import tensorflow as tf

from ntk_keras.backend.checks import check_range

__all__ = ["EventWriter"]

# Writers of the fit that begins. TensorBoard reads one live file of a folder, so callbacks that
# write to the same folder share it. A later fit opens a new one, as the folder may have been
# deleted.
_OPENING: weakref.WeakValueDictionary[str, tf.summary.SummaryWriter] = weakref.WeakValueDictionary()

# Seconds of writing that do not count, so that short runs show every epoch.
_FREE = 0.1


class EventWriter(keras.callbacks.Callback):
    """Writes events at the ends of epochs, as often as a share of the time allows.

    The first epoch is always written, and the last one when training ends. A writer that fails
    warns once and lets training continue.

    Args:
        log_dir: folder of the run.
        max_share: fraction in (0, 1] of the time since training began that may be spent on writing;
            1 writes every epoch.

    Raises:
        ValueError: if the share is out of range.
    """

    def __init__(self, log_dir: str | os.PathLike[str], max_share: float):
        super().__init__()
        self.log_dir = os.fspath(log_dir)
        self.max_share = check_range(
            "max_share", max_share, "(0, 1]", ", where 1 writes every epoch"
        )
        self._failed = False

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        self._began, self._spent = time.perf_counter(), 0.0
        self._unwritten: dict[str, Any] | None = None
        self._guarded(self._open)

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        _OPENING.pop(self.log_dir, None)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self._unwritten = dict(logs or {})
        allowed = self.max_share * (time.perf_counter() - self._began) + _FREE
        if self._is_due(epoch, self._unwritten, self._spent <= allowed):
            self._write_latest()

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        if self._unwritten is not None:
            self._write_latest()
        self._guarded(self._close)

    def _begin(self) -> None:
        """Writes what comes before the first step."""

    def _is_due(self, epoch: int, logs: Mapping[str, Any], time_allows: bool) -> bool:
        """Whether to write after an epoch."""
        return time_allows

    def _write(self, logs: Mapping[str, Any]) -> None:
        """Writes the results of an epoch."""
        raise NotImplementedError

    def _open(self) -> None:
        writer = _OPENING.get(self.log_dir)
        self._writer = writer or tf.summary.create_file_writer(self.log_dir)
        _OPENING[self.log_dir] = self._writer
        self._recorded(self._begin)

    def _close(self) -> None:
        del self._writer  # others may go on; the last one closes the file

    def _write_latest(self) -> None:
        began = time.perf_counter()
        logs, self._unwritten = self._unwritten or {}, None
        self._guarded(lambda: self._recorded(lambda: self._write(logs)))
        self._spent += time.perf_counter() - began

    def _recorded(self, action: Callable[[], None]) -> None:
        """Runs a function that writes summaries, at the optimizer's step."""
        with self._writer.as_default(step=int(self.model.optimizer.iterations.numpy())):
            action()
        self._writer.flush()

    def _guarded(self, action: Callable[[], None]) -> None:
        if self._failed:
            return
        try:
            action()
        except (OSError, tf.errors.OpError) as error:
            self._failed = True
            warnings.warn(
                f"{type(self).__name__} stops writing to {self.log_dir!r}: {error}. "
                "Training goes on.",
                stacklevel=2,
            )
