"""Checks of arguments that many layers share."""

import operator
from typing import Any

__all__ = ["check_count", "check_range"]


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


def check_range(name: str, value: float, interval: str, meaning: str = "") -> float:
    """A number within an interval.

    Args:
        name: of the argument, for the message.
        value: what was given for it.
        interval: as mathematics writes it: ``"(0, 1]"`` holds 1 and not 0. ``"(0, inf)"`` is
            called positive.
        meaning: of its ends, for the message.

    Returns:
        ``value``.

    Raises:
        ValueError: for a number outside, NaN included.
    """
    lower, upper = map(float, interval[1:-1].split(","))
    above = lower <= value if interval[0] == "[" else lower < value
    below = value <= upper if interval[-1] == "]" else value < upper
    if not (above and below):
        where = "be positive" if interval == "(0, inf)" else f"lie in {interval}"
        raise ValueError(f"{name} must {where}{meaning}. Received {name}={value}.")
    return value
