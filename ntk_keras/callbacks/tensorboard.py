"""Live curves of losses, loss weights and kernel traces in TensorBoard."""

import json
import math
import os
import re
from collections.abc import Container, Mapping
from typing import Any

import numpy as np
import tensorflow as tf
from tensorboard.plugins.custom_scalar import layout_pb2
from tensorboard.plugins.custom_scalar import summary as custom_scalar
from tensorboard.plugins.hparams import api as hparams

from ntk_keras import kernel, plots
from ntk_keras.backend.checks import check_count
from ntk_keras.backend.deprecation import renamed_arguments
from ntk_keras.callbacks.event_writer import EventWriter
from ntk_keras.kernel.block import Block
from ntk_keras.training.term_changes import compiled_with

__all__ = ["NTKTensorBoard"]

# Logs that keep their names as tags.
_COPIED = (
    "loss/",
    "weights/",
    "bounded/",
    "importance/",
    "convergence/",
    "gate/",
    "causal/",
    "unknowns/",
    "unknowns_standard_error/",
    "held_out_loss",
    "averages/",
    "slopes/",
    "damping",
    "step_length",
)

# One chart each: title, and the tags laid over each other.
_CHARTS = {
    "loss weights": r"weights/.*",
    "loss weights, log10": r"weights_log10/.*",
    "kernel traces": r"traces/.*",
    "unknown coefficients": r"unknowns/.*",
    "losses": r"loss/.*",
    "held-out losses": r"held_out_loss/.*",
    "validation": r"validation/.*",
    "errors of the averaged kernel": r"convergence/.*",
    "time averages": r"averages/.*",
}


class NTKTensorBoard(EventWriter):
    """Writes the training of a :class:`~ntk_keras.PINNModel` to TensorBoard after each epoch.

    The scalars by optimizer step are ``loss/total``, ``loss/<term>``, ``weights/<group>``, the same
    as base-ten logarithms in ``weights_log10/<group>``, ``traces/<group>``, ``traces/total``,
    ``traces_standard_error/<group>``, ``unknowns/<name>``, ``validation/<metric>`` and
    ``current_learning_rate``, which a schedule decays. When training ends, the last validation is
    written as ``final/<metric>``, by which the HParams page can be sorted. A weight that a bound
    has held adds ``bounded/<group>``, which is one while it does; a gate adds ``gate/sum``,
    ``gate/accepted`` and ``gate/rejected``; causal weights add ``causal/epsilon`` and
    ``causal/least_weight``; natural gradients add ``damping`` and ``step_length``. The logs of
    :class:`~ntk_keras.callbacks.KernelConvergence`, :class:`~ntk_keras.callbacks.TimeAverages`,
    :class:`~ntk_keras.callbacks.CollocationAlarm` and :class:`~ntk_keras.callbacks.StandardErrors`
    are included if these come first. The custom scalars page overlays all weights, all traces, all
    losses and all unknowns, with a chart for each kind that the run has. If requested, the kernel
    is written as an image (``kernel``), and its eigenvalues as a histogram of their base-ten
    logarithms (``eigenvalues/log10``).

    If epochs are short, some are skipped so that writing takes a small share of the time. The first
    and the last epoch, and epochs with a scalar that the one before lacked, are always written. A
    writer that fails warns once and lets training continue.

    Args:
        log_dir: folder of the run.
        kernel_every_epochs: number of epochs from one kernel to the next; the default 0 computes
            none.
        num_kernel_points: number of points of each term in that kernel. Each costs a gradient.
        settings: settings that are written once, as text and as hyperparameters.
        max_share: fraction in (0, 1] of the training time that scalars may take; 1 writes every
            epoch. Kernels do not count.

    Example::

        board = nk.callbacks.NTKTensorBoard(
            "runs/heat", kernel_every_epochs=50, settings={"width": 50}
        )
        model.compile("adam")
        model.fit(epochs=500, steps_per_epoch=100, callbacks=[board])
    """

    @renamed_arguments(kernel_every="kernel_every_epochs", kernel_points="num_kernel_points")
    def __init__(
        self,
        log_dir: str | os.PathLike[str] = "logs",
        *,
        kernel_every_epochs: int = 0,
        num_kernel_points: int = 20,
        settings: Mapping[str, Any] | None = None,
        max_share: float = 0.01,
    ):
        super().__init__(log_dir, max_share)
        self.kernel_every_epochs = check_count(
            "kernel_every_epochs", kernel_every_epochs, smallest=0
        )
        self.num_kernel_points = check_count("num_kernel_points", num_kernel_points)
        self.settings = settings
        self._names: set[str] = set()  # in the latest logs
        self._validated: dict[str, float] = {}  # in the last validation

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self._validated |= _validation(logs or {})
        super().on_epoch_end(epoch, logs)
        if (
            self.kernel_every_epochs
            and epoch % self.kernel_every_epochs == 0
            and self._blocks_known()
        ):
            self._guarded(lambda: self._recorded(self._write_kernel))

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        self._guarded(lambda: self._recorded(self._write_final))
        super().on_train_end(logs)

    def _begin(self) -> None:
        self._compiled_kernel = compiled_with(self.model, self._kernel)
        self._charts: set[str] = set()  # that are laid out
        self._validated = {}
        if self.settings:
            text = json.dumps(self.settings, indent=2, default=str)
            tf.summary.text("settings", f"```json\n{text}\n```")
            # None is left out: its column would be text, and numbers in it could not be sorted.
            given = {key: _plain(v) for key, v in self.settings.items() if v is not None}
            hparams.hparams(given)

    def _is_due(self, epoch: int, logs: Mapping[str, Any], time_allows: bool) -> bool:
        # Values that only some epochs have, such as validation, cost more than writing them.
        rare = set(logs) - self._names
        self._names = set(logs)
        return time_allows or bool(rare)

    def _write(self, logs: Mapping[str, Any]) -> None:
        scalars = self._scalars(logs)
        for tag, value in scalars.items():
            tf.summary.scalar(tag, value)
        charts = {
            title for title, tags in _CHARTS.items() if any(re.match(tags, tag) for tag in scalars)
        }
        if not charts <= self._charts:  # TensorBoard shows the latest layout
            self._charts |= charts
            tf.summary.experimental.write_raw_pb(_layout(self._charts).SerializeToString())

    def _write_final(self) -> None:
        for name, value in self._validated.items():
            if "/" not in name:
                tf.summary.scalar(f"final/{name}", value)

    def _scalars(self, logs: Mapping[str, Any]) -> dict[str, float]:
        scalars = {"loss/total": logs["loss"]} if "loss" in logs else {}
        for key, value in logs.items():
            if key.startswith(_COPIED):
                scalars[key] = value
            if key.startswith("weights/") and value > 0:
                scalars[key.replace("weights/", "weights_log10/")] = math.log10(value)
        scalars |= {f"validation/{name}": value for name, value in _validation(logs).items()}
        traces = getattr(self.model, "kernel_traces", {})
        scalars |= {f"traces/{group}": trace for group, trace in traces.items()}
        if traces:
            scalars["traces/total"] = sum(traces.values())
        errors = getattr(self.model, "trace_standard_errors", {})
        scalars |= {f"traces_standard_error/{group}": error for group, error in errors.items()}
        scalars["current_learning_rate"] = float(self.model.optimizer.learning_rate)
        return scalars

    def _write_kernel(self) -> None:
        values, sizes = self._compiled_kernel()
        matrix = values.numpy()
        figure = plots.kernel(matrix, {name: int(size) for name, size in sizes.items()})
        tf.summary.image("kernel", plots.to_array(figure)[np.newaxis])
        eigenvalues = np.linalg.eigvalsh(matrix.astype(np.float64))
        # Eigenvalues lost to rounding are set to the smallest that the dtype resolves.
        smallest = np.finfo(matrix.dtype).eps * (eigenvalues[-1] if eigenvalues[-1] > 0 else 1)
        tf.summary.histogram("eigenvalues/log10", np.log10(np.maximum(eigenvalues, smallest)))

    def _blocks_known(self) -> bool:
        return any(term.points is not None for term in self.model.terms)

    def _kernel(self) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        """Returns K at a few points of every term, and the number of rows of each."""
        blocks = {
            name: _first_rows(block, self.num_kernel_points)
            for name, block in self.model.blocks().items()
        }
        sizes = {name: tf.shape(block())[0] for name, block in blocks.items()}
        return kernel.matrix(blocks, self.model.kernel_variables), sizes


def _validation(logs: Mapping[str, Any]) -> dict[str, float]:
    """Returns the metrics of a validation, by name."""
    return {k.removeprefix("val_"): value for k, value in logs.items() if k.startswith("val_")}


def _layout(titles: Container[str]) -> Any:
    """Returns the layout of some of the charts."""
    charts = [
        layout_pb2.Chart(title=title, multiline=layout_pb2.MultilineChartContent(tag=[tags]))
        for title, tags in _CHARTS.items()
        if title in titles
    ]
    category = layout_pb2.Category(title="Neural tangent kernel weights", chart=charts)
    return custom_scalar.pb(layout_pb2.Layout(category=[category]))


def _plain(value: Any) -> bool | int | float | str:
    return value if isinstance(value, bool | int | float | str) else str(value)


def _first_rows(block: Block, count: int) -> Block:
    """Returns a block's residuals at a few points; for coupled blocks as many rows of all."""
    if block.coupled:
        return Block(lambda: block()[:count])
    points = tf.nest.map_structure(lambda x: x[:count], block.points)
    return Block(block.residual, points, block.scale)
