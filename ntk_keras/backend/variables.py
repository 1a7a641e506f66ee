"""Watches, replaces and names parameters, each a ``tf.Variable`` or ``keras.Variable``."""

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import keras
import tensorflow as tf

__all__ = [
    "Unassigned",
    "Variables",
    "WrappedVariable",
    "is_connected",
    "names_of",
    "parameters_at",
    "watchable",
]

Variables = Sequence[tf.Variable | keras.Variable]


class WrappedVariable(keras.Variable):
    """A user's ``tf.Variable`` as a ``keras.Variable``; assigning to one assigns to the other.

    Functions read the ``tf.Variable`` directly, so a stateless scope cannot show them another
    value.

    Args:
        variable: variable to wrap, which still holds the value.
    """

    def __init__(self, variable: tf.Variable):
        # Keras keeps a `tf.Variable` of the right dtype as it is, and allows no slash in names.
        super().__init__(
            variable,
            dtype=variable.dtype.name,
            trainable=variable.trainable,
            autocast=False,
            name=variable.name.removesuffix(":0").replace("/", "_"),
        )


def watchable(variables: Variables) -> list[Any]:
    """Returns variables in a form that a gradient tape can watch.

    A ``keras.Variable`` is replaced by its value, usually a ``tf.Variable``.

    Args:
        variables: variables of either kind.
    """
    return [v.value if isinstance(v, keras.Variable) else v for v in variables]


def names_of(variable: tf.Variable | keras.Variable) -> set[str]:
    """Returns the names by which a user may refer to a variable: its name, and its path.

    Args:
        variable: variable of either kind.
    """
    return {variable.name.removesuffix(":0"), getattr(variable, "path", variable.name)}


def is_connected(tape: tf.GradientTape, values: tf.Tensor, sources: Sequence[Any]) -> bool:
    """Whether a tape has recorded that values depend on watched tensors.

    Args:
        tape: closed tape. If it is not persistent, it is used up.
        values: computed values.
        sources: watched tensors, as returned by :func:`watchable`. One dependence suffices.
    """
    return any(g is not None for g in tape.gradient(values, sources))


@contextlib.contextmanager
def parameters_at(
    variables: Variables, values: Sequence[tf.Tensor]
) -> Iterator[keras.StatelessScope]:
    """Lets functions of ``variables`` see ``values`` instead, inside a ``with`` statement.

    A ``keras.Variable`` is not assigned: Keras' stateless scope shows the values to every reader. A
    plain ``tf.Variable``, wrapped or not, ignores such a scope, so its value is saved, replaced and
    restored. It is not restored by subtraction, because rounding would make it drift. In both
    cases, a tape inside can watch the result of :func:`watchable`.

    Args:
        variables: parameters to replace.
        values: one tensor for each variable.

    Yields:
        The scope, which records what is assigned in it.

    Raises:
        ValueError: if a function bypasses the scope when it reads the variables.
    """
    pairs = list(zip(variables, values, strict=True))
    keras_pairs = [pair for pair in pairs if _knows_scopes(pair[0])]
    # Keras' own `assign` would write nothing inside a stateless scope.
    bare_pairs = [(watchable([v])[0], value) for v, value in pairs if not _knows_scopes(v)]
    saved = [tf.identity(variable) for variable, _ in bare_pairs]
    try:
        for variable, value in bare_pairs:
            variable.assign(value)
        with tf.GradientTape() as tape, keras.StatelessScope(state_mapping=keras_pairs) as scope:
            yield scope
    finally:
        for (variable, _), value in zip(bare_pairs, saved, strict=True):
            variable.assign(value)
    own = {id(variable.value): variable.path for variable, _ in keras_pairs}
    read = [own[id(variable)] for variable in tape.watched_variables() if id(variable) in own]
    if read:
        raise ValueError(
            f"a graph that was traced before (a concrete function, a SavedModel) reads {read}, so "
            "it cannot be shown other values of them. Call the Python function or the tf.function "
            "that it was made of."
        )


class Unassigned(keras.StatelessScope):
    """A scope whose assignments are discarded at its end. It shows values of a scope around it.

    Layers that assign variables in training thus do so once per step, however often an estimator
    evaluates them.
    """

    def get_current_value(self, variable: keras.Variable) -> Any:
        """Returns the value assigned in this scope, else that of a scope around it, else None."""
        own = super().get_current_value(variable)
        outer = getattr(self, "original_scope", None)
        return outer.get_current_value(variable) if own is None and outer is not None else own


def _knows_scopes(variable: tf.Variable | keras.Variable) -> bool:
    return isinstance(variable, keras.Variable) and not isinstance(variable, WrappedVariable)
