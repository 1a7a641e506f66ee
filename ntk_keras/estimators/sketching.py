"""Sketches: estimates of the kernel and its traces from products ``K g`` with random probes g.

They comprise Algorithm 2 of the paper and variants of it.
"""

import dataclasses
from collections.abc import Mapping

import numpy as np
import tensorflow as tf

from ntk_keras.estimators import probes
from ntk_keras.kernel.linearization import Linearization

__all__ = [
    "BlockPredictor",
    "Predictor",
    "Product",
    "SketchingEstimator",
    "block_traces",
    "difference_product",
    "lambda_pred",
    "predictor_product",
    "sketch",
]

# The finite difference suffers from rounding if theta moves too little and from curvature if it
# moves too far; ||theta_hat - theta|| / ||theta|| of about 1e-5 is a good compromise in float32.
# Half precision leaves a narrow range between the two.
RELATIVE_STEP = {tf.bfloat16: 5e-2, tf.float16: 1e-2, tf.float32: 1e-5, tf.float64: 1e-8}


class SketchingEstimator:
    """Traces and kernels from one product ``K g`` with a random probe g.

    Subclasses define how the product is computed.
    """

    probe: str

    def product(
        self, linearization: Linearization, probe: Mapping[str, tf.Tensor]
    ) -> dict[str, tf.Tensor]:
        """Returns ``K g`` by block."""
        raise NotImplementedError

    def traces(self, linearization: Linearization, seed: tf.Tensor) -> dict[str, tf.Tensor]:
        """Returns ``g_b^T (K g)_b`` by block, one sample."""
        probe = probes.draw(self.probe, seed, linearization.residuals)
        return block_traces(self.product(linearization, probe), probe)

    def kernel(self, linearization: Linearization, seed: tf.Tensor) -> tf.Tensor:
        """Returns the symmetrised sketch of K, one sample ``[n, n]``."""
        probe = probes.draw(self.probe, seed, linearization.residuals)
        return sketch(self.product(linearization, probe), probe)


@dataclasses.dataclass(frozen=True)
class Predictor(SketchingEstimator):
    """Algorithm 2 as printed: a predictor step with random weights and a finite difference.

    It takes one reverse pass over the recorded residuals and one evaluation at the predicted
    parameters.

    Attributes:
        difference_step: step dt of the predictor. By default it is chosen at every sample so that
            the parameters move by 1e-5 of their norm (float32; 1e-8 in float64, 1e-2 if the network
            computes in float16, 5e-2 in bfloat16).
        probe: ``"gaussian"``, or ``"rademacher"`` (Remark 5).
    """

    difference_step: float | None = None
    probe: str = "gaussian"

    def __post_init__(self) -> None:
        check_step(self.difference_step)
        check_probe(self.probe)

    def product(
        self, linearization: Linearization, probe: Mapping[str, tf.Tensor]
    ) -> dict[str, tf.Tensor]:
        """Returns ``K g`` up to the difference step, by block."""
        return predictor_product(linearization, probe, self.difference_step)


@dataclasses.dataclass(frozen=True)
class BlockPredictor(Predictor):
    """Algorithm 2 on each block by itself: the predictor's cost, without noise between blocks.

    With one probe over all blocks, ``g_b^T (K g)_b`` is ``g_b^T K_bb g_b`` plus the sum of
    ``g_b^T K_bc g_c`` over the other blocks c. This sum has mean zero and variance
    ``sum_c ||K_bc||_F^2``, which drowns a block whose trace is a small part of the total. Here
    every block has its own predictor step, and the variance is ``2 ||K_bb||_F^2`` alone. Each step
    takes one reverse pass and one evaluation of its own block only, so together they cost as much
    as one joint step, and the difference step fits each block. The blocks of the kernel off the
    diagonal, which no trace needs, are not sketched.

    The steps are along ``J_b^T g_b`` itself: residuals that are zero, which ``Lambda_pred`` leaves
    out, count like any other.
    """

    def product(
        self, linearization: Linearization, probe: Mapping[str, tf.Tensor]
    ) -> dict[str, tf.Tensor]:
        """Returns ``K g`` up to the difference step, by block."""
        return difference_product(linearization, probe, self.difference_step)

    def traces(self, linearization: Linearization, seed: tf.Tensor) -> dict[str, tf.Tensor]:
        """Returns ``g_b^T K_bb g_b`` by block, one sample."""
        probe = probes.draw(self.probe, seed, linearization.residuals)
        sample: dict[str, tf.Tensor] = {}
        for name in linearization.residuals:
            own = {name: probe[name]}
            sample |= block_traces(self.product(linearization.restricted(name), own), own)
        return sample


@dataclasses.dataclass(frozen=True)
class Product(SketchingEstimator):
    """Algorithm 2 with exact products ``K g = J (J^T g)`` instead of the finite difference.

    One reverse pass is followed by one more through it: no difference step, no bias, any dtype.

    Attributes:
        probe: ``"gaussian"`` or ``"rademacher"``.
    """

    probe: str = "gaussian"

    def __post_init__(self) -> None:
        check_probe(self.probe)

    def product(
        self, linearization: Linearization, probe: Mapping[str, tf.Tensor]
    ) -> dict[str, tf.Tensor]:
        """Returns ``K g`` by block."""
        return linearization.product(probe)


def lambda_pred(residual: tf.Tensor, probe: tf.Tensor) -> tf.Tensor:
    """Returns the diagonal of ``Lambda_pred = diag(-g) diag(R)^+``, the predictor's weights.

    The pseudo-inverse maps entries of R to zero if they are zero, or so small that their inverse
    overflows. So ``Lambda_pred R`` is -g elsewhere and 0 there.

    Args:
        residual: residual R, ``[n]``.
        probe: probe g, ``[n]``.

    Returns:
        ``[n]``.

    Reference:
        Section 4 and Algorithm 2.
    """
    smallest = 16 * float(np.finfo(residual.dtype.as_numpy_dtype).tiny)
    invertible = tf.abs(residual) > smallest
    return tf.where(invertible, -probe / tf.where(invertible, residual, 1), 0)


def predictor_product(
    linearization: Linearization,
    probe: Mapping[str, tf.Tensor],
    difference_step: float | tf.Tensor | None = None,
) -> dict[str, tf.Tensor]:
    """Returns ``K g ~ (R(theta_hat) - R(theta)) / dt`` by a finite difference.

    The predicted parameters are ``theta_hat = theta - dt J^T Lambda_pred R``.

    Args:
        linearization: residual R recorded at theta.
        probe: probe g by block, each ``[n_b]``.
        difference_step: step dt; by default one that moves theta by a fixed small part of its norm.

    Returns:
        The difference quotient by block, each ``[n_b]``. Its error is of order dt (Theorem 3).

    Reference:
        Section 4 and Algorithm 2.
    """
    towards = {
        name: -lambda_pred(residual, probe[name]) * residual
        for name, residual in linearization.residuals.items()
    }
    return difference_product(linearization, towards, difference_step)


def difference_product(
    linearization: Linearization,
    vector: Mapping[str, tf.Tensor],
    difference_step: float | tf.Tensor | None = None,
) -> dict[str, tf.Tensor]:
    """Returns ``K v ~ (R(theta + dt J^T v) - R(theta)) / dt``.

    Args:
        linearization: residual R recorded at theta.
        vector: vector v by block, each ``[n_b]``.
        difference_step: step dt; by default one that moves theta by a fixed small part of its norm.

    Returns:
        The difference quotient by block, each ``[n_b]``. Its error is of order dt.
    """
    direction = linearization.vjp(vector)
    if difference_step is None:
        difference_step = relative_step(linearization, direction)
    predicted = linearization.residuals_at(linearization.shifted(direction, difference_step))
    return {
        name: (predicted[name] - residual) / tf.cast(difference_step, residual.dtype)
        for name, residual in linearization.residuals.items()
    }


def block_traces(
    product: Mapping[str, tf.Tensor], probe: Mapping[str, tf.Tensor]
) -> dict[str, tf.Tensor]:
    """Returns ``g_b^T (K g)_b`` by block, whose sum is ``g^T K g``.

    The expectation ``E[g_b^T (K g)_b]`` is ``Tr K_bb``, because ``E[g_b g_c^T]`` is the identity
    for b = c and zero otherwise.

    Args:
        product: product ``K g`` by block.
        probe: probe g by block.

    Returns:
        A scalar by block.
    """
    return {name: tf.reduce_sum(probe[name] * value) for name, value in product.items()}


def sketch(product: Mapping[str, tf.Tensor], probe: Mapping[str, tf.Tensor]) -> tf.Tensor:
    """Returns ``K^ = (K~ + K~^T) / 2`` with ``K~ = [K g g_1 ... K g g_n] = (K g) g^T``.

    Args:
        product: product ``K g`` by block.
        probe: probe g by block, in the same order.

    Returns:
        ``[n, n]``, symmetric; its trace is ``g^T K g``.

    Reference:
        Algorithm 2.
    """
    columns = tf.concat(list(product.values()), axis=0)[:, tf.newaxis]
    outer = columns * tf.concat([probe[name] for name in product], axis=0)
    return (outer + tf.transpose(outer)) / 2


def relative_step(linearization: Linearization, direction: list[tf.Tensor]) -> tf.Tensor:
    """Returns the step along ``direction`` that moves theta by a fixed small part of its norm.

    Args:
        linearization: linearization at theta.
        direction: one tensor for each variable.

    Returns:
        A scalar.
    """
    dtypes = [value.dtype for value in (*direction, *linearization.residuals.values())]
    dtypes += [b.computed_in for b in linearization.blocks.values() if b.computed_in is not None]
    norm = linearization.norm()
    # Parameters that are all zero have no scale of their own; a zero direction cannot be scaled
    # either. The coarsest dtype decides: residuals may have a different one from the parameters, or
    # have passed through another.
    relative = max(RELATIVE_STEP.get(dtype, 1e-5) for dtype in dtypes)
    scale = relative * tf.where(norm > 0, norm, 1)
    length = tf.linalg.global_norm(direction)
    return scale / tf.where(length > 0, length, 1)


def check_step(difference_step: float | None) -> None:
    """Raises ValueError for a step that is not positive."""
    if difference_step is not None and not difference_step > 0:
        raise ValueError(
            "difference_step must be positive, or None to choose it from the parameters. "
            f"Received difference_step={difference_step}."
        )


def check_probe(probe: str) -> None:
    """Raises ValueError for an unknown kind of probe."""
    if probe not in probes.PROBES:
        raise ValueError(f"probe must be one of {sorted(probes.PROBES)}. Received probe={probe!r}.")
