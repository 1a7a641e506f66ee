"""Names of columns, as a box gives them to its points, and the columns that they name."""

import contextlib
import contextvars
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

__all__ = ["Axis", "as_names", "columns_of", "named_columns"]

Axis = int | str

_NAMES: contextvars.ContextVar[tuple[str, ...] | None] = contextvars.ContextVar(
    "names", default=None
)


def as_names(axes: Any) -> tuple[str, ...] | None:
    """Returns checked names of all columns; None if there are none.

    Args:
        axes: sequence of names, or a single name.

    Raises:
        ValueError: if one is not a name, or occurs twice.
    """
    if axes is None:
        return None
    names = (axes,) if isinstance(axes, str) else tuple(axes)
    if not names or not all(isinstance(n, str) and n for n in names) or len(names) > len({*names}):
        raise ValueError(
            'axes are the names of all columns, each once, as in axes=("t", "x"). Received '
            f"axes={axes!r}."
        )
    return names


@contextlib.contextmanager
def named_columns(u: Any) -> Iterator[None]:
    """Gives custom functions within a residual, which have no names, those of ``u``.

    Args:
        u: network view that the residual is given.
    """
    token = _NAMES.set(getattr(u, "axes", None))
    try:
        yield
    finally:
        _NAMES.reset(token)


def columns_of(axes: Any, points: tf.Tensor, u: Any) -> list[int]:
    """Returns the columns of axes.

    Args:
        axes: names, indices or both, or one of them.
        points: points ``[n, d]``.
        u: function that is differentiated, a view with ``axes`` if there are names.

    Raises:
        ValueError: if an axis is not an input, or a name is used where there are none.
    """
    width = points.shape[1]
    given = np.atleast_1d(np.asarray(axes, dtype=object)).tolist()
    places = [int(axis) if isinstance(axis, np.integer) else axis for axis in given]
    if any(isinstance(axis, str) for axis in places):
        names = _names_of(u, places, width)
        places = [names.index(axis) if axis in names else axis for axis in places]
        unknown = [axis for axis in places if isinstance(axis, str)]
        if unknown:
            raise ValueError(f"There is no axis {unknown[0]!r}. The axes are {list(names)}.")
    if not all(isinstance(axis, int) and 0 <= axis < width for axis in places):
        raise ValueError(
            f"Every axis must be an input, 0 to {width - 1} for points of width {width}. "
            f"Received axes={given}."
        )
    return places


def _names_of(u: Any, asked: Sequence[Any], width: int) -> tuple[str, ...]:
    names = getattr(u, "axes", None)
    if not isinstance(names, tuple) or not all(isinstance(name, str) for name in names):
        names = _NAMES.get()
    name = next(axis for axis in asked if isinstance(axis, str))
    if names is None:
        raise ValueError(
            f"Axis {name!r} is given by name, but the columns of the points have no names. Points "
            "drawn from a Box have its names; others get theirs from the term, as in "
            'Term(name, residual, points, axes=("t", "x")), and outside of residuals from '
            'nk.derivatives.NetworkView(network, axes=("t", "x")). An index, as 0, needs none.'
        )
    if len(names) != width:
        raise ValueError(
            f"Axis {name!r} is given by name, but {list(names)} name {len(names)} columns and the "
            f"points have {width}. Give the term `axes=` with a name for each, or use indices."
        )
    return names
