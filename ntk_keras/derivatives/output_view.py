"""One of several outputs of a network, as residuals see it."""

import functools
import operator
from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from ntk_keras.backend.autograph import unconverted
from ntk_keras.derivatives.channels import VALUE, Channel
from ntk_keras.derivatives.network_inputs import positions

__all__ = ["OutputView", "place_of"]


class OutputView:
    """One output of a view, called and differentiated like a network with this output alone.

    Args:
        view: view of a network that returns a dict or a list.
        *path: keys or indices of the output, more than one if outputs are nested.
    """

    def __init__(self, view: Any, *path: Any):
        self._view = view
        self._path = path

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or "_view" not in self.__dict__:
            raise AttributeError(name)
        return getattr(self._view, name)

    def __getitem__(self, key: Any) -> "OutputView":
        """Returns an output of several that are nested in this one."""
        return OutputView(self._view, *self._path, key)

    @unconverted
    def __call__(self, *inputs: Any, **kwargs: Any) -> Any:
        """The output's values, ``[n, outputs]``; arguments are those of the view."""
        if len(inputs) == 1 and set(kwargs) <= {"training"} and not self._has_parts():
            values = self.derivative_channels(inputs[0], [VALUE])
            if values is not None:
                return values[0]
        return functools.reduce(operator.getitem, self._path, self._view(*inputs, **kwargs))

    call = __call__

    def derivative_channels(
        self, points: Any, channels: Sequence[Channel]
    ) -> list[tf.Tensor] | None:
        """As :meth:`NetworkView.derivative_channels`, of this output."""
        return self._view.derivative_channels(points, channels, self._path)

    def _has_parts(self) -> bool:
        """Whether it is a nest of outputs itself."""
        part = positions(self._view.network)
        for key in self._path:
            if not _is_nested(part) or key not in _keys(part):
                return False
            part = part[key]
        return _is_nested(part)


def place_of(places: Any, output: Any, network: Any) -> int:
    """Of an output in the flat list of all.

    Args:
        places: of all outputs, nested as they are.
        output: a key or index, or a tuple of them where outputs are nested; None for the only one.
        network: for messages.

    Raises:
        ValueError: for an output that it does not have, or several.
    """
    path = output if isinstance(output, tuple) else () if output is None else (output,)
    if path and not _is_nested(places) and not hasattr(network, "outputs"):
        return 0  # what it returns is not known beforehand
    part, so_far = places, "u"
    for key in path:
        if not _is_nested(part) or key not in _keys(part):
            has = _keys(part) if _is_nested(part) else "one, to be had without an index"
            within = "" if so_far == "u" else f" in {so_far}"
            raise ValueError(
                f"Network {network.name!r} has no output {key!r}{within}. Its outputs are {has}."
            )
        part, so_far = part[key], f"{so_far}[{key!r}]"
    flat = keras.tree.flatten(part)
    if len(flat) > 1:
        which = f"Network {network.name!r}" if so_far == "u" else f"{so_far} of {network.name!r}"
        raise ValueError(
            f"{which} has several outputs. Choose one to differentiate, as in "
            f"gradient({so_far}[{_keys(part)[0]!r}], points). There are {_keys(part)}."
        )
    return flat[0]


def _is_nested(places: Any) -> bool:
    return isinstance(places, dict | list | tuple)


def _keys(places: Any) -> list[Any]:
    return list(places) if isinstance(places, dict) else list(range(len(places)))
