"""The residuals of a model's terms as blocks, and how each of them is differentiated."""

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from ntk_keras.backend import precision
from ntk_keras.backend.layer_hook import LayerHook
from ntk_keras.backend.variables import Unassigned
from ntk_keras.derivatives import Mode, NetworkView, RequestedDerivatives
from ntk_keras.domains.moving import unweighted
from ntk_keras.kernel.block import Block, check_real
from ntk_keras.training.term_inspection import (
    check_finite_everywhere,
    inspect_in_training,
    inspect_term,
    num_rows,
    some_rows,
)
from ntk_keras.training.terms import Reduction, Term, mean_scale
from ntk_keras.training.unknowns import Unknowns

__all__ = ["Residuals"]


@dataclasses.dataclass
class _Inspected:
    """The results of inspecting a term, and the conditions under which they are valid.

    Attributes:
        residual: residual of the term.
        specs: specifications of its points, except their number.
        trained: identities of the variables that are trained.
        entries_per_point: number of residual entries per point.
        finite: whether all entries are known to be finite where training starts.
    """

    residual: Any
    specs: list[Any]
    trained: frozenset[int]
    entries_per_point: int
    finite: bool = False

    def holds(self, term: Term, points: Any, trained: frozenset[int]) -> bool:
        """Whether the results are valid for these points and variables."""
        known = self.specs, self.trained
        return self.residual is term.residual and known == (_specs(points), trained)


def _specs(points: Any) -> list[Any]:
    return [(x.shape[1:], x.dtype) for x in tf.nest.flatten(points)]


class Residuals:
    """Evaluates terms with a network, each by a view that remembers which derivatives it needs.

    Args:
        network: network whose variables are trained.
        terms: loss terms.
        coefficients: unknown coefficients.
        derivatives: how residuals differentiate the network.
        reduction: ``"sum"`` or ``"mean"``.

    Raises:
        ValueError: if ``derivatives="taylor"`` cannot serve the network; the message names the
            layer.
    """

    def __init__(
        self,
        network: keras.layers.Layer,
        terms: Sequence[Term],
        coefficients: Unknowns,
        derivatives: Mode,
        reduction: Reduction,
    ):
        NetworkView(network, derivatives)  # refuses at once what it cannot serve
        check_real(network.trainable_variables)
        self._network = network
        self._terms = terms
        self._coefficients = coefficients
        self._derivatives = derivatives
        self._reduction = reduction
        self._requested = {term.name: RequestedDerivatives() for term in terms}
        # By term, once it was evaluated: why its Jacobian is not factored, None if it is. This is
        # valid for the parameters that were trained then.
        self.not_factored: dict[str, str | None] = {}
        self._coupled: dict[str, bool] = {}  # likewise: whether its rows depend on other points
        self._factored_for: frozenset[int] = frozenset()
        self._inspected: dict[str, _Inspected] = {}
        self._compiled: dict[str, tuple[Any, Callable[[Any], Any]]] = {}

    @property
    def variables(self) -> list[keras.Variable]:
        """The trained variables: those of the network and the coefficients."""
        return [*self._network.trainable_variables, *self._coefficients.trainable_variables]

    def blocks(
        self, points: Mapping[str, Any], training: bool, assigns: bool = False
    ) -> dict[str, Block]:
        """Returns the residual blocks of the terms in ``points``, scaled by the reduction.

        Args:
            points: nest of tensors by term.
            training: whether the network is called as in training.
            assigns: whether assignments of layers are kept, such as BatchNormalization averages.
        """
        coarse = precision.half_precision(self._network)
        served = [v for v in self.variables if id(v) in self._factored_for]
        blocks = {}
        for term in self._terms:
            if term.name in points:
                residual = functools.partial(self._evaluate, term, training, assigns)
                reason = self.not_factored.get(term.name, "not evaluated yet")
                blocks[term.name] = Block(
                    residual,
                    points[term.name],
                    self._scale(term, points[term.name]),
                    with_hook=residual if reason is None else None,
                    hooked_variables=served,
                    computed_in=coarse,
                    coupled=self._coupled.get(term.name, False),
                )
        return blocks

    def inspect(
        self, points: Mapping[str, Any], uses_kernel: bool, finite: bool = False
    ) -> dict[str, int]:
        """Evaluates every residual that has points, and finds out whether it can be factored.

        A few of the points suffice; what is known of a term is not inspected again.

        Args:
            points: nest of tensors by term.
            uses_kernel: whether the weights depend on the kernel.
            finite: whether training is about to start, so that every entry must be finite.

        Returns:
            The number of residual entries by term.

        Raises:
            ValueError: as :func:`inspect_term` and :func:`inspect_in_training` do, or if no term
                has points to build the network on.
        """
        trained = frozenset(map(id, self.variables))
        if self._factored_for != trained:
            self.not_factored.clear()
            self._coupled.clear()
        sizes = {}
        for term in self._terms:
            if term.name in points:
                at = unweighted(points[term.name])
                view = functools.partial(self._view, term)
                inspected = self._inspected.get(term.name)
                if inspected is None or not inspected.holds(term, at, trained):
                    inspected = self._inspect(term, at, view, uses_kernel)
                    self._inspected[term.name] = inspected
                if finite and not inspected.finite:
                    mean = self._reduction == "mean"
                    check_finite_everywhere(term, at, self._network, view, mean)
                    inspected.finite = True
                sizes[term.name] = inspected.entries_per_point * num_rows(at)
        if not self._network.built:
            raise ValueError(
                "The network is not built: no term has points to call it on. Give its input shape, "
                "as in keras.Sequential([keras.Input((2,)), ...])."
            )
        check_real(self.variables)
        self._factored_for = frozenset(map(id, self.variables))
        return sizes

    def _inspect(
        self, term: Term, points: Any, view: Callable[..., Any], uses_kernel: bool
    ) -> "_Inspected":
        unknowns = self._coefficients.trainable_variables

        def look(at: Any) -> _Inspected:
            size = inspect_term(term, at, self._network, view, unknowns)
            found = inspect_in_training(term, at, self._network, view, uses_kernel, unknowns)
            self.not_factored[term.name], self._coupled[term.name] = found
            # The variables exist now: the network was built on the way if necessary.
            trained = frozenset(map(id, self.variables))
            return _Inspected(term.residual, _specs(at), trained, size // num_rows(at))

        few = some_rows(points)
        if few is points:
            return look(points)
        try:
            return look(few)
        except Exception:  # it may hold something for every point, or fail at all of them as well
            return look(points)

    def evaluate(self, term: Term, points: Any) -> Any:
        """Returns a term's residual unchanged, without the scale of the reduction.

        Args:
            term: term of the model.
            points: nest of tensors.
        """
        return self._evaluate(term, False, False, points)

    def compiled(self, term: Term) -> Callable[[Any], Any]:
        """Returns :meth:`evaluate` of a term as a graph, kept while the term has this residual.

        Args:
            term: term of the model.
        """
        residual, graph = self._compiled.get(term.name, (None, None))
        if graph is None or residual is not term.residual:
            graph = tf.function(functools.partial(self.evaluate, term), autograph=False)
            self._compiled[term.name] = term.residual, graph
        return graph

    def view(self) -> NetworkView:
        """Returns the network as a function that is not a term sees it in one evaluation."""
        return NetworkView(
            self._network,
            self._derivatives,
            training=False,
            reuse=True,
            unknowns=self._coefficients,
            axes=self._axes(),
        )

    def summary(self) -> str:
        """Describes how each term's residual differentiates the network, and why."""
        reason = NetworkView(self._network, self._derivatives).unsupported
        way = "forward" if reason is None else f"by nested tapes, because {reason}"
        lines = [f"Derivatives of {self._network.name!r}: {way}."]
        for name, requested in self._requested.items():
            reason = self.not_factored.get(name) or "nested tapes"
            # Those are reported already.
            more = "" if reason.startswith("nested tapes") else f"; not factored, {reason}"
            lines.append(f"  {name}: {requested}{more}")
        return "\n".join(lines)

    def _evaluate(
        self,
        term: Term,
        training: bool,
        assigns: bool,
        points: Any,
        hook: LayerHook | None = None,
    ) -> tf.Tensor:
        with contextlib.nullcontext() if assigns or not training else Unassigned():
            return term.evaluate(self._view(term, training, hook), points)

    def _view(self, term: Term, training: bool, hook: LayerHook | None = None) -> NetworkView:
        """Returns the network as a term's residual sees it in one evaluation."""
        return NetworkView(
            self._network,
            self._derivatives,
            training=training,
            reuse=True,
            requested=self._requested[term.name],
            hook=hook,
            unknowns=self._coefficients,
            axes=self.axes_of(term),
        )

    def axes_of(self, term: Term) -> tuple[str, ...] | None:
        """Returns names of the columns of a term's points, or those of the others; None if none.

        Args:
            term: term of the model.
        """
        return term.axes or self._axes()

    def _axes(self) -> tuple[str, ...] | None:
        """Returns the column names that all terms with names share, as they feed one network."""
        named = {term.axes for term in self._terms} - {None}
        return named.pop() if len(named) == 1 else None

    def _scale(self, term: Term, points: Any) -> tf.Tensor | float:
        if self._reduction == "sum":
            return 1.0
        return mean_scale(functools.partial(self._evaluate, term, False, False), points)
