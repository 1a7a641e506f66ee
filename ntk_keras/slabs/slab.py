"""One interval of time, and how its model continues that of the interval before."""

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from ntk_keras.derivatives import NetworkView
from ntk_keras.derivatives.axis_names import named_columns
from ntk_keras.training import PINNModel

__all__ = ["Slab"]

Residual = Callable[[Any, Any], Any]


class Slab:
    """An interval of time for which a model is built.

    Args:
        index: index of the slab, from zero.
        start: first time.
        end: last time.
        previous: trained model of the slab before; None for the first.

    Attributes:
        index: index of the slab.
        start: first time.
        end: last time.
        goes_on: whether what was built so far depends on the slab before, if there is one.
    """

    def __init__(self, index: int, start: float, end: float, previous: PINNModel | None = None):
        self.index = index
        self.start = start
        self.end = end
        self._previous = previous
        self.goes_on = previous is None

    def __repr__(self) -> str:
        return f"Slab({self.index}, start={self.start:g}, end={self.end:g})"

    @property
    def previous(self) -> PINNModel | None:
        """The trained model of the slab before, fixed while this one trains; None for the first."""
        self.goes_on = True
        return self._previous

    def initial(self, residual: Residual) -> Residual:
        """Returns the residual of an initial condition at the start of this slab.

        At the first slab it is unchanged. Later ones have ``residual(u) - residual(previous)``: a
        condition ``u = u_0`` makes u continue the last slab's values, and ``u_t = v_0`` its slopes.
        Use points at ``slab.start``, once for each condition that the equation needs.

        Args:
            residual: residual of u and points, as for a term.
        """
        previous = self.previous
        return residual if previous is None else _Continued(residual, previous)


class _Continued:
    """An initial condition that continues another model: its residual for u minus that of it."""

    def __init__(self, residual: Residual, previous: PINNModel):
        self.residual = residual
        self.previous = previous

    def __call__(self, u: Any, points: Any) -> Any:
        before = NetworkView(
            self.previous.network,
            self.previous.derivatives,
            reuse=True,
            unknowns=self.previous.coefficients,
            axes=getattr(u, "axes", None),
        )
        now = self.residual(u, points)
        with named_columns(before):
            then = self.residual(before, points)
        return tf.nest.map_structure(lambda a, b: a - tf.stop_gradient(b), now, then)
