"""The neural tangent kernel ``K = J J^T``: the Jacobian J, its products, diagonal and spectrum.

Functions take residual blocks (:class:`Block`) and the variables theta, with or without Keras.
"""

from ntk_keras.kernel.block import Block
from ntk_keras.kernel.exact import (
    blocks,
    diagonal,
    jacobian,
    matrix,
    product,
    traces,
)
from ntk_keras.kernel.linearization import Linearization
from ntk_keras.kernel.spectrum import effective_rank, eigenvalues

__all__ = [
    "Block",
    "Linearization",
    "blocks",
    "diagonal",
    "effective_rank",
    "eigenvalues",
    "jacobian",
    "matrix",
    "product",
    "traces",
]
