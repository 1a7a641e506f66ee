"""What is found out about a term with a network before anything is trained."""

import math
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from ntk_keras.backend import private_names
from ntk_keras.backend.layer_hook import LayerHook
from ntk_keras.backend.variables import Variables, is_connected, parameters_at, watchable
from ntk_keras.kernel import factorable
from ntk_keras.training.foreign_variables import warn_of_foreign
from ntk_keras.training.residual_errors import (
    check_components,
    check_finite,
    check_residual,
    named_failure,
    warn_of_underflow,
)
from ntk_keras.training.second_derivatives import check_second_derivatives
from ntk_keras.training.terms import Term

__all__ = [
    "check_finite_everywhere",
    "inspect_in_training",
    "inspect_term",
    "num_rows",
    "some_rows",
]

# How many points are looked at before training, and evaluated at a time.
_FEW, _MANY = 256, 32768


# Makes the network view of an evaluation of a residual: in training or not, with or without hook.
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
        term: what to look at.
        points: a nest of tensors.
        network: whose variables are trained.
        view: the network as one evaluation of the residual is to see it, in training or not.
        unknowns: what else is trained.

    Returns:
        The number of residual entries.

    Raises:
        ValueError: if the residual fails, has a wrong shape, does not depend on the network, or
            takes second derivatives of one that is piecewise linear; if a layer adds a loss of its
            own.

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
    """A residual, the variables it reads, and whether it depends on one that is trained."""

    def look() -> tuple[Any, list[Any], bool]:
        if not network.built:
            term.evaluate(view(False), points)
        trained = [*network.trainable_variables, *unknowns]
        # Values in place of variables: those of several replicas have no gradient out here.
        values = [tf.identity(v.value) for v in trained]
        with tf.GradientTape() as tape, parameters_at(trained, values):
            watched = watchable(trained)
            tape.watch(watched)
            residual = term.evaluate(view(False), points)
        if not tf.is_tensor(residual):
            return residual, [], False
        return residual, tape.watched_variables(), is_connected(tape, residual, watched)

    try:
        return look()
    except RuntimeError as error:
        if "eager execution" not in str(error):  # as tf.gradients says
            raise
    found: list[Any] = []
    tf.function(lambda: found.extend([look()]), autograph=False).get_concrete_function()
    return found[0]


def num_rows(points: Any) -> int:
    """The number of points.

    Args:
        points: a nest of tensors.
    """
    return tf.nest.flatten(points)[0].shape[0]


def some_rows(points: Any) -> Any:
    """Points that stand for all, the first and the last among them; all if they are few.

    Args:
        points: a nest of tensors.
    """
    count = num_rows(points)
    if count <= _FEW:
        return points
    rows = np.linspace(0, count - 1, _FEW).round().astype(int)
    return tf.nest.map_structure(lambda x: tf.gather(x, rows), points)


def check_finite_everywhere(
    term: Term, points: Any, network: keras.layers.Layer, view: MakeView
) -> None:
    """Raises ValueError for a residual that is NaN or infinite at any point, as training starts.

    Args:
        term: what to look at.
        points: a nest of tensors.
        network: built.
        view: the network as one evaluation of the residual is to see it.
    """
    for start in range(0, num_rows(points), _MANY):
        rows = tf.nest.map_structure(lambda x: x[start : start + _MANY], points)  # noqa: B023
        try:
            residual = term.evaluate(view(False), rows)
        except Exception:  # not in chunks, or not eagerly: the step will tell
            return
        check_finite(term, residual, rows)


def inspect_in_training(
    term: Term,
    points: Any,
    network: keras.layers.Layer,
    view: MakeView,
    uses_kernel: bool,
    unknowns: Sequence[keras.Variable] = (),
) -> str | None:
    """Evaluates a residual as training will, in a graph: twice, and at three points by themselves.

    Args:
        term: what to look at.
        points: a nest of tensors.
        network: built; what its layers assign in training is not kept.
        view: the network as one evaluation of the residual is to see it, in training or not.
        uses_kernel: whether the weights follow from the kernel.
        unknowns: what is trained beside the network.

    Returns:
        Why the residual's Jacobian cannot be factored, None if it can.

    Raises:
        ValueError: if the residual fails in a graph, its components are points, or it holds noise
            under a kernel.

    Warns:
        UserWarning: if a row depends on other points under a kernel.
    """
    reasons: list[str | None] = []
    trained = [*network.trainable_variables, *unknowns]

    def at_all_points(at: Any) -> tuple[tf.Tensor, ...]:
        reason, residual, coupled = _examined(term, at, trained, view)
        reasons.append(reason)
        return term.evaluate(view(True), at), residual, coupled

    def at_one_point(at: Any) -> tuple[tf.Tensor, ...]:
        return (term.evaluate(view(True), at),)

    def row(index: int) -> Any:
        return tf.nest.map_structure(lambda x: x[index : index + 1], points)

    with named_failure(term, points, network):
        evaluated = _graph(at_all_points, points, trained)
        whole, again, coupled = evaluated(points)
        alone = _graph(at_one_point, row(0), trained)
        rows = sorted({0, len(whole) // 2, len(whole) - 1})
        single = [alone(row(index))[0] for index in rows]
    check_components(term, whole, single[0])
    if uses_kernel and not _same(whole, again):
        raise ValueError(
            f"Term {term.name!r}: two evaluations at the same points and parameters differ, which "
            "would drown the kernel. Either the residual draws random points itself: have them "
            "drawn, as in points=box.interior(100) or a Sampler of your own. Or the network holds "
            'noise (Dropout, GaussianNoise): remove those layers, or use weighting="constant".'
        )
    if reasons[0] is not None or single[0].shape[0] != 1:  # else the cotangents say
        coupled = not _same(tf.gather(whole, rows), tf.concat(single, axis=0), whole)
        coupled = coupled or _moved_by_others(lambda at: evaluated(at)[0], points, whole)
    if not coupled:
        return reasons[0]
    if uses_kernel:
        warnings.warn(
            f"Term {term.name!r}: the residual of a point is another one without the "
            "other points. Exact traces take each point by itself and will differ from what is "
            "trained. Usual causes: a mean over points; values held outside the points (give "
            "both, as in points=(x, y)); BatchNormalization.",
            stacklevel=4,
        )
    return "its rows depend on other points"


def _graph(
    evaluate: Callable[[Any], tuple[tf.Tensor, ...]], points: Any, trained: Variables
) -> Callable[[Any], tuple[tf.Tensor, ...]]:
    """A function of points as a graph; what layers assign in it is not kept."""

    def evaluated(*flat: tf.Tensor) -> tuple[tf.Tensor, ...]:
        values = [tf.identity(v.value) for v in trained]
        with parameters_at(trained, values):
            return evaluate(tf.nest.pack_sequence_as(points, flat))

    flat = tf.nest.flatten(points)
    graph = tf.function(evaluated, autograph=False).get_concrete_function(*flat)
    return lambda at: graph(*tf.nest.flatten(at))


def _examined(
    term: Term, points: Any, trained: Variables, view: MakeView
) -> tuple[str | None, tf.Tensor, tf.Tensor]:
    """Why the Jacobian cannot be factored; the residual; whether points are coupled; in a graph."""
    views: list[Any] = []
    residuals: list[tf.Tensor] = []

    def evaluate(hook: LayerHook) -> tf.Tensor:
        views.append(view(True, hook))
        residuals.append(term.evaluate(views[-1], points))
        return residuals[-1]

    count = tf.nest.flatten(points)[0].shape[0]
    reason, coupled = factorable.examine(evaluate, count, trained)
    left = views[0].fallbacks
    return f"nested tapes serve it: {left[0]}" if left else reason, residuals[0], coupled


def _check_layer_losses(
    term: Term, points: Any, network: keras.layers.Layer, view: MakeView
) -> None:
    """Raises ValueError for a layer that adds a loss of its own, which training would leave out."""
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


def _moved_by_others(evaluate: Callable[[Any], tf.Tensor], points: Any, whole: tf.Tensor) -> bool:
    """Whether rows change where other points do: every two points are in different halves once."""
    count, relative = len(whole), 64 * np.finfo(whole.dtype.as_numpy_dtype).eps
    numbers = np.random.default_rng(0).permutation(count)
    for half in range(2 * (count - 1).bit_length()):
        kept = np.flatnonzero(numbers >> half // 2 & 1 == half % 2)
        if len(kept):
            index = np.full(count, kept[0])
            index[kept] = kept
            moved = evaluate(tf.nest.map_structure(lambda x, at=index: tf.gather(x, at), points))
            if not _same(tf.gather(whole, kept), tf.gather(moved, kept), whole, relative):
                return True
    return False


def _same(
    one: tf.Tensor,
    other: tf.Tensor,
    scale_of: tf.Tensor | None = None,
    relative: float | None = None,
) -> bool:
    """Whether two residuals are equal, up to sums taken in another order.

    Args:
        one: a residual.
        other: another.
        scale_of: what tells how large residuals are; the first by default.
        relative: tolerance; half of the digits by default.
    """
    if one.shape != other.shape:
        return False
    size = np.max(np.abs(one if scale_of is None else scale_of))
    scale = size * (relative or np.sqrt(np.finfo(one.dtype.as_numpy_dtype).eps))
    return not np.any(np.abs(one - other) > scale)  # NaN is met in training, and named there
