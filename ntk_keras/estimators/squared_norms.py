"""Traces as expected squared norms: never negative, and without noise between blocks.

For probes s in residual space ``Tr K_bb = E ||J_b^T s||^2``, and for probes g in parameter space
``Tr K_bb = E ||J_b g||^2``. Neither gives anything of the kernel but its traces.
"""

import dataclasses

import tensorflow as tf

from ntk_keras.backend.seeds import fold_in
from ntk_keras.estimators import probes
from ntk_keras.estimators.sketching import check_probe, check_step, relative_step
from ntk_keras.kernel.linearization import Linearization

__all__ = ["Perturbation", "Reverse"]


@dataclasses.dataclass(frozen=True)
class Reverse:
    """``||J_b^T s_b||^2``: one reverse pass over each block's recorded residuals, no evaluation.

    The expectation ``E[s_b^T K_bb s_b]`` is ``Tr K_bb``, because ``E[s_b s_b^T]`` is the identity.
    The variance is ``2 (||K_bb||_F^2 - sum_i K_ii^2)`` with random signs and ``2 ||K_bb||_F^2``
    with Gaussian probes. There is no difference step.

    Attributes:
        probe: ``"rademacher"``, random signs, or ``"gaussian"``.
    """

    probe: str = "rademacher"

    def __post_init__(self) -> None:
        check_probe(self.probe)

    def traces(self, linearization: Linearization, seed: tf.Tensor) -> dict[str, tf.Tensor]:
        """Returns ``||J_b^T s_b||^2`` by block, one sample."""
        probe = probes.draw(self.probe, seed, linearization.residuals)
        return {name: _squared_norm(linearization.vjp({name: probe[name]})) for name in probe}


@dataclasses.dataclass(frozen=True)
class Perturbation:
    """``||R_b(theta + eps g) - R_b(theta)||^2 / eps^2``, at the cost of one evaluation.

    No reverse pass is needed.

    The probe g is a vector of all p parameters. To first order the value is ``||J_b g||^2``, whose
    expectation is ``Tr J_b J_b^T = Tr K_bb``. The variance is ``2 ||K_bb||_F^2`` for Gaussian g,
    and the error of the expectation is of order eps.

    Attributes:
        difference_step: step eps. By default it is chosen at every sample so that the parameters
            move as far as for :class:`Predictor`.
        probe: ``"gaussian"``, the paper's, or ``"rademacher"``.

    Reference:
        Theorem 5, equation (14).
    """

    difference_step: float | None = None
    probe: str = "gaussian"

    def __post_init__(self) -> None:
        check_step(self.difference_step)
        check_probe(self.probe)

    def traces(self, linearization: Linearization, seed: tf.Tensor) -> dict[str, tf.Tensor]:
        """Returns ``||R_b(theta + eps g) - R_b(theta)||^2 / eps^2`` by block, one sample."""
        direction = [
            probes.PROBES[self.probe](fold_in(seed, index), tf.shape(theta), theta.dtype)
            for index, theta in enumerate(linearization.parameters)
        ]
        step = self.difference_step or relative_step(linearization, direction)
        moved = linearization.residuals_at(linearization.shifted(direction, step))
        return {
            name: tf.reduce_sum(((moved[name] - residual) / tf.cast(step, residual.dtype)) ** 2)
            for name, residual in linearization.residuals.items()
        }


def _squared_norm(vector: list[tf.Tensor]) -> tf.Tensor:
    return tf.add_n([tf.reduce_sum(part**2) for part in vector])
