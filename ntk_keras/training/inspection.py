"""What is found out about a term with a network before anything is trained."""

import contextlib
import math
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from ntk_keras.backend import private
from ntk_keras.backend.hooks import LayerHook
from ntk_keras.backend.variables import Variables, is_connected, parameters_at, watchable
from ntk_keras.kernel import factorable
from ntk_keras.training.terms import Term

__all__ = ["check_residual", "inspect_in_training", "inspect_term"]


# Makes the network view of an evaluation of a residual: in training or not, with or without hook.
MakeView = Callable[..., Any]


def inspect_term(
    term: Term,
    points: Any,
    network: keras.layers.Layer,
    view: MakeView,
    unknowns: Sequence[keras.Variable] = (),
    finite: bool = False,
) -> int:
    """Evaluates a residual and its dependence on the network; builds the network if need be.

    Args:
        term: what to look at.
        points: a nest of tensors.
        network: whose variables are trained.
        view: the network as one evaluation of the residual is to see it, in training or not.
        unknowns: what else is trained.
        finite: whether training is about to start, so that every entry must be finite.

    Returns:
        The number of residual entries.

    Raises:
        ValueError: if the residual fails, has a wrong shape, is not finite where it must be, or
            does not depend on the network; if a layer adds a loss of its own.

    Warns:
        UserWarning: if it reads variables that will not be trained.
    """
    with _named_failure(term, points, network):
        residual, read, depends = _looked_at(term, points, network, view, unknowns)
    check_residual(term, residual, points)
    if finite and hasattr(residual, "numpy"):  # not where tf.gradients asked for a graph
        _check_finite(term, residual, points)
    _check_layer_losses(term, points, network, view)
    _warn_of_foreign(term, read, [*network.variables, *unknowns])
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

    def graph_of(points: Any) -> Callable[..., tuple[tf.Tensor, tf.Tensor, tf.Tensor]]:
        def evaluate(*flat: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
            at = tf.nest.pack_sequence_as(points, flat)
            # What layers assign in training is not kept.
            values = [tf.identity(v.value) for v in trained]
            with parameters_at(trained, values):
                reason, coupled = _examined(term, at, trained, view)
                reasons.append(reason)
                return term.evaluate(view(True), at), term.evaluate(view(True), at), coupled

        flat = tf.nest.flatten(points)
        return tf.function(evaluate, autograph=False).get_concrete_function(*flat)

    def row(index: int) -> Any:
        return tf.nest.map_structure(lambda x: x[index : index + 1], points)

    with _named_failure(term, points, network):
        whole, again, coupled = graph_of(points)(*tf.nest.flatten(points))
        alone = graph_of(row(0))
        rows = sorted({0, len(whole) // 2, len(whole) - 1})
        single = [alone(*tf.nest.flatten(row(index)))[0] for index in rows]
    _check_components(term, whole, single[0])
    if uses_kernel and not _same(whole, again):
        raise ValueError(
            f"Term {term.name!r}: two evaluations at the same points and parameters differ, so "
            "the network holds noise (Dropout, GaussianNoise) that would drown the kernel. "
            'Remove those layers, or use weighting="constant".'
        )
    exact = reasons[0] is None and single[0].shape[0] == 1  # what the cotangents say
    if not coupled if exact else _same(tf.gather(whole, rows), tf.concat(single, axis=0), whole):
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


def _examined(
    term: Term, points: Any, trained: Variables, view: MakeView
) -> tuple[str | None, tf.Tensor]:
    """Why the Jacobian cannot be factored, and whether points are coupled, in a graph."""
    views: list[Any] = []

    def evaluate(hook: LayerHook) -> tf.Tensor:
        views.append(view(True, hook))
        return term.evaluate(views[-1], points)

    count = tf.nest.flatten(points)[0].shape[0]
    reason, coupled = factorable.examine(evaluate, count, trained)
    left = views[0].fallbacks
    return f"nested tapes serve it: {left[0]}" if left else reason, coupled


@contextlib.contextmanager
def _named_failure(term: Term, points: Any, network: keras.layers.Layer) -> Iterator[None]:
    """Adds to whatever a residual raises which term it is, and the shapes that met."""
    try:
        yield
    except Exception as error:
        raise ValueError(
            f"Term {term.name!r}: its residual failed at points of shape "
            f"{_shapes(points)}, where the network takes inputs of shape "
            f"{getattr(network, 'input_shape', 'unknown')}: {str(error).rstrip('. ')}. "
            f"{_mend(error, points, network)}".rstrip()
        ) from error


# Of what a first residual most often fails: a piece of the message, and the mend.
_MENDS = {
    "'NoneType' object": (
        "If a tape gave no gradient: let it watch the points before `u` is called, and "
        "differentiate by the very tensor that `u` was given; or use "
        "ntk_keras.derivatives.gradient(u, points)."
    ),
    "Tensor' object is not callable": (
        "Derivatives are taken of the network, as in gradient(u, points), not of its values."
    ),
    "to a numpy array": "Use TensorFlow in a residual: tf.sin, not np.sin.",
    "positional argument": "A residual takes the network and its points: residual(u, points).",
}


def _mend(error: Exception, points: Any, network: keras.layers.Layer) -> str:
    """What to do about a residual that failed, as far as the message tells."""
    known = [mend for piece, mend in _MENDS.items() if piece in str(error)]
    wanted, received = getattr(network, "input_shape", None), getattr(points, "shape", None)
    if isinstance(wanted, tuple) and received is not None and received[1:] != wanted[1:]:
        known = ["Give points a column for each input of the network: a box needs as many axes."]
    if "out of bounds" in str(error):
        outputs = getattr(network, "output_shape", "unknown")
        known = [f"The network's outputs have shape {outputs}; columns count from 0."]
    return known[0] if known else ""


def _warn_of_foreign(term: Term, read: Iterable[Any], own: Iterable[keras.Variable]) -> None:
    """Warns of variables that a residual reads, could be trained, and are not the network's own."""
    known = {id(variable.value) for variable in own}
    names = sorted(variable.name for variable in read if id(variable) not in known)
    if names:
        warnings.warn(
            f"Term {term.name!r}: its residual reads trainable variables that are not the "
            f"network's, so they stay as they are: {names}. Keras does not see a raw tf.Variable: "
            "declare an unknown coefficient, as in PINNModel(..., unknowns={'speed': 1.0}), and "
            "read it as u.unknowns['speed']; make what is to stay fixed with `trainable=False`.",
            stacklevel=4,
        )


def check_residual(term: Term, residual: Any, points: Any) -> None:
    """Checks what a residual returned.

    Args:
        term: for the message.
        residual: what it returned.
        points: where.

    Raises:
        ValueError: if it is not a real tensor ``[n]`` or ``[n, k]`` with a row for each point.
    """
    if not tf.is_tensor(residual) or not residual.dtype.is_floating:
        received = residual.dtype.name if tf.is_tensor(residual) else type(residual).__name__
        raise ValueError(
            f"Term {term.name!r}: the residual must return one tensor of real floats. Received "
            f"{received}. Stack components, or real and imaginary parts, along a last axis."
        )
    count = tf.nest.flatten(points)[0].shape[0]
    shape = tuple(residual.shape)
    if len(shape) not in (1, 2) or shape[0] != count or math.prod(shape) == 0:
        raise ValueError(
            f"Term {term.name!r}: the residual must have shape [{count}] or [{count}, k], one row "
            f"for each of its {count} points. Received shape {list(shape)}. {_reshaping(shape)}"
        )


def _check_layer_losses(
    term: Term, points: Any, network: keras.layers.Layer, view: MakeView
) -> None:
    """Raises ValueError for a layer that adds a loss of its own, which training would leave out."""
    adding = [x.name for x in private.sublayers(network) if _regularizes_outputs(x)]
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


def _reshaping(shape: Sequence[int]) -> str:
    """How a residual gets a row for each point."""
    if len(shape) > 2:
        return "Pick what the equation speaks of: derivatives are [n, outputs, d], as in [:, 0, 1]."
    return "Do not reduce over points: the kernel needs the residual of each."


def _check_finite(term: Term, residual: tf.Tensor, points: Any) -> None:
    """Raises ValueError for a residual that is NaN or infinite before training has begun."""
    rows = np.argwhere(~np.isfinite(np.reshape(residual, [len(residual), -1])))
    if len(rows):
        row = int(rows[0][0])
        at = tf.nest.map_structure(lambda x: np.asarray(x)[row], points)
        raise ValueError(
            f"Term {term.name!r}: the residual must be finite where training starts. Received "
            f"{np.asarray(residual)[row]} at the point {at}. Look where it divides, takes roots or "
            "logarithms, or at the network's initial parameters."
        )


def _check_components(term: Term, residual: tf.Tensor, first: tf.Tensor) -> None:
    """Checks that a point has the same components whatever the other points.

    Args:
        term: for the message.
        residual: at all points, ``[n]`` or ``[n, k]``.
        first: what the residual returned at the first point alone.

    Raises:
        ValueError: if the number of components is that of points.
    """
    if first.shape.rank == residual.shape.rank == 2 and first.shape[1] != residual.shape[1]:
        raise ValueError(
            f"Term {term.name!r}: the residual has shape {list(residual.shape)}, but "
            f"{list(first.shape)} at the first point alone. Shapes [n] and [n, 1] broadcast to "
            "[n, n]: take a column of the network's output, as in u(x)[:, 0], or keep both as "
            "columns."
        )


def _same(one: tf.Tensor, other: tf.Tensor, scale_of: tf.Tensor | None = None) -> bool:
    """Whether two residuals are equal, up to sums taken in another order.

    Args:
        one: a residual.
        other: another.
        scale_of: what tells how large residuals are; the first by default.
    """
    if one.shape != other.shape:
        return False
    size = np.max(np.abs(one if scale_of is None else scale_of))
    scale = size * np.sqrt(np.finfo(one.dtype.as_numpy_dtype).eps)
    return not np.any(np.abs(one - other) > scale)  # NaN is met in training, and named there


def _shapes(points: Any) -> str:
    """The shapes of a nest of points, for messages."""
    return str(tf.nest.map_structure(lambda x: tuple(x.shape), points))
