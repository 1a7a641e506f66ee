"""Images of moving points."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from ntk_keras import plots
from ntk_keras.backend.checks import check_count
from ntk_keras.callbacks.event_writer import EventWriter
from ntk_keras.derivatives.axis_names import as_names
from ntk_keras.domains.moving import unweighted
from ntk_keras.training.moving_points import MovingPoints

__all__ = ["PointImages"]


class PointImages(EventWriter):
    """Draws moving points to TensorBoard while a :class:`~ntk_keras.PINNModel` trains.

    Each term with a :class:`~ntk_keras.domains.MovingSampler` has an image ``points/<term>`` by
    optimizer step. Of pairs, such as points with normals, the first is drawn. The folder may be
    shared with :class:`~ntk_keras.callbacks.NTKTensorBoard`.

    Args:
        log_dir: folder of the run.
        axes: names of one to four axes to draw, or a single name; all by default.
        every_epochs: smallest number of epochs between images.
        max_share: fraction in (0, 1] of the training time that images may take; 1 draws all.

    Raises:
        ValueError: if a number is out of range or axes are not names; before training starts, if no
            points move, or axes are unknown or too many.

    Example::

        points = nk.domains.RAD(box.interior(1000))
        model = nk.PINNModel(network, [nk.Term("equation", equation, points)])
        model.compile("adam")
        images = nk.callbacks.PointImages("run", every_epochs=10)
        model.fit(epochs=100, steps_per_epoch=100, callbacks=[images])
    """

    def __init__(
        self,
        log_dir: str | os.PathLike[str],
        axes: Sequence[str] | str | None = None,
        *,
        every_epochs: int = 1,
        max_share: float = 0.01,
    ):
        super().__init__(log_dir, max_share)
        self.axes = as_names(axes)
        self.every_epochs = check_count("every_epochs", every_epochs)

    def _begin(self) -> None:
        if not self._moving:
            raise ValueError(
                "PointImages draws points that move, and no term has any. Give a Term a sampler "
                "that moves them, as in nk.domains.RAD(box.interior(1000))."
            )
        for moving in self._moving:
            plots.points(*self._columns(moving))  # refuses at once what does not fit

    def _is_due(self, epoch: int, logs: Mapping[str, Any], time_allows: bool) -> bool:
        return time_allows and epoch % self.every_epochs == 0

    def _write(self, logs: Mapping[str, Any]) -> None:
        for moving in self._moving:
            picture = plots.to_array(plots.points(*self._columns(moving)))
            tf.summary.image(f"points/{moving.term.name}", picture[np.newaxis])

    @property
    def _moving(self) -> Sequence[MovingPoints]:
        return getattr(self.model, "moving_points", ())

    def _columns(self, moving: MovingPoints) -> tuple[np.ndarray, tuple[str, ...]]:
        """Returns the columns to draw, and their names."""
        values = np.asarray(tf.nest.flatten(unweighted(moving.points))[0])
        values = values.reshape(len(values), -1)
        names = moving.term.axes or ()
        if len(names) != values.shape[1]:
            names = tuple(f"x{column}" for column in range(values.shape[1]))
        drawn = self.axes or names
        unknown = sorted(set(drawn) - set(names))
        if unknown:
            raise ValueError(
                f"The points of term {moving.term.name!r} have the axes {list(names)}. "
                f"PointImages received axes={list(drawn)}, of which they lack {unknown}."
            )
        return values[:, [names.index(axis) for axis in drawn]], drawn
