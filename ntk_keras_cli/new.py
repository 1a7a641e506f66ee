"""The command ``ntk-keras new``, which writes a custom problem to start from."""

import importlib.util
import os
import re
from pathlib import Path

from ntk_keras_cli.names import PROBLEMS

__all__ = ["write"]

_NAME = re.compile(r'^NAME = "\w+"', re.MULTILINE)


def write(file: str | os.PathLike[str]) -> str:
    """Writes a custom problem that is named after its file.

    Args:
        file: new file, ending in ``.py``; its folder is created.

    Returns:
        What to do with the file.

    Raises:
        FileExistsError: if the file exists.
        ValueError: if the name of the file cannot be that of a problem.
    """
    path = Path(file)
    if path.suffix != ".py" or not re.fullmatch(r"\w+", path.stem):
        raise ValueError(
            "The file of a problem needs a name of letters, digits and _ that ends in .py, as in "
            f"heat.py. Received {str(file)!r}."
        )
    if path.stem in PROBLEMS:
        raise ValueError(
            f"{path.stem!r} is the name of a built-in problem. Choose another one, as in "
            f"my_{path.name}."
        )
    if path.exists():
        raise FileExistsError(f"{path} exists, and is not overwritten. Choose another name.")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(_NAME.sub(f'NAME = "{path.stem}"', _template().read_text(), count=1))
    return (
        f"Wrote {path}, a heat equation that runs as it is. Change its residuals, terms and\n"
        "solution to those of your problem, then train it:\n\n"
        f"  ntk-keras run {path}\n"
        f"  ntk-keras run {path} --optimizer natural-gradient\n"
        f"  ntk-keras compare {path}"
    )


def _template() -> Path:
    """The template within the package, which is not imported for it."""
    spec = importlib.util.find_spec("ntk_keras")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).with_name("problems") / "template.py"
