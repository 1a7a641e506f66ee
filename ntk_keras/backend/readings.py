"""Current values of an object by name, which can be set by assignment."""

from collections.abc import Callable, Mapping
from typing import Any, NoReturn

__all__ = ["Readings"]


class Readings(dict[str, Any]):
    """A dict of current values; assigning to an entry also sets the value at its source.

    Args:
        values: values by name.
        assign: function that sets the values it receives by name, or raises an error.
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
