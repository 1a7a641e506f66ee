"""Strategies that give every group of loss terms its weight, behind one protocol."""

from ntk_keras.weighting.base import Weighting, weights_from_traces
from ntk_keras.weighting.constant import Constant
from ntk_keras.weighting.ntk import NTK, ExactNTK

__all__ = ["NTK", "Constant", "ExactNTK", "Weighting", "get", "weights_from_traces"]

_BY_NAME = {"constant": Constant, "ntk": NTK, "exact-ntk": ExactNTK}


def get(identifier: str | Weighting) -> Weighting:
    """A weighting by its name, ``"constant"``, ``"ntk"`` or ``"exact-ntk"``; an object as it is.

    Raises:
        ValueError: for an unknown name.
        TypeError: for anything that is neither a name nor a weighting.
    """
    if isinstance(identifier, Weighting):
        return identifier
    if not isinstance(identifier, str):
        raise TypeError(
            "A weighting must be a name or an instance of ntk_keras.weighting.Weighting. "
            f"Received {identifier!r} of type {type(identifier).__name__}."
        )
    if identifier not in _BY_NAME:
        raise ValueError(f"Unknown weighting {identifier!r}. Known names: {sorted(_BY_NAME)}.")
    return _BY_NAME[identifier]()
