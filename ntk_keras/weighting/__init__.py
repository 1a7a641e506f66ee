"""Strategies that give every group of loss terms its weight, behind one protocol."""

from ntk_keras.weighting.adaptive import Adaptive
from ntk_keras.weighting.base import Weighting
from ntk_keras.weighting.constant import Constant
from ntk_keras.weighting.gate import Gate
from ntk_keras.weighting.gradients import GradientNorm
from ntk_keras.weighting.likelihood import Uncertainty
from ntk_keras.weighting.losses import ReLoBRaLo, SoftAdapt
from ntk_keras.weighting.ntk import NTK, ExactNTK
from ntk_keras.weighting.points import PointWeighting, ResidualAttention, SelfAdaptive
from ntk_keras.weighting.trace_ratio import weights_from_traces

__all__ = [
    "NTK",
    "WEIGHTINGS",
    "Adaptive",
    "Constant",
    "ExactNTK",
    "Gate",
    "GradientNorm",
    "PointWeighting",
    "ReLoBRaLo",
    "ResidualAttention",
    "SelfAdaptive",
    "SoftAdapt",
    "Uncertainty",
    "Weighting",
    "get",
    "weights_from_traces",
]

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


def get(identifier: str | Weighting) -> Weighting:
    """A weighting by its name in :data:`WEIGHTINGS`, with default arguments; an object as it is.

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
    if identifier not in WEIGHTINGS:
        raise ValueError(f"Unknown weighting {identifier!r}. Known names: {sorted(WEIGHTINGS)}.")
    return WEIGHTINGS[identifier]()
