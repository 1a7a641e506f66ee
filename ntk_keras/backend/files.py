"""Files that are never half written."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

__all__ = ["replaced"]


@contextlib.contextmanager
def replaced(path: Path) -> Iterator[Path]:
    """A temporary path that takes the place of ``path`` in one step when the block ends well.

    Args:
        path: of the file.
    """
    temporary = path.with_name("new-" + path.name)
    yield temporary
    os.replace(temporary, path)
