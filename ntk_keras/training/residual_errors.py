"""Errors of residuals, with the way to fix them."""

import contextlib
import inspect
import math
import re
import traceback
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from ntk_keras.training.terms import Term

__all__ = [
    "MEND_OF_LARGE",
    "check_components",
    "check_finite",
    "check_residual",
    "check_squares",
    "named_failure",
    "refuse_change",
    "warn_of_underflow",
]


# Errors that say nothing about a residual, recognised by their types.
_OF_THE_MACHINE = (
    MemoryError,
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.ResourceExhaustedError,
    tf.errors.UnavailableError,
)


@contextlib.contextmanager
def named_failure(term: Term, points: Any, network: keras.layers.Layer) -> Iterator[None]:
    """Adds the term and the shapes that met to an error of a residual.

    Memory that runs out, a lost device and an interrupt keep their types and texts.

    Args:
        term: term whose residual is evaluated.
        points: points of the evaluation.
        network: network that is evaluated.
    """
    try:
        yield
    except _OF_THE_MACHINE:
        raise
    except Exception as error:
        raise ValueError(
            f"Term {term.name!r}: its residual failed at points of shape "
            f"{_shapes(points)}, where the network takes inputs of shape "
            f"{getattr(network, 'input_shape', 'unknown')}: {str(error).rstrip('. ')}. "
            f"{_mend(error, term, points, network)}".rstrip()
        ) from error


def _mend(error: Exception, term: Term, points: Any, network: keras.layers.Layer) -> str:
    """Returns the fix, as far as type and place of the error tell, or nothing."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    modules = [frame.f_globals.get("__name__", "") for frame in frames]
    if isinstance(error, TypeError) and not _takes_two(term.residual):
        return "A residual takes the network and its points: residual(u, points)."
    if isinstance(error, NotImplementedError) and frames[-1].f_code.co_name == "__array__":
        return (
            "Use TensorFlow in a residual: tf.sin, not np.sin; for a table, in place of np.interp, "
            "ntk_keras.domains.GridInterpolator; or call NumPy by tf.numpy_function."
        )
    if isinstance(error, TypeError) and "symbolic" in str(error).lower():
        return (
            "Residuals run as a graph and are not converted by AutoGraph. Write x.shape[0] for "
            "len(x) and tf.where for `if`, or convert the function: decorate it with `@tf.function`"
            f", or give Term({term.name!r}, tf.autograph.to_graph(residual), ...)."
        )
    if any(name.startswith("ntk_keras.derivatives.") for name in modules):
        wanted, received = getattr(network, "input_shape", None), getattr(points, "shape", None)
        if isinstance(wanted, tuple) and received is not None and received[1:] != wanted[1:]:
            return "Give points a column for each input of the network: a box needs as many axes."
    elif isinstance(error, tf.errors.InvalidArgumentError) and "[Op:StridedSlice]" in str(error):
        outputs = getattr(network, "output_shape", "unknown")
        return f"The network's outputs have shape {outputs}; columns count from 0."
    own = [f for f, name in zip(frames, modules, strict=True) if name.split(".")[0] not in _OTHERS]
    by_tape = any(isinstance(v, tf.GradientTape) for frame in own for v in frame.f_locals.values())
    if by_tape and isinstance(error, _OF_NONE) and "NoneType" in str(error):
        return (
            "If a tape gave no gradient: let it watch the points before `u` is called, and "
            "differentiate by the very tensor that `u` was given; or use "
            "ntk_keras.derivatives.gradient(u, points)."
        )
    return _mend_of_dtypes(error, points)


_OTHERS = ("ntk_keras", "tensorflow", "keras")
_OF_NONE = (AttributeError, TypeError, ValueError)  # what comes of computing with None


def _takes_two(residual: Any) -> bool:
    """Whether a residual can be called with network and points, as far as it says."""
    residual = getattr(residual, "residual", residual)  # of a column
    try:
        inspect.signature(residual).bind(None, None)
    except TypeError:
        return False
    except ValueError:  # without a signature
        return True
    return True


# Phrases of TensorFlow for tensors of two dtypes that meet, eagerly and in a graph.
_DTYPES_DIFFER = re.compile(r"was expected to be a \w+ tensor but is a|does not match type \w+ of")


def _mend_of_dtypes(error: Exception, points: Any) -> str:
    """Returns the fix for dtypes that do not fit, if they may be why a residual failed."""
    kinds = tf.errors.InvalidArgumentError | TypeError | ValueError
    if not (isinstance(error, kinds) and _DTYPES_DIFFER.search(str(error))):
        return ""
    dtypes = [x.dtype for x in tf.nest.flatten(points)]
    if any(dtype.is_integer for dtype in dtypes):
        return (
            "Its points hold integers [n], which stay integers in a nest: make coordinates and "
            "measured values floats, as in np.asarray(x, float), or by tf.cast in the residual."
        )
    if "complex" in str(error):
        name = "complex128" if dtypes[0] in (tf.float64, tf.complex128) else "complex64"
        return (
            f"Points and outputs of the network are {dtypes[0].name}, whose complex numbers are "
            f"{name}. Cast both to that, as in tf.cast(c, tf.{name}), which drops no part, and "
            "return the parts of the residual, (tf.math.real(r), tf.math.imag(r))."
        )
    return (
        f"Points and outputs of the network are {dtypes[0].name}. Make constants of that dtype, as "
        "in tf.constant(c, x.dtype) or tf.cast(c, x.dtype); numbers and NumPy arrays beside "
        "tensors take it by themselves."
    )


def check_residual(term: Term, residual: Any, points: Any) -> None:
    """Checks what a residual returned.

    Args:
        term: term, for the message.
        residual: result of the residual.
        points: points of the evaluation.

    Raises:
        ValueError: if it is not a real tensor ``[n]`` or ``[n, k]`` with a row for each point.
    """
    if not tf.is_tensor(residual) or not residual.dtype.is_floating:
        received = residual.dtype.name if tf.is_tensor(residual) else type(residual).__name__
        raise ValueError(
            f"Term {term.name!r}: the residual must return one tensor of real floats. Received "
            f"{received}. Return several as a tuple; of a complex r, its parts, as in "
            "(tf.math.real(r), tf.math.imag(r))."
        )
    count = tf.nest.flatten(points)[0].shape[0]
    shape = tuple(residual.shape)
    if len(shape) not in (1, 2) or shape[0] != count or math.prod(shape) == 0:
        raise ValueError(
            f"Term {term.name!r}: the residual must have shape [{count}] or [{count}, k], one row "
            f"for each of its {count} points. Received shape {list(shape)}. {_reshaping(shape)}"
        )


def _reshaping(shape: Sequence[int]) -> str:
    """Returns code that gives a residual a row for each point."""
    if len(shape) > 2:
        return "Pick what the equation speaks of: derivatives are [n, outputs, d], as in [:, 0, 1]."
    return (
        "Do not reduce over points: the kernel needs the residual of each, and the loss sums their "
        "squares later. An integral is a row of its own, whose point holds all nodes, [1, q, d]: "
        "see docs/how-to/terms.md."
    )


def check_finite(term: Term, residual: tf.Tensor, points: Any) -> None:
    """Raises ValueError for a residual that is NaN or infinite before training has begun.

    Args:
        term: term, for the message.
        residual: tensor ``[n]`` or ``[n, k]``.
        points: points of the evaluation.
    """
    rows = np.argwhere(~np.isfinite(np.reshape(residual, [len(residual), -1])))
    if len(rows):
        row = int(rows[0][0])
        at = tf.nest.map_structure(lambda x: np.asarray(x)[row], points)
        raise ValueError(
            f"Term {term.name!r}: the residual must be finite where training starts. Received "
            f"{np.asarray(residual)[row]} at the point {at}. Look where it divides, takes roots or "
            "logarithms, or at the network's initial parameters."
        )


MEND_OF_LARGE = (
    "Divide the equation by its largest coefficient, for which kernel weights make up, or have the "
    'network compute in float64, as by dtype="float64" of its layers.'
)


def check_squares(term: Term, squares: np.longdouble, dtype: tf.DType) -> None:
    """Raises ValueError for finite residuals whose loss is infinite before training has begun.

    Args:
        term: term, for the message.
        squares: sum of squares, or mean if losses are means.
        dtype: dtype of the residual.
    """
    if squares > np.longdouble(dtype.max):
        raise ValueError(
            f"Term {term.name!r}: its residuals are finite, but their squares add up to "
            f"{squares:.1e}, which is infinite in {dtype.name}, so that no step could be made. "
            f"{MEND_OF_LARGE}"
        )


def warn_of_underflow(term: Term, residual: tf.Tensor) -> None:
    """Warns of residuals, not all of them zero, whose squares are zero in their dtype.

    Args:
        term: term, for the message.
        residual: tensor ``[n]`` or ``[n, k]``.
    """
    largest = np.max(np.abs(residual))
    if 0 < largest < math.sqrt(np.finfo(largest.dtype).tiny):
        warnings.warn(
            f"Term {term.name!r}: its residuals are at most {largest:.1e}, so that their squares "
            f"vanish in {largest.dtype} and nothing of the term is trained. Multiply them by a "
            "constant: kernel weights make up for it.",
            stacklevel=5,
        )


def refuse_change(term: Term, assigned: Sequence[keras.Variable]) -> None:
    """Raises ValueError for a residual that differs at the next evaluation.

    Args:
        term: term, for the message.
        assigned: variables that layers assign in training.
    """
    why = (
        "which would drown the kernel. Either the residual draws random points itself: have them "
        "drawn, as in points=box.interior(100) or a Sampler of your own. Or the network holds "
        'noise (Dropout, GaussianNoise): remove those layers, or use weighting="constant".'
    )
    if assigned and all(v.dtype.startswith("float") for v in assigned):  # seeds are integers
        why = (
            "because layers change in training what they compute with, so that there is no kernel "
            "to go by (SpectralNormalization divides its kernel anew each time). They assign "
            f"{[v.path for v in assigned]}. Take another normalization, as LayerNormalization, or "
            'use weighting="constant".'
        )
    raise ValueError(
        f"Term {term.name!r}: two evaluations at the same points and parameters differ, {why}"
    )


def check_components(term: Term, residual: tf.Tensor, first: tf.Tensor) -> None:
    """Checks that a point has the same axes and components whatever the other points.

    Args:
        term: term, for the message.
        residual: residual at all points, ``[n]`` or ``[n, k]``.
        first: residual at the first point alone.

    Raises:
        ValueError: if the axis of points is lost, or the number of components is that of points.
    """
    if first.shape.rank != residual.shape.rank:
        mend = (
            "tf.squeeze and the like take the axis of points away there. Say which axis goes, as "
            "in u(x)[:, 0] or tf.squeeze(u(x), -1)."
        )
    elif first.shape[1:] != residual.shape[1:]:
        mend = (
            "Shapes [n] and [n, 1] broadcast to [n, n]: take a column of the network's output, as "
            "in u(x)[:, 0], or keep both as columns."
        )
    else:
        return
    raise ValueError(
        f"Term {term.name!r}: the residual has shape {list(residual.shape)}, but "
        f"{list(first.shape)} at the first point alone. {mend}"
    )


def _shapes(points: Any) -> str:
    """Returns the shapes of a nest of points, for messages."""
    return str(tf.nest.map_structure(lambda x: tuple(x.shape), points))
