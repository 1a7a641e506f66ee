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
    problems,
    references,
    weighting,
)
from ntk_keras.estimators import probes
from ntk_keras.kernel.block import Block
from ntk_keras.kernel.linearization import Linearization
from ntk_keras.training.lbfgs import Objective, polish
from ntk_keras.training.loss_balancer import LossBalancer
from ntk_keras.training.model import PINNModel
from ntk_keras.training.nan_check import TrainingDivergedError
from ntk_keras.training.terms import Term
from ntk_keras.training.unknowns import Unknown

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
