"""Checks of arguments that many layers share."""

import operator
from typing import Any

__all__ = ["check_count"]


def check_count(name: str, value: Any, smallest: int = 1) -> int:
    """A whole number of at least ``smallest``, NumPy's integers included.

    Args:
        name: of the argument, for the message.
        value: what was given for it.
        smallest: the smallest count allowed.

    Returns:
        ``value`` as an ``int``.

    Raises:
        ValueError: for anything else, ``True`` and ``False`` included.
    """
    try:
        count = operator.index(value)
    except TypeError:
        count = smallest - 1
    if isinstance(value, bool) or count < smallest:
        raise ValueError(f"{name} must be an integer of at least {smallest}. Received {value!r}.")
    return count
