"""Inspection of a term with a network before anything is trained."""

import contextlib
import functools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from ntk_keras.backend import private_names
from ntk_keras.backend.layer_hook import LayerHook
from ntk_keras.backend.variables import Variables, is_connected, parameters_at, watchable
from ntk_keras.kernel import factorable
from ntk_keras.kernel.coupling import are_close, moved_by_others
from ntk_keras.training.foreign_variables import warn_of_foreign
from ntk_keras.training.residual_errors import (
    check_components,
    check_finite,
    check_residual,
    check_squares,
    named_failure,
    refuse_change,
    warn_of_underflow,
)
from ntk_keras.training.second_derivatives import check_second_derivatives
from ntk_keras.training.terms import Term

__all__ = [
    "COUPLED",
    "check_finite_everywhere",
    "inspect_in_training",
    "inspect_term",
    "num_rows",
    "some_rows",
]

# Reasons why a Jacobian is not factored, so that its rows take a reverse pass of all points each.
COUPLED = "its rows depend on other points"

# The number of points that are inspected before training, and evaluated at a time.
_FEW, _MANY = 256, 32768

# Operations that call Python, which XLA does not compile.
_PYTHON = ("EagerPyFunc", "PyFunc", "PyFuncStateless")


# Creates the network view for an evaluation of a residual, with or without training and hook.
MakeView = Callable[..., Any]


def inspect_term(
    term: Term,
    points: Any,
    network: keras.layers.Layer,
    view: MakeView,
    unknowns: Sequence[keras.Variable] = (),
) -> int:
    """Evaluates a residual and its dependence on the network; builds the network if need be.

    Args:
        term: term to inspect.
        points: nest of tensors.
        network: network whose variables are trained.
        view: function that returns the network view for an evaluation, in training or not.
        unknowns: other variables that are trained.

    Returns:
        The number of residual entries.

    Raises:
        ValueError: if the residual fails, has a wrong shape, does not depend on the network, or
            takes second derivatives of a piecewise linear one; or if a layer adds its own loss.

    Warns:
        UserWarning: if it reads variables that will not be trained, or takes second derivatives
            through a layer that is piecewise linear.
    """
    with named_failure(term, points, network):
        residual, read, depends = _looked_at(term, points, network, view, unknowns)
    check_residual(term, residual, points)
    if hasattr(residual, "numpy"):  # not where tf.gradients asked for a graph
        warn_of_underflow(term, residual)
    check_second_derivatives(term, points, network, view)
    _check_layer_losses(term, points, network, view)
    warn_of_foreign(term, read, [*network.variables, *unknowns])
    if not depends:
        raise ValueError(
            f"Term {term.name!r}: its residual does not depend on the network's trainable "
            "variables, so no training can change it. Compute it from the `u` it is given, "
            "with TensorFlow operations, and check that the network is not frozen."
        )
    return math.prod(residual.shape)


def _looked_at(
    term: Term,
    points: Any,
    network: keras.layers.Layer,
    view: MakeView,
    unknowns: Sequence[keras.Variable],
) -> tuple[Any, list[Any], bool]:
    """Returns a residual, the variables it reads, and whether a trained one is among them."""
    found: list[tuple[Any, list[Any], bool]] = []

    def look() -> None:
        if not network.built:
            term.evaluate(view(False), points)
        trained = [*network.trainable_variables, *unknowns]
        with _unassigned(trained), tf.GradientTape() as tape:
            watched = watchable(trained)
            tape.watch(watched)
            residual = term.evaluate(view(False), points)
        if tf.is_tensor(residual):
            read = tape.watched_variables()
            found.append((residual, read, is_connected(tape, residual, watched)))
        else:
            found.append((residual, [], False))

    _eagerly(look)
    return found[-1]


def _eagerly(function: Callable[[], Any]) -> Any:
    """Returns the tensors that a function computes, in a graph if it uses ``tf.gradients``."""
    try:
        return function()
    except RuntimeError as error:
        if "eager execution" not in str(error):  # as tf.gradients says
            raise
    return tf.function(function, autograph=False)()


@contextlib.contextmanager
def _unassigned(trained: Variables) -> Iterator[keras.StatelessScope]:
    """Opens a scope, which alone keeps what layers assign, at the current parameters."""
    # Values in place of variables: those of several replicas have no gradient out here.
    with parameters_at(trained, [tf.identity(v.value) for v in trained]) as scope:
        yield scope


def num_rows(points: Any) -> int:
    """Returns the number of points.

    Args:
        points: nest of tensors.
    """
    return tf.nest.flatten(points)[0].shape[0]


def some_rows(points: Any) -> Any:
    """Returns representative points, with the first and the last; all if they are few.

    Args:
        points: nest of tensors.
    """
    count = num_rows(points)
    if count <= _FEW:
        return points
    rows = np.linspace(0, count - 1, _FEW).round().astype(int)
    return tf.nest.map_structure(lambda x: tf.gather(x, rows), points)


def check_finite_everywhere(
    term: Term, points: Any, network: keras.layers.Layer, view: MakeView, mean: bool
) -> None:
    """Raises ValueError for a residual or loss that is NaN or infinite as training starts.

    Args:
        term: term to inspect.
        points: nest of tensors, all of which are inspected.
        network: built network.
        view: function that returns the network view for an evaluation.
        mean: whether the loss is a mean.
    """
    squares, count = np.longdouble(0), 0
    for start in range(0, num_rows(points), _MANY):
        rows = tf.nest.map_structure(lambda x: x[start : start + _MANY], points)  # noqa: B023
        try:
            residual = term.evaluate(view(False), rows)
        except Exception:  # not in chunks, or not eagerly: the step will tell
            return
        check_finite(term, residual, rows)
        squares += np.sum(np.asarray(residual, np.longdouble) ** 2)
        count += math.prod(residual.shape)
    check_squares(term, squares / count if mean else squares, residual.dtype)


def inspect_in_training(
    term: Term,
    points: Any,
    network: keras.layers.Layer,
    view: MakeView,
    uses_kernel: bool,
    unknowns: Sequence[keras.Variable] = (),
) -> tuple[str | None, bool]:
    """Evaluates a residual as training will, in a graph: twice, and at three points separately.

    Args:
        term: term to inspect.
        points: nest of tensors.
        network: built network; what its layers assign in training is not kept.
        view: function that returns the network view for an evaluation, in training or not.
        uses_kernel: whether the weights depend on the kernel.
        unknowns: variables that are trained beside the network.

    Returns:
        The reason why the residual's Jacobian cannot be factored, None if it can; and whether its
        rows depend on other points. Those of a factored one may do so by their values only, through
        which no gradient passes.

    Raises:
        ValueError: if the residual fails in a graph, its components are points, or, under a kernel,
            if it differs at every evaluation.
    """
    trained = [*network.trainable_variables, *unknowns]

    def alone(index: int) -> tf.Tensor:
        with _unassigned(trained):
            row = tf.nest.map_structure(lambda x: x[index : index + 1], points)
            return term.evaluate(view(True), row)

    with named_failure(term, points, network):
        graph, reason = _traced(term, points, trained, view)
        traced = graph(points)
        whole, again, coupled, assigned = _evaluated_twice(
            term, points, network, trained, view, reason is None
        )
        rows = sorted({0, len(whole) // 2, len(whole) - 1})
        single = [_eagerly(functools.partial(alone, index)) for index in rows]
    check_components(term, whole, single[0])
    if uses_kernel and not are_close(whole, again):
        refuse_change(term, assigned)
    by_cotangents = reason is None and single[0].shape[0] == 1
    # If it factors, a false alarm is costly: a residual that is nearly zero has few digits.
    relative = 0.5 if by_cotangents else None
    by_values = not are_close(tf.gather(whole, rows), tf.concat(single, axis=0), whole, relative)
    by_values = by_values or moved_by_others(graph, points, traced)
    cannot_factor = coupled if by_cotangents else by_values
    return (COUPLED if cannot_factor else reason), cannot_factor or by_values


def _traced(
    term: Term, points: Any, trained: Variables, view: MakeView
) -> tuple[Callable[[Any], tf.Tensor], str | None]:
    """Returns a residual as a graph of points, and why its Jacobian cannot be factored."""
    views: list[Any] = []
    reasons: list[str | None] = []

    def evaluated(*flat: tf.Tensor) -> tf.Tensor:
        def evaluate(hook: LayerHook) -> tf.Tensor:
            views.append(view(True, hook))
            return term.evaluate(views[-1], tf.nest.pack_sequence_as(points, flat))

        with _unassigned(trained):
            reason, residual = factorable.why_not(evaluate, num_rows(points), trained)
        reasons.append(reason)
        operations = tf.compat.v1.get_default_graph().get_operations()
        term.calls_python = any(operation.type in _PYTHON for operation in operations)
        return residual

    graph = tf.function(evaluated, autograph=False)
    graph = graph.get_concrete_function(*tf.nest.flatten(points))
    left = views[0].fallbacks
    reason = f"nested tapes serve it: {left[0]}" if left else reasons[0]
    return lambda at: graph(*tf.nest.flatten(at)), reason


def _evaluated_twice(
    term: Term,
    points: Any,
    network: keras.layers.Layer,
    trained: Variables,
    view: MakeView,
    factors: bool,
) -> tuple[tf.Tensor, tf.Tensor, bool, list[keras.Variable]]:
    """Returns two evaluations of a residual, whether cotangents couple, and what is assigned."""
    assigned: list[keras.Variable] = []

    def twice() -> tuple[tf.Tensor, ...]:
        with _unassigned(trained) as scope:
            shown = [scope.get_current_value(v) for v in network.variables]

            def evaluate(hook: LayerHook | None = None) -> tf.Tensor:
                return term.evaluate(view(True, hook), points)

            if factors:
                coupled, residual = factorable.points_are_coupled(evaluate, num_rows(points))
            else:
                coupled, residual = tf.constant(False), evaluate()
            known = zip(network.variables, shown, strict=True)
            assigned.extend(v for v, value in known if scope.get_current_value(v) is not value)
            return evaluate(), residual, coupled

    whole, again, coupled = _eagerly(twice)
    return whole, again, bool(coupled), assigned


def _check_layer_losses(
    term: Term, points: Any, network: keras.layers.Layer, view: MakeView
) -> None:
    """Raises ValueError for a layer that adds its own loss, which training would leave out."""
    adding = [x.name for x in private_names.sublayers(network) if _regularizes_outputs(x)]
    if not adding and view(True).unsupported is not None:  # forward, layers are not called
        with keras.StatelessScope(collect_losses=True) as scope:
            term.evaluate(view(True), points)
        adding = [network.name] if scope.losses else []
    if adding:
        raise ValueError(
            f"Layer {adding[0]!r} adds a loss that depends on its inputs (activity_regularizer or "
            "add_loss), which is no loss term and would be left out. Add a Term for it; "
            "regularisers of kernels and biases are kept."
        )


def _regularizes_outputs(layer: Any) -> bool:
    return getattr(layer, "activity_regularizer", None) is not None
