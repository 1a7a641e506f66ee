"""One of several outputs of a network, as residuals see it."""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from ntk_keras.backend.autograph import unconverted
from ntk_keras.derivatives.channels import VALUE, Channel

__all__ = ["OutputView", "place_of"]


class OutputView:
    """One output of a view, called and differentiated like a network that has no other.

    Args:
        view: of a network that returns a dict or a list.
        key: of the output.
    """

    def __init__(self, view: Any, key: Any):
        self._view = view
        self._key = key

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or "_view" not in self.__dict__:
            raise AttributeError(name)
        return getattr(self._view, name)

    @unconverted
    def __call__(self, *inputs: Any, **kwargs: Any) -> Any:
        """The output's values, ``[n, outputs]``; arguments are those of the view."""
        if len(inputs) == 1 and set(kwargs) <= {"training"}:
            values = self.derivative_channels(inputs[0], [VALUE])
            if values is not None:
                return values[0]
        return self._view(*inputs, **kwargs)[self._key]

    call = __call__

    def derivative_channels(
        self, points: Any, channels: Sequence[Channel]
    ) -> list[tf.Tensor] | None:
        """As :meth:`NetworkView.derivative_channels`, of this output."""
        return self._view.derivative_channels(points, channels, self._key)


def place_of(places: Any, output: Any, network: Any) -> int:
    """Of an output in the flat list of all."""
    nested = isinstance(places, dict | list | tuple)
    if output is None:
        flat = keras.tree.flatten(places)
        if len(flat) > 1:
            raise ValueError(
                f"Network {network.name!r} has several outputs. Choose one to differentiate, as in "
                f"gradient(u[{_keys(places)[0]!r}], points). There are {_keys(places)}."
            )
        return flat[0]
    if nested and output in _keys(places) and isinstance(places[output], int):
        return places[output]
    if not nested and not hasattr(network, "outputs"):
        return 0  # what it returns is not known beforehand
    has = _keys(places) if nested else "one, to be had without an index"
    raise ValueError(f"Network {network.name!r} has no output {output!r}. Its outputs are {has}.")


def _keys(places: Any) -> list[Any]:
    return list(places) if isinstance(places, dict) else list(range(len(places)))
