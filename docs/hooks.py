"""What the site shows of files that lie outside its folder."""

import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]


def on_page_markdown(markdown: str, *, page: Any, **_: Any) -> str:
    """Puts REPRODUCTION.md on its page; its links start at the root, those of the site here.

    Of files that are not on the site the names stay.
    """
    if page.file.src_uri != "reproduction.md":
        return markdown
    text = (ROOT / "REPRODUCTION.md").read_text(encoding="utf-8").replace("](docs/", "](")
    return re.sub(r"\[([^]]*)\]\(examples/[^)]*\)", r"`\1`", text)
