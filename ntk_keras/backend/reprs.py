"""Text for an object: its class and the arguments that differ from the defaults."""

import inspect
from typing import Any

__all__ = ["represent"]


def represent(value: Any) -> str:
    """Returns ``Class(argument=value)`` for an object that keeps its arguments as attributes.

    Arguments without a default are always shown, others if they differ from it.

    Args:
        value: object to represent.
    """
    shown = {}
    for kind in reversed(type(value).__mro__):
        own = vars(kind).get("__init__")
        if own is None or not kind.__module__.startswith("ntk_keras"):
            continue
        for name, parameter in inspect.signature(own).parameters.items():
            held = getattr(value, name, parameter.default)
            if name != "self" and parameter.kind.name.startswith(("POSITIONAL", "KEYWORD")):
                shown[name] = (held, parameter.default)
    changed = [f"{name}={held!r}" for name, (held, usual) in shown.items() if _differs(held, usual)]
    return f"{type(value).__name__}({', '.join(changed)})"


def _differs(held: Any, usual: Any) -> bool:
    """Whether to show an argument; an empty collection counts as not given."""
    return held is not usual and not (held == usual or (usual in (None, ()) and not held))
