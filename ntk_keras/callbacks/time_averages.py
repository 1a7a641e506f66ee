"""Time averages bounded by Theorems 1 and 2, taken step by step during a run."""

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from ntk_keras import kernel, theory
from ntk_keras.kernel.linearization import Linearization
from ntk_keras.training.term_changes import compiled_with
from ntk_keras.weighting import PointWeighting, Weighting

__all__ = ["TimeAverages"]


class TimeAverages(keras.callbacks.Callback):
    """Follows ``||R||^2``, ``||grad F||^2`` and ``||grad G||^2`` of a PINNModel.

    Here ``F = 1/2 ||R||^2`` and ``G = 1/2 R^T Lambda R`` with the weights of the step. For gradient
    descent with weights from the exact kernel their averages over steps are ``O(1/T)`` (Theorems 1
    and 2, Corollary 1; with :class:`~ntk_keras.weighting.Gate` also for other weights, Corollary
    2).

    It logs the averages over all steps so far as ``averages/residual``, ``averages/gradient`` and
    ``averages/weighted_gradient``. From ten steps on it also logs the slopes in T that fit their
    last decade, as ``slopes/<the same names>``. Place it before callbacks that write.

    Every step is measured before it is taken, at its own points, which costs about a step more. A
    Keras "batch" must therefore be one step, ``steps_per_execution=1``.

    Args:
        spectrum: whether to record the kernel's eigenvalues too, which requires its matrix.

    Attributes:
        groups: names of the groups, in the order of the records.

    Raises:
        ValueError: before training starts, if the model has no groups of terms with weights, a term
            has no points, weights are pointwise, or several steps are made per execution.

    Reference:
        Section 3 and Figure 3.

    Example::

        model = nk.PINNModel(network, terms, nk.weighting.ExactNTK(update_every=1))
        model.compile(keras.optimizers.SGD(1e-4), steps_per_execution=1)
        averages = nk.callbacks.TimeAverages()
        model.fit(epochs=10, steps_per_epoch=100, callbacks=[averages])
        print(averages.slopes())
    """

    def __init__(self, *, spectrum: bool = False):
        super().__init__()
        self.spectrum = spectrum
        self.groups: tuple[str, ...] = ()
        self._measured: list[dict[str, np.ndarray]] = []
        self._weights: list[np.ndarray] = []

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Checks the model, and compiles what is measured. A second ``fit`` goes on."""
        self._check()
        self.groups = tuple(self.model.weighting.groups)
        self._compiled = compiled_with(self.model, self._quantities)
        self._measured = self._measured[: len(self._weights)]

    def on_train_batch_begin(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Measures R and its gradients, at the points of the step to come."""
        self._measured.append(self._measure())

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Notes the weights of the step."""
        self._weights.append(self.model.weighting.effective_weights.numpy())

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Adds averages and slopes to the logs."""
        if logs is not None:
            averages = self.averages()
            logs.update({f"averages/{name}": float(v[-1]) for name, v in averages.items()})
            logs.update({f"slopes/{name}": slope for name, slope in self.slopes().items()})

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Measures once more, where the last step led."""
        self._measured.append(self._measure())

    def squares(self) -> np.ndarray:
        """Returns ``||R_b||^2`` at theta_0 to theta_T, ``[T + 1, groups]``."""
        return np.array([measured["squares"] for measured in self._measured])

    def weights(self) -> np.ndarray:
        """Returns Lambda at theta_0 to theta_{T-1}, ``[T, groups]``."""
        return np.array(self._weights)

    def products(self) -> np.ndarray:
        """Returns ``(J_a^T R_a) . (J_b^T R_b)`` from theta_0 on, ``[T, groups, groups]``."""
        return np.array([m["products"] for m in self._measured[: len(self._weights)]])

    def eigenvalues(self) -> np.ndarray:
        """Returns the kernel's eigenvalues at theta_0 to theta_T, largest first, ``[T + 1, n]``."""
        return np.array([measured["eigenvalues"] for measured in self._measured])

    def alignments(self) -> np.ndarray:
        """Returns ``R^T K Lambda R = grad F . grad G`` at theta_0 to theta_{T-1}, ``[T]``."""
        return np.einsum("tab,tb->t", self.products(), self.weights())

    def values(self) -> dict[str, np.ndarray]:
        """Returns the averaged quantities at theta_0 to theta_{T-1}, each ``[T]``."""
        products, weights = self.products(), self.weights()
        return {
            "residual": np.sum(self.squares()[: len(weights)], axis=1),
            "gradient": np.sum(products, axis=(1, 2)),
            "weighted_gradient": np.einsum("ta,tab,tb->t", weights, products, weights),
        }

    def averages(self) -> dict[str, np.ndarray]:
        """Returns the averages over the first 1, ..., T steps, each ``[T]``."""
        return {name: theory.running_mean(values) for name, values in self.values().items()}

    def slopes(self) -> dict[str, float]:
        """Returns the averages' exponents of T over the last decade; none before ten steps."""
        steps = np.arange(1, len(self._weights) + 1)
        last = steps >= steps[-1] / 10
        averages = self.averages() if len(steps) >= 10 else {}
        return {name: theory.log_slope(steps[last], v[last]) for name, v in averages.items()}

    def curvatures(self, learning_rate: float) -> tuple[float, float]:
        """Returns the least L of F, and of G, for which the descent lemma holds along the run.

        Args:
            learning_rate: step length eta of plain gradient descent.
        """
        squares, weights, values = self.squares(), self.weights(), self.values()
        moves = learning_rate**2 * values["weighted_gradient"]
        plain = np.sum(squares, axis=1) / 2
        before, after = (np.sum(weights * s, axis=1) / 2 for s in (squares[:-1], squares[1:]))
        return (
            theory.largest_curvature(
                np.stack([plain[:-1], plain[1:]], axis=1),
                -learning_rate * self.alignments(),
                moves,
            ),
            theory.largest_curvature(
                np.stack([before, after], axis=1), -moves / learning_rate, moves
            ),
        )

    def constants(self, learning_rate: float) -> theory.Constants:
        """Returns the constants of Theorem 1 measured in the run; needs ``spectrum``.

        Args:
            learning_rate: step length eta of plain gradient descent.
        """
        eigenvalues, weights = self.eigenvalues(), self.weights()
        return theory.Constants(
            k_min=float(eigenvalues.min()),
            k_max=float(eigenvalues.max()),
            l_min=float(weights.min()),
            l_max=float(weights.max()),
            lipschitz=self.curvatures(learning_rate)[0],
            learning_rate=learning_rate,
        )

    def _measure(self) -> dict[str, np.ndarray]:
        return {name: value.numpy() for name, value in self._compiled().items()}

    def _quantities(self) -> dict[str, tf.Tensor]:
        """Computes squares and products of the groups' gradients at the current parameters."""
        model, blocks = self.model, self.model.blocks()
        linearization = Linearization(blocks, model.trainable_variables)
        squares, gradients = [], []
        for group in self.groups:
            terms = model.weighting.terms_of(group)
            norms = [tf.reduce_sum(linearization.residuals[term] ** 2) for term in terms]
            squares.append(tf.add_n(norms))
            gradients.append(linearization.loss_gradient(*terms))
        stacked = tf.stack(gradients)
        quantities = {
            "squares": tf.stack(squares),
            "products": tf.matmul(stacked, stacked, transpose_b=True),
        }
        if self.spectrum:
            quantities["eigenvalues"] = kernel.eigenvalues(blocks, model.trainable_variables)
        return quantities

    def _check(self) -> None:
        weighting = getattr(self.model, "weighting", None)
        by_entry = isinstance(weighting, PointWeighting) or getattr(weighting, "causal", None)
        if not isinstance(weighting, Weighting) or by_entry:
            raise ValueError(
                "TimeAverages follows a PINNModel whose groups of terms have one weight each. "
                f"Received a {type(self.model).__name__} with weighting {weighting!r}."
            )
        missing = [term.name for term in self.model.terms if term.points is None]
        if missing:
            raise ValueError(
                f"TimeAverages knows no points of {missing}, whose points come from the data given "
                "to `fit`. Give them to the Term."
            )
        if self.model.steps_per_execution != 1:
            raise ValueError(
                "TimeAverages measures before every step. Compile the model with "
                "steps_per_execution=1. Received "
                f"steps_per_execution={self.model.steps_per_execution}."
            )
