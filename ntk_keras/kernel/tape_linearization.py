"""The stacked residual as an external tape has recorded it."""

from collections.abc import Mapping

import tensorflow as tf

from ntk_keras.backend import private_names
from ntk_keras.backend.variables import Variables, is_connected, watchable
from ntk_keras.kernel.block import Block, check_real, check_rows
from ntk_keras.kernel.linearization import Linearization
from ntk_keras.kernel.per_sample import flat_rows

__all__ = ["TapeLinearization"]


class TapeLinearization(Linearization):
    """The residual ``R(theta)`` recorded by an external tape, with products by J and ``J^T``.

    A tape cannot provide residuals at other parameters or points.

    Args:
        residuals: tensors ``[n]`` or ``[n, k]`` by name, computed from ``variables`` under
            ``tape``.
        tape: persistent tape.
        variables: parameters theta.

    Raises:
        ValueError: if a residual is not one or complex, or the tape is not persistent or has
            recorded no path from a residual to the variables.
    """

    def __init__(
        self,
        residuals: Mapping[str, tf.Tensor],
        tape: tf.GradientTape,
        variables: Variables,
    ):
        for name, residual in residuals.items():
            check_rows(residual, name)
        self.blocks = {name: Block(_refuse) for name in residuals}
        self.variables = list(variables)
        check_real(self.variables)
        self._theta = watchable(self.variables)
        self._places = list(range(len(self._theta)))
        self._jacobians = {}
        self._tape = tape
        self._recorded = dict(residuals)
        self.residuals = {name: tf.reshape(r, [-1]) for name, r in residuals.items()}
        self._check()

    def rows(self, name: str, subset: tf.Tensor | None = None) -> tf.Tensor:
        """Returns rows of J by a reverse pass through the tape for each entry.

        Args:
            name: name of a block.
            subset: indices of its entries; all by default.

        Returns:
            ``[m, p]``.
        """
        return self._recorded_rows(flat_rows, name, None, subset)

    def _taped_vjp(self, cotangents: Mapping[str, tf.Tensor]) -> list[tf.Tensor]:
        recorded = {name: self._recorded[name] for name in cotangents}
        return self._tape.gradient(
            list(recorded.values()),
            self._theta,
            output_gradients=[tf.reshape(cotangents[n], tf.shape(r)) for n, r in recorded.items()],
            unconnected_gradients=tf.UnconnectedGradients.ZERO,
        )

    def _check(self) -> None:
        if not private_names.is_persistent(self._tape):
            raise ValueError(
                "Weights take several reverse passes over the tape. Make it persistent: "
                "tf.GradientTape(persistent=True)."
            )
        lost = [
            name
            for name, residual in self._recorded.items()
            if not is_connected(self._tape, residual, self._theta)
        ]
        if lost:
            raise ValueError(
                f"The tape has recorded no way from {lost} to the variables. Compute residuals "
                "from the network inside `with tape:`, and pass the variables they depend on."
            )


def _refuse() -> tf.Tensor:
    """Replaces the function of a recorded residual, which is not known."""
    raise ValueError(
        "A tape holds residuals at the present parameters and points only. Give functions that "
        'compute them instead, or choose an estimator that needs no others: "reverse" or "product".'
    )
