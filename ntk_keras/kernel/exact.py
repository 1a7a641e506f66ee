"""The exact neural tangent kernel K = J J^T of residual blocks.

``J = dR/dtheta`` has shape ``[n, p]``: one row for each residual entry, one column for each
parameter. Every function takes residual blocks (a :class:`~ntk_keras.kernel.block.Block`, or a
dict of them by name) and the variables theta, with or without Keras.

Rows of J are computed in chunks of points, each point's gradient by itself, so that traces and
diagonals never hold more than ``chunk_size`` rows: for the paper's network of 3 x 500 neurons a row
takes 2 MB in float32, and all 900 of them 1.8 GB.
"""

import functools
from collections.abc import Mapping

import numpy as np
import tensorflow as tf

from ntk_keras.backend.autograph import unconverted
from ntk_keras.backend.graphs import as_graph, run_sequentially
from ntk_keras.backend.variables import Variables
from ntk_keras.kernel.block import Block, Blocks, check_block_names, checked_blocks, named_blocks
from ntk_keras.kernel.factored import FactoredJacobian
from ntk_keras.kernel.linearization import Linearization
from ntk_keras.kernel.per_sample import (
    flat_rows,
    map_gradients,
    points_in,
    squared_norms,
)

__all__ = [
    "blocks",
    "diagonal",
    "jacobian",
    "matrix",
    "product",
    "traces",
]

_KEPT_BYTES = 2 * 2**30  # Of Jacobian rows that a kernel keeps; beyond, it computes them anew,
_PIECE_BYTES = 128 * 2**20  # in pieces.


@unconverted
@as_graph
def jacobian(blocks: Blocks, variables: Variables, *, chunk_size: int | None = None) -> tf.Tensor:
    """Returns ``J = dR/dtheta`` of the stacked residual.

    Args:
        blocks: one residual block, or a dict of them, stacked in its order.
        variables: parameters theta.
        chunk_size: number of points whose gradients are computed at a time; chosen by memory by
            default.

    Returns:
        ``[n, p]``. The paper writes its transpose, the p x n matrix "grad R".
    """
    named = checked_blocks(blocks, variables, chunk_size)
    rows = run_sequentially(
        functools.partial(map_gradients, flat_rows, block, variables, chunk_size)
        for block in named.values()
    )
    return tf.concat(rows, axis=0)


@unconverted
@as_graph
def diagonal(
    blocks: Blocks,
    variables: Variables,
    *,
    chunk_size: int | None = None,
    subset: Mapping[str, tf.Tensor] | None = None,
) -> dict[str, tf.Tensor]:
    """Returns the diagonal of K, the squared gradient norm ``||J_i||^2`` of each residual entry.

    Args:
        blocks: one residual block, or a dict of them.
        variables: parameters theta.
        chunk_size: number of points whose gradients are computed at a time; chosen by memory by
            default.
        subset: indices by block of the points that count, or of the entries of a block without
            points or with coupled ones; all by default.

    Returns:
        ``[n_b]`` by block, fewer with a subset; a block given by itself is named ``"residual"``.

    Raises:
        ValueError: if a subset belongs to no block.
    """
    named = checked_blocks(blocks, variables, chunk_size)
    chosen = {name: tf.convert_to_tensor(rows) for name, rows in (subset or {}).items()}
    check_block_names("subset", chosen, named)
    entries = run_sequentially(
        functools.partial(_diagonal_of_block, block, variables, chunk_size, chosen.get(name))
        for name, block in named.items()
    )
    return dict(zip(named, entries, strict=True))


@unconverted
def traces(
    blocks: Blocks, variables: Variables, *, chunk_size: int | None = None
) -> dict[str, tf.Tensor]:
    """Returns ``Tr K_bb`` of every block: the sum of its part of the diagonal.

    Args:
        blocks: one residual block, or a dict of them.
        variables: parameters theta.
        chunk_size: number of points whose gradients are computed at a time; chosen by memory by
            default.

    Returns:
        A scalar by block. Their sum is ``Tr K``.
    """
    entries = diagonal(blocks, variables, chunk_size=chunk_size)
    return {name: tf.reduce_sum(values) for name, values in entries.items()}


@unconverted
@as_graph
def matrix(blocks: Blocks, variables: Variables, *, chunk_size: int | None = None) -> tf.Tensor:
    """Returns ``K = J J^T`` of the stacked residual, every entry.

    If all blocks can be factored, it is computed from factors, layer by layer
    (:mod:`ntk_keras.kernel.gram`). Otherwise all of J is kept if that takes less than 2 GB. If not,
    or with a ``chunk_size``, two chunks of rows are held at a time and computed anew whenever they
    are needed.

    Args:
        blocks: one residual block, or a dict of them, stacked in its order.
        variables: parameters theta.
        chunk_size: number of points whose gradients are held at a time; chosen by memory by
            default.

    Returns:
        ``[n, n]``, symmetric and positive semidefinite.
    """
    named = checked_blocks(blocks, variables, chunk_size)
    if chunk_size is None and all(block.can_factor(variables) for block in named.values()):
        return Linearization(named, variables, factored=True).gram()
    if chunk_size is None and _num_points(named) <= points_in(_KEPT_BYTES, variables):
        rows = jacobian(named, variables)
        return tf.matmul(rows, rows, transpose_b=True)
    pieces = [piece for b in named.values() for piece in _pieces(b, variables, chunk_size)]
    entries: list[list[tf.Tensor]] = [[None] * len(pieces) for _ in pieces]
    previous: list[tf.Tensor] = []  # so that one pair follows another and two chunks are held
    for i, left in enumerate(pieces):
        for j, right in enumerate(pieces[: i + 1]):
            with tf.control_dependencies(previous):
                if j == 0:
                    left_rows = jacobian(left, variables, chunk_size=chunk_size)
                right_rows = (
                    left_rows if i == j else jacobian(right, variables, chunk_size=chunk_size)
                )
            entries[i][j] = tf.matmul(left_rows, right_rows, transpose_b=True)
            entries[j][i] = tf.transpose(entries[i][j])
            previous = [entries[i][j]]
    return tf.concat([tf.concat(row, axis=1) for row in entries], axis=0)


@unconverted
def blocks(
    blocks: Blocks, variables: Variables, *, chunk_size: int | None = None
) -> dict[str, tf.Tensor]:
    """Returns the diagonal blocks ``K_bb`` of the kernel.

    Args:
        blocks: residual blocks by name.
        variables: parameters theta.
        chunk_size: number of points whose gradients are held at a time; chosen by memory by
            default.

    Returns:
        ``[n_b, n_b]`` by block.
    """
    return {
        name: matrix(block, variables, chunk_size=chunk_size)
        for name, block in named_blocks(blocks).items()
    }


@unconverted
def product(
    blocks: Blocks, variables: Variables, vector: Mapping[str, tf.Tensor]
) -> dict[str, tf.Tensor]:
    """Returns ``K v = J (J^T v)`` by two reverse passes, without forming J or K.

    Args:
        blocks: residual blocks by name.
        variables: parameters theta.
        vector: vector v by block, each ``[n_b]``; zero for blocks that are left out.

    Returns:
        ``K v`` for the blocks of ``vector``, each ``[n_b]``.

    Raises:
        ValueError: if a name is not that of a block.
    """
    named = checked_blocks(blocks, variables)
    check_block_names("vector", vector, named)
    linearization = Linearization(named, variables)
    return linearization.product(
        {
            name: tf.convert_to_tensor(part, linearization.residuals[name].dtype)
            for name, part in vector.items()
        }
    )


def _diagonal_of_block(
    block: Block, variables: Variables, chunk_size: int | None, subset: tf.Tensor | None
) -> tf.Tensor:
    """Uses cotangents if they account for all parameters, and otherwise proceeds row by row."""
    if chunk_size is not None or not block.can_factor(variables):
        return map_gradients(squared_norms, block, variables, chunk_size, subset)
    return FactoredJacobian(block, variables).diagonal(range(len(variables)), subset)


def _num_points(blocks: Mapping[str, Block]) -> int:
    """Returns the points of all blocks; a number unknown to a graph counts as none."""
    firsts = [tf.nest.flatten(b.points)[0] for b in blocks.values() if b.points is not None]
    return sum(np.shape(first)[0] or 0 for first in firsts)


def _pieces(block: Block, variables: Variables, chunk_size: int | None) -> list[Block]:
    """Cuts a block into blocks whose Jacobians fit into memory."""
    if block.is_whole:
        return [block]
    size = chunk_size or points_in(_PIECE_BYTES, variables)
    points = tf.nest.map_structure(tf.convert_to_tensor, block.points)
    count = tf.nest.flatten(points)[0].shape[0]
    if count is None or count <= size:
        return [Block(block.residual, points, block.scale)]
    return [
        Block(
            block.residual,
            tf.nest.map_structure(lambda x, start=start: x[start : start + size], points),
            block.scale,
        )
        for start in range(0, count, size)
    ]
