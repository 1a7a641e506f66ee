"""Pages of the gallery run, and their numbers are those of the last run of their code."""

import re
import shutil

import pytest

from benchmarks import gallery
from benchmarks.tables import IMAGES, read_csv

ROWS = {row["page"]: row for row in read_csv(gallery.CSV)}
INDEX = (gallery.FOLDER / "index.md").read_text()
SMALLER = {
    r"epochs=\d+,(\s+)steps_per_epoch=\d+": r"epochs=1,\1steps_per_epoch=2",
    r"width=\d+,(\s+)depth=\d+": r"width=4,\1depth=1",
    r"interior\(\d+\)\)": "interior(50))",
}


@pytest.mark.parametrize("page", gallery.PAGES)
def test_the_numbers_of_a_page_are_those_of_its_code(page):
    row = ROWS[page]
    assert row["code"] == gallery.digest(page), f"python -m benchmarks.gallery --pages {page}"
    assert gallery.sentence(row) in gallery.PAGES[page].read_text()
    entries = [line for line in INDEX.splitlines() if f"({page}.md)" in line]
    assert page == "tutorial" or entries
    assert all(line.endswith(gallery.entry(row)) for line in entries)
    assert (IMAGES / "gallery" / f"{page}.png").stat().st_size > 1000


@pytest.mark.filterwarnings("ignore:Training has not come to its end")
@pytest.mark.parametrize("page", [page for page in gallery.PAGES if page != "tutorial"])
def test_the_code_of_a_page_runs(page, tmp_path, monkeypatch):
    """As printed, but for the length of training and the size of the network."""
    monkeypatch.chdir(tmp_path)
    for data in gallery.FOLDER.glob("*.csv"):
        shutil.copy(data, tmp_path)
    code = gallery.code(page)
    for pattern, small in SMALLER.items():
        code = re.sub(pattern, small, code)
    exec(compile(code, page, "exec"), {})
    assert (tmp_path / f"{page}.png").exists()
