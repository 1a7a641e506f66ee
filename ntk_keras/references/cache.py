"""Results that take long to compute, kept on disk between processes.

A file's name is a hash of everything that determines its content, so nothing in the folder goes
stale. It may be deleted at any time.
"""

import hashlib
import json
import os
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ntk_keras.backend.files import replaced

__all__ = ["FOLDER_VARIABLE", "cached", "folder", "key"]

FOLDER_VARIABLE = "NTK_KERAS_CACHE"

Arrays = dict[str, np.ndarray]


def folder() -> Path:
    """Returns the folder of results: ``$NTK_KERAS_CACHE``, or the user's cache folder."""
    if chosen := os.environ.get(FOLDER_VARIABLE):
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ntk_keras"


def key(settings: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> str:
    """Returns a hash of settings and arrays, equal for equal ones in any process.

    Args:
        settings: plain data, as ``json`` takes it.
        arrays: arrays by name, whose dtype and shape count too.
    """
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    for name, array in sorted(arrays.items()):
        digest.update(f"{name} {array.dtype.str} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()[:32]


def cached(name: str, compute: Callable[[], Arrays]) -> Arrays:
    """Returns the result of ``compute``, from disk if it was computed before.

    The file is written atomically, so processes may share the folder; an unreadable file is
    computed again.

    Args:
        name: name of the file, without its ending; it should contain a :func:`key`.
        compute: function that returns arrays by name.
    """
    path = folder() / f"{name}.npz"
    try:
        with path.open("rb") as file, np.load(file) as stored:
            return dict(stored)
    except (FileNotFoundError, EOFError, ValueError, zipfile.BadZipFile, zlib.error):
        arrays = compute()
    path.parent.mkdir(parents=True, exist_ok=True)
    with replaced(path) as temporary, temporary.open("wb") as whole:
        np.savez_compressed(whole, **arrays)  # type: ignore[arg-type]
    return arrays
