"""Physics-informed neural networks in Keras whose loss terms weigh themselves.

Loss weights come from the neural tangent kernel, sketched at every step (Hirsch & Pichi,
arXiv:2511.15530).
"""

from ntk_keras import (
    callbacks,
    derivatives,
    domains,
    estimators,
    kernel,
    networks,
    plots,
    probes,
    problems,
    references,
    weighting,
)
from ntk_keras.balancer import LossBalancer
from ntk_keras.blocks import Block
from ntk_keras.guard import TrainingDivergedError
from ntk_keras.linearization import Linearization
from ntk_keras.model import PINNModel
from ntk_keras.polishing import Objective, polish
from ntk_keras.terms import Term
from ntk_keras.unknowns import Unknown

__version__ = "0.1.0"

__all__ = [
    "Block",
    "Linearization",
    "LossBalancer",
    "Objective",
    "PINNModel",
    "Term",
    "TrainingDivergedError",
    "Unknown",
    "callbacks",
    "derivatives",
    "domains",
    "estimators",
    "kernel",
    "networks",
    "plots",
    "polish",
    "probes",
    "problems",
    "references",
    "weighting",
]
