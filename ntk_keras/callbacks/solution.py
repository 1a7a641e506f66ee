"""Images of the solution during training."""

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from matplotlib.figure import Figure

from ntk_keras import plots
from ntk_keras.backend.checks import check_count
from ntk_keras.backend.deprecation import renamed_arguments
from ntk_keras.callbacks.event_writer import EventWriter
from ntk_keras.derivatives.network_inputs import arguments
from ntk_keras.domains import Shape
from ntk_keras.training import PINNModel

__all__ = ["SolutionImages"]


class SolutionImages(EventWriter):
    """Draws prediction, truth and error over a box to TensorBoard while any Keras model trains.

    The image ``solution`` is written by optimizer step, one for each output. The folder may be
    shared with :class:`~ntk_keras.callbacks.NTKTensorBoard`.

    An image takes about a third of a second, so ``max_share`` determines how many there are: one
    after the first epoch, one when training ends, others between. A writer that fails warns once
    and lets training continue.

    Args:
        log_dir: folder of the run.
        box: box or other shape to draw, along the one or two axes that are not flat. If there are
            more, use a face, as in ``box.face(t=0.5)``.
        solution: reference: a function from points ``[m, d]`` to values ``[m]`` or
            ``[m, outputs]``, or these values at the points of ``box.grid(*grid)``; None if it is
            unknown, which leaves the prediction alone.
        grid: number of points along each axis; by default 101, and 1 where the box is flat.
        every_epochs: smallest number of epochs between images.
        max_share: fraction in (0, 1] of the training time that images may take; 1 draws all.
        figure: function that draws prediction and truth, each ``[*grid, outputs]``, in place of
            :func:`ntk_keras.plots.solution`. The box may then have any number of axes.
        network: function from points ``[m, d]`` to values ``[m, outputs]``; by default the trained
            model.

    Raises:
        ValueError: if there are more than two axes without ``figure``, or values are complex or do
            not fit the grid; before training starts, if the outputs do not fit these.

    Example::

        def truth(points):
            return np.exp(-points[:, 0]) * np.sin(np.pi * points[:, 1])

        images = nk.callbacks.SolutionImages("run", box, truth, every_epochs=10)
        model.compile("adam")
        model.fit(epochs=100, steps_per_epoch=100, callbacks=[images])
    """

    @renamed_arguments(every="every_epochs")
    def __init__(
        self,
        log_dir: str | os.PathLike[str],
        box: Shape,
        solution: Callable[[np.ndarray], Any] | np.ndarray | None,
        grid: Sequence[int] | None = None,
        *,
        every_epochs: int = 1,
        max_share: float = 0.01,
        figure: Callable[[np.ndarray, Any], Figure] | None = None,
        network: Callable[[np.ndarray], Any] | None = None,
    ):
        super().__init__(log_dir, max_share)
        self.every_epochs = check_count("every_epochs", every_epochs)
        self.box = box
        self.figure = figure
        self.network = network
        extended = box.upper > box.lower
        self.grid = tuple(np.where(extended, 101, 1).tolist() if grid is None else grid)
        self._axes = np.flatnonzero(extended)
        if figure is None and len(self._axes) not in (1, 2):
            raise ValueError(
                "SolutionImages draws along one or two axes that are not flat. Take a face of "
                f"{box}, as in box.face({box.axes[0]}={box.lower[0]:g}), or give `figure`."
            )
        self.points = box.grid(*self.grid)
        values = solution(self.points) if callable(solution) else solution
        self.truth = None if values is None else self._on_grid(values, "solution")

    def _begin(self) -> None:
        self._prediction()  # refuses at once what does not fit

    def _is_due(self, epoch: int, logs: Mapping[str, Any], time_allows: bool) -> bool:
        return time_allows and epoch % self.every_epochs == 0

    def _write(self, logs: Mapping[str, Any]) -> None:
        pictures = [plots.to_array(figure) for figure in self._figures(self._prediction())]
        tf.summary.image("solution", np.stack(pictures), max_outputs=len(pictures))

    def _prediction(self) -> np.ndarray:
        """Returns the network's values as ``[*grid, outputs]``."""
        points = self.points.astype(keras.config.floatx())
        if self.network is not None:
            predicted = self.network(points)
        else:  # of several inputs, points are cut into their columns
            trained = self.model.network if isinstance(self.model, PINNModel) else self.model
            predicted = self.model(*arguments([points], trained))
        prediction = self._on_grid(predicted, "network")
        if self.truth is not None and prediction.shape != self.truth.shape:
            raise ValueError(
                f"The network has {prediction.shape[-1]} outputs and the solution "
                f"{self.truth.shape[-1]}. Give `network` a function of the outputs to compare."
            )
        return prediction

    def _figures(self, prediction: np.ndarray) -> list[Figure]:
        if self.figure is not None:
            return [self.figure(prediction, self.truth)]
        shape = [self.grid[k] for k in self._axes]
        lines, count = self.box.lines(*self.grid), prediction.shape[-1]
        return [
            plots.solution(
                [lines[k] for k in self._axes],
                prediction[..., output].reshape(shape),
                None if self.truth is None else self.truth[..., output].reshape(shape),
                [self.box.axes[k] for k in self._axes],
                [f"u{output + 1}"] if count > 1 else (),
            )
            for output in range(count)
        ]

    def _on_grid(self, values: Any, source: str) -> np.ndarray:
        """Returns values as ``[*grid, outputs]``."""
        parts = values.values() if isinstance(values, Mapping) else values
        if isinstance(values, Mapping | list | tuple) and any(map(np.shape, parts)):
            raise ValueError(
                f"SolutionImages draws one array of values. The {source} gives several "
                f"({type(values).__name__}). Choose one in each, as by `solution` and "
                "`network=lambda x: model(x)['u']`."
            )
        array = keras.ops.convert_to_numpy(values)
        if self.figure is None and np.iscomplexobj(array):
            raise ValueError(
                f"SolutionImages draws real values. The {source} gives {array.dtype.name}. Give "
                "`network` and `solution` real and imaginary parts as outputs, or `figure`."
            )
        if array.size == 0 or array.size % len(self.points):
            raise ValueError(
                f"The {source} must have values [m] or [m, outputs] at the m = {len(self.points)} "
                f"points of box.grid{self.grid}. Received shape {array.shape}."
            )
        return array.reshape(*self.grid, -1)
