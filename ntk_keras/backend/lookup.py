"""Objects identified as in Keras: by a name, by a name with arguments, or by themselves."""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar, cast

__all__ = ["by_identifier"]

Kind = TypeVar("Kind")


def by_identifier(
    what: str,
    identifier: str | Mapping[str, Any] | Kind,
    known: Mapping[str, Callable[..., Kind]],
    fits: Callable[[Any], bool],
    protocol: str,
) -> Kind:
    """Returns the object that an identifier names, or the identifier itself if it is an object.

    Args:
        what: kind of the object, for messages.
        identifier: name, dict with ``"name"`` and arguments, or object.
        known: functions that create an object, by name.
        fits: function that returns whether an object is of the kind.
        protocol: name of the protocol that describes the kind, for messages.

    Raises:
        ValueError: for an unknown name.
        TypeError: for anything else, or an unknown argument.
    """
    if isinstance(identifier, str):
        identifier = {"name": identifier}
    if isinstance(identifier, Mapping) and "name" in identifier:
        arguments = dict(identifier)
        name = arguments.pop("name")
        if name not in known:
            raise ValueError(
                f"Unknown {what} {name!r}. Known names: {sorted(known)}; or pass an object of "
                f"ntk_keras.{protocol}."
            )
        return known[name](**arguments)
    if isinstance(identifier, type) or not fits(identifier):
        article = "An" if what[0] in "aeiou" else "A"
        raise TypeError(
            f"{article} {what} must be a name, a dict with a name and arguments, or an object of "
            f"ntk_keras.{protocol}. Received {identifier!r} of type {type(identifier).__name__}."
        )
    return cast(Kind, identifier)
