"""Residual blocks as plain functions of their points, and the parameters they depend on."""

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from ntk_keras.backend.checks import check_count
from ntk_keras.backend.deprecation import renamed_members
from ntk_keras.backend.inlining import inlined_functions
from ntk_keras.backend.layer_hook import LayerHook
from ntk_keras.backend.variables import Variables, watchable

__all__ = [
    "Block",
    "Blocks",
    "check_block_names",
    "check_real",
    "check_rows",
    "checked_blocks",
    "named_blocks",
]


@renamed_members(recorded="with_hook", recorded_for="hooked_variables", observed="evaluate_with")
@dataclasses.dataclass(frozen=True, repr=False)
class Block:
    """One block ``R_b`` of the stacked residual.

    Attributes:
        residual: function from ``points`` to residuals ``[n]`` or ``[n, k]``. Each row must depend
            on its own point only, unless ``coupled``. Without points it takes no argument, and rows
            may depend on anything.
        points: tensor or nest of tensors that share their first axis, of length ``n``.
        scale: constant factor of the residual, ``1 / sqrt(n k)`` under the mean convention.
        with_hook: the same function of points and a layer hook, which is called for every product
            that a parameter takes part in; None if that is not possible. It allows rows of the
            Jacobian to be computed from the cotangents of one reverse pass: see
            :mod:`ntk_keras.kernel.factored`.
        hooked_variables: parameters that these products account for.
        computed_in: intermediate dtype coarser than the residuals', which differences of residuals
            have to exceed; None if there is none.
        coupled: whether a row may depend on other points than its own, by a mean over points or
            batch normalization. Rows of the Jacobian then take a reverse pass of the whole block
            each. With ``with_hook``, only its value may, under a stop_gradient.
    """

    residual: Callable[..., tf.Tensor]
    points: Any = None
    scale: tf.Tensor | float = 1.0
    with_hook: Callable[[Any, LayerHook], tf.Tensor] | None = None
    hooked_variables: Variables = ()
    computed_in: tf.DType | None = None
    coupled: bool = False

    def __repr__(self) -> str:
        shapes = tf.nest.map_structure(np.shape, self.points)
        return f"Block(points of shape {shapes})"

    @property
    def is_whole(self) -> bool:
        """Whether rows have no own point from which they could be computed."""
        return self.points is None or self.coupled

    def __call__(self) -> tf.Tensor:
        """Returns the block's residuals at the current parameters, ``[n * k]``, point by point."""
        return self.at(self.points)

    def at(self, points: Any) -> tf.Tensor:
        """Returns the residuals of other points, with the scale of this block, ``[m * k]``.

        Raises:
            ValueError: as :func:`check_rows` does.
        """
        with inlined_functions():
            values = self.residual() if points is None else self.residual(points)
        check_rows(values)
        return self._scaled(tf.reshape(values, [-1]))

    def can_factor(self, variables: Variables) -> bool:
        """Whether rows of the Jacobian by these parameters follow from what a hook receives."""
        known = {id(value) for value in watchable(self.hooked_variables)}
        return self.with_hook is not None and known.issuperset(map(id, watchable(variables)))

    def evaluate_with(self, hook: LayerHook) -> tf.Tensor:
        """Returns the block's residuals ``[n, k]`` and calls the hook for their products."""
        if self.with_hook is None:
            raise ValueError("This block takes no layer hook: it has no function `with_hook`.")
        with inlined_functions():
            values = self.with_hook(self.points, hook)
        return self._scaled(values if values.shape.rank == 2 else values[:, tf.newaxis])

    def _scaled(self, values: tf.Tensor) -> tf.Tensor:
        # A Python number as it is: a cast would round it to single precision on the way.
        scale = tf.cast(self.scale, values.dtype) if tf.is_tensor(self.scale) else self.scale
        return values * scale


Blocks = Block | Callable[[], tf.Tensor] | Mapping[str, Block | Callable[[], tf.Tensor]]


def named_blocks(blocks: Blocks) -> dict[str, Block]:
    """Returns blocks by name; a block given by itself is named ``"residual"``.

    Args:
        blocks: one residual block, or a dict of them; functions of no points count as blocks.
    """
    named = blocks if isinstance(blocks, Mapping) else {"residual": blocks}
    return {name: b if isinstance(b, Block) else Block(b) for name, b in named.items()}


def check_rows(values: Any, name: str | None = None) -> None:
    """Checks what a residual returned.

    Args:
        values: real tensor, ``[n]`` or ``[n, k]``.
        name: name of the residual, for the message.

    Raises:
        ValueError: if values are complex, or a scalar, which is probably a loss and not a residual.
    """
    which = "A residual" if name is None else f"Residual {name!r}"
    if not tf.is_tensor(values) or values.shape.rank == 0:
        received = "a scalar" if tf.is_tensor(values) else type(values).__name__
        raise ValueError(
            f"{which} must be a tensor [n] or [n, k], a row for each point. Received {received}. "
            "Give the residuals themselves, not the loss that is made of them."
        )
    if values.dtype.is_complex:
        raise ValueError(
            f"{which} must be real. Received {values.dtype.name}. Give real and imaginary parts, "
            "as in tf.stack([tf.math.real(r), tf.math.imag(r)], axis=-1)."
        )


def check_real(variables: Variables) -> None:
    """Raises ValueError for complex parameters, for which the kernel is not defined here.

    Args:
        variables: parameters theta.
    """
    names = [v.name for v in variables if tf.as_dtype(v.dtype).is_complex]
    if names:
        raise ValueError(
            f"Parameters must be real. Complex are {names}. Make each of them two, and compute "
            "with tf.complex(real, imaginary)."
        )


def checked_blocks(
    blocks: Blocks, variables: Variables, chunk_size: int | None = None
) -> dict[str, Block]:
    """Returns the blocks by name.

    Args:
        blocks: one residual block, or a dict of them.
        variables: parameters theta.
        chunk_size: number of points at a time.

    Raises:
        ValueError: if the arguments leave nothing to compute.
    """
    named = named_blocks(blocks)
    if not named or not len(variables):
        raise ValueError(
            "A kernel needs at least one residual block and one variable. Received "
            f"{len(named)} blocks and {len(variables)} variables."
        )
    check_real(variables)
    if chunk_size is not None:
        check_count("chunk_size", chunk_size)
    return named


def check_block_names(argument: str, given: Iterable[str], named: Mapping[str, Block]) -> None:
    """Raises ValueError for a name that is not that of a block.

    Args:
        argument: name of the argument with the names.
        given: names.
        named: blocks by name.
    """
    unknown = sorted(set(given) - set(named))
    if unknown:
        raise ValueError(
            f"The keys of {argument} must be names of blocks, {sorted(named)}. Unknown: {unknown}."
        )
