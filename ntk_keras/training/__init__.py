"""A network trained on loss terms: the model, its terms, its step, and loops other than ``fit``."""

from ntk_keras.training.lbfgs import Objective, polish
from ntk_keras.training.loss_balancer import LossBalancer
from ntk_keras.training.model import PINNModel
from ntk_keras.training.nan_check import TrainingDivergedError
from ntk_keras.training.terms import Term
from ntk_keras.training.uncertainty import Uncertainty
from ntk_keras.training.unknowns import Unknown

__all__ = [
    "LossBalancer",
    "Objective",
    "PINNModel",
    "Term",
    "TrainingDivergedError",
    "Uncertainty",
    "Unknown",
    "polish",
]
