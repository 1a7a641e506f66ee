"""The pages of the gallery and the tutorial, run as printed: errors, seconds and pictures.

The Python of each page is one script, which runs in a new process. Seconds are those of the whole
process: imports, compilation, training and figures. Every result is written to
``results/gallery.csv``, to its page and to the index. Pages that have a result for their current
code are skipped, unless they are named. To run all of them again, delete the file first.

    python -m benchmarks.gallery
    python -m benchmarks.gallery --pages burgers heat
"""

import argparse
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.tables import IMAGES, RESULTS, read_csv, write_csv

__all__ = ["CSV", "PAGES", "code", "digest", "entry", "sentence"]

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "docs" / "gallery"
CSV = RESULTS / "gallery.csv"
PAGES = {path.stem: path for path in sorted(FOLDER.glob("*.md")) if path.stem != "index"}
PAGES["tutorial"] = ROOT / "docs" / "tutorial.md"

Row = Mapping[str, str]


def code(page: str) -> str:
    """Returns the Python of a page."""
    return "\n".join(re.findall(r"```python\n(.*?)```", PAGES[page].read_text(), re.DOTALL))


def digest(page: str) -> str:
    """Returns a short hash of the Python of a page without its comments and its format."""
    unformatted = re.sub(r"#.*|\s|,(?=\s*[)\]}])", "", code(page))
    return hashlib.sha256(unformatted.encode()).hexdigest()[:8]


def sentence(row: Row) -> str:
    """Returns the text of a result on its page."""
    quantity = row["quantity"][0].upper() + row["quantity"][1:]
    return f"**{quantity}: {row['error']}. Time: {row['seconds']} s.**"


def entry(row: Row) -> str:
    """Returns the last cells of a result in the table of the index."""
    return f"| {row['quantity']} {row['error']} | {row['seconds']}&nbsp;s |"


def run(page: str) -> dict[str, str]:
    """Runs a page, keeps its pictures, and returns its result."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for data in FOLDER.glob("*.csv"):
            shutil.copy(data, folder)
        (folder / "page.py").write_text(code(page))
        path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
        start = time.perf_counter()
        process = subprocess.run(
            [sys.executable, "page.py"],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": path},
            capture_output=True,
            text=True,
        )
        seconds = time.perf_counter() - start
        if process.returncode:
            raise RuntimeError(f"The page {page!r} failed:\n{process.stderr[-3000:]}")
        IMAGES.joinpath("gallery").mkdir(exist_ok=True)
        for picture in folder.glob("*.png"):
            shutil.move(picture, IMAGES / "gallery" / picture.name)
    found = re.findall(r"^(.*error.*): (\S+)e([-+]\d+)$", process.stdout, re.MULTILINE)
    quantity, digits, exponent = found[-1]
    return {
        "page": page,
        "quantity": quantity,
        "error": f"{digits}e{int(exponent)}",
        "seconds": f"{seconds:.0f}",
        "code": digest(page),
    }


def update_pages(rows: Sequence[Row]) -> None:
    """Writes results to the pages and to the index."""
    index = FOLDER / "index.md"
    lines = index.read_text().splitlines()
    for row in rows:
        path = PAGES[row["page"]]
        text = re.sub(r"\*\*.*\. Time: .* s\.\*\*", sentence(row), path.read_text())
        path.write_text(text)
        link = f"({path.name})"
        lines = [
            re.sub(r"\|[^|]*\|[^|]*\|$", entry(row), line) if link in line else line
            for line in lines
        ]
    index.write_text("\n".join(lines) + "\n")


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the chosen pages."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--pages", nargs="+", choices=list(PAGES), help="run these, again if need be"
    )
    named = parser.parse_args(arguments).pages
    rows = {row["page"]: row for row in read_csv(CSV)}
    current = [page for page, row in rows.items() if page in PAGES and row["code"] == digest(page)]
    for page in named or [page for page in PAGES if page not in current]:
        rows[page] = run(page)
        print(f"{page}: {rows[page]['quantity']} {rows[page]['error']}, {rows[page]['seconds']} s")
        ordered = [rows[name] for name in PAGES if name in rows]
        write_csv(CSV, ordered)
        update_pages(ordered)


if __name__ == "__main__":
    main()
