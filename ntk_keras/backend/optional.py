"""Optional packages, imported when a function that needs them is called."""

import importlib
from typing import Any

__all__ = ["optional"]


def optional(package: str, what: str, extra: str = "geometry") -> Any:
    """Returns a package that is not installed along with this one.

    Args:
        package: name of the package.
        what: function or class that needs the package, for the message.
        extra: name of the extra that installs the package.

    Raises:
        ImportError: if the package is missing; the message says how to install it.
    """
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise ImportError(
            f"{what} needs {package}, which is not installed. Install it by "
            f'`pip install "ntk_keras[{extra}]"` or `pip install {package}`.'
        ) from error
