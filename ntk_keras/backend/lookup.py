"""Objects given as Keras takes them: by name, by name with arguments, or as they are."""

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
    """An object by its name, with default arguments or those given; an object as it is.

    Args:
        what: it is, for messages.
        identifier: a name, a dict with ``"name"`` and arguments, or an object.
        known: what makes an object, by name.
        fits: whether an object is of the kind.
        protocol: where the kind is described, for messages.

    Raises:
        ValueError: for an unknown name.
        TypeError: for anything else, or an argument that the object has not.
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
