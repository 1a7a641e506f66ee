"""Strategies that give every group of loss terms its weight, behind one protocol."""

from ntk_keras.weighting.adaptive import Adaptive
from ntk_keras.weighting.base import Weighting
from ntk_keras.weighting.causal import Causal, causal_weights
from ntk_keras.weighting.constant import Constant
from ntk_keras.weighting.gate import Gate
from ntk_keras.weighting.gradient_norm import GradientNorm
from ntk_keras.weighting.likelihood import Uncertainty
from ntk_keras.weighting.loss_based import ReLoBRaLo, SoftAdapt
from ntk_keras.weighting.ntk import NTK, ExactNTK
from ntk_keras.weighting.point_weights import PointWeighting, ResidualAttention, SelfAdaptive
from ntk_keras.weighting.registry import WEIGHTINGS, get, kind_of
from ntk_keras.weighting.trace_ratio import weights_from_traces

__all__ = [
    "NTK",
    "WEIGHTINGS",
    "Adaptive",
    "Causal",
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
    "causal_weights",
    "get",
    "kind_of",
    "weights_from_traces",
]
