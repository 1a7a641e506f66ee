"""Forward (Taylor-mode) differentiation: how each kind of layer maps jets."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf

from ntk_keras.backend.graphs import add_present
from ntk_keras.derivatives import fourth_order
from ntk_keras.derivatives.activations import Derivatives, Tower
from ntk_keras.derivatives.channels import (
    VALUE,
    Biharmonic,
    LaplacianSlope,
    MultiIndex,
    SecondOrder,
    Stack,
    closure,
    partitions,
    pattern,
    splits,
)
from ntk_keras.derivatives.jets import Jet, Values, product

__all__ = [
    "Jet",
    "add",
    "concatenate",
    "linear",
    "multiply",
    "pointwise",
    "scale",
    "select",
    "total",
]


def linear(x: Jet, kernel: tf.Tensor, bias: tf.Tensor | None = None, observe: Any = None) -> Jet:
    """Returns ``x @ kernel + bias``: one product for each stack, the bias in the value only.

    Args:
        x: jet with stacks ``[k, n, in]``.
        kernel: matrix ``[in, units]``.
        bias: vector ``[units]``.
        observe: function called with the inputs and the products by stack, and the bias.
    """

    def compute(missing: Sequence[Stack]) -> Values:
        inputs = x.take(itertools.chain(*missing))
        products = {stack: _rows_times(rows, kernel) for stack, rows in inputs.items()}
        if observe is not None:
            observe(inputs, dict(products), bias)
        if bias is not None and (VALUE,) in products:
            products[(VALUE,)] += bias
        return products

    return Jet(compute)


def _rows_times(rows: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
    """Multiplies a stack by the kernel as one product of matrices, not k of them."""
    product = tf.matmul(tf.reshape(rows, [-1, kernel.shape[0]]), kernel)
    return tf.reshape(product, [rows.shape[0], -1, kernel.shape[1]])


def pointwise(x: Jet, derivatives: Derivatives) -> Jet:
    """Returns ``s(x)``, entry by entry, by the chain rule.

    Args:
        x: jet with stacks ``[k, n, width]``.
        derivatives: function that yields ``s(z)``, ``s'(z)`` and so on.
    """
    towers: list[Tower] = []

    def compute(missing: Sequence[Stack]) -> Values:
        x.take(closure(itertools.chain(*missing)))
        if not towers:
            towers.append(Tower(derivatives, x.rows((VALUE,))))
        return {stack: _chain_rule(stack, x, towers[0]) for stack in missing}

    return Jet(compute)


def scale(x: Jet, slope: Any, *, centre: Any = None, offset: Any = None) -> Jet:
    """Returns ``slope (x - centre) + offset``, entry by entry.

    Args:
        x: jet with stacks ``[k, n, width]``.
        slope: number or row ``[width]``.
        centre: number or row ``[width]``; none by default.
        offset: number or row ``[width]``; none by default.
    """

    def compute(missing: Sequence[Stack]) -> Values:
        values = x.take(itertools.chain(*missing))
        if centre is not None and (VALUE,) in values:
            values[(VALUE,)] -= centre
        values = {stack: slope * v for stack, v in values.items()}
        if offset is not None and (VALUE,) in values:
            values[(VALUE,)] += offset
        return values

    return Jet(compute)


def select(x: Jet, columns: Sequence[int]) -> Jet:
    """Returns some columns of x, in the order given.

    Args:
        x: jet with stacks ``[k, n, width]``.
        columns: indices of the columns.
    """

    def compute(missing: Sequence[Stack]) -> Values:
        taken = x.take(itertools.chain(*missing))
        return {stack: tf.gather(v, columns, axis=-1) for stack, v in taken.items()}

    return Jet(compute)


def total(x: Jet) -> Jet:
    """Returns the sum of all columns, as one column.

    Args:
        x: jet with stacks ``[k, n, width]``.
    """

    def compute(missing: Sequence[Stack]) -> Values:
        taken = x.take(itertools.chain(*missing))
        return {stack: tf.reduce_sum(v, axis=-1, keepdims=True) for stack, v in taken.items()}

    return Jet(compute)


def add(*terms: Jet) -> Jet:
    """Returns the sum of jets.

    Args:
        *terms: jets of the same width.
    """

    def compute(missing: Sequence[Stack]) -> Values:
        parts = [term.take(itertools.chain(*missing)) for term in terms]
        return {stack: add_present(part.get(stack) for part in parts) for stack in missing}

    return Jet(compute)


def multiply(f: Jet, g: Jet) -> Jet:
    """Returns the product ``f g``, entry by entry, by Leibniz' rule.

    Args:
        f: jet with stacks ``[k, n, width]``.
        g: jet with stacks ``[k, n, width]``.
    """

    def compute(missing: Sequence[Stack]) -> Values:
        for factor in (f, g):
            factor.take(closure(itertools.chain(*missing)))
        return {stack: _product_rule(stack, f, g) for stack in missing}

    return Jet(compute)


def concatenate(*parts: Jet) -> Jet:
    """Returns the columns of jets side by side; a missing channel of one is filled with zeros.

    Args:
        *parts: jets with stacks ``[k, n, width]``.
    """

    def compute(missing: Sequence[Stack]) -> Values:
        for part in parts:
            part.take([VALUE, *itertools.chain(*missing)])
        return {stack: _side_by_side(stack, parts) for stack in missing}

    return Jet(compute)


def _side_by_side(stack: Stack, parts: Sequence[Jet]) -> tf.Tensor | None:
    rows = [part.rows(stack) for part in parts]
    if all(row is None for row in rows):
        return None
    zeros = [tf.zeros_like(part.rows((VALUE,))) for part in parts]  # [1, n, width]
    return tf.concat(
        [
            tf.repeat(zero, len(stack), axis=0) if row is None else _everywhere(row, zero)
            for row, zero in zip(rows, zeros, strict=True)
        ],
        axis=-1,
    )


def _everywhere(row: tf.Tensor, zero: tf.Tensor) -> tf.Tensor:
    return row + zero if row.shape[1] == 1 else row


def _chain_rule(stack: Stack, z: Jet, s: Tower) -> tf.Tensor | None:
    """Returns a stack of ``s(z)``: Faa di Bruno's formula, or that of an operator."""
    if stack == (VALUE,):
        return s[0]
    if isinstance(stack[0], LaplacianSlope | Biharmonic):
        inner = fourth_order.composed(stack[0], z)
    elif isinstance(stack[0], SecondOrder):
        inner = {1: z.rows(stack), 2: _contract(stack[0], z, z)}
    else:
        ways_by_number = partitions(pattern(stack[0]))
        inner = {m: _sum_over(ways, stack, [z] * m) for m, ways in ways_by_number.items()}
    return add_present(s[m] * factor for m, factor in inner.items() if factor is not None)


def _product_rule(stack: Stack, f: Jet, g: Jet) -> tf.Tensor | None:
    """Returns a stack of ``f g`` by Leibniz' rule.

    For an operator, ``L(f g) = g L f + 2 sum_k c_k (d_k f) (d_k g) + f L g``.
    """
    if isinstance(stack[0], LaplacianSlope | Biharmonic):
        return fourth_order.multiplied(stack[0], f, g)
    if not isinstance(stack[0], SecondOrder):
        return _sum_over(splits(pattern(stack[0])), stack, [f, g])
    mixed, value = _contract(stack[0], f, g), (VALUE,)
    return add_present(
        [
            product([f.rows(stack), g.rows(value)]),
            None if mixed is None else 2 * mixed,
            product([f.rows(value), g.rows(stack)]),
        ]
    )


def _contract(second: SecondOrder, f: Jet, g: Jet) -> tf.Tensor | None:
    """Returns ``sum_k c_k (d_k f) (d_k g)``."""
    both = product([f.rows(second.first), g.rows(second.first)])
    if both is None:
        return None
    weights = second.column(both.dtype)
    return tf.reduce_sum(both if weights is None else weights * both, axis=0, keepdims=True)


def _sum_over(ways: Mapping[tuple, int], stack: Stack, factors: Sequence[Jet]) -> tf.Tensor | None:
    """Sums products of channels over the ways to split the pattern of a stack."""
    axes = [sorted(set(channel)) for channel in stack if isinstance(channel, tuple)]

    def term(parts: Sequence[MultiIndex], multiplicity: int) -> tf.Tensor | None:
        members = [[tuple(own[label] for label in part) for own in axes] for part in parts]
        channels = [f.rows(m) for f, m in zip(factors, members, strict=True)]
        return product(channels if multiplicity == 1 else [multiplicity, *channels])

    return add_present(itertools.starmap(term, ways.items()))
