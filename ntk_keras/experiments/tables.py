"""Text in aligned columns."""

from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["markdown", "numbers_table", "two_columns"]

MOST_VALUES = 6


def markdown(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Returns a Markdown table with equally wide cells, numbers to the right.

    Args:
        heads: names of the columns, of which the first holds text, the others numbers.
        rows: cells of each row.
    """
    widths = [max(map(len, column)) for column in zip(heads, *rows, strict=True)]
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    lines = [
        [row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]
        for row in (heads, rule, *rows)
    ]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def two_columns(rows: Sequence[tuple[str, str]]) -> str:
    """Returns an indented line for each name and value, values to the right.

    Args:
        rows: names and values; a name without a value heads those that follow.
    """
    names = max((len(name) for name, _ in rows), default=0)
    values = max((len(value) for _, value in rows), default=0)
    return "\n".join(f"  {name:<{names}}  {value:>{values}}".rstrip() for name, value in rows)


def numbers_table(numbers: Mapping[str, Any]) -> str:
    """Returns nested numbers as a table with three significant digits.

    Settings are left out. Of lists with many values, the first and the last are shown.

    Args:
        numbers: plain data, as :class:`~ntk_keras.experiments.reproduction.Reproduced` holds it.
    """
    return two_columns(_rows({k: v for k, v in numbers.items() if k != "settings"}))


def _rows(numbers: Mapping[str, Any], indent: str = "") -> list[tuple[str, str]]:
    rows = []
    for name, value in numbers.items():
        if isinstance(value, Mapping):
            rows += [(f"{indent}{name}", ""), *_rows(value, f"{indent}  ")]
        else:
            rows.append((f"{indent}{name}", _short(value)))
    return rows


def _short(value: Any) -> str:
    """A number with three significant digits, or a list of such numbers."""
    if isinstance(value, float):
        return f"{value:.3g}"
    if not isinstance(value, list | tuple):
        return str(value)
    if len(value) > MOST_VALUES:
        return f"{_short(value[0])} ... {_short(value[-1])} ({len(value)} values)"
    return ", ".join(map(_short, value))
