"""Files that are written atomically."""

import contextlib
import os
import uuid
from collections.abc import Iterator
from pathlib import Path

__all__ = ["replaced"]


@contextlib.contextmanager
def replaced(path: Path) -> Iterator[Path]:
    """Yields a temporary path, whose file replaces ``path`` atomically if the block succeeds.

    It is in the same folder and has a unique name, so that several processes can share the folder.
    If the block fails, the temporary file is deleted.

    Args:
        path: path of the file.
    """
    temporary = path.with_name(f"new-{uuid.uuid4().hex[:8]}-{path.name}")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
