"""Parameters as a list of ``tf.Variable`` or ``keras.Variable``: watched, replaced and named."""

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
    """A user's own ``tf.Variable`` as Keras knows variables; whoever writes one writes the other.

    Functions read the ``tf.Variable``, not this, so no stateless scope can show them another value.

    Args:
        variable: stays the one that holds the value.
    """

    def __init__(self, variable: tf.Variable):
        # Keras keeps a `tf.Variable` of the right dtype as it is; its names hold no slash.
        super().__init__(
            variable,
            dtype=variable.dtype.name,
            trainable=variable.trainable,
            autocast=False,
            name=variable.name.removesuffix(":0").replace("/", "_"),
        )


def watchable(variables: Variables) -> list[Any]:
    """What a gradient tape can watch: the ``tf.Variable`` behind a ``keras.Variable``.

    Args:
        variables: of either kind.
    """
    return [v.value if isinstance(v, keras.Variable) else v for v in variables]


def names_of(variable: tf.Variable | keras.Variable) -> set[str]:
    """What a user may call a variable: its name, and its path among layers.

    Args:
        variable: of either kind.
    """
    return {variable.name.removesuffix(":0"), getattr(variable, "path", variable.name)}


def is_connected(tape: tf.GradientTape, values: tf.Tensor, sources: Sequence[Any]) -> bool:
    """Whether a tape has recorded a way from watched tensors to what was computed of them.

    Args:
        tape: closed; one that is not persistent is used up.
        values: that were computed.
        sources: as :func:`watchable` gives them; one that is connected is enough.
    """
    return any(g is not None for g in tape.gradient(values, sources))


@contextlib.contextmanager
def parameters_at(
    variables: Variables, values: Sequence[tf.Tensor]
) -> Iterator[keras.StatelessScope]:
    """Lets functions of ``variables`` see ``values`` instead, inside a ``with`` statement.

    A ``keras.Variable`` is never written: Keras' stateless scope shows the values to whoever reads
    it. A bare ``tf.Variable`` knows no such scope, wrapped for Keras or not, so its value is saved,
    replaced and put back; it is not moved back by subtraction, which would let rounding make it
    drift. What :func:`watchable` gives inside can be watched in both cases.

    Args:
        variables: the parameters to replace.
        values: one tensor for each variable.

    Yields:
        The scope, which knows what was assigned in it.

    Raises:
        ValueError: for functions that read the variables past the scope.
    """
    pairs = list(zip(variables, values, strict=True))
    keras_pairs = [pair for pair in pairs if _knows_scopes(pair[0])]
    # Not by Keras' own `assign`, which writes nothing inside a stateless scope.
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
    """A scope in which variables keep their values, as one around it shows them.

    What layers assign in training is assigned once a step, however often an estimator evaluates.
    """

    def get_current_value(self, variable: keras.Variable) -> Any:
        """What was assigned in the scope, else what a scope around shows; None if there is none."""
        own = super().get_current_value(variable)
        outer = getattr(self, "original_scope", None)
        return outer.get_current_value(variable) if own is None and outer is not None else own


def _knows_scopes(variable: tf.Variable | keras.Variable) -> bool:
    return isinstance(variable, keras.Variable) and not isinstance(variable, WrappedVariable)
