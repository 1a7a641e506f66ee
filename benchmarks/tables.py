"""Tables of measurements, as CSV files and as Markdown."""

import csv
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"
IMAGES = Path(__file__).parents[1] / "docs" / "images"


def markdown(rows: Sequence[Mapping[str, Any]]) -> str:
    """Returns the rows as a Markdown table."""
    names = list(rows[0])
    lines = [names, ["---"] * len(names), *([str(row[n]) for n in names] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def write_csv(path: str | os.PathLike[str], rows: Sequence[Mapping[str, Any]]) -> None:
    """Writes the rows to a file atomically, and creates its folder."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name("new-" + path.name)
    with open(temporary, "w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    os.replace(temporary, path)


def read_csv(path: str | os.PathLike[str]) -> list[dict[str, str]]:
    """Returns the rows of a file; none if there is no file."""
    if not Path(path).exists():
        return []
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def write_table(out: Path, name: str, rows: Sequence[Mapping[str, Any]], notes: str = "") -> None:
    """Prints the rows as a Markdown table, and writes the table to a Markdown and a CSV file.

    Args:
        out: folder of the files.
        name: name of both files, without suffix.
        rows: rows of the table, at least one.
        notes: lines of text below the table.
    """
    text = markdown(rows) + (f"\n\n{notes}" if notes else "")
    print(text)
    write_csv(out / f"{name}.csv", rows)
    (out / f"{name}.md").write_text(text + "\n")
