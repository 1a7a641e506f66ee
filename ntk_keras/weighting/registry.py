"""Weightings by name."""

from collections.abc import Mapping
from typing import Any

from ntk_keras.backend.lookup import by_identifier
from ntk_keras.weighting.base import Weighting
from ntk_keras.weighting.constant import Constant
from ntk_keras.weighting.gradient_norm import GradientNorm
from ntk_keras.weighting.likelihood import Uncertainty
from ntk_keras.weighting.loss_based import ReLoBRaLo, SoftAdapt
from ntk_keras.weighting.ntk import NTK, ExactNTK
from ntk_keras.weighting.point_weights import ResidualAttention, SelfAdaptive

__all__ = ["WEIGHTINGS", "get", "kind_of"]

WEIGHTINGS: dict[str, type[Weighting]] = {
    "constant": Constant,
    "ntk": NTK,
    "exact-ntk": ExactNTK,
    "gradient-norm": GradientNorm,
    "softadapt": SoftAdapt,
    "relobralo": ReLoBRaLo,
    "uncertainty": Uncertainty,
    "self-adaptive": SelfAdaptive,
    "residual-attention": ResidualAttention,
}


def get(identifier: str | Mapping[str, Any] | Weighting) -> Weighting:
    """Returns a weighting by its name in :data:`WEIGHTINGS`, or an object unchanged.

    Arguments go with a name as in ``{"name": "ntk", "averaging_rate": 1e-3}``. A dict without a
    name holds constant weights by group, as in ``{"boundary": 10.0}``.

    Raises:
        ValueError: if a name is unknown, or a weight is negative or not finite.
        TypeError: if the value is not a weighting, or has an argument that the weighting lacks.
    """
    if isinstance(identifier, Mapping) and not isinstance(identifier.get("name"), str):
        return Constant(identifier)
    return by_identifier("weighting", identifier, WEIGHTINGS, _is_weighting, "weighting.Weighting")


def kind_of(name: str) -> type[Weighting]:
    """Returns the class of a weighting by its name, without creating one.

    Raises:
        ValueError: if the name is unknown.
    """
    if name not in WEIGHTINGS:
        raise ValueError(f"Unknown weighting {name!r}. Known names: {sorted(WEIGHTINGS)}.")
    return WEIGHTINGS[name]


def _is_weighting(value: Any) -> bool:
    return isinstance(value, Weighting)
