"""Names of the version before, which still work for one version and warn."""

import functools
import importlib
import warnings
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

__all__ = ["moved_attributes", "renamed_arguments", "renamed_members"]

Function = TypeVar("Function", bound=Callable[..., Any])
Class = TypeVar("Class", bound=type)


def renamed_arguments(**new_by_old: str) -> Callable[[Function], Function]:
    """Lets a function take keywords by the names they had.

    Args:
        **new_by_old: the name that each has now.

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
    """Lets attributes and methods of a class be read by the names they had.

    Args:
        **new_by_old: the name that each has now.

    Returns:
        A decorator of classes.
    """

    def decorate(kind: Class) -> Class:
        for old, new in new_by_old.items():
            # A method warns when it is called: Keras reads all that a class lists when it saves.
            if callable(getattr(kind, new, None)):
                setattr(kind, old, _renamed_method(kind.__name__, old, new))
            else:
                setattr(kind, old, property(functools.partial(_read, kind.__name__, old, new)))
        return kind

    return decorate


def moved_attributes(module: str, new_by_old: Mapping[str, str]) -> Callable[[str], Any]:
    """A module's ``__getattr__`` that finds attributes where they are now.

    Args:
        module: its name.
        new_by_old: where each attribute is, ``"package.module:name"``, or ``"package.module"`` for
            a module.
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
        """The method by the name it had."""
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
