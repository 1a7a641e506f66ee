"""Estimates of the unknown coefficients of a problem, with standard errors and intervals."""

import dataclasses
import math
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from ntk_keras.problems import Problem
from ntk_keras.training.model import PINNModel
from ntk_keras.training.uncertainty import checked_unknowns
from ntk_keras.training.unknowns import MAX_LOGGED

__all__ = ["Estimate", "check", "estimates", "table_rows"]

NORMAL = 1.96  # half width of a 95 % interval in standard errors
MOST_PARAMETERS = 3000  # for which two rows per parameter and term are computed in seconds


@dataclasses.dataclass(frozen=True)
class Estimate:
    """A coefficient, or an entry of an array of them, as found by training.

    Attributes:
        value: value after training.
        standard_error: standard error; None if the terms do not determine the coefficient, or it
            could not be computed.
        interval: ends of the 95 % interval, 1.96 standard errors from the value; None likewise.
        truth: true value; None if it is unknown.
    """

    value: float
    standard_error: float | None
    interval: tuple[float, float] | None
    truth: float | None

    def __str__(self) -> str:
        if self.standard_error is None:
            return f"{self.value:.4g} ± unknown"
        return f"{_rounded(self.value, self)} ± {self.standard_error:.2g}"


def check(problem: Problem, model: PINNModel) -> None:
    """Checks before training that estimates can be computed.

    Args:
        problem: problem to solve.
        model: model of the problem.

    Raises:
        ValueError: if the problem names a term that it lacks, or a true value without an unknown.
    """
    other = sorted(set(problem.truth) - set(problem.unknowns))
    if other:
        raise ValueError(
            f"Problem {problem.name!r} gives true values of {other}, which are not among its "
            f"unknowns {sorted(problem.unknowns)}. Add them to `unknowns`, or leave them out."
        )
    if problem.unknowns:
        checked_unknowns(model, problem.measured or None, None)


def estimates(problem: Problem, model: PINNModel) -> dict[str, Estimate]:
    """Returns the unknowns of a trained model by name, entries of arrays as ``"name/index"``.

    Standard errors are those of :meth:`ntk_keras.PINNModel.uncertainty`. Terms of networks of more
    than 3000 parameters have the points of one step there, not two per parameter.

    Args:
        problem: problem that was solved.
        model: its model.

    Warns:
        UserWarning: if training has not converged, or standard errors cannot be computed.
    """
    if not problem.unknowns:
        return {}
    errors: Mapping[str, Any] = {}
    try:
        found = model.uncertainty(problem.measured or None, points=_points(model))
        errors = found.standard_errors
    except ValueError as error:  # the network can fit all noise: no reason to lose the run
        warnings.warn(f"No standard errors of the unknowns: {error}", stacklevel=2)
    by_name = {}
    for name, value in model.unknowns.items():
        for index, entry in enumerate(np.ravel(value)):
            known = [_entry(values.get(name), index) for values in (errors, problem.truth)]
            by_name[f"{name}/{index}" if np.ndim(value) else name] = _estimate(float(entry), *known)
    return by_name


def table_rows(found: Mapping[str, Estimate]) -> list[tuple[str, str]]:
    """Returns the rows of estimates in the table of a run, those of the first 16 unknowns.

    Args:
        found: estimates by name.
    """
    rows = []
    for name, estimate in list(found.items())[:MAX_LOGGED]:
        rows.append((f"unknown, {name}", str(estimate)))
        if estimate.interval is not None:
            low, high = (_rounded(end, estimate) for end in estimate.interval)
            rows.append((f"95 % interval, {name}", f"{low} to {high}"))
        if estimate.truth is not None:
            rows.append((f"truth, {name}", f"{estimate.truth:g}"))
    return rows


def _points(model: PINNModel) -> dict[str, Any]:
    """Returns the points that standard errors are computed at, as far as they are given."""
    if model.network.count_params() <= MOST_PARAMETERS:
        return {}
    seed, dtype = tf.constant([0, 0]), model.parameter_dtype
    return {term.name: term.points_at(seed, dtype) for term in model.terms if term.redrawn}


def _estimate(value: float, error: float | None, truth: float | None) -> Estimate:
    if error is None or not math.isfinite(error):
        return Estimate(value, None, None, truth)
    return Estimate(value, error, (value - NORMAL * error, value + NORMAL * error), truth)


def _entry(values: Any, index: int) -> float | None:
    return None if values is None else float(np.ravel(values)[index])


def _rounded(value: float, estimate: Estimate) -> str:
    """Returns a value with the decimals that two digits of the standard error have."""
    error = estimate.standard_error
    if not error:
        return f"{value:.4g}"
    decimals = 1 - math.floor(math.log10(error))
    return f"{value:.{decimals}f}" if 0 <= decimals <= 9 else f"{value:.9g}"
