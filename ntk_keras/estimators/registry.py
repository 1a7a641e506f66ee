"""Estimators by name, and traces of any residual functions by any of them."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from ntk_keras.backend.autograph import unconverted
from ntk_keras.backend.graphs import as_graph
from ntk_keras.backend.lookup import by_identifier
from ntk_keras.estimators.diagonal import Diagonal, Exact
from ntk_keras.estimators.protocol import Estimate, Estimator
from ntk_keras.estimators.sample_mean import average
from ntk_keras.estimators.sketching import BlockPredictor, Predictor, Product
from ntk_keras.estimators.squared_norms import Perturbation, Reverse
from ntk_keras.kernel.block import Block
from ntk_keras.kernel.linearization import Linearization

__all__ = ["ESTIMATORS", "estimate", "get", "serialize"]

ESTIMATORS: dict[str, Callable[..., Estimator]] = {
    "predictor": Predictor,
    "block-predictor": BlockPredictor,
    "product": Product,
    "reverse": Reverse,
    "diagonal": Diagonal,
    "perturbation": Perturbation,
    "exact": Exact,
}


def get(identifier: str | Mapping[str, Any] | Estimator) -> Estimator:
    """Returns an estimator by its name, or an object unchanged.

    Arguments go with a name as in ``{"name": "diagonal", "num_points": 9}``.

    Raises:
        ValueError: if a name is unknown.
        TypeError: if the object has no method ``traces``, or an argument the estimator lacks.
    """
    return by_identifier("estimator", identifier, ESTIMATORS, _has_traces, "estimators.Estimator")


def _has_traces(value: Any) -> bool:
    return callable(getattr(value, "traces", None))


def serialize(estimator: Estimator) -> str | dict[str, Any] | Estimator:
    """Returns plain data from which :func:`get` makes an equal estimator, if it is built in."""
    name = next((name for name, kind in ESTIMATORS.items() if kind is type(estimator)), None)
    if name is None or not dataclasses.is_dataclass(estimator):
        return estimator
    changed = {
        field.name: getattr(estimator, field.name)
        for field in dataclasses.fields(estimator)
        if getattr(estimator, field.name) != field.default
    }
    return {"name": name, **changed} if changed else name


@unconverted
@as_graph
def estimate(
    estimator: str | Mapping[str, Any] | Estimator,
    blocks: Mapping[str, Block | Callable[[], tf.Tensor]],
    variables: Sequence[tf.Variable | keras.Variable],
    *,
    num_probes: int = 16,
    seed: int | Sequence[int] = 0,
) -> Estimate:
    """Estimates ``Tr K_bb`` of any residual functions, with standard errors.

    Args:
        estimator: estimator or name, as for :func:`get`.
        blocks: functions by name that return residuals ``[n]`` or ``[n, k]`` of the variables;
            :class:`~ntk_keras.Block` objects if points are known.
        variables: parameters theta.
        num_probes: number of samples; see :func:`average`.
        seed: an integer, or two.

    Example:
        ``estimate("reverse", {"equation": lambda: residual(network, points)}, network.variables)``
    """
    state = tf.constant([seed, 0] if isinstance(seed, int) else seed, tf.int32)
    return average(get(estimator), Linearization(blocks, variables), state, num_probes)
