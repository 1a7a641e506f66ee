"""Jets: the channels of one tensor of the network.

Channels that follow the same formula are stacked in a block ``[k, n, width]``, or ``[k, 1, width]``
if they are the same at every point. What is known to be zero, such as all second derivatives of the
points themselves, is absent and costs nothing. Channels are computed when somebody asks for them,
all that are missing at once, and a second request extends what the first began.
"""

import functools
import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import tensorflow as tf

from ntk_keras.derivatives.channels import VALUE, Block, Channel, blocks

__all__ = ["Jet", "Recorder", "Values", "constant", "product", "seed", "total"]

Values = Mapping[Block, tf.Tensor | None]


class Recorder(Protocol):
    """Told of every Dense layer that channels pass, before anything is made of the products.

    Called once for every pass of channels, which is more than once for a layer that is applied
    again, or whose later channels were asked for later: contributions to a layer add up.

    Args:
        layer: the Dense layer.
        inputs: its inputs by block of channels, ``[k, n, in]`` each. The value's block,
            ``(VALUE,)``, is there only if something above needs it, and so with every other.
        products: ``inputs @ kernel`` by block, ``[k, n, units]`` each, without the bias, so that a
            tape which watches them gives the derivatives of a residual by them: the signal of each
            channel at each point. The bias enters the value only: its gradient is the sum of the
            value's signals.
        bias: as read for the value, None if there is none.
    """

    def __call__(
        self,
        layer: Any,
        inputs: Mapping[Block, tf.Tensor],
        products: Mapping[Block, tf.Tensor],
        bias: tf.Tensor | None,
    ) -> None: ...


class Jet:
    """The channels of one tensor of the network.

    Args:
        compute: the blocks asked for, ``[k, n, width]`` each; None, or left out, are those known to
            be zero.
    """

    def __init__(self, compute: Callable[[Sequence[Block]], Values]):
        self._compute = compute
        self._blocks: dict[Block, tf.Tensor] = {}
        self._homes: dict[Channel, Block | None] = {}
        self._rows: dict[Block, list[tf.Tensor]] = {}

    def take(self, channels: Iterable[Channel]) -> dict[Block, tf.Tensor]:
        """The channels asked for in blocks ``[k, n, width]``, those that are zero left out."""
        channels = list(channels)
        missing = blocks(c for c in channels if c not in self._homes)
        if missing:
            values = self._compute(missing)
            for block in missing:
                self._keep(block, values.get(block))
        taken = {block: self.rows(block) for block in blocks(channels)}
        return {block: rows for block, rows in taken.items() if rows is not None}

    def rows(self, channels: Sequence[Channel]) -> tf.Tensor | None:
        """Channels taken before, in this order, ``[k, n, width]``; None if all are zero.

        One and the same channel k times comes once, ``[1, n, width]``, for others to broadcast.
        """
        if len(set(channels)) == 1:
            channels = channels[:1]
        if tuple(channels) in self._blocks:
            return self._blocks[tuple(channels)]
        rows = [self.row(c) for c in channels]
        present = [row for row in rows if row is not None]
        if not present:
            return None
        return tf.stack([tf.zeros_like(present[0]) if row is None else row for row in rows])

    def _keep(self, block: Block, value: tf.Tensor | None) -> None:
        self._homes.update(dict.fromkeys(block, None if value is None else block))
        if value is not None:
            self._blocks[block] = value

    def row(self, channel: Channel) -> tf.Tensor | None:
        """A channel taken before, ``[n, width]``, None if it is zero."""
        home = self._homes[channel]
        if home is None:
            return None
        if home not in self._rows:
            # Not a slice, whose gradient would be a block of zeros but for one row.
            self._rows[home] = tf.unstack(self._blocks[home], num=len(home))
        return self._rows[home][home.index(channel)]


def seed(points: tf.Tensor, everywhere: bool = False) -> Jet:
    """The points themselves: a unit vector for each first derivative, nothing above.

    Args:
        points: ``[n, d]``.
        everywhere: whether unit vectors are repeated for every point, ``[k, n, d]``. By default
            they are ``[k, 1, d]``, and whatever is the same at all points stays so.
    """
    units = np.eye(points.shape[1])

    def compute(missing: Sequence[Block]) -> Values:
        values: dict[Block, tf.Tensor] = {}
        for block in missing:
            if block == (VALUE,):
                values[block] = points[tf.newaxis]
            elif all(isinstance(c, tuple) and len(c) == 1 for c in block):
                rows = np.array([units[c[0]] for c in block if isinstance(c, tuple)])
                unit = tf.constant(rows[:, np.newaxis], points.dtype)
                values[block] = unit + tf.zeros_like(points) if everywhere else unit
        return values

    return Jet(compute)


def constant(value: Any) -> Jet:
    """A number that depends on nothing.

    Args:
        value: the number.
    """
    return Jet(lambda missing: {(VALUE,): value})


def product(factors: Iterable[Any]) -> Any:
    """The product of channels and numbers, None if a factor is, which means zero.

    Args:
        factors: tensors, numbers and None.
    """
    factors = list(factors)
    return None if any(f is None for f in factors) else functools.reduce(operator.mul, factors)


def total(terms: Iterable[tf.Tensor | None]) -> tf.Tensor | None:
    """The sum of what is not zero, None if all is.

    Args:
        terms: tensors and None.
    """
    present = [term for term in terms if term is not None]
    return functools.reduce(operator.add, present) if present else None
