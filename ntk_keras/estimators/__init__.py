"""Estimators of the traces of kernel blocks (Section 4 of the paper), and alternatives.

Each takes a :class:`~ntk_keras.Linearization`, the residual recorded at the current parameters, and
returns one sample of ``Tr K_bb`` for every block. All are unbiased, up to a difference step if
there is one. All are noisy and their samples should be averaged, except those of all points
(``exact``, and ``diagonal`` if Jacobians are factored).
"""

from ntk_keras.estimators.diagonal import Diagonal, Exact
from ntk_keras.estimators.protocol import (
    Estimate,
    Estimator,
    KernelEstimator,
    SelfAssessed,
    is_exact,
)
from ntk_keras.estimators.registry import ESTIMATORS, estimate, get, serialize
from ntk_keras.estimators.sample_mean import average
from ntk_keras.estimators.sketching import (
    BlockPredictor,
    Predictor,
    Product,
    SketchingEstimator,
    block_traces,
    difference_product,
    lambda_pred,
    predictor_product,
    sketch,
)
from ntk_keras.estimators.squared_norms import Perturbation, Reverse

__all__ = [
    "ESTIMATORS",
    "BlockPredictor",
    "Diagonal",
    "Estimate",
    "Estimator",
    "Exact",
    "KernelEstimator",
    "Perturbation",
    "Predictor",
    "Product",
    "Reverse",
    "SelfAssessed",
    "SketchingEstimator",
    "average",
    "block_traces",
    "difference_product",
    "estimate",
    "get",
    "is_exact",
    "lambda_pred",
    "predictor_product",
    "serialize",
    "sketch",
]
