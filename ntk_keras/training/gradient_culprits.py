"""The causes of a refused step: what is not finite in a residual, its square or gradient."""

from collections.abc import Mapping, Sequence

import keras
import numpy as np
import tensorflow as tf

from ntk_keras.backend.variables import names_of, watchable
from ntk_keras.domains.moving import unweighted
from ntk_keras.kernel import Block

__all__ = ["describe_bad_gradients", "overflows"]

_MAX_NAMES = 3


def describe_bad_gradients(
    blocks: Mapping[str, Block], variables: Sequence[keras.Variable]
) -> list[str]:
    """Describes the terms whose own gradient is not finite, with where and by which variable.

    Args:
        blocks: residuals by term, at the current parameters.
        variables: variables that are trained.

    Returns:
        A text for each of them; none if only their sum overflows, or the failure cannot be
        evaluated again.
    """
    found = []
    for name, block in blocks.items():
        try:
            bad = _bad_variables(block, block.points, variables)
            at = _bad_point(block, variables) if bad else None
        except Exception:  # what is told must not hide that training has failed
            continue
        if bad:
            by = "" if len(bad) == len(variables) else f" by {_listed(bad)}"
            where = "" if at is None else f" at the point {at}"
            found.append(f"the gradient of term {name!r}{by}{where}")
    return found


def overflows(block: Block) -> bool:
    """Whether a residual is finite and the sum of its squares is not.

    Args:
        block: residual at the current parameters.
    """
    try:
        residual = block()
    except Exception:  # what is told must not hide that training has failed
        return False
    squares = np.asarray(tf.reduce_sum(residual**2))
    return bool(np.all(np.isfinite(residual)) and not np.isfinite(squares))


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _MAX_NAMES} others" if len(names) > _MAX_NAMES else ""
    return f"{', '.join(names[:_MAX_NAMES])}{more}"


def _bad_variables(block: Block, points: object, variables: Sequence[keras.Variable]) -> list[str]:
    """Returns variables whose gradient of ``1/2 |R|^2`` or R at some points is not finite."""
    sources = watchable(variables)
    with tf.GradientTape(persistent=True, watch_accessed_variables=False) as tape:
        tape.watch(sources)
        residual = block.at(points)
    gradients = [
        # Of R too: zero times infinity is zero here and there, and NaN in factored Jacobians.
        tape.gradient(residual, sources, cotangent, unconnected_gradients="zero")
        for cotangent in (residual, tf.ones_like(residual))
    ]
    finite = [all(np.all(np.isfinite(g)) for g in pair) for pair in zip(*gradients, strict=True)]
    return [max(names_of(v)) for v, good in zip(variables, finite, strict=True) if not good]


def _bad_point(block: Block, variables: Sequence[keras.Variable]) -> object:
    """Returns a point where the gradient is not finite by itself, by bisection; None if none."""
    points, count = block.points, tf.nest.flatten(block.points)[0].shape[0]
    while count > 1:
        half = count // 2
        halves = [tf.nest.map_structure(lambda x: x[:half], points)]  # noqa: B023
        halves.append(tf.nest.map_structure(lambda x: x[half:], points))  # noqa: B023
        bad = [part for part in halves if _bad_variables(block, part, variables)]
        if not bad:
            return None
        points, count = bad[0], tf.nest.flatten(bad[0])[0].shape[0]
    return tf.nest.map_structure(lambda x: np.asarray(x)[0], unweighted(points))
