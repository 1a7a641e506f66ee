"""What the site shows of files that lie outside its folder."""

from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]


def on_page_markdown(markdown: str, *, page: Any, **_: Any) -> str:
    """Puts REPRODUCTION.md on its page; its links start at the root, those of the site here."""
    if page.file.src_uri != "reproduction.md":
        return markdown
    return (ROOT / "REPRODUCTION.md").read_text(encoding="utf-8").replace("](docs/", "](")
