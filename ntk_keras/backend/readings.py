"""Values of an object by name, as they are when they are read; assigning to one sets it."""

from collections.abc import Callable, Mapping
from typing import Any, NoReturn

__all__ = ["Readings"]


class Readings(dict[str, Any]):
    """A dict of current values; what is assigned to an entry is set where it comes from.

    Args:
        values: by name.
        assign: sets some of them, or refuses to.
    """

    def __init__(self, values: Mapping[str, Any], assign: Callable[[Mapping[str, Any]], None]):
        super().__init__(values)
        self._assign = assign

    def __setitem__(self, name: str, value: Any) -> None:
        self._assign({name: value})
        super().__setitem__(name, value)

    def update(self, *values: Any, **by_name: Any) -> None:
        """Sets several values."""
        for name, value in dict(*values, **by_name).items():
            self[name] = value

    def __ior__(self, values: Any) -> "Readings":  # type: ignore[override, misc]
        self.update(values)
        return self

    def _refuse(self, *_: Any, **__: Any) -> NoReturn:
        """Raises TypeError."""
        raise TypeError(f"{list(self)} can be set, but not be taken away.")

    __delitem__ = pop = popitem = clear = setdefault = _refuse

    def __reduce__(self) -> tuple[Any, ...]:
        return dict, (dict(self),)  # a copy is a plain dict
