"""Channels: which derivatives are carried through a network, and the sums that combine them.

A channel is a multi-index, written as the sorted tuple of the inputs that are differentiated by:
``()`` is the value, ``(1,)`` the derivative d_1, ``(0, 0, 1)`` is d_0^2 d_1. Other kinds carry
operators as a whole: sum_k c_k d_k^2 (:class:`SecondOrder`), the Laplacian of the Laplacian
(:class:`Biharmonic`) and, for its sake, the gradient of the Laplacian (:class:`LaplacianSlope`).

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
    "Biharmonic",
    "Channel",
    "LaplacianSlope",
    "MultiIndex",
    "SecondOrder",
    "Stack",
    "closure",
    "describe",
    "partitions",
    "pattern",
    "splits",
    "stacks",
]

MultiIndex = tuple[int, ...]
VALUE: MultiIndex = ()


@dataclasses.dataclass(frozen=True)
class SecondOrder:
    """The channel ``L = sum_k c_k d_k^2``, carried as one instead of one for each k.

    With ``L z`` and the first derivatives of z given,
    ``L s(z) = s'(z) L z + s''(z) sum_k c_k (d_k z)^2`` (Li et al., "A computational framework for
    neural network-based variational Monte Carlo with Forward Laplacian", 2024), so ``1 + d + 1``
    channels do the work of ``1 + 2 d``.

    Attributes:
        coefficients: coefficient ``c_k`` of each input, a number or the reference of a tensor
            ``[n, 1]`` or ``[1, 1]``. Zeros cost nothing.
    """

    coefficients: tuple

    @property
    def constant(self) -> bool:
        """Whether all coefficients are numbers."""
        return all(isinstance(c, float) for c in self.coefficients)

    @property
    def first(self) -> list[MultiIndex]:
        """The first derivatives that ``L s(z)`` needs."""
        return [(k,) for k, c in enumerate(self.coefficients) if not _is_zero(c)]

    def column(self, dtype: tf.DType) -> tf.Tensor | None:
        """Returns the coefficients of :attr:`first`, ``[k, n or 1, 1]``; None if all are one."""
        used = [c for c in self.coefficients if not _is_zero(c)]
        if self.constant:
            return None if set(used) == {1.0} else tf.reshape(tf.constant(used, dtype), [-1, 1, 1])
        columns = [tf.constant([[c]], dtype) if isinstance(c, float) else c.deref() for c in used]
        rows = functools.reduce(tf.maximum, [tf.shape(c)[0] for c in columns])
        return tf.stack([tf.broadcast_to(c, [rows, 1]) for c in columns])


def _is_zero(coefficient: Any) -> bool:
    return isinstance(coefficient, float) and coefficient == 0


@dataclasses.dataclass(frozen=True)
class LaplacianSlope:
    """The channel ``d_k (sum_j d_j^2)``.

    Attributes:
        axes: sorted inputs over which j runs.
        along: input k, one of them.
    """

    axes: tuple[int, ...]
    along: int


@dataclasses.dataclass(frozen=True)
class Biharmonic:
    """The channel ``(sum_j d_j^2)^2``, carried as one.

    It needs first and second derivatives and the slopes of the Laplacian: in two dimensions 9
    channels in all, while the separate fourth derivatives need 13, in three 14 and 25.

    Attributes:
        axes: sorted inputs over which j runs.
    """

    axes: tuple[int, ...]

    @property
    def first(self) -> list[MultiIndex]:
        """The first derivatives."""
        return [(k,) for k in self.axes]

    @property
    def second(self) -> list[MultiIndex]:
        """The Hessian row by row, entries above the diagonal twice."""
        return [(min(j, k), max(j, k)) for j in self.axes for k in self.axes]

    @property
    def slopes(self) -> list[LaplacianSlope]:
        """The gradient of the Laplacian."""
        return [LaplacianSlope(self.axes, k) for k in self.axes]


Channel = MultiIndex | SecondOrder | LaplacianSlope | Biharmonic
Stack = tuple[Channel, ...]


def pattern(index: MultiIndex) -> MultiIndex:
    """Returns the pattern that multi-indices share: (2, 5, 5) has the pattern (0, 1, 1).

    Args:
        index: sorted multi-index.
    """
    axes = sorted(set(index))
    return tuple(axes.index(k) for k in index)


def stacks(channels: Iterable[Channel]) -> list[Stack]:
    """Returns the channels in stacks of one pattern, lower orders first, operators last.

    Each operator is a stack, except that the slopes of a Laplacian share one.

    Args:
        channels: channels in any order.
    """
    operators: dict[Stack, None] = {}
    by_pattern: dict[MultiIndex, set[MultiIndex]] = collections.defaultdict(set)
    for channel in channels:
        if isinstance(channel, tuple):
            by_pattern[pattern(channel)].add(channel)
        elif isinstance(channel, LaplacianSlope):
            operators[tuple(Biharmonic(channel.axes).slopes)] = None
        else:
            operators[(channel,)] = None
    patterns = sorted(by_pattern, key=lambda p: (len(p), p))
    return [*(tuple(sorted(by_pattern[p])) for p in patterns), *operators]


def closure(channels: Iterable[Channel]) -> list[Channel]:
    """Returns the channels and all lower ones that the chain rule needs.

    Args:
        channels: channels in any order.
    """
    needed: dict[Channel, None] = {VALUE: None}
    for channel in channels:
        needed[channel] = None
        needed.update(dict.fromkeys(_lower(channel)))
    return list(needed)


def _lower(channel: Channel) -> Iterable[Channel]:
    """Returns what the chain rule needs beside the channel itself."""
    if isinstance(channel, LaplacianSlope | Biharmonic):
        whole = Biharmonic(channel.axes)
        return [*whole.first, *whole.second, *whole.slopes]
    if isinstance(channel, SecondOrder):
        return channel.first
    return [part for part, _ in splits(channel)]


@functools.cache
def splits(index: MultiIndex) -> dict[tuple[MultiIndex, MultiIndex], int]:
    """Returns every way to split a multi-index in two, with its multiplicity: Leibniz' rule.

    Args:
        index: multi-index to split.
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
    """Returns every split of a multi-index into blocks, with its multiplicity (Faa di Bruno).

    ``d_index s(z)`` is ``sum_m s^(m)(z)`` times the sum over ways with m blocks of their
    multiplicity times the product of ``d_block z``.

    Args:
        index: multi-index to split.

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
    """Returns a channel as text: ``u``, ``u_01``, ``second_order(1, -4)``, ``biharmonic(0, 1)``.

    Args:
        channel: channel to describe.
    """
    if isinstance(channel, Biharmonic):
        return f"biharmonic({', '.join(map(str, channel.axes))})"
    if isinstance(channel, LaplacianSlope):
        return f"laplacian_slope({channel.along})"
    if isinstance(channel, tuple):
        return "_".join(["u", "".join(map(str, channel))]) if channel else "u"
    if not channel.constant:
        return "second_order(by point)"
    return f"second_order({', '.join(f'{c:g}' for c in channel.coefficients)})"
