"""Files that are never half written."""

import contextlib
import os
import uuid
from collections.abc import Iterator
from pathlib import Path

__all__ = ["replaced"]


@contextlib.contextmanager
def replaced(path: Path) -> Iterator[Path]:
    """A temporary path that takes the place of ``path`` in one step when the block ends well.

    It lies in the same folder and has a name of its own, so that processes may share the folder;
    when the block fails nothing is left of it.

    Args:
        path: of the file.
    """
    temporary = path.with_name(f"new-{uuid.uuid4().hex[:8]}-{path.name}")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
