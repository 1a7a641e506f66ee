"""Inputs and outputs of a network: one tensor of points, several columns, or a nest of them."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from ntk_keras.backend import private_names
from ntk_keras.derivatives import taylor
from ntk_keras.derivatives.jets import Jet, seed

__all__ = [
    "arguments",
    "as_columns",
    "check_kind",
    "check_shapes",
    "input_dtype",
    "positions",
    "seeds",
]


def input_dtype(network: Any) -> str:
    """Returns the dtype of the inputs that a network takes.

    Args:
        network: Keras model or layer.
    """
    inputs = getattr(network, "inputs", None)
    return inputs[0].dtype if inputs else network.compute_dtype


def positions(network: Any) -> Any:
    """Returns the index of each output in a flat list, nested like them; 0 for a single output.

    Args:
        network: Keras model or layer, built.
    """
    outputs = getattr(network, "outputs", None)
    if not outputs:
        return 0
    structure = private_names.output_structure(network)
    return keras.tree.pack_sequence_as(structure, list(range(len(outputs))))


def as_columns(given: Sequence[Any], network: Any) -> list[Any]:
    """Returns the arguments with which a residual calls the network, as ``[n, width]`` each.

    For a network with several inputs, points may be one tensor, which is split in the order of the
    inputs. A column may have shape ``[n]``.

    Args:
        given: tensors or arrays, one or as many as the network has inputs.
        network: Keras model or layer, built.

    Raises:
        ValueError: if the network does not take this width, or takes its inputs by name and the
            columns have no names.
    """
    widths = _widths(network)
    _check_names(given, network)
    if len(widths) > 1 and len(given) == 1 and getattr(given[0], "shape", None) is not None:
        _check_width(given[0].shape[1:], [sum(widths)])
        return tf.split(given[0], widths, axis=1)
    if len(given) != len(widths):
        return list(given)
    columns = []
    for x, width in zip(given, widths, strict=True):
        shape = getattr(x, "shape", None)
        if width == 1 and tf.is_tensor(x) and len(x.shape) == 1:
            columns.append(x[:, tf.newaxis])
            continue
        if width is not None and shape is not None:
            _check_width(shape[-1:], [width])
        columns.append(x)
    return columns


def arguments(given: Sequence[Any], network: Any) -> Sequence[Any]:
    """Returns the arguments with which the network itself is called.

    Args:
        given: tensors or arrays as for :func:`as_columns`, or one dict of columns by name.
        network: Keras model or layer.
    """
    count = len(_widths(network))
    if len(given) == 1 and isinstance(given[0], Mapping):  # columns by name
        return given
    return [as_columns(given, network)] if count > 1 and len(given) in (1, count) else given


def seeds(columns: Sequence[tf.Tensor], everywhere: bool) -> list[Jet]:
    """Returns the jets of a network's inputs; axes count the columns of all inputs in order.

    Args:
        columns: inputs of the network, ``[n, width]`` each.
        everywhere: as for :func:`ntk_keras.derivatives.jets.seed`.
    """
    if len(columns) == 1:
        return [seed(columns[0], everywhere)]
    points, first = seed(tf.concat(columns, axis=1), everywhere), 0
    jets = []
    for column in columns:
        jets.append(taylor.select(points, range(first, first + column.shape[1])))
        first += column.shape[1]
    return jets


def check_kind(inputs: Any, network: Any) -> None:
    """Checks that inputs are not complex if the network takes real ones.

    Args:
        inputs: nest of arrays or tensors.
        network: Keras model or layer.

    Raises:
        ValueError: if they are; Keras would drop the imaginary part.
    """
    given = [tf.as_dtype(x.dtype) for x in tf.nest.flatten(inputs) if hasattr(x, "dtype")]
    wanted = [tf.as_dtype(x.dtype) for x in getattr(network, "inputs", None) or []]
    complex_given = [dtype.name for dtype in given if dtype.is_complex]
    if complex_given and wanted and not any(dtype.is_complex for dtype in wanted):
        raise ValueError(
            f"points are {complex_given[0]}, but the network takes real ones. Give real and "
            "imaginary part as two columns."
        )


def check_shapes(inputs: Any, network: Any) -> None:
    """Checks that inputs have the width that the network takes; some layers would broadcast others.

    Args:
        inputs: nest of arrays or tensors. Nothing is checked unless there are as many as the
            network has inputs.
        network: Keras model or layer.

    Raises:
        ValueError: if a known shape does not fit.
    """
    flat, widths = tf.nest.flatten(inputs), _widths(network)
    if len(flat) != len(widths):
        return
    for x, width in zip(flat, widths, strict=True):
        shape = tf.TensorShape(getattr(x, "shape", None))
        if width is None or shape.rank is None or shape[1:] == [width]:
            continue
        if shape.rank != 1 or width != 1:  # Keras reshapes it to a column
            raise ValueError(
                f"x has shape {tuple(shape)}, but the network takes [n, {width}]. One point is a "
                "row, as in x[np.newaxis]."
            )


def _check_names(given: Sequence[Any], network: Any) -> None:
    """Raises if columns have no names but the network takes a dict, ordered by its keys."""
    names = private_names.input_names(network)
    if len(names) > 1 and not (len(given) == 1 and isinstance(given[0], Mapping)):
        example = ", ".join(f"{name!r}: x[:, {k}:{k + 1}]" for k, name in enumerate(names))
        raise ValueError(
            f"Network {network.name!r} takes its columns by name, and there is no telling in which "
            f"order {names} stand in points. Call it as in u({{{example}}})."
        )


def _widths(network: Any) -> list[Any]:
    """Returns the widths of the inputs; None for one whose rows are not vectors of known length."""
    shape = getattr(network, "input_shape", None)
    shapes = shape if isinstance(shape, list) else [shape]
    known = [isinstance(s, tuple) and len(s) == 2 for s in shapes]
    if len(shapes) > 1 and not all(known):
        return [None]
    return [s[-1] if k else None for s, k in zip(shapes, known, strict=True)]


def _check_width(received: Sequence[int | None], wanted: Sequence[int]) -> None:
    """Raises if points have the wrong width, which some layers would broadcast."""
    if list(received) != list(wanted):
        raise ValueError(
            f"points of width {received[0] if received else None}, but the network takes "
            f"{wanted[0]}."
        )
