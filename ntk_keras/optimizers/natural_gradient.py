"""The natural gradient of residuals: the whole kernel as weight."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, cast

import keras
import numpy as np
import tensorflow as tf

from ntk_keras.backend.variables import Variables
from ntk_keras.kernel import Linearization
from ntk_keras.kernel.block import Blocks, check_block_names, checked_blocks
from ntk_keras.kernel.tape_linearization import TapeLinearization
from ntk_keras.optimizers import batch_average, step_lengths
from ntk_keras.optimizers.methods import Method, check_method, system_of
from ntk_keras.optimizers.normal_equations import Primal
from ntk_keras.optimizers.paths import Path
from ntk_keras.optimizers.weighted_residuals import WeightedResiduals

__all__ = ["NaturalGradient", "natural_gradient"]


@keras.saving.register_keras_serializable("ntk_keras")
class NaturalGradient(keras.optimizers.Optimizer):
    """Steps of Gauss-Newton in residual space, ``theta - e J^T S (S K S + mu I)^-1 S R``.

    The squares of the row scales ``S`` are the loss weights of the model's weighting, so the loss
    (1) determines what counts. The whole kernel then makes all modes of the residual decay at one
    rate, while a weight for each group balances only their means. The optimizer trains a
    :class:`~ntk_keras.PINNModel`, as a step needs the Jacobian of residuals, which a gradient does
    not contain.

    At each step the direction ``d`` gets a second-order correction ``a`` (geodesic acceleration).
    With and without it, the loss is evaluated at some of 13 lengths ``e``, beginning at the last
    step's. The longest one is taken that lowers the loss by 15 % of what linear residuals would, or
    half if these would not lose nearly all of it. A step that does not lower the loss is rejected.
    The damping ``mu``, in units of the mean eigenvalue of ``S K S``, falls after long steps and
    grows after short ones.

    Where new points show that a step fitted its own batch of them and little else, the matrix of p
    equations is averaged over up to six batches (:mod:`ntk_keras.optimizers.batch_average`).

    Example::

        model.compile(optimizer=nk.optimizers.NaturalGradient())
        model.fit(epochs=10, steps_per_epoch=50)

    Args:
        learning_rate: longest step that is tried, as a fraction of the full one.
        method: ``"dual"`` solves n equations for n residuals, ``"primal"`` p for p parameters;
            ``"auto"`` takes the smaller number. ``"sketched"`` solves those of 2 p random sums of
            rows, at most 4000; ``"matrix-free"`` runs conjugate gradients on products with J.
        damping: damping of the first step, in the units above.
        name: name of the optimizer.
        **kwargs: arguments of Keras' optimizers for gradients, which are refused.

    Attributes:
        damping: variable, adapted by the steps.
        step_length: variable, the last length taken; zero if the last step was rejected.
        average: moving average of the matrix; None with more than 3000 parameters, for which it
            would be too large, and with methods that have no such matrix.

    Raises:
        ValueError: if an argument is not positive, the method is unknown, or an argument only has a
            meaning for gradients.
    """

    def __init__(
        self,
        learning_rate: float = 1.0,
        method: Method = "auto",
        damping: float = 1e-5,
        name: str = "natural_gradient",
        **kwargs: Any,
    ):
        if kwargs:
            raise ValueError(
                f"NaturalGradient takes no {sorted(kwargs)}: its steps come from the residuals' "
                "Jacobian and a search for their length, not from a gradient that could be "
                "clipped, averaged or accumulated. Leave it out."
            )
        _check_arguments(method, damping)
        super().__init__(learning_rate=learning_rate, name=name)
        self.method = method
        self.initial_damping = float(damping)

    def build(self, variables: Sequence[keras.Variable]) -> None:
        """Creates the state.

        Args:
            variables: parameters theta.
        """
        if self.built:
            return
        super().build(variables)
        with keras.name_scope(self.name):
            self.damping = self._add_scalar("damping", self.initial_damping)
            self.step_length = self._add_scalar("step_length", 1.0)
            size = sum(v.shape.num_elements() for v in map(tf.convert_to_tensor, variables))
            averages = self.method in ("auto", "primal") and size <= batch_average.MOST_PARAMETERS
            self.average = batch_average.BatchAverage(self, size) if averages else None

    def change(
        self,
        linearization: Linearization,
        weights: Mapping[str, tf.Tensor],
        jit_compile: bool = True,
    ) -> list[tf.Tensor]:
        """Returns what to subtract from the variables, and sets the next damping.

        Args:
            linearization: residuals, recorded at the current parameters.
            weights: weights by block, a scalar or ``[n_b]``.
            jit_compile: whether XLA compiles the evaluation of candidates on a CPU.

        Returns:
            One tensor for each variable, zeros if no candidate lowers the loss.
        """
        residuals = WeightedResiduals(linearization, weights, jit_compile)
        seed = tf.stack([tf.constant(0, tf.int64), tf.cast(self.iterations.value, tf.int64)])
        system = system_of(linearization, residuals.scale, self.method, seed)
        average = None
        if isinstance(system, Primal) and self.average is not None:
            average = self.average
            system.matrix = average.add(system.matrix, residuals.loss, residuals.size)
        solve, damping = system.solver(self.damping.value)
        path = Path(linearization.parameters, residuals, system, solve, self.step_length.value)
        longest = tf.cast(self.learning_rate, tf.float64)
        choice = step_lengths.longest_fair(
            path.loss_at,
            path.predicted_at,
            residuals.loss,
            longest,
            self.step_length.value / longest,
        )
        least = _least_damping(linearization, system.num_parameters)
        self.damping.assign(step_lengths.next_damping(damping, choice.length / longest, least))
        self.step_length.assign(choice.length)
        if average is not None:
            average.leave(tf.minimum(choice.loss, residuals.loss), residuals.size)
        taken = path.at(choice.length, choice.curved)
        return [
            tf.where(choice.length > 0, p - new, tf.zeros_like(p))
            for p, new in zip(linearization.parameters, taken, strict=True)
        ]

    def apply_change(
        self, changes: Sequence[tf.Tensor], variables: Sequence[keras.Variable]
    ) -> None:
        """Subtracts a change from the variables.

        Args:
            changes: result of :meth:`change`.
            variables: parameters theta.
        """
        for variable, change in zip(variables, changes, strict=True):
            variable.assign_sub(change)
            if variable.constraint is not None:
                variable.assign(variable.constraint(variable))
        self.iterations.assign_add(1)

    def apply(self, grads: Any, trainable_variables: Any = None) -> None:
        """Refuses gradients.

        Args:
            grads: gradients of a loss.
            trainable_variables: their variables.

        Raises:
            ValueError: always.
        """
        raise ValueError(
            "NaturalGradient needs the residuals that make up the loss and their Jacobian, which a "
            "gradient does not tell. Train by PINNModel(network, terms), whose step gives it both; "
            "in a loop of your own, call nk.optimizers.natural_gradient."
        )

    def logs(self) -> dict[str, tf.Tensor]:
        """Returns the logged scalars ``damping`` and ``step_length``."""
        return {"damping": self.damping.value, "step_length": self.step_length.value}

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments, for Keras."""
        config = super().get_config()
        return {
            "name": config["name"],
            "learning_rate": config["learning_rate"],
            "method": self.method,
            "damping": self.initial_damping,
        }

    def _add_scalar(self, name: str, value: float) -> keras.Variable:
        return self.add_variable(
            shape=(), initializer=keras.initializers.Constant(value), dtype="float64", name=name
        )


def natural_gradient(
    residuals: Blocks | Mapping[str, tf.Tensor],
    variables: Variables,
    tape: tf.GradientTape | None = None,
    *,
    weights: Mapping[str, Any] | None = None,
    damping: float = 1e-8,
    method: Method = "auto",
    seed: int = 0,
) -> list[tf.Tensor]:
    """Returns the direction d that minimizes ``||S (R - J d)||^2 + mu ||d||^2``, for custom loops.

    The step is ``theta - e d``, with a length e of your choice. It takes all rows of J, by a
    reverse pass for each residual if a tape has recorded them.

    Example::

        with tf.GradientTape(persistent=True) as tape:
            residuals = {"equation": equation(network, points), "edge": edge(network, ends)}
        d = nk.optimizers.natural_gradient(residuals, network.trainable_variables, tape)

    Args:
        residuals: tensors ``[n]`` or ``[n, k]`` by name, recorded by the tape; or blocks, without
            one.
        variables: parameters theta.
        tape: persistent tape, or None.
        weights: weights ``S^2`` of the loss (1) by name: scalars or a number for each entry; 1 by
            default.
        damping: damping mu, in units of the mean eigenvalue of the damped matrix; more if rounding
            requires it.
        method: method as for :class:`NaturalGradient`.
        seed: integer for what a method draws; use another one at every step.

    Returns:
        One tensor for each variable.

    Raises:
        ValueError: if weights belong to no residual, the method is unknown, or damping is not
            positive, and as :class:`~ntk_keras.LossBalancer` does for tapes.
    """
    _check_arguments(method, damping)
    if tape is None:
        blocks = checked_blocks(residuals, variables)
        linearization = Linearization(blocks, variables, factored=True)
    else:
        linearization = TapeLinearization(cast(Any, residuals), tape, variables)
    given = weights or {}
    check_block_names("weights", given, linearization.blocks)
    weights = {name: given.get(name, 1.0) for name in linearization.blocks}
    weighted = WeightedResiduals(linearization, weights)
    system = system_of(linearization, weighted.scale, method, tf.constant([0, seed]))
    solve, _ = system.solver(tf.constant(damping, tf.float64))
    direction = system.direction(solve(weighted.value))
    return [tf.cast(d, p.dtype) for d, p in zip(direction, linearization.parameters, strict=True)]


def _least_damping(linearization: Linearization, num_parameters: int) -> float:
    """Below it there is rounding: of the factorization, and of the residuals and their rows."""
    rounding = [np.finfo(r.dtype.name).eps for r in linearization.residuals.values()]
    return max(np.finfo("float64").eps * num_parameters, *rounding)


def _check_arguments(method: Any, damping: Any) -> None:
    check_method(method)
    if not (np.ndim(damping) == 0 and 0 < damping < math.inf):
        raise ValueError(
            "damping must be a positive number: without it the equations are singular. "
            f"Received damping={damping!r}."
        )
