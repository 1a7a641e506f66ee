"""Standard errors of a model's unknown coefficients, given the noise of measured values."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from ntk_keras import kernel
from ntk_keras.backend import precision
from ntk_keras.domains import Sampler
from ntk_keras.kernel import Block, Linearization
from ntk_keras.training.points import points_by_term
from ntk_keras.training.profiled_least_squares import Rows, noise_variances, profile_out

__all__ = ["Uncertainty", "checked_unknowns", "uncertainty_of"]

_CHUNK_BYTES = 128 * 2**20  # Of rows of J at a time.


@dataclasses.dataclass(frozen=True)
class Uncertainty:
    """Standard errors of unknown coefficients, and the quantities behind them.

    Attributes:
        values: values of the coefficients by name, floats or arrays.
        standard_errors: standard errors by name, floats or arrays; infinite if the terms do not
            determine a coefficient.
        covariance: covariance matrix ``[k, k]`` of all entries, concatenated.
        noise: standard deviation of the noise in the residual, by term.
        degrees_of_freedom: number of residual entries left to show the noise, by term.
        remaining: distance of each coefficient from the minimum of the loss, by name, from the
            linearized residuals. The standard errors are those of the minimum.
    """

    values: dict[str, Any]
    standard_errors: dict[str, Any]
    covariance: np.ndarray
    noise: dict[str, float]
    degrees_of_freedom: dict[str, float]
    remaining: dict[str, Any]

    def __str__(self) -> str:
        return "\n".join(
            f"{name} = {value} ± {self.standard_errors[name]}"
            for name, value in self.values.items()
        )


def uncertainty_of(
    model: Any, measured: str | Sequence[str] | None, points: Mapping[str, Any] | None
) -> Uncertainty:
    """Implements :meth:`ntk_keras.PINNModel.uncertainty`.

    Args:
        model: :class:`~ntk_keras.PINNModel`.
        measured: names of terms.
        points: points by term.
    """
    variables = checked_unknowns(model, measured, points)
    blocks = model.blocks({**_draws(model), **(points or {})}, training=False)
    terms = {
        name: rows
        for name, block in blocks.items()
        if np.any((rows := _rows_of(model, name, block)).weight)
    }
    chosen = _chosen(list(terms), measured)
    jacobian, residual, weight = (
        np.concatenate([getattr(rows, name) for rows in terms.values()])
        for name in ("jacobian", "residual", "weight")
    )
    profile = profile_out(jacobian, weight, _is_coefficient(model, variables))
    listed = list(terms.values())
    variances, freedom = noise_variances(profile, residual, listed, chosen)
    names = [list(terms)[index] for index in chosen]
    _check_freedom(names, freedom)
    noisy = np.zeros(len(terms))
    noisy[list(chosen)] = variances
    of_rows = np.repeat(noisy, [len(rows.residual) for rows in listed])
    covariance = (profile.influence * of_rows) @ profile.influence.T
    undetermined = ~profile.determined
    covariance[undetermined] = covariance[:, undetermined] = np.nan
    covariance[undetermined, undetermined] = np.inf
    scales = [float(blocks[name].scale) for name in names]
    return Uncertainty(
        values=_by_name(variables, np.concatenate([np.ravel(v.numpy()) for v in variables])),
        standard_errors=_by_name(variables, np.sqrt(np.diag(covariance))),
        covariance=covariance,
        noise=dict(zip(names, (np.sqrt(variances) / scales).tolist(), strict=True)),
        degrees_of_freedom=dict(zip(names, freedom.tolist(), strict=True)),
        remaining=_by_name(variables, -profile.influence @ residual),
    )


def checked_unknowns(
    model: Any, measured: str | Sequence[str] | None, points: Mapping[str, Any] | None
) -> list[keras.Variable]:
    """Checks a request for standard errors and returns the model's coefficients.

    Args:
        model: :class:`~ntk_keras.PINNModel`.
        measured: names of terms.
        points: points by term.

    Raises:
        ValueError: if the model has no unknowns, a name is not that of a term, or a term has no
            points.
    """
    variables = getattr(getattr(model, "coefficients", None), "trainable_variables", [])
    if not variables:
        raise ValueError(
            "Standard errors are those of unknown coefficients that are trained, and the model has "
            "none. Declare them, as in PINNModel(..., unknowns={'k': 1.0})."
        )
    points_by_term(model.terms, points or {})
    _chosen([term.name for term in model.terms], measured)
    return list(variables)


def _draws(model: Any) -> dict[str, Any]:
    """Draws points of sampled terms: so many that the network could not fit all of them."""
    dtype = precision.parameter_dtype(model.network)
    drawn = {}
    for index, term in enumerate(model.terms):
        if isinstance(term.points, Sampler):
            count = -(-2 * _size(model) // term.points.num_points)
            draws = [term.points.draw(tf.constant([index, k]), dtype) for k in range(count)]
            drawn[term.name] = tf.nest.map_structure(lambda *x: tf.concat(x, axis=0), *draws)
    return drawn


def _rows_of(model: Any, name: str, block: Block) -> Rows:
    """Returns a term's rows of J and r, with the weight that the term has in a step's loss."""
    residual = block()
    weight = model.weighting.weights_at(name, residual, block.points) * tf.ones_like(residual)
    (term,) = (term for term in model.terms if term.name == name)
    share = 1.0 if model.reduction == "mean" else term.share_of_step(block.points)
    weight = np.asarray(weight, float) * share
    values = np.asarray(residual, float)
    rows = Rows(np.zeros([0, _size(model)]), values[:0], weight[:0])
    first = 0
    for part in _parts(block, _CHUNK_BYTES // (8 * _size(model))):
        jacobian = _jacobian(name, part, model.trainable_variables)
        place = slice(first, first := first + len(jacobian))
        counts = weight[place] > 0  # what has no weight has no part in the loss
        chunk = Rows(jacobian[counts], values[place][counts], weight[place][counts])
        rows = rows.followed_by(chunk).reduced()
    if not np.all(np.isfinite(rows.jacobian)):
        raise ValueError(
            f"The gradient of term {name!r} with respect to the parameters is NaN or infinite at "
            "some points, as that of a square root is at 0. Remove them, or fix the residual."
        )
    return rows


def _parts(block: Block, num_points: int) -> Iterator[Block]:
    """Yields some points at a time, if rows do not depend on other points."""
    if block.is_whole:
        yield block
        return
    count, step = len(tf.nest.flatten(block.points)[0]), max(1, num_points)
    for first in range(0, count, step):
        points = tf.nest.map_structure(lambda x: x[first : first + step], block.points)  # noqa: B023
        yield dataclasses.replace(block, points=points)


def _jacobian(name: str, block: Block, variables: Sequence[keras.Variable]) -> np.ndarray:
    if block.can_factor(variables):
        return np.asarray(Linearization({name: block}, variables, factored=True).rows(name), float)
    return np.asarray(kernel.jacobian(block, variables), float)


def _chosen(names: list[str], measured: str | Sequence[str] | None) -> list[int]:
    given = [measured] if isinstance(measured, str) else measured
    unknown = sorted(set(given or ()) - set(names))
    if unknown or (given is not None and not given):
        raise ValueError(
            "measured must name the terms whose residual holds what was measured, and which have "
            f"points and a weight: {names}. Received {measured!r}."
        )
    return [index for index, name in enumerate(names) if given is None or name in given]


def _check_freedom(names: list[str], freedom: np.ndarray) -> None:
    if np.sum(freedom) < 1:
        raise ValueError(
            f"The network fits the residuals of {names} whatever the noise in them is, so that "
            "they tell nothing of it. Give more points to the equation, as in "
            "uncertainty(points={'equation': box.interior(1000).fixed(0)}), or take a smaller "
            "network."
        )


def _size(model: Any) -> int:
    """Returns the number of parameters p."""
    return sum(int(np.prod(v.shape)) for v in model.trainable_variables)


def _is_coefficient(model: Any, variables: Sequence[keras.Variable]) -> np.ndarray:
    """Marks the columns of J, ``[p]``, that belong to coefficients."""
    known = {id(v) for v in variables}
    return np.concatenate(
        [np.full(int(np.prod(v.shape)), id(v) in known) for v in model.trainable_variables]
    )


def _by_name(variables: Sequence[keras.Variable], entries: np.ndarray) -> dict[str, Any]:
    """Splits a vector of all entries into floats and arrays."""
    parts = np.split(entries, np.cumsum([int(np.prod(v.shape)) for v in variables])[:-1])
    return {
        v.name: part.reshape(v.shape) if len(v.shape) else float(part[0])
        for v, part in zip(variables, parts, strict=True)
    }
