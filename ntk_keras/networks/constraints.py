"""Hard constraints: networks that satisfy boundary conditions exactly."""

from collections.abc import Callable
from typing import Any, Literal, get_args

import keras

from ntk_keras.domains import Box

__all__ = ["Face", "box_distance", "hard_constraint"]

Face = Literal["lower", "upper", "both"]


def hard_constraint(
    network: keras.Model,
    distance: Callable[[Any], Any],
    values: Callable[[Any], Any] | None = None,
    *,
    name: str | None = None,
) -> keras.Model:
    """Returns a network ``u = g + d N``, which equals g wherever the distance d is zero.

    No term is needed for such a condition. With ``d^2`` in place of d, the first derivatives equal
    those of g there too.

    Args:
        network: network N, from points ``[n, d]`` to ``[n, outputs]``.
        distance: function d from symbolic points ``[n, d]`` to ``[n, 1]`` or ``[n, outputs]`` that
            is zero only where u is prescribed, such as :func:`box_distance`. It uses ``keras.ops``
            and slices of columns, ``x[:, :1]``, or is a Keras layer.
        values: function g of the same kind, correct where d is zero and smooth elsewhere; zero by
            default.
        name: name of the model; Keras counts by default.

    Returns:
        A functional Keras model from ``[n, d]`` to ``[n, outputs]``.

    Raises:
        ValueError: if the network is not built or has several inputs or outputs, or columns do not
            fit its outputs.
        TypeError: if functions do not use ``keras.ops``.

    Reference:
        Lagaris, Likas, Fotiadis, "Artificial neural networks for solving ordinary and partial
        differential equations", IEEE Trans. Neural Netw. 9 (1998).

    Example::

        distance = nk.networks.box_distance(box, t="lower", x="both")
        u = nk.networks.hard_constraint(
            network, distance, lambda p: keras.ops.sin(3.14159 * p[:, 1:2])
        )
    """
    shapes: list[Any] = [getattr(network, f"{end}_shape", None) for end in ("input", "output")]
    if not all(isinstance(shape, tuple) and len(shape) == 2 for shape in shapes):
        raise ValueError(
            "A hard constraint takes a built network from points [n, d] to [n, outputs]. Received "
            f"{network!r} with inputs {shapes[0]} and outputs {shapes[1]}."
        )
    points = keras.Input(shapes[0][1:], dtype=network.inputs[0].dtype)
    factor = _columns("distance", distance, points, shapes[1][1])
    outputs = factor * network(points)
    if values is not None:
        outputs = _columns("values", values, points, shapes[1][1]) + outputs
    return keras.Model(points, outputs, name=name)


def box_distance(box: Box, **faces: Face) -> Callable[[Any], Any]:
    """Returns a polynomial that is zero on some faces of a box, positive elsewhere, at most one.

    Args:
        box: box that defines the columns of points.
        **faces: ``"lower"``, ``"upper"`` or ``"both"`` by axis. ``t="lower", x="both"`` gives zero
            at the start and on both sides. If there are none, all faces are used.

    Returns:
        A function from points ``[n, d]``, symbolic or not, to ``[n, 1]``, for
        :func:`hard_constraint`.

    Raises:
        ValueError: if an axis is missing from the box or flat, or a face is unknown.
    """
    faces = faces or dict.fromkeys(box.axes, "both")
    for axis, face in faces.items():
        if axis not in box.axes or face not in get_args(Face):
            raise ValueError(
                f'Faces are named by axis, as in x="lower", "upper" or "both", of {box}. Received '
                f"{axis}={face!r}."
            )
        if not box.upper[box.axes.index(axis)] > box.lower[box.axes.index(axis)]:
            raise ValueError(f"{box} has no two faces along {axis!r}: it is flat there.")

    def distance(points: Any) -> Any:
        product = None
        for axis, face in faces.items():
            k = box.axes.index(axis)
            lower, upper = float(box.lower[k]), float(box.upper[k])
            column = points[:, k : k + 1]
            above, below = (column - lower) / (upper - lower), (upper - column) / (upper - lower)
            factor = {"lower": above, "upper": below, "both": 4.0 * above * below}[face]
            product = factor if product is None else product * factor
        return product

    return distance


def _columns(what: str, function: Callable[[Any], Any], points: Any, outputs: int) -> Any:
    """Returns the checked result of a function for symbolic points."""
    try:
        columns = function(points)
    except Exception as error:
        raise TypeError(
            f"{what} must be a function of symbolic points, written with keras.ops and slices of "
            "columns, as in lambda x: x[:, :1] * (1 - x[:, :1]), or a Keras layer. It failed: "
            f"{error}"
        ) from error
    shape = tuple(getattr(columns, "shape", ()))
    if len(shape) != 2 or shape[1] not in (1, outputs):
        raise ValueError(
            f"{what} must have one column, or one for each of the {outputs} outputs of the "
            f"network. Received shape {shape}. A slice keeps columns, x[:, :1]; an index, x[:, 0], "
            "does not."
        )
    return columns
