"""Channels: which derivatives are carried through a network, and the sums that combine them.

A channel is a multi-index, written as the sorted tuple of the inputs that are differentiated by:
``()`` is the value, ``(1,)`` the derivative d_1, ``(0, 0, 1)`` is d_0^2 d_1. One more kind carries
a second-order operator sum_k c_k d_k^2 as a whole (:class:`SecondOrder`).

The derivative of a product is a sum over the ways to split a multi-index in two (Leibniz), that of
a composition a sum over the ways to split it into any number of blocks (Faa di Bruno). Both are
enumerated once, in Python, while a graph is built.
"""

import collections
import dataclasses
import functools
from collections.abc import Iterable, Iterator
from typing import Any

import tensorflow as tf

__all__ = [
    "VALUE",
    "Block",
    "Channel",
    "MultiIndex",
    "SecondOrder",
    "blocks",
    "closure",
    "describe",
    "partitions",
    "pattern",
    "splits",
]

MultiIndex = tuple[int, ...]
VALUE: MultiIndex = ()


@dataclasses.dataclass(frozen=True)
class SecondOrder:
    """The channel L = sum_k c_k d_k^2, carried as one instead of one for each k.

    With L z and the first derivatives of z at hand, L s(z) = s'(z) L z + s''(z) sum_k c_k (d_k z)^2
    (Li et al., "A computational framework for neural network-based variational Monte Carlo with
    Forward Laplacian", 2024), so 1 + d + 1 channels do the work of 1 + 2 d.

    Attributes:
        coefficients: c_k for each input, a number or the reference of a tensor ``[n, 1]`` or
            ``[1, 1]``. Zeros cost nothing.
    """

    coefficients: tuple

    @property
    def constant(self) -> bool:
        """Whether all coefficients are numbers."""
        return all(isinstance(c, float) for c in self.coefficients)

    @property
    def first(self) -> list[MultiIndex]:
        """The first derivatives that L s(z) needs."""
        return [(k,) for k, c in enumerate(self.coefficients) if not _is_zero(c)]

    def column(self, dtype: tf.DType) -> tf.Tensor | None:
        """The coefficients of :attr:`first`, ``[k, n or 1, 1]``; None if all of them are one."""
        used = [c for c in self.coefficients if not _is_zero(c)]
        if self.constant:
            return None if set(used) == {1.0} else tf.reshape(tf.constant(used, dtype), [-1, 1, 1])
        columns = [tf.constant([[c]], dtype) if isinstance(c, float) else c.deref() for c in used]
        rows = functools.reduce(tf.maximum, [tf.shape(c)[0] for c in columns])
        return tf.stack([tf.broadcast_to(c, [rows, 1]) for c in columns])


def _is_zero(coefficient: Any) -> bool:
    return isinstance(coefficient, float) and coefficient == 0


Channel = MultiIndex | SecondOrder
Block = tuple[Channel, ...]


def pattern(index: MultiIndex) -> MultiIndex:
    """What multi-indices that follow the same formula share: (2, 5, 5) has the pattern (0, 1, 1).

    Args:
        index: sorted.
    """
    axes = sorted(set(index))
    return tuple(axes.index(k) for k in index)


def blocks(channels: Iterable[Channel]) -> list[Block]:
    """The channels in blocks of one pattern, lower orders first, operators last and one by one.

    Args:
        channels: in any order.
    """
    operators: dict[SecondOrder, None] = {}
    by_pattern: dict[MultiIndex, set[MultiIndex]] = collections.defaultdict(set)
    for channel in channels:
        if isinstance(channel, SecondOrder):
            operators[channel] = None
        else:
            by_pattern[pattern(channel)].add(channel)
    patterns = sorted(by_pattern, key=lambda p: (len(p), p))
    return [*(tuple(sorted(by_pattern[p])) for p in patterns), *((c,) for c in operators)]


def closure(channels: Iterable[Channel]) -> list[Channel]:
    """The channels and all lower ones that the chain rule needs.

    Args:
        channels: in any order.
    """
    needed: dict[Channel, None] = {VALUE: None}
    for channel in channels:
        needed[channel] = None
        if isinstance(channel, SecondOrder):
            needed.update(dict.fromkeys(channel.first))
        else:
            needed.update((part, None) for part, _ in splits(channel))
    return list(needed)


@functools.cache
def splits(index: MultiIndex) -> dict[tuple[MultiIndex, MultiIndex], int]:
    """Every way to split a multi-index in two, with its multiplicity: Leibniz' rule.

    Args:
        index: what to split.
    """
    ways: collections.Counter = collections.Counter()
    for mask in range(2 ** len(index)):
        chosen = [mask >> position & 1 for position in range(len(index))]
        left = tuple(k for k, c in zip(index, chosen, strict=True) if c)
        right = tuple(k for k, c in zip(index, chosen, strict=True) if not c)
        ways[left, right] += 1
    return dict(ways)


@functools.cache
def partitions(index: MultiIndex) -> dict[int, dict[tuple[MultiIndex, ...], int]]:
    """Every way to split a multi-index into blocks, with its multiplicity: Faa di Bruno's formula.

    d_index s(z) = sum_m s^(m)(z) sum over ways with m blocks of their multiplicity times the
    product of d_block z.

    Args:
        index: what to split.

    Returns:
        Ways by their number of blocks.
    """
    ways: dict[int, collections.Counter] = collections.defaultdict(collections.Counter)
    for partition in _set_partitions(range(len(index))):
        blocks = sorted(tuple(index[position] for position in block) for block in partition)
        ways[len(blocks)][tuple(blocks)] += 1
    return {count: dict(by_blocks) for count, by_blocks in ways.items()}


def _set_partitions(positions: Iterable[int]) -> Iterator[list[list[int]]]:
    first, *rest = positions
    if not rest:
        yield [[first]]
        return
    for partition in _set_partitions(rest):
        yield [[first], *partition]
        for i, block in enumerate(partition):
            yield [*partition[:i], [first, *block], *partition[i + 1 :]]


def describe(channel: Channel) -> str:
    """A channel as text: ``u``, ``u_01``, ``second_order(1, -4)``.

    Args:
        channel: what to describe.
    """
    if not isinstance(channel, SecondOrder):
        return "_".join(["u", "".join(map(str, channel))]) if channel else "u"
    if not channel.constant:
        return "second_order(by point)"
    return f"second_order({', '.join(f'{c:g}' for c in channel.coefficients)})"
