"""Residual blocks as plain functions, and the parameters they depend on."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

__all__ = ["Block", "Recorder", "Variables", "tensors"]

Variables = Sequence[tf.Variable | keras.Variable]

# Told of every product that a kernel takes part in: the layer, by block of channels the inputs
# ``[k, n, in]`` and the products ``[k, n, units]``, and the bias that was read for the value, the
# channel ``()``, or None.
Recorder = Callable[[Any, Mapping[tuple, tf.Tensor], Mapping[tuple, tf.Tensor], Any], None]


@dataclasses.dataclass(frozen=True)
class Block:
    """One block R_b of the stacked residual.

    Attributes:
        residual: maps ``points`` to residuals ``[n]`` or ``[n, k]``. Each row must depend on its
            own point only. Without points it takes no argument, and rows may depend on anything.
        points: a tensor or any nest of tensors that share their first axis, of length ``n``.
        scale: constant factor of the residual, ``1 / sqrt(n k)`` under the mean convention.
        recorded: the same function for points and a recorder, which it tells of every product that
            a parameter takes part in; None if that is not possible. With it rows of the Jacobian
            come from the signals of one reverse pass: see :mod:`ntk_keras.kernel.factored`.
        recorded_for: the parameters that these products account for.
        computed_in: a dtype in between that is coarser than the residuals' own, which differences
            of residuals have to overcome; None if there is none.
    """

    residual: Callable[..., tf.Tensor]
    points: Any = None
    scale: tf.Tensor | float = 1.0
    recorded: Callable[[Any, Recorder], tf.Tensor] | None = None
    recorded_for: Variables = ()
    computed_in: tf.DType | None = None

    def __call__(self) -> tf.Tensor:
        """The block's residuals at the present parameters, ``[n * k]``, point by point."""
        return self.at(self.points)

    def at(self, points: Any) -> tf.Tensor:
        """The residuals of other points, with the scale of this block, ``[m * k]``.

        Raises:
            ValueError: for a scalar, which is a loss more likely than a residual.
        """
        values = self.residual() if points is None else self.residual(points)
        if values.shape.rank == 0:
            raise ValueError(
                "A residual must be a tensor [n] or [n, k], a row for each point. Received a "
                "scalar. Give the residuals themselves, not the loss that is made of them."
            )
        return self._scaled(tf.reshape(values, [-1]))

    def can_factor(self, variables: Variables) -> bool:
        """Whether rows of the Jacobian by these parameters follow from what a recorder is told."""
        known = {id(value) for value in tensors(self.recorded_for)}
        return self.recorded is not None and known.issuperset(map(id, tensors(variables)))

    def observed(self, recorder: Recorder) -> tf.Tensor:
        """The block's residuals ``[n, k]``, of which the recorder is told."""
        if self.recorded is None:
            raise ValueError("This block cannot be recorded: it has no function `recorded`.")
        values = self.recorded(self.points, recorder)
        return self._scaled(values if values.shape.rank == 2 else values[:, tf.newaxis])

    def _scaled(self, values: tf.Tensor) -> tf.Tensor:
        # A Python number as it is: a cast would round it to single precision on the way.
        scale = tf.cast(self.scale, values.dtype) if tf.is_tensor(self.scale) else self.scale
        return values * scale


def tensors(variables: Variables) -> list[Any]:
    """What a gradient tape can watch: the ``tf.Variable`` behind a ``keras.Variable``.

    Args:
        variables: of either kind.
    """
    return [v.value if isinstance(v, keras.Variable) else v for v in variables]
