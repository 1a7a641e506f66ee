"""Names of the axes of shapes."""

from collections.abc import Sequence
from typing import Any

__all__ = ["axes_of", "bounds_of", "joined_axes", "same_axes"]


def axes_of(dims: int, axes: Sequence[str] | None = None) -> tuple[str, ...]:
    """Returns names of axes, by default x, y and z, or x1, x2, ... for more.

    Args:
        dims: number of axes.
        axes: names of the axes, if given.

    Raises:
        ValueError: if there are more or fewer names than axes.
    """
    if axes is None:
        return ("x", "y", "z")[:dims] if dims <= 3 else tuple(f"x{k + 1}" for k in range(dims))
    if len(axes) != dims or len(set(axes)) < dims:
        raise ValueError(f"A shape of {dims} dimensions needs as many names. Received {axes!r}.")
    return tuple(axes)


def same_axes(first: Any, second: Any) -> tuple[str, ...]:
    """Returns the axes of two shapes that are combined.

    Args:
        first: one shape.
        second: another shape.

    Raises:
        ValueError: if the axes differ.
    """
    if first.axes != second.axes:
        raise ValueError(
            f"Shapes that are combined have the same axes. Received {first} with axes "
            f"{list(first.axes)} and {second} with axes {list(second.axes)}. Name them alike, or "
            "multiply the shapes by `*`, as in Box(t=(0, 1)) * Disk()."
        )
    return first.axes


def joined_axes(first: Any, second: Any) -> tuple[str, ...]:
    """Returns the axes of two shapes that are multiplied.

    Args:
        first: one shape.
        second: another shape.

    Raises:
        ValueError: if both have an axis of the same name.
    """
    axes = (*first.axes, *second.axes)
    if len(set(axes)) < len(axes):
        raise ValueError(
            f"Shapes that are multiplied have different axes. Received {first} with axes "
            f"{list(first.axes)} and {second} with axes {list(second.axes)}. Name those of one "
            'otherwise, as in Disk(axes=("y", "z")).'
        )
    return axes


def bounds_of(shape: Any) -> str:
    """Returns the extent of a shape along its axes, for messages.

    Args:
        shape: shape to describe.
    """
    ends = zip(shape.axes, shape.lower, shape.upper, strict=True)
    return ", ".join(f"{axis} from {lower:g} to {upper:g}" for axis, lower, upper in ends)
