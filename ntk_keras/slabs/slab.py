"""One interval of time, and how its model goes on from that of the interval before."""

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from ntk_keras.derivatives import NetworkView
from ntk_keras.derivatives.axis_names import named_columns
from ntk_keras.training import PINNModel

__all__ = ["Slab"]

Residual = Callable[[Any, Any], Any]


class Slab:
    """An interval of time, on which a model is built.

    Args:
        index: of the slab, from zero.
        start: its first time.
        end: its last time.
        previous: the trained model of the slab before; None at the first.

    Attributes:
        index: as given.
        start: as given.
        end: as given.
        goes_on: whether what was built so far knows of the slab before, if there is one.
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
        """The trained model of the slab before, fixed while this one trains; None at the first."""
        self.goes_on = True
        return self._previous

    def initial(self, residual: Residual) -> Residual:
        """The residual of an initial condition, at the start of this slab.

        At the first slab it is as given. Later ones have ``residual(u) - residual(previous)``:
        where the condition says ``u = u_0``, u goes on from the last slab's values, and where it
        says ``u_t = v_0``, from its slopes. Give it points at ``slab.start``, once for each
        condition that the equation needs.

        Args:
            residual: of u and points, as for a term.
        """
        previous = self.previous
        return residual if previous is None else _Continued(residual, previous)


class _Continued:
    """An initial condition that goes on from another model: what it says of u, less that of it."""

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
