"""Checks of the arguments of PINNModel's methods, made before anything else."""

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from ntk_keras.backend.checks import check_count
from ntk_keras.backend.precision import half_precision
from ntk_keras.optimizers import NaturalGradient
from ntk_keras.training.step import is_compiled_by_xla

__all__ = [
    "check_assigned",
    "check_compilable",
    "check_compile",
    "check_fit",
    "check_init",
    "check_optimizer",
    "check_unused",
]

_MADE_WITH = ("network", "terms", "weighting", "reduction", "derivatives", "seed")
_FOR_ONE_REPLICA = ("jit_compile", "metrics", "weighted_metrics")


def check_init(network: Any, reduction: Any) -> None:
    """Checks the constructor's arguments that no other part checks.

    Args:
        network: network to be trained.
        reduction: reduction of the residuals.

    Raises:
        TypeError: if the network is not a Keras layer.
        ValueError: if the reduction is unknown.
    """
    if not isinstance(network, keras.layers.Layer):
        raise TypeError(
            "network must be a Keras model or layer, whose variables are trained. Give a "
            "function with the variables it reads, as in nk.networks.CallableNetwork(function, "
            f"variables). Received {network!r}."
        )
    if reduction not in ("sum", "mean"):
        raise ValueError(f'reduction must be "sum" or "mean". Received {reduction!r}.')


def check_compile(arguments: Mapping[str, Any], num_replicas: int) -> None:
    """Checks the arguments of ``compile``.

    Args:
        arguments: arguments by keyword.
        num_replicas: number of replicas of the model's strategy.

    Raises:
        ValueError: for losses, which the terms define, and for what several replicas do not
            support.
    """
    for argument in ("loss", "loss_weights"):
        if arguments.get(argument) is not None:
            raise ValueError(
                f"PINNModel.compile takes no `{argument}`: the loss is made of the terms, and "
                "their weights come from the weighting. Add a Term for measured data; pass "
                "`weighting=` to PINNModel for weights."
            )
    refused = [
        name for name in _FOR_ONE_REPLICA if arguments.get(name) not in (None, "auto", False)
    ]
    if refused and num_replicas > 1:
        raise ValueError(
            f"PINNModel.compile takes no {refused} for several replicas: their steps are not "
            "compiled by XLA, and of metrics only the relative L2 error is that of all points. "
            "Leave it out, or build the model outside the strategy's scope."
        )


# Arguments of `keras.Model.fit` and `evaluate` that have no meaning for points by term.
_MENDS = {
    "sample_weight": (
        "Give the weights of points to their term, as further arrays of its points, and multiply "
        "its residual by their roots."
    ),
    "class_weight": "There are no classes. Give terms weights by `weighting=`.",
    "validation_split": (
        "Points belong to terms. Hold some back yourself, and give them as "
        "validation_data={'equation': points}; or give (points, values) of a solution."
    ),
    "batch_size": (
        "Every step uses all points of a term. For some at a time, give a sampler, as in "
        "box.interior(100), or a dataset of batches."
    ),
}


def check_unused(method: str, arguments: Mapping[str, Any]) -> None:
    """Refuses Keras arguments that have no meaning for points by term.

    Args:
        method: name of the model's method, for the message.
        arguments: arguments by keyword.

    Raises:
        ValueError: if one is given; the message says what to use instead.
    """
    for name, mend in _MENDS.items():
        given = arguments.get(name)
        if given is not None and given is not False and not (np.ndim(given) == 0 and given == 0):
            raise ValueError(f"PINNModel.{method} takes no `{name}` for points by term. {mend}")


def check_optimizer(optimizer: keras.optimizers.Optimizer, model: keras.Model) -> None:
    """Checks the optimizer of a model, in the scope of its strategy.

    Args:
        optimizer: optimizer as Keras will use it.
        model: :class:`~ntk_keras.PINNModel`.

    Raises:
        ValueError: under ``tf.distribute``, if it accumulates gradients, or writes averages into
            the variables every few steps; or if a natural gradient cannot train the model.
    """
    inner = getattr(optimizer, "inner_optimizer", optimizer)
    if isinstance(inner, NaturalGradient):
        _check_natural_gradient(model)
    if inner.use_ema and inner.ema_overwrite_frequency and tf.distribute.has_strategy():
        raise ValueError(
            "Keras' optimizers cannot overwrite variables every few steps under tf.distribute, be "
            f"it on one device. Received ema_overwrite_frequency={inner.ema_overwrite_frequency}. "
            "Leave it out: `fit` then overwrites them once, at its end; or build the model outside "
            "the strategy's scope."
        )
    if inner.gradient_accumulation_steps and tf.distribute.has_strategy():
        raise ValueError(
            "Keras' optimizers do not accumulate gradients under tf.distribute, be it on one "
            f"device. Received gradient_accumulation_steps={inner.gradient_accumulation_steps}. "
            "Leave it out, and give samplers more points; or build the model outside the "
            "strategy's scope."
        )


def _check_natural_gradient(model: keras.Model) -> None:
    network = model.network
    if model.distribute_strategy.num_replicas_in_sync > 1:
        raise ValueError(
            "NaturalGradient solves equations for all residuals together, which several replicas "
            "cannot share. Build the model outside the strategy's scope."
        )
    coarse = half_precision(network)
    if coarse is not None:
        raise ValueError(
            f"NaturalGradient takes differences of residuals, of which {coarse.name} keeps too few "
            'digits. Build the network in float32, or better in float64: dtype="float64" for '
            "every layer."
        )
    regularized = [v.path for v in model.trainable_variables if v.regularizer is not None]
    if regularized:
        raise ValueError(
            "NaturalGradient minimizes squares of residuals, of which a regularizer is none. "
            f"Received one on {regularized}. Leave it out, or write it as a Term."
        )


def check_fit(y: Any, arguments: Mapping[str, Any], steps_per_epoch: int | None) -> None:
    """Checks the arguments of ``fit`` other than data.

    Args:
        y: values, which belong to a term.
        arguments: other arguments, by keyword.
        steps_per_epoch: number of steps; None for the default.

    Raises:
        ValueError: for what has no meaning here, or steps that are not positive.
    """
    if y is not None:
        raise ValueError(
            "PINNModel.fit takes no `y`. Add a Term whose points hold inputs and values."
        )
    check_unused("fit", arguments)
    if steps_per_epoch is not None:
        check_count("steps_per_epoch", steps_per_epoch)


def check_compilable(model: Any) -> None:
    """Refuses residuals that XLA is to compile but cannot.

    Args:
        model: model compiled by Keras, whose terms were evaluated.

    Raises:
        ValueError: if a residual calls Python; the message names the term.
    """
    if not is_compiled_by_xla(model):
        return
    for term in model.terms:
        if term.calls_python:
            raise ValueError(
                f"Term {term.name!r}: its residual calls Python (tf.numpy_function or "
                "tf.py_function), which XLA cannot compile. Use `compile(..., jit_compile=False)`; "
                "or an ntk_keras.domains.GridInterpolator for a table; or compute the values once "
                "and give them with the points, as in points=(x, values)."
            )


def check_assigned(name: str) -> None:
    """Checks an assignment to a model that is built.

    Args:
        name: name of the attribute.

    Raises:
        AttributeError: if the model is constructed with it.
    """
    if name in _MADE_WITH:
        raise AttributeError(
            f"A PINNModel is built with its {name}, which cannot be another one later. Build a "
            "new model on the same network: PINNModel(model.network, ...). Its parameters are "
            "kept."
        )
