"""Physics-informed neural networks in Keras whose losses are weighted by the neural tangent kernel.

Loss weights are exact at every step for the price of a plain step, or sketched as in Hirsch and
Pichi, arXiv:2511.15530.
"""

import importlib
from typing import TYPE_CHECKING, Any

from ntk_keras import (
    callbacks,
    derivatives,
    domains,
    estimators,
    kernel,
    networks,
    optimizers,
    plots,
    weighting,
)
from ntk_keras.backend.deprecation import moved_attributes
from ntk_keras.kernel import Block, Linearization
from ntk_keras.slabs import March, Slab
from ntk_keras.training import (
    LossBalancer,
    Objective,
    PINNModel,
    Term,
    TrainingDivergedError,
    Unknown,
    polish,
)

if TYPE_CHECKING:
    from ntk_keras import problems, references

__version__ = "0.2.0"

__all__ = [
    "Block",
    "Linearization",
    "LossBalancer",
    "March",
    "Objective",
    "PINNModel",
    "Slab",
    "Term",
    "TrainingDivergedError",
    "Unknown",
    "callbacks",
    "derivatives",
    "domains",
    "estimators",
    "kernel",
    "networks",
    "optimizers",
    "plots",
    "polish",
    "problems",
    "references",
    "weighting",
]

# The paper's problems and their references, imported when first used.
_WHEN_USED = ("problems", "references")

_moved = moved_attributes(
    __name__,
    {
        "comparison": "ntk_keras.experiments.comparison",
        "probes": "ntk_keras.estimators.probes",
        "reproduction": "ntk_keras.experiments.reproduction",
        "runs": "ntk_keras.experiments.runs",
    },
)


def __getattr__(name: str) -> Any:
    if name in _WHEN_USED:
        return importlib.import_module(f"{__name__}.{name}")
    return _moved(name)
