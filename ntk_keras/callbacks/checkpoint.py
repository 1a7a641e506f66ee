"""Checkpoints from which an interrupted run resumes exactly, bit for bit."""

import os
from pathlib import Path
from typing import Any

import h5py
import keras

from ntk_keras.backend.files import replaced

__all__ = ["Checkpoint"]

EPOCHS = "epochs"  # in the file of a checkpoint: the number of those done


class Checkpoint(keras.callbacks.Callback):
    """Saves the whole training state after every epoch, in one file that is written atomically.

    The file holds network, optimizer, loss weights, trace averages, moving points, the random state
    and the number of completed epochs. If there are several workers, the first one writes, and all
    must be able to read the file.

    Args:
        path: path of the file, ending in ``.weights.h5``; its folder is created.

    Example::

        checkpoint = nk.callbacks.Checkpoint("run/state.weights.h5")
        model.compile("adam")
        model.fit(
            epochs=100,
            initial_epoch=checkpoint.restore(model),
            callbacks=[checkpoint],
        )
    """

    def __init__(self, path: str | os.PathLike[str]):
        super().__init__()
        self.path = Path(path)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        # One of several workers writes and all restore, so they continue from the same step.
        if not self.model.distribute_strategy.extended.should_checkpoint:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with replaced(self.path) as temporary:
            self.model.save_weights(temporary, overwrite=True)
            with h5py.File(temporary, "a") as file:
                file.attrs[EPOCHS] = epoch + 1

    def restore(self, model: keras.Model) -> int:
        """Loads the saved state, if there is one.

        Args:
            model: model built and compiled like the one that was saved.

        Returns:
            The number of completed epochs, to be passed to ``fit`` as ``initial_epoch``.

        Raises:
            ValueError: if the file was not written by this callback.
        """
        if not self.path.exists():
            return 0
        if not model.optimizer.built:
            model.optimizer.build(model.trainable_variables)
        with h5py.File(self.path) as file:
            if EPOCHS not in file.attrs:
                raise ValueError(
                    f"{self.path} does not say how many epochs are done: it holds weights alone. "
                    "Load it by `model.load_weights`, or give Checkpoint a path of its own."
                )
            done = int(file.attrs[EPOCHS])
        model.load_weights(self.path)
        return done
