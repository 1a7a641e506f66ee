"""Names of the previous version, which still work for one more version, with a warning."""

import functools
import importlib
import warnings
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

__all__ = ["moved_attributes", "renamed_arguments", "renamed_members"]

Function = TypeVar("Function", bound=Callable[..., Any])
Class = TypeVar("Class", bound=type)


def renamed_arguments(**new_by_old: str) -> Callable[[Function], Function]:
    """Lets a function accept keyword arguments by their old names.

    Args:
        **new_by_old: current name of each argument, by its old name.

    Returns:
        A decorator.
    """

    def decorate(function: Function) -> Function:
        @functools.wraps(function)
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            for old in new_by_old.keys() & kwargs.keys():
                new = new_by_old[old]
                _warn(f"argument `{old}`", f"`{new}`")
                kwargs[new] = kwargs.pop(old)
            return function(*args, **kwargs)

        return wrapped  # type: ignore[return-value]

    return decorate


def renamed_members(**new_by_old: str) -> Callable[[Class], Class]:
    """Keeps attributes and methods of a class readable by their old names.

    Args:
        **new_by_old: current name of each attribute or method, by its old name.

    Returns:
        A class decorator.
    """

    def decorate(kind: Class) -> Class:
        for old, new in new_by_old.items():
            # A method warns only when it is called: on saving, Keras reads every attribute.
            if callable(getattr(kind, new, None)):
                setattr(kind, old, _renamed_method(kind.__name__, old, new))
            else:
                setattr(kind, old, property(functools.partial(_read, kind.__name__, old, new)))
        return kind

    return decorate


def moved_attributes(module: str, new_by_old: Mapping[str, str]) -> Callable[[str], Any]:
    """Returns a ``__getattr__`` for a module, which finds attributes that have moved.

    Args:
        module: name of the module.
        new_by_old: current place of each attribute, as ``"package.module:name"``, or
            ``"package.module"`` for a module.
    """

    def find(name: str) -> Any:
        if name not in new_by_old:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        place, _, attribute = new_by_old[name].partition(":")
        _warn(f"`{module}.{name}`", f"`{place}.{attribute}`" if attribute else f"`{place}`")
        found = importlib.import_module(place)
        return getattr(found, attribute) if attribute else found

    return find


def _renamed_method(kind: str, old: str, new: str) -> Callable[..., Any]:
    def method(held: Any, *args: Any, **kwargs: Any) -> Any:
        """Calls the method by its old name."""
        return _read(kind, old, new, held)(*args, **kwargs)

    return method


def _read(kind: str, old: str, new: str, held: Any) -> Any:
    _warn(f"`{kind}.{old}`", f"`{new}`")
    return getattr(held, new)


def _warn(old: str, new: str) -> None:
    warnings.warn(
        f"{old} is now {new}. The old name goes with the next version.",
        DeprecationWarning,
        stacklevel=3,
    )
