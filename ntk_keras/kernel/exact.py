"""The exact neural tangent kernel K = J J^T of residual blocks.

``J = dR/dtheta`` has shape ``[n, p]``: one row for each residual entry, one column for each
parameter. Every function takes residual blocks (a :class:`~ntk_keras.kernel.block.Block`, or a
dict of them by name) and the variables theta, with or without Keras.

Rows of J are computed in chunks of points, each point's gradient by itself, so that traces and
diagonals never hold more than ``chunk_size`` rows: for the paper's network of 3 x 500 neurons a row
takes 2 MB in float32, and all 900 of them 1.8 GB.
"""

import functools
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar, cast

import numpy as np
import scipy
import tensorflow as tf

from ntk_keras.backend.checks import check_count
from ntk_keras.backend.graphs import run_sequentially
from ntk_keras.backend.variables import Variables
from ntk_keras.kernel.block import Block
from ntk_keras.kernel.factored import FactoredJacobian
from ntk_keras.kernel.linearization import Linearization
from ntk_keras.kernel.per_sample import (
    CHUNK_BYTES,
    map_gradients,
    points_in,
    squared_norms,
)

__all__ = [
    "blocks",
    "diagonal",
    "effective_rank",
    "eigenvalues",
    "jacobian",
    "matrix",
    "product",
    "traces",
]

Blocks = Block | Callable[[], tf.Tensor] | Mapping[str, Block | Callable[[], tf.Tensor]]

Function = TypeVar("Function", bound=Callable[..., Any])

_KEPT_BYTES = 2 * 2**30  # Of Jacobian rows that a kernel keeps; beyond, it computes them anew.


def _as_graph(function: Function) -> Function:
    """Runs a function as one graph where it is called eagerly.

    Vectorisation builds a graph in any case; by itself, in eager mode, one for every call within.
    """

    @functools.wraps(function)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        if not tf.executing_eagerly():
            return function(*args, **kwargs)
        graph = tf.function(lambda: function(*args, **kwargs), autograph=False)
        return graph.get_concrete_function()()

    return cast(Function, wrapped)


@_as_graph
def jacobian(blocks: Blocks, variables: Variables, *, chunk_size: int | None = None) -> tf.Tensor:
    """J = dR/dtheta of the stacked residual.

    Args:
        blocks: one residual block, or a dict of them, stacked in its order.
        variables: the parameters theta.
        chunk_size: points whose gradients are computed at a time; chosen by memory by default.

    Returns:
        ``[n, p]``. The paper writes its transpose, the p x n matrix "grad R".
    """

    def row(gradients: list[tf.Tensor]) -> tf.Tensor:
        return tf.concat([tf.reshape(g, [tf.shape(g)[0], -1]) for g in gradients], axis=1)

    named = _checked(blocks, variables, chunk_size)
    rows = run_sequentially(
        functools.partial(map_gradients, row, block, variables, chunk_size)
        for block in named.values()
    )
    return tf.concat(rows, axis=0)


@_as_graph
def diagonal(
    blocks: Blocks,
    variables: Variables,
    *,
    chunk_size: int | None = None,
    subset: Mapping[str, tf.Tensor] | None = None,
) -> dict[str, tf.Tensor]:
    """Diagonal of K, the squared gradient norm ``||J_i||^2`` of every residual entry.

    Args:
        blocks: one residual block, or a dict of them.
        variables: the parameters theta.
        chunk_size: points whose gradients are computed at a time; chosen by memory by default.
        subset: by block, the indices of the points that count, or of the entries of a block
            without points; all by default.

    Returns:
        ``[n_b]`` by block, fewer with a subset; a block given by itself is named ``"residual"``.

    Raises:
        ValueError: for a subset of a block that is none of these.
    """
    named = _checked(blocks, variables, chunk_size)
    chosen = {name: tf.convert_to_tensor(rows) for name, rows in (subset or {}).items()}
    _check_names("subset", chosen, named)
    entries = run_sequentially(
        functools.partial(_diagonal_of_block, block, variables, chunk_size, chosen.get(name))
        for name, block in named.items()
    )
    return dict(zip(named, entries, strict=True))


def traces(
    blocks: Blocks, variables: Variables, *, chunk_size: int | None = None
) -> dict[str, tf.Tensor]:
    """Tr K_bb of every block: the sum of its part of the diagonal.

    Args:
        blocks: one residual block, or a dict of them.
        variables: the parameters theta.
        chunk_size: points whose gradients are computed at a time; chosen by memory by default.

    Returns:
        A scalar by block. Their sum is Tr K.
    """
    entries = diagonal(blocks, variables, chunk_size=chunk_size)
    return {name: tf.reduce_sum(values) for name, values in entries.items()}


@_as_graph
def matrix(blocks: Blocks, variables: Variables, *, chunk_size: int | None = None) -> tf.Tensor:
    """K = J J^T of the stacked residual, every entry.

    Keeps all of J if that takes less than 2 GB. Otherwise, or with a ``chunk_size``, holds two
    chunks of rows at a time and computes each anew wherever it is needed.

    Args:
        blocks: one residual block, or a dict of them, stacked in its order.
        variables: the parameters theta.
        chunk_size: points whose gradients are held at a time; chosen by memory by default.

    Returns:
        ``[n, n]``, symmetric and positive semidefinite.
    """
    named = _checked(blocks, variables, chunk_size)
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


def blocks(
    blocks: Blocks, variables: Variables, *, chunk_size: int | None = None
) -> dict[str, tf.Tensor]:
    """The diagonal blocks K_bb of the kernel.

    Args:
        blocks: residual blocks by name.
        variables: the parameters theta.
        chunk_size: points whose gradients are held at a time; chosen by memory by default.

    Returns:
        ``[n_b, n_b]`` by block.
    """
    return {
        name: matrix(block, variables, chunk_size=chunk_size)
        for name, block in _named(blocks).items()
    }


def eigenvalues(blocks: Blocks, variables: Variables, num: int | None = None) -> tf.Tensor:
    """Eigenvalues of K, largest first: the rates at which residuals decay under gradient flow.

    All of them come from the matrix. The largest few come from products K v alone (implicitly
    restarted Lanczos iteration, always from the same start), with neither K nor J in memory: what
    counts is that one reverse pass over all points fits.

    Args:
        blocks: one residual block, or a dict of them.
        variables: the parameters theta.
        num: how many of the largest, not in a graph; all of them by default.

    Returns:
        ``[n]``, or ``[num]``. Each errs by a few roundings of the largest: in float32, what is
        below 1e-6 of that is noise, and may be negative.

    Raises:
        ValueError: unless ``num`` is an integer from 1 to n; for a kernel that is not finite.
        RuntimeError: for a ``num`` inside a graph.
    """
    if num is None:
        return tf.reverse(tf.linalg.eigvalsh(matrix(blocks, variables)), axis=[0])
    if not tf.executing_eagerly():
        raise RuntimeError(
            "eigenvalues(..., num=...) iterates outside TensorFlow, which no graph can hold. Call "
            "it outside tf.function, or compute all eigenvalues there and slice them."
        )
    operator = _operator(_named(blocks), variables)
    n = operator.shape[0]
    if isinstance(num, bool | float) or num not in range(1, n + 1):
        raise ValueError(f"num must be an integer from 1 to n = {n}. Received {num!r}.")
    if max(2 * num + 1, 20) >= n:  # vectors that the iteration keeps: no fewer than K has
        return eigenvalues(blocks, variables)[:num]
    return tf.constant(_largest_eigenvalues(operator, num))


def effective_rank(blocks: Blocks, variables: Variables, *, order: int = 1) -> tf.Tensor:
    """How many eigenvalues K has, counted by their shares p_i = lambda_i / Tr K.

    Order 1 is exp(-sum_i p_i log p_i), the exponential of the entropy; order 2, which weighs small
    eigenvalues less and computes none, is 1 / sum_i p_i^2 = (Tr K)^2 / ||K||_F^2, the participation
    ratio. Both are between one and the rank, order 2 never above order 1.

    Either takes the matrix. Where that is too large, take the same share of every block's points at
    random: eigenvalues over n converge to those of the kernel as an integral operator (Koltchinskii
    and Gine, Bernoulli 6, 2000).

    Args:
        blocks: one residual block, or a dict of them.
        variables: the parameters theta.
        order: 1 or 2.

    Returns:
        A scalar; NaN if K is zero.

    Raises:
        ValueError: for another order.

    Reference:
        Roy, Vetterli, "The effective rank: a measure of effective dimensionality", EUSIPCO (2007).
    """
    if order == 1:
        positive = tf.maximum(eigenvalues(blocks, variables), 0)  # but for rounding, all are
        shares = positive / tf.reduce_sum(positive)
        return tf.exp(-tf.reduce_sum(tf.math.xlogy(shares, shares)))
    if order == 2:
        K = matrix(blocks, variables)
        return 1 / tf.reduce_sum((K / tf.linalg.trace(K)) ** 2)  # squares of shares never overflow
    raise ValueError(f"order must be 1 or 2. Received {order!r}.")


def product(
    blocks: Blocks, variables: Variables, vector: Mapping[str, tf.Tensor]
) -> dict[str, tf.Tensor]:
    """K v = J (J^T v), without forming J or K, by two reverse passes.

    Args:
        blocks: residual blocks by name.
        variables: the parameters theta.
        vector: v by block, each ``[n_b]``; zero for blocks it leaves out.

    Returns:
        K v for the blocks of ``vector``, each ``[n_b]``.

    Raises:
        ValueError: for a name that is no block's.
    """
    named = _checked(blocks, variables)
    _check_names("vector", vector, named)
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
    """By cotangents where they account for all parameters, else row by row."""
    if chunk_size is not None or not block.can_factor(variables):
        return map_gradients(squared_norms, block, variables, chunk_size, subset)
    return FactoredJacobian(block, variables).diagonal(range(len(variables)), subset)


def _operator(
    blocks: Mapping[str, Block], variables: Variables
) -> "scipy.sparse.linalg.LinearOperator":
    """K as a linear map of arrays ``[n]``, its product compiled once."""
    residuals = [block() for block in blocks.values()]
    sizes = [residual.shape[0] for residual in residuals]

    @tf.function(autograph=False)
    def multiply(vector: tf.Tensor) -> tf.Tensor:
        parts = dict(zip(blocks, tf.split(vector, sizes), strict=True))
        return tf.concat(list(product(blocks, variables, parts).values()), axis=0)

    return scipy.sparse.linalg.LinearOperator(
        (sum(sizes), sum(sizes)),
        matvec=lambda vector: multiply(vector).numpy(),
        dtype=residuals[0].dtype.as_numpy_dtype,
    )


def _largest_eigenvalues(operator: "scipy.sparse.linalg.LinearOperator", num: int) -> np.ndarray:
    """The ``num`` largest eigenvalues by Lanczos iteration, largest first."""
    start = np.random.default_rng(0).standard_normal(operator.shape[0]).astype(operator.dtype)
    image = operator @ start
    if not np.all(np.isfinite(image)):
        raise ValueError(
            "The kernel is not finite: a residual or its gradient is NaN or infinite at the "
            "present parameters."
        )
    if not np.any(image):  # K is zero, and no iteration starts from zero
        return np.zeros(num, operator.dtype)
    largest = scipy.sparse.linalg.eigsh(
        operator, num, which="LA", v0=start, return_eigenvectors=False
    )
    return np.sort(largest)[::-1]


def _named(blocks: Blocks) -> dict[str, Block]:
    named = blocks if isinstance(blocks, Mapping) else {"residual": blocks}
    return {name: b if isinstance(b, Block) else Block(b) for name, b in named.items()}


def _checked(
    blocks: Blocks, variables: Variables, chunk_size: int | None = None
) -> dict[str, Block]:
    """The blocks by name; raises ValueError for arguments that leave nothing to compute."""
    named = _named(blocks)
    if not named or not len(variables):
        raise ValueError(
            "A kernel needs at least one residual block and one variable. Received "
            f"{len(named)} blocks and {len(variables)} variables."
        )
    if chunk_size is not None:
        check_count("chunk_size", chunk_size)
    return named


def _check_names(argument: str, given: Iterable[str], named: Mapping[str, Block]) -> None:
    unknown = sorted(set(given) - set(named))
    if unknown:
        raise ValueError(
            f"The keys of {argument} must be names of blocks, {sorted(named)}. Unknown: {unknown}."
        )


def _num_points(blocks: Mapping[str, Block]) -> int:
    """Points of all blocks; those whose number a graph does not know count as none."""
    firsts = [tf.nest.flatten(b.points)[0] for b in blocks.values() if b.points is not None]
    return sum(np.shape(first)[0] or 0 for first in firsts)


def _pieces(block: Block, variables: Variables, chunk_size: int | None) -> list[Block]:
    """A block cut into blocks whose Jacobians fit into memory."""
    if block.points is None:
        return [block]
    size = chunk_size or points_in(CHUNK_BYTES, variables)
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
