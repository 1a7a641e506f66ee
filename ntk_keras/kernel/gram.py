"""The whole kernel ``K = J J^T`` from factored Jacobians, layer by layer.

A layer's part of row i of J is ``sum_s a_s (x) d_s`` for its kernel and the cotangent of the value
for its bias (:mod:`ntk_keras.kernel.factored`). The layer's part of K can be computed in two ways:

- from factors, ``K_ij += sum_{s,t} (a_s . a_t') (d_s . d_t')``: no row of J is formed;
- from rows, formed for this layer alone, in pieces that fit into memory.

The operations of the first grow with the square of the channels, those of the second with the
entries of the layer's kernel, so wide layers take the first and narrow ones the second. Pieces of
rows are combined, as many as fit, so that there is one product for all of them: each is ``[n, n]``.
"""

import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import tensorflow as tf

from ntk_keras.backend import lapack
from ntk_keras.backend.graphs import add_one_by_one, add_present
from ntk_keras.kernel.factored import FactoredJacobian, LayerFactors, at_points

__all__ = ["gram", "rows_of", "symmetric_product"]

_ROWS_BYTES = 256 * 2**20  # Of rows of a layer at a time.
# What writing an entry of a product costs, in multiplications: it is written, read and added.
_WRITTEN = 16
# A symmetric product is made of so many blocks along a side, unless they would be small.
_PARTS, _LEAST = 4, 128


class _Part(NamedTuple):
    """What a block has of a layer: a channel's inputs ``[n, in]`` and cotangents ``[n, k, units]``.

    Attributes:
        inputs: a, by channel.
        cotangents: d, by channel.
        values: sum of the values' cotangents, ``[n * k, units]``; None if no value takes part.
    """

    inputs: list[tf.Tensor]
    cotangents: list[tf.Tensor]
    values: tf.Tensor | None


class _Piece(NamedTuple):
    """Some columns of the rows of all blocks.

    Attributes:
        width: their number.
        made: what computes a block's, ``[n_b, width]``; None stands for zeros.
    """

    width: int
    made: Sequence[Callable[[], tf.Tensor] | None]

    def rows(self, sizes: Sequence[int], dtype: tf.DType) -> tf.Tensor:
        """The rows of all blocks, ``[n, width]``."""
        filled = [
            tf.zeros([n, self.width], dtype) if make is None else make()
            for make, n in zip(self.made, sizes, strict=True)
        ]
        return tf.concat(filled, axis=0)


def gram(jacobians: Sequence[FactoredJacobian], which: Iterable[int]) -> tf.Tensor:
    """Returns K of stacked blocks.

    Args:
        jacobians: Jacobians of the blocks, in their order.
        which: indices of the variables that count.

    Returns:
        ``[n, n]``, symmetric.
    """
    which = set(which)
    layers: dict[tuple, list[_Part | None]] = {}
    for index, jacobian in enumerate(jacobians):
        for layer in jacobian.layers:
            parts = layers.setdefault((layer.kernel, layer.bias), [None] * len(jacobians))
            parts[index] = _part(layer)
    sizes = [jacobian.residual.shape[0] for jacobian in jacobians]
    dtype = jacobians[0].residual.dtype
    pieces: list[_Piece] = []
    products: list[Callable[[], tf.Tensor]] = []
    for (kernel, bias), parts in layers.items():
        if kernel in which:
            if _rows_are_cheaper(parts, sizes):
                pieces += _pieces(parts, sizes, dtype)
            else:
                products.append(functools.partial(_by_factors, parts, sizes, dtype))
        if bias in which:
            pieces += _whole([None if p is None else p.values for p in parts])
    for index in sorted(which.intersection(*[set().union(*(j.entries for j in jacobians))])):
        pieces += _whole([_point_by_point(j.entries.get(index)) for j in jacobians])
    return add_one_by_one([*products, *_products(pieces, sizes, dtype)])


def rows_of(
    jacobian: FactoredJacobian, which: Sequence[int], subset: tf.Tensor | None = None
) -> tf.Tensor:
    """Returns rows of J.

    Args:
        jacobian: Jacobian of a block.
        which: indices of the variables that count, in the order of columns.
        subset: indices of points, or of entries of a block with coupled ones; all by default.

    Returns:
        ``[m * k, p]``, point by point.
    """
    if jacobian.is_whole and subset is not None:
        return tf.gather(rows_of(jacobian, which), subset)
    columns: dict[int | None, tf.Tensor | None] = {}
    for layer in jacobian.layers:
        part = _part(at_points(layer, subset))
        columns[layer.bias] = part.values
        if layer.kernel in which:
            columns[layer.kernel] = _outer_products(part.inputs, part.cotangents)
    for index, entries in jacobian.entries.items():
        chosen = entries if subset is None else tf.gather(entries, subset, axis=1)
        columns[index] = _point_by_point(chosen)
    residual = jacobian.residual
    count = tf.shape(residual)[0] if subset is None else tf.size(subset) * jacobian.num_components
    return tf.concat(
        [
            tf.zeros([count, jacobian.sizes[index]], residual.dtype)
            if columns.get(index) is None
            else tf.reshape(columns[index], [-1, jacobian.sizes[index]])
            for index in which
        ],
        axis=1,
    )


def symmetric_product(factor: tf.Tensor, axis: int) -> tf.Tensor:
    """Returns ``X X^T`` or ``X^T X``; of a large one, blocks below the diagonal are copied.

    Args:
        factor: matrix X.
        axis: 0 for products of its rows, 1 for those of its columns.
    """
    size = factor.shape[axis]
    if lapack.serves(factor, size):
        return lapack.symmetric_product(factor, axis)
    along = {"transpose_b": True} if axis == 0 else {"transpose_a": True}
    if size is None or size < _PARTS * _LEAST:
        return tf.matmul(factor, factor, **along)
    sizes = [size // _PARTS + (i < size % _PARTS) for i in range(_PARTS)]
    parts = tf.split(factor, sizes, axis=axis)
    grid = [[tf.matmul(x, y, **along) for y in parts[: i + 1]] for i, x in enumerate(parts)]
    rows = [
        tf.concat([*row, *(tf.transpose(grid[j][i]) for j in range(i + 1, _PARTS))], axis=1)
        for i, row in enumerate(grid)
    ]
    return tf.concat(rows, axis=0)


def _outer_products(inputs: Sequence[tf.Tensor], cotangents: Sequence[tf.Tensor]) -> tf.Tensor:
    """sum_s a_s (x) d_s of every row, ``[n, k, in, units]``."""
    return add_present(
        a[:, tf.newaxis, :, tf.newaxis] * d[:, :, tf.newaxis, :]
        for a, d in zip(inputs, cotangents, strict=True)
    )


def _part(layer: LayerFactors) -> _Part:
    inputs = [a for f in layer.factors for a in tf.unstack(f.inputs)]
    by_channel = [d for f in layer.factors for d in tf.unstack(f.cotangents, axis=1)]
    values = add_present(f.cotangents[:, 0] for f in layer.factors if f.is_value)
    cotangents = [tf.transpose(d, [1, 0, 2]) for d in by_channel]
    return _Part(inputs, cotangents, _point_by_point(values))


def _rows_are_cheaper(parts: Sequence[_Part | None], sizes: Sequence[int]) -> bool:
    """Which way to a layer's kernel's part of K takes fewer operations."""
    first = next(p for p in parts if p is not None)
    fan_in, units = first.inputs[0].shape[-1], first.cotangents[0].shape[-1]
    channels = [0 if p is None else len(p.inputs) * n for p, n in zip(parts, sizes, strict=True)]
    by_rows = sum(sizes) ** 2 * fan_in * units
    by_factors = sum(channels) ** 2 // 2 * (fan_in + units + _WRITTEN)
    return by_rows <= by_factors


def _pieces(
    parts: Sequence[_Part | None], sizes: Sequence[int], dtype: tf.DType
) -> Iterator["_Piece"]:
    """Rows of a layer's kernel, some of its inputs at a time."""
    first = next(p for p in parts if p is not None)
    fan_in, units = first.inputs[0].shape[-1], first.cotangents[0].shape[-1]
    width = max(1, _ROWS_BYTES // (sum(sizes) * units * dtype.size))
    for start in range(0, fan_in, width):
        stop = min(start + width, fan_in)
        yield _Piece(
            (stop - start) * units,
            [
                None if p is None else functools.partial(_flat_products, p, slice(start, stop))
                for p in parts
            ],
        )


def _flat_products(part: _Part, inputs: slice) -> tf.Tensor:
    products = _outer_products([a[:, inputs] for a in part.inputs], part.cotangents)
    return tf.reshape(products, [-1, products.shape[-2] * products.shape[-1]])


def _whole(rows: Sequence[tf.Tensor | None]) -> list["_Piece"]:
    """Rows that are there, ``[n_b, q]`` by block; none if no block has any."""
    width = next((r.shape[-1] for r in rows if r is not None), None)
    made = [None if r is None else functools.partial(tf.identity, r) for r in rows]
    return [] if width is None else [_Piece(width, made)]


def _products(
    pieces: Iterable["_Piece"], sizes: Sequence[int], dtype: tf.DType
) -> Iterator[Callable[[], tf.Tensor]]:
    """What computes the parts of K of pieces of rows, as many at a time as fit into memory."""
    most = _ROWS_BYTES // (sum(sizes) * dtype.size)
    groups: list[list[_Piece]] = []
    for piece in pieces:
        if groups and sum(other.width for other in groups[-1]) + piece.width <= most:
            groups[-1].append(piece)
        else:
            groups.append([piece])
    for group in groups:
        yield functools.partial(_product, group, sizes, dtype)


def _product(group: Iterable["_Piece"], sizes: Sequence[int], dtype: tf.DType) -> tf.Tensor:
    rows = tf.concat([piece.rows(sizes, dtype) for piece in group], axis=1)
    return symmetric_product(rows, axis=0)


def _by_factors(parts: Sequence[_Part | None], sizes: Sequence[int], dtype: tf.DType) -> tf.Tensor:
    grid: list[list[tf.Tensor]] = [[None] * len(parts) for _ in parts]
    for i, left in enumerate(parts):
        for j, right in enumerate(parts[: i + 1]):
            if left is None or right is None:
                grid[i][j] = tf.zeros([sizes[i], sizes[j]], dtype)
            else:
                grid[i][j] = _own(left) if i == j else _between(left, right)
            if i != j:
                grid[j][i] = tf.transpose(grid[i][j])
    return tf.concat([tf.concat(row, axis=1) for row in grid], axis=0)


def _own(part: _Part) -> tf.Tensor:
    """A block's with itself: a pair of channels gives the same as that of the others' order."""
    count = len(part.inputs)
    same = _add_pairs(part, part, [(s, s) for s in range(count)])
    other = _add_pairs(part, part, [(s, t) for s in range(count) for t in range(s)])
    return same if other is None else same + other + tf.transpose(other)


def _between(left: _Part, right: _Part) -> tf.Tensor:
    pairs = [(s, t) for s in range(len(left.inputs)) for t in range(len(right.inputs))]
    return _add_pairs(left, right, pairs)


def _add_pairs(left: _Part, right: _Part, pairs: Iterable[tuple[int, int]]) -> Any:
    """The sum over pairs of channels, each ``[n * k, m * k']``; None if there are none."""
    return add_one_by_one(functools.partial(_pair, left, s, right, t) for s, t in pairs)


def _pair(left: _Part, s: int, right: _Part, t: int) -> tf.Tensor:
    """(a_s . a_t') (d_s . d_t') of all pairs of rows, ``[n * k, m * k']``."""
    inputs = tf.matmul(left.inputs[s], right.inputs[t], transpose_b=True)
    d, e = left.cotangents[s], right.cotangents[t]
    flat = [tf.reshape(cotangents, [-1, cotangents.shape[-1]]) for cotangents in (d, e)]
    product = tf.matmul(*flat, transpose_b=True)
    shape = [*d.shape[:2], *e.shape[:2]]
    scaled = tf.reshape(product, shape) * inputs[:, tf.newaxis, :, tf.newaxis]
    return tf.reshape(scaled, product.shape)


def _point_by_point(values: tf.Tensor | None) -> tf.Tensor | None:
    """``[k, n, q]`` as ``[n * k, q]``."""
    if values is None:
        return None
    return tf.reshape(tf.transpose(values, [1, 0, 2]), [-1, values.shape[-1]])
