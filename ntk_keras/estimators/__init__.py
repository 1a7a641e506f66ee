"""Estimators of the traces of the kernel's blocks (Section 4 of the paper), and rivals of theirs.

Each takes a :class:`~ntk_keras.linearization.Linearization`, the residual recorded at the present
parameters, and returns one sample of Tr K_bb for every block. All are unbiased, up to a difference
step where there is one; all but the exact one are noisy: average their samples.
"""

from collections.abc import Callable

from ntk_keras.estimators.diagonal import Diagonal, Exact
from ntk_keras.estimators.protocol import Estimator, KernelEstimator
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
from ntk_keras.estimators.squares import Perturbation, Reverse

__all__ = [
    "ESTIMATORS",
    "BlockPredictor",
    "Diagonal",
    "Estimator",
    "Exact",
    "KernelEstimator",
    "Perturbation",
    "Predictor",
    "Product",
    "Reverse",
    "SketchingEstimator",
    "block_traces",
    "difference_product",
    "lambda_pred",
    "predictor_product",
    "sketch",
]

ESTIMATORS: dict[str, Callable[[], Estimator]] = {
    "predictor": Predictor,
    "block-predictor": BlockPredictor,
    "product": Product,
    "reverse": Reverse,
    "diagonal": Diagonal,
    "perturbation": Perturbation,
    "exact": Exact,
}
