"""Gradients of single residual entries, the rows of J, by one reverse pass each.

Works for any residual function. Rows are computed in chunks of points, so that only one chunk is
held in memory. A chunk is vectorised, or computed point by point if TensorFlow cannot vectorise
the residual, for example because it branches.
"""

import logging
import math
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from ntk_keras.backend.graphs import map_one_by_one
from ntk_keras.backend.variables import Unassigned, Variables, watchable
from ntk_keras.kernel.block import Block

__all__ = ["CHUNK_BYTES", "flat_rows", "map_entries", "map_gradients", "points_in", "squared_norms"]

# Size of a chunk of Jacobian rows, of which several copies exist at once. More is no faster.
CHUNK_BYTES = 32 * 2**20
# Size of a chunk of reverse passes through all points. Fewer passes at a time are slower.
_PASSES_BYTES = 96 * 2**20


def map_gradients(
    reduce: Callable[[list[tf.Tensor]], tf.Tensor],
    block: Block,
    variables: Variables,
    chunk_size: int | None,
    subset: tf.Tensor | None = None,
) -> tf.Tensor:
    """Returns ``reduce`` of the gradient of every residual entry of a block, stacked.

    Args:
        reduce: function of the gradients of one point's k entries, ``[k, *shape]`` per variable.
        block: residual block.
        variables: parameters theta.
        chunk_size: number of points whose gradients are computed at a time; None chooses it by
            memory.
        subset: indices of the points to use, or of the entries of a block whose rows do not belong
            to single points; by default all.

    Raises:
        ValueError: if the number of entries per point is unknown.
    """
    if block.is_whole:
        residuals, gradient = _recorded(block, variables)
        return map_entries(reduce, residuals, gradient, variables, chunk_size, subset)

    def one(point: Any) -> tf.Tensor:
        with Unassigned():
            residuals, gradient = _recorded(
                lambda: block.at(tf.nest.map_structure(lambda x: x[tf.newaxis], point)), variables
            )
        if residuals.shape[0] is None:
            raise ValueError(
                "A residual must give every point the same, known number of entries. Of what "
                "tf.numpy_function or tf.py_function returns nothing is known: say its shape, as "
                "in tf.ensure_shape(values, points.shape[:1])."
            )
        units = tf.unstack(tf.eye(residuals.shape[0], dtype=residuals.dtype))
        by_entry = [gradient(unit) for unit in units]
        return reduce([tf.stack(parts) for parts in zip(*by_entry, strict=True)])

    points = block.points
    if subset is not None:
        points = tf.nest.map_structure(lambda x: tf.gather(x, subset), points)
    rows = _map_chunks(one, points, chunk_size or points_in(CHUNK_BYTES, variables))
    return tf.reshape(rows, tf.concat([[-1], tf.shape(rows)[2:]], axis=0))


def flat_rows(gradients: list[tf.Tensor]) -> tf.Tensor:
    """Returns the rows ``J_i`` of k entries, ``[k, p]``.

    Args:
        gradients: gradients ``[k, *shape]``, one tensor per variable.
    """
    return tf.concat(
        [tf.reshape(g, [tf.shape(g)[0], math.prod(g.shape[1:])]) for g in gradients], 1
    )


def squared_norms(gradients: list[tf.Tensor]) -> tf.Tensor:
    """Returns ``||J_i||^2`` of k entries, ``[k]``.

    Args:
        gradients: gradients ``[k, *shape]``, one tensor per variable.
    """
    return tf.add_n([tf.reduce_sum(g**2, axis=range(1, g.shape.rank)) for g in gradients])


def map_entries(
    reduce: Callable[[list[tf.Tensor]], tf.Tensor],
    residuals: tf.Tensor,
    gradient: Callable[[tf.Tensor], list[tf.Tensor]],
    variables: Variables,
    chunk_size: int | None,
    subset: tf.Tensor | None,
) -> tf.Tensor:
    """:func:`map_gradients` for residuals recorded as a whole, by one reverse pass per entry.

    Args:
        reduce: function of the gradient of one entry, ``[1, *shape]`` per variable.
        residuals: residuals ``[n]``.
        gradient: function from cotangents ``[n]`` to gradients of the residuals.
        variables: parameters theta.
        chunk_size: number of entries whose gradients are computed at a time; None chooses it by
            memory.
        subset: indices of the entries to use; None for all.
    """
    count = tf.shape(residuals)[0]

    def one(index: tf.Tensor) -> tf.Tensor:
        unit = tf.one_hot(index, count, dtype=residuals.dtype)
        return reduce([g[tf.newaxis] for g in gradient(unit)])[0]

    entries = tf.range(count) if subset is None else subset
    passes = points_in(_PASSES_BYTES, variables, residuals.shape[0] or 1)
    return _map_chunks(one, entries, chunk_size or passes)


def _recorded(
    function: Callable[[], tf.Tensor], variables: Variables
) -> tuple[tf.Tensor, Callable[[tf.Tensor], list[tf.Tensor]]]:
    """Returns the residuals of ``function``, and a function from cotangents to gradients."""
    theta = watchable(variables)
    with tf.GradientTape(persistent=True, watch_accessed_variables=False) as tape:
        tape.watch(theta)
        residuals = function()

    def gradient(cotangent: tf.Tensor) -> list[tf.Tensor]:
        return tape.gradient(residuals, theta, cotangent, tf.UnconnectedGradients.ZERO)

    return residuals, gradient


def _map_chunks(function: Callable[[Any], tf.Tensor], points: Any, chunk_size: int) -> tf.Tensor:
    """Returns the stacked values of ``function`` at every point, vectorised over chunks."""
    points = tf.nest.map_structure(tf.convert_to_tensor, points)
    first = tf.nest.flatten(points)[0]
    if first.shape[0] is not None and first.shape[0] <= chunk_size:
        return _map_at_once(function, points)
    count = tf.shape(first)[0]
    chunk_size = tf.minimum(chunk_size, count)
    num_chunks = -(-count // chunk_size)
    # All chunks have the same size, so that one graph serves them all: the last is padded with
    # copies of the last point, which are dropped at the end.
    index = tf.minimum(tf.range(num_chunks * chunk_size), count - 1)
    index = tf.reshape(index, [num_chunks, chunk_size])
    stacked = map_one_by_one(
        lambda rows: _map_at_once(
            function, tf.nest.map_structure(lambda x: tf.gather(x, rows), points)
        ),
        index,
        _output_dtype(function, points),
    )
    shape = tf.concat([[num_chunks * chunk_size], tf.shape(stacked)[2:]], axis=0)
    return tf.reshape(stacked, shape)[:count]


def _map_at_once(function: Callable[[Any], tf.Tensor], points: Any) -> tf.Tensor:
    """Vectorises ``function`` over points; loops if TensorFlow cannot, as for tf.cond."""

    def is_no_error(record: logging.LogRecord) -> bool:
        return record.levelno < logging.ERROR

    logger = tf.get_logger()
    logger.addFilter(is_no_error)  # hundreds of lines; the loop raises other errors again
    try:
        return tf.vectorized_map(function, points)
    except Exception:
        dtype = _output_dtype(function, points)
        return map_one_by_one(function, points, dtype)
    finally:
        logger.removeFilter(is_no_error)


def _output_dtype(function: Callable[[Any], tf.Tensor], points: Any) -> tf.DType:
    one = tf.nest.map_structure(lambda x: tf.TensorSpec(x.shape[1:], x.dtype), points)
    return (
        tf.function(function, autograph=False).get_concrete_function(one).structured_outputs.dtype
    )


def points_in(memory: int, variables: Variables, each_through: int = 1) -> int:
    """Returns the number of points, at least one, whose gradients fit into memory.

    Args:
        memory: available memory in bytes.
        variables: parameters theta.
        each_through: number of points in each reverse pass. The memory of a layer is estimated from
            its units, the last axis of its parameters.
    """
    row = sum(
        (math.prod(v.shape) + each_through * (v.shape[-1] if len(v.shape) > 1 else 0))
        * tf.as_dtype(v.dtype).size
        for v in variables
    )
    return max(1, memory // max(row, 1))
