"""Comparison of the averages behind the weights with the exact kernel during training."""

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from ntk_keras import kernel
from ntk_keras.backend.checks import check_count
from ntk_keras.backend.deprecation import renamed_arguments
from ntk_keras.training.term_changes import compiled_with
from ntk_keras.weighting import NTK, weights_from_traces

__all__ = ["ExactWeights", "KernelConvergence"]


class _BesideExactKernel(keras.callbacks.Callback):
    """Computes the exact kernel of a :class:`~ntk_keras.weighting.NTK` at regular epochs.

    It is computed at the parameters after the last step and the terms' points for the next. Exact
    weights are ``Tr K / Tr K_bb`` of the adapted groups, with the weighting's trace floor if it was
    given one, times its importance factors. The cost is a gradient for each point, and the matrix
    if that is averaged.

    Args:
        every_epochs: number of epochs from one computation to the next, the first epoch included.

    Raises:
        ValueError: before training starts, for another weighting or a term without points.
    """

    def __init__(self, every_epochs: int = 1):
        super().__init__()
        self.every_epochs = check_count("every_epochs", every_epochs)

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Checks the model, and compiles the exact kernel."""
        self._check()
        self._exact = compiled_with(self.model, self._exact_quantities)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Adds values to the logs if they are due."""
        if epoch % self.every_epochs == 0:
            added = self._compared()
            if logs is not None:
                logs.update(added)

    def _compared(self) -> dict[str, float]:
        """Returns the values to add to the logs."""
        raise NotImplementedError

    def _exact_quantities(self) -> dict[str, tf.Tensor]:
        """Computes traces, weights and, if it is averaged, the kernel at current parameters."""
        weighting, variables = self.model.weighting, self.model.kernel_variables
        known = self.model.blocks()
        blocks = {term.name: known[term.name] for term in self._adapted_terms()}
        traces = weighting.pool(kernel.traces(blocks, variables))
        weights = weights_from_traces(traces, weighting.trace_floor or 0.0)
        weights *= weighting.spread(weighting.importance_factors.value)
        matrix = kernel.matrix(blocks, variables) if weighting.average == "kernel" else None
        return self._by_name(traces, weights, matrix)

    def _by_name(
        self, traces: tf.Tensor, weights: tf.Tensor, matrix: tf.Tensor | None
    ) -> dict[str, tf.Tensor]:
        groups = self.model.weighting.adapted
        by_name = {f"traces/{group}": traces[index] for index, group in enumerate(groups)}
        by_name |= {f"weights/{group}": weights[index] for index, group in enumerate(groups)}
        return by_name if matrix is None else {**by_name, "kernel": matrix}

    def _adapted_terms(self) -> list[Any]:
        """Returns the terms of the adapted groups, in the order of the kernel's blocks."""
        return [term for term in self.model.terms if term.group in self.model.weighting.adapted]

    def _check(self) -> None:
        weighting, name = getattr(self.model, "weighting", None), type(self).__name__
        if not isinstance(weighting, NTK):
            raise ValueError(
                f"{name} compares the averages of a PINNModel with weighting "
                f"ntk_keras.weighting.NTK or ExactNTK. Received a {type(self.model).__name__} with "
                f"weighting {weighting!r}."
            )
        if weighting.causal is not None:
            raise ValueError(
                f"{name} computes traces whose entries count alike. Received causal weights: "
                "leave out `causal`."
            )
        missing = [term.name for term in self._adapted_terms() if term.points is None]
        if missing:
            raise ValueError(
                f"{name} knows no points of {missing}, whose points come from the data "
                "given to `fit`. Give them to the Term, or exclude its group from the weighting."
            )


class KernelConvergence(_BesideExactKernel):
    """Measures the moving average of a :class:`~ntk_keras.weighting.NTK` by the exact kernel.

    Relative errors are logged as ``convergence/traces/<group>``, ``convergence/weights/<group>``
    and, if the whole kernel is averaged, ``convergence/kernel`` in the Frobenius norm. Place the
    callback before others that write. Groups that the weighting excludes have no errors. Exact
    weights are ``Tr K / Tr K_bb`` with the weighting's trace floor if it was given one, so the
    floor of sampled traces, bounds, a gate or an update that is not due also count as errors.

    The average and weights are those of the last step. The exact kernel is that at the parameters
    after it and at the terms' points for the next step. With fixed points, exact traces therefore
    differ by one step's change, and with redrawn points also by the difference between two draws.

    A comparison takes a gradient for each point, and the matrix if that is averaged.

    Args:
        every_epochs: number of epochs from one comparison to the next, the first epoch included.

    Attributes:
        errors: latest relative errors, by their names in the logs.

    Raises:
        ValueError: before training starts, for another weighting or a term without points.

    Reference:
        Equation (5) and Section 4.

    Example::

        model = nk.PINNModel(network, terms, nk.weighting.NTK("predictor"))
        model.compile("adam")
        convergence = nk.callbacks.KernelConvergence(every_epochs=10)
        model.fit(epochs=100, steps_per_epoch=100, callbacks=[convergence])
        print(convergence.errors)
    """

    @renamed_arguments(every="every_epochs")
    def __init__(self, every_epochs: int = 1):
        super().__init__(every_epochs)
        self.errors: dict[str, float] = {}

    def _compared(self) -> dict[str, float]:
        averaged, exact = self._averaged_quantities(), self._exact()
        self.errors = {
            f"convergence/{name}": _relative_error(averaged[name].numpy(), exact[name].numpy())
            for name in averaged
        }
        return self.errors

    def _averaged_quantities(self) -> dict[str, tf.Tensor]:
        weighting = self.model.weighting
        average = weighting.kernel.value if weighting.average == "kernel" else None
        return self._by_name(
            weighting.traces, weighting.spread(weighting.effective_weights), average
        )


class ExactWeights(_BesideExactKernel):
    """Logs the exact weights as ``exact/<group>``, beside those in use.

    They are computed at the parameters after the last step and the terms' points for the next, as
    in :class:`KernelConvergence`, which measures the difference.

    Args:
        every_epochs: number of epochs from one computation to the next, the first epoch included.

    Raises:
        ValueError: before training starts, for another weighting or a term without points.

    Reference:
        Equation (5); Figure 8 shows both.

    Example::

        model = nk.PINNModel(network, terms, nk.weighting.NTK("predictor"))
        model.compile("adam")
        exact = nk.callbacks.ExactWeights(every_epochs=10)
        history = model.fit(epochs=100, steps_per_epoch=100, callbacks=[exact]).history
        print(history["exact/equation"][-1], history["weights/equation"][-1])
    """

    @renamed_arguments(every="every_epochs")
    def __init__(self, every_epochs: int = 1):
        super().__init__(every_epochs)

    def _compared(self) -> dict[str, float]:
        exact = self._exact()
        groups = self.model.weighting.adapted
        return {f"exact/{group}": float(exact[f"weights/{group}"]) for group in groups}


def _relative_error(value: np.ndarray, exact: np.ndarray) -> float:
    """Returns ``||value - exact|| / ||exact||``; zero if both are zero."""
    value, exact = np.float64(value), np.float64(exact)  # squares of large weights overflow
    distance, size = np.linalg.norm(value - exact), np.linalg.norm(exact)
    return float(distance / size) if size > 0 else float("inf" if distance > 0 else 0)
