"""Jets: the channels of one tensor of the network.

Channels that follow the same formula are stacked ``[k, n, width]``, or ``[k, 1, width]`` if they
are the same at every point. Channels that are known to be zero, such as all second derivatives of
the points themselves, are absent and cost nothing. Channels are computed when first requested, all
that are missing at once, and a second request extends the first one.
"""

import functools
import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from ntk_keras.derivatives.channels import VALUE, Channel, Stack, stacks

__all__ = ["Jet", "Values", "constant", "product", "seed"]

Values = Mapping[Stack, tf.Tensor | None]


class Jet:
    """The channels of one tensor of the network.

    Args:
        compute: function that returns the requested stacks, ``[k, n, width]`` each; None, or
            missing, are those known to be zero.
    """

    def __init__(self, compute: Callable[[Sequence[Stack]], Values]):
        self._compute = compute
        self._stacks: dict[Stack, tf.Tensor] = {}
        self._homes: dict[Channel, Stack | None] = {}
        self._rows: dict[Stack, list[tf.Tensor]] = {}

    def take(self, channels: Iterable[Channel]) -> dict[Stack, tf.Tensor]:
        """Returns the requested channels in stacks ``[k, n, width]``, without zero channels."""
        channels = list(channels)
        missing = stacks(c for c in channels if c not in self._homes)
        if missing:
            values = self._compute(missing)
            for stack in missing:
                self._keep(stack, values.get(stack))
        taken = {stack: self.rows(stack) for stack in stacks(channels)}
        return {stack: rows for stack, rows in taken.items() if rows is not None}

    def rows(self, channels: Sequence[Channel]) -> tf.Tensor | None:
        """Returns channels taken before, in this order, ``[k, n, width]``; None if all are zero.

        A single channel requested k times comes once, ``[1, n, width]``, to be broadcast.
        """
        if len(set(channels)) == 1:
            channels = channels[:1]
        if tuple(channels) in self._stacks:
            return self._stacks[tuple(channels)]
        rows = [self.row(c) for c in channels]
        present = [row for row in rows if row is not None]
        if not present:
            return None
        return tf.stack([tf.zeros_like(present[0]) if row is None else row for row in rows])

    def _keep(self, stack: Stack, value: tf.Tensor | None) -> None:
        self._homes.update(dict.fromkeys(stack, None if value is None else stack))
        if value is not None:
            self._stacks[stack] = value

    def row(self, channel: Channel) -> tf.Tensor | None:
        """Returns a channel taken before, ``[n, width]``, None if it is zero."""
        home = self._homes[channel]
        if home is None:
            return None
        if home not in self._rows:
            # Not a slice, whose gradient would be a stack of zeros but for one row.
            self._rows[home] = tf.unstack(self._stacks[home], num=len(home))
        return self._rows[home][home.index(channel)]


def seed(points: tf.Tensor, everywhere: bool = False) -> Jet:
    """Returns the points themselves: a unit vector for each first derivative, nothing above.

    Args:
        points: points ``[n, d]``.
        everywhere: whether unit vectors are repeated for every point, ``[k, n, d]``. By default
            they are ``[k, 1, d]``, and whatever is the same at all points stays so.
    """
    units = np.eye(points.shape[1])

    def compute(missing: Sequence[Stack]) -> Values:
        values: dict[Stack, tf.Tensor] = {}
        for stack in missing:
            if stack == (VALUE,):
                values[stack] = points[tf.newaxis]
            elif all(isinstance(c, tuple) and len(c) == 1 for c in stack):
                rows = np.array([units[c[0]] for c in stack if isinstance(c, tuple)])
                unit = tf.constant(rows[:, np.newaxis], points.dtype)
                values[stack] = unit + tf.zeros_like(points) if everywhere else unit
        return values

    return Jet(compute)


def constant(value: Any) -> Jet:
    """Returns a number that does not depend on the inputs.

    Args:
        value: the number.
    """
    return Jet(lambda missing: {(VALUE,): value})


def product(factors: Iterable[Any]) -> Any:
    """Returns the product of channels and numbers, None if a factor is None, which means zero.

    Args:
        factors: tensors, numbers and None.
    """
    factors = list(factors)
    return None if any(f is None for f in factors) else functools.reduce(operator.mul, factors)
