"""Checks of arguments that many modules share."""

import operator
from typing import Any

__all__ = ["check_count", "check_range"]


def check_count(name: str, value: Any, smallest: int = 1) -> int:
    """Returns an integer, after checking that it is at least ``smallest``.

    Args:
        name: name of the argument, for the message.
        value: value of the argument. NumPy integers are accepted.
        smallest: smallest count allowed.

    Returns:
        ``value`` as an ``int``.

    Raises:
        ValueError: for anything else, including ``True`` and ``False``.
    """
    try:
        count = operator.index(value)
    except TypeError:
        count = smallest - 1
    if isinstance(value, bool) or count < smallest:
        raise ValueError(f"{name} must be an integer of at least {smallest}. Received {value!r}.")
    return count


def check_range(name: str, value: float, interval: str, meaning: str = "") -> float:
    """Returns a number, after checking that it lies in an interval.

    Args:
        name: name of the argument, for the message.
        value: value of the argument.
        interval: interval in mathematical notation: ``"(0, 1]"`` contains 1 but not 0. The message
            calls ``"(0, inf)"`` positive.
        meaning: meaning of the interval's ends, for the message.

    Returns:
        ``value``.

    Raises:
        ValueError: for a number outside, or NaN.
    """
    lower, upper = map(float, interval[1:-1].split(","))
    above = lower <= value if interval[0] == "[" else lower < value
    below = value <= upper if interval[-1] == "]" else value < upper
    if not (above and below):
        where = "be positive" if interval == "(0, inf)" else f"lie in {interval}"
        raise ValueError(f"{name} must {where}{meaning}. Received {name}={value}.")
    return value
