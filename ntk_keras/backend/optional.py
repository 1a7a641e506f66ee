"""Packages that only some of the functions need, imported when these are called."""

import importlib
from typing import Any

__all__ = ["optional"]


def optional(package: str, what: str, extra: str = "geometry") -> Any:
    """A package that is not installed with this one.

    Args:
        package: its name.
        what: needs it, for the message.
        extra: that installs it.

    Raises:
        ImportError: if it is not there, saying how to install it.
    """
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise ImportError(
            f"{what} needs {package}, which is not installed. Install it by "
            f'`pip install "ntk_keras[{extra}]"` or `pip install {package}`.'
        ) from error
