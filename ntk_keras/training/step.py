"""The parts of a training step between the residuals and the optimizer: losses and gradients."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from ntk_keras.backend import lapack, replicas
from ntk_keras.kernel import Linearization
from ntk_keras.optimizers import NaturalGradient

__all__ = [
    "is_compiled_by_xla",
    "is_untrained",
    "loss_gradients",
    "loss_values",
    "mean_logs",
    "wants_jacobian",
]


def loss_values(
    model: Any,
    residuals: Mapping[str, tf.Tensor],
    points: Mapping[str, Any] | None = None,
) -> tuple[list[tf.Tensor], tf.Tensor]:
    """Returns ``1/2 ||R_b||^2`` of every term, and the loss (1) at the current weights.

    Args:
        model: :class:`~ntk_keras.PINNModel`, whose regularisers count.
        residuals: tensors ``[n_b]`` by term.
        points: points of these residuals by term; without them causal weights are averaged over
            time.
    """
    losses = [tf.reduce_sum(residuals[term.name] ** 2) / 2 for term in model.terms]
    weighted = [
        tf.reduce_sum(model.weighting.weights_at(name, r, (points or {}).get(name)) * r**2) / 2
        for name, r in residuals.items()
    ]
    losses, weighted = replicas.all_reduce_sum((losses, weighted))
    return losses, tf.add_n(weighted + _penalties(model.trainable_variables))


def loss_gradients(model: Any, linearization: Linearization) -> list[tf.Tensor]:
    """Returns ``J^T Lambda R`` plus the gradient of the regularisers, or a natural gradient.

    Args:
        model: compiled :class:`~ntk_keras.PINNModel`. Its optimizer gives the scale of the loss,
            since half precision would lose small gradients in the backward pass; a natural gradient
            computes the change of the variables itself.
        linearization: residuals, recorded at the current parameters.

    Returns:
        One tensor for each variable.
    """
    optimizer, variables = model.optimizer, model.trainable_variables
    weights = {
        name: model.weighting.weights_at(name, r, linearization.blocks[name].points)
        for name, r in linearization.residuals.items()
    }
    if isinstance(optimizer, NaturalGradient):
        with lapack.lapack_allowed(not is_compiled_by_xla(model)):
            return optimizer.change(linearization, weights, model.given_jit_compile is not False)
    scale = optimizer.scale_loss(tf.ones([], variables[0].dtype))
    gradients = linearization.vjp(
        {
            name: tf.cast(scale, residual.dtype) * weights[name] * residual
            for name, residual in linearization.residuals.items()
        }
    )
    if not any(v.regularizer for v in variables):
        return gradients
    with tf.GradientTape() as tape:
        penalty = scale * tf.add_n(_penalties(variables))
    extra = tape.gradient(penalty, [v.value for v in variables], unconnected_gradients="zero")
    # Only once, although the optimizer sums the gradients of all replicas.
    return [a + b / replicas.num_replicas() for a, b in zip(gradients, extra, strict=True)]


def mean_logs(
    means: Sequence[keras.metrics.Metric], values: Sequence[tf.Tensor]
) -> dict[str, tf.Tensor]:
    """Returns means over the epoch by name, with the values of a step added.

    Args:
        means: metrics, one for each value.
        values: scalars of the step.
    """
    for mean, value in zip(means, values, strict=True):
        mean.update_state(value)
    return {mean.name: mean.result() for mean in means}


def is_compiled_by_xla(model: keras.Model) -> bool:
    """Whether XLA compiles the whole step of a compiled model.

    Args:
        model: compiled or uncompiled model.
    """
    return bool(getattr(model, "jit_compile", False)) and not model.run_eagerly


def is_untrained(model: keras.Model) -> bool:
    """Whether a model is compiled but has not taken a step.

    Args:
        model: compiled or uncompiled model.
    """
    optimizer = getattr(model, "optimizer", None)
    return optimizer is not None and int(optimizer.iterations.numpy()) == 0


def wants_jacobian(model: keras.Model) -> bool:
    """Whether a step of a compiled model takes rows of the Jacobian or products with it.

    Args:
        model: :class:`~ntk_keras.PINNModel`.
    """
    return model.weighting.differentiates or isinstance(model.optimizer, NaturalGradient)


def _penalties(variables: Sequence[keras.Variable]) -> list[tf.Tensor]:
    return [v.regularizer(v) for v in variables if v.regularizer is not None]
