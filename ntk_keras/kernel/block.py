"""Residual blocks as plain functions of their points, and the parameters they depend on."""

import dataclasses
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from ntk_keras.backend.hooks import LayerHook
from ntk_keras.backend.variables import Variables, watchable

__all__ = ["Block"]


@dataclasses.dataclass(frozen=True)
class Block:
    """One block R_b of the stacked residual.

    Attributes:
        residual: maps ``points`` to residuals ``[n]`` or ``[n, k]``. Each row must depend on its
            own point only. Without points it takes no argument, and rows may depend on anything.
        points: a tensor or any nest of tensors that share their first axis, of length ``n``.
        scale: constant factor of the residual, ``1 / sqrt(n k)`` under the mean convention.
        with_hook: the same function of points and a layer hook, which is told of every product
            that a parameter takes part in; None if that is not possible. With it rows of the
            Jacobian come from the cotangents of one reverse pass: see
            :mod:`ntk_keras.kernel.factored`.
        hooked_variables: the parameters that these products account for.
        computed_in: a dtype in between that is coarser than the residuals' own, which differences
            of residuals have to overcome; None if there is none.
    """

    residual: Callable[..., tf.Tensor]
    points: Any = None
    scale: tf.Tensor | float = 1.0
    with_hook: Callable[[Any, LayerHook], tf.Tensor] | None = None
    hooked_variables: Variables = ()
    computed_in: tf.DType | None = None

    def __call__(self) -> tf.Tensor:
        """The block's residuals at the current parameters, ``[n * k]``, point by point."""
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
        """Whether rows of the Jacobian by these parameters follow from what a hook is told."""
        known = {id(value) for value in watchable(self.hooked_variables)}
        return self.with_hook is not None and known.issuperset(map(id, watchable(variables)))

    def evaluate_with(self, hook: LayerHook) -> tf.Tensor:
        """The block's residuals ``[n, k]``; the hook is told how they come about."""
        if self.with_hook is None:
            raise ValueError("This block takes no layer hook: it has no function `with_hook`.")
        values = self.with_hook(self.points, hook)
        return self._scaled(values if values.shape.rank == 2 else values[:, tf.newaxis])

    def _scaled(self, values: tf.Tensor) -> tf.Tensor:
        # A Python number as it is: a cast would round it to single precision on the way.
        scale = tf.cast(self.scale, values.dtype) if tf.is_tensor(self.scale) else self.scale
        return values * scale
