"""Saves functions, custom objects and nests of points in a `.keras` file.

A file holds names, not code. When it is loaded, every function must be registered under the name
that it was saved with.
"""

import contextlib
import functools
import inspect
import random
import types
from collections.abc import Iterator, Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

__all__ = [
    "check_loadable",
    "deserialize",
    "deserialize_points",
    "serialize",
    "serialize_points",
]

# Objects with a name: functions, including those decorated with `tf.function`.
_DECORATED = tf.types.experimental.PolymorphicFunction
_FUNCTIONS = types.FunctionType | _DECORATED

_REGISTER = "@keras.saving.register_keras_serializable"


def serialize(what: str, value: Any) -> dict[str, Any]:
    """Returns the configuration of a function or object that is registered with Keras.

    Args:
        what: description of the value for the message, such as "Term 'equation': its residual".
        value: function, or object with ``get_config``.

    Raises:
        ValueError: if the value could not be loaded again; the message shows the fix.
    """
    has_name = isinstance(value, _FUNCTIONS) and hasattr(value, "__name__")  # a partial has none
    named = value if has_name else type(value)
    name = keras.saving.get_registered_name(named)
    known = keras.saving.get_registered_object(name)
    if known is not named or not (named is value or hasattr(value, "get_config")):
        raise ValueError(f"{what} cannot be saved: {_mend(value, known)}")
    config = keras.saving.serialize_keras_object(value)
    if isinstance(value, _DECORATED):  # as Keras writes it for other functions
        config |= {"module": "builtins", "class_name": "function", "registered_name": "function"}
    _check_arguments(what, value, _rebuilt(what, config))
    # Keras ignores the last entry; `deserialize` names it if the module is not imported.
    return {**config, "defined_in": named.__module__}


def deserialize(what: str, config: Mapping[str, Any]) -> Any:
    """Returns the function or object of a configuration.

    Args:
        what: description of the value, for the message.
        config: configuration made by :func:`serialize`.

    Raises:
        ValueError: if nothing is registered under its name.
    """
    is_function = config["class_name"] == "function"
    name = config["config" if is_function else "registered_name"]
    known = keras.saving.get_registered_object(name) is not None
    cause = None
    # For an unknown function, Keras takes any whose registered name has the same ending.
    if known or not is_function:
        try:
            return keras.saving.deserialize_keras_object(config)
        except TypeError as error:
            if known:
                raise
            cause = error
    raise ValueError(
        f"{what} was saved under the name {name!r}, by which nothing is registered here. "
        f"Import what registers it, the module {config['defined_in']!r} when it was saved, "
        f"before `keras.models.load_model`; or give that `custom_objects={{{name!r}: ...}}`."
    ) from cause


def check_loadable(what: str, value: Any) -> None:
    """Refuses a value that Keras could save but not load again. Creates no variables.

    Args:
        what: description of the value, for the message.
        value: layer, model, or anything else that Keras serializes.

    Raises:
        ValueError: if the value could not be loaded, or would be loaded as something else; the
            message names the part and the fix.
    """
    config = keras.saving.serialize_keras_object(value)
    if not (isinstance(value, keras.Model) and "layers" in config["config"]):
        _check_functions(what, value, _rebuilt(what, config))
        return
    for layer in value.layers:
        check_loadable(f"Layer {layer.name!r}", layer)
    kind = type(value)
    known = keras.saving.get_registered_object(keras.saving.get_registered_name(kind))
    if not kind.__module__.startswith("keras.") and known is not kind:
        raise ValueError(f"{what} cannot be saved: {_mend(value, known)}")


def serialize_points(what: str, points: Any) -> Any:
    """Returns a configuration of fixed points, with exact values, and tuples as tuples.

    A ``tf.Variable`` is saved with its value, and is loaded as a new variable.

    Args:
        what: description of the points, for the message.
        points: nest of lists, tuples and dicts.

    Raises:
        ValueError: for a nest of another kind.
    """
    recurse = functools.partial(serialize_points, what)
    if isinstance(points, Mapping) and all(isinstance(key, str) for key in points):
        return {"dict": {key: recurse(value) for key, value in points.items()}}
    if isinstance(points, tuple) and not hasattr(points, "_fields"):
        return {"tuple": [recurse(value) for value in points]}
    if isinstance(points, list):
        return {"list": [recurse(value) for value in points]}
    if isinstance(points, tf.Variable):
        shape = None if points.shape.rank is None else points.shape.as_list()
        return {"variable": [recurse(points.numpy()), shape, points.trainable]}
    if isinstance(points, complex | np.ndarray | np.generic | tf.Tensor):
        array = np.asarray(points)
        if np.iscomplexobj(array):  # JSON has only real numbers
            return {"complex": [recurse(array.real), recurse(array.imag)]}
    if isinstance(points, np.ndarray | np.generic | int | float | tf.Tensor):
        return {"leaf": keras.saving.serialize_keras_object(points)}
    raise ValueError(
        f"{what} cannot be saved: a file holds arrays, tensors and variables in lists, tuples and "
        f"dicts with strings as keys. Received a {type(points).__name__}."
    )


def deserialize_points(config: Mapping[str, Any]) -> Any:
    """Returns the points of a configuration made by :func:`serialize_points`."""
    ((kind, value),) = config.items()
    if kind == "dict":
        return {key: deserialize_points(part) for key, part in value.items()}
    if kind == "leaf":
        return keras.saving.deserialize_keras_object(value)
    if kind == "variable":
        held, shape, trainable = value
        return tf.Variable(deserialize_points(held), trainable, shape=tf.TensorShape(shape))
    parts = [deserialize_points(part) for part in value]
    if kind == "complex":
        return parts[0] + 1j * parts[1]
    return tuple(parts) if kind == "tuple" else parts


def _rebuilt(what: str, config: Any) -> Any:
    """Returns the object that a configuration is loaded as, without the variables of layers."""
    if isinstance(config, Mapping):
        left_out = ("build_config", "compile_config")
        config = {key: value for key, value in config.items() if key not in left_out}
    with _random_numbers_kept():
        try:
            return keras.saving.deserialize_keras_object(config)
        except Exception as error:
            # Lambdas need this. Keras warns about them when it serializes them.
            with contextlib.suppress(Exception):
                return keras.saving.deserialize_keras_object(config, safe_mode=False)
            reason = _culprit(config, error)
            raise ValueError(
                f"{what} cannot be saved, as it could not be loaded again: {reason}"
            ) from error


def _culprit(config: Any, error: Exception) -> str:
    """Returns the part of a configuration that cannot be read, and the fix."""
    config = config if isinstance(config, Mapping) else {}
    inner = config["config"] if isinstance(config.get("config"), Mapping) else {}
    for name, part in inner.items():
        if isinstance(part, Mapping) and (part.get("class_name") == "function" or "value" in part):
            function = part.get("config", "a lambda")
            return (
                f"its {name}, {function}, is a function that Keras does not know by name. Make it "
                "one of your own:\n\n"
                f'    {_REGISTER}("my_package")\n    def my_{name}(x):'
            )
    kind = keras.saving.get_registered_object(str(config.get("registered_name")))
    if kind is not None and not hasattr(kind, "from_config"):
        return (
            f"its class {config['class_name']!r} needs a method that makes it of what `get_config` "
            "gives:\n\n    @classmethod\n    def from_config(cls, config):\n"
            "        return cls(**config)"
        )
    *_, reason = str(error).strip().splitlines()
    return (
        f"{reason}\nClasses and functions of your own need the line\n\n"
        f'    {_REGISTER}("my_package")\n\n'
        "and a class what its `get_config` returns as arguments."
    )


def _check_arguments(what: str, value: Any, rebuilt: Any) -> None:
    """Refuses an object whose ``get_config`` omits an argument that the object has kept.

    Only attributes that are named like an argument, and hold numbers or text, are compared. Others
    may be state that rightly differs.
    """
    if isinstance(value, _FUNCTIONS | keras.Layer) or type(rebuilt) is not type(value):
        return
    now, then = getattr(value, "__dict__", {}), getattr(rebuilt, "__dict__", {})
    for argument in inspect.signature(type(value).__init__).parameters:
        for name in {argument, f"_{argument}"} & now.keys() & then.keys():
            pair = now[name], then[name]
            if all(isinstance(x, _PLAIN) for x in pair) and not _are_equal(*pair):
                raise ValueError(
                    f"{what} cannot be saved: its {argument} is {pair[0]!r} and would be loaded as "
                    f"{pair[1]!r}. Have `get_config` of {type(value).__name__} return every "
                    f"argument, as in {{{argument!r}: self.{name}}}."
                )


_PLAIN = str | bool | int | float | complex | np.ndarray | np.generic | tf.Tensor | tf.Variable


def _are_equal(a: Any, b: Any) -> bool:
    """Whether numbers or texts are equal; NaN equals NaN."""
    a, b = np.asarray(a), np.asarray(b)
    return np.array_equal(a, b, equal_nan=a.dtype.kind in "fc" and b.dtype.kind in "fc")


def _check_functions(what: str, value: Any, rebuilt: Any) -> None:
    """Refuses a Keras layer whose function would be loaded as another one of the same name."""
    if not type(value).__module__.startswith("keras."):
        return
    z = tf.constant([[-2.0, -0.5, 0.5, 2.0]])
    for name in ("activation", "recurrent_activation"):
        function: Any = getattr(value, name, None)
        again: Any = getattr(rebuilt, name, None)
        if not isinstance(function, types.FunctionType) or again is function:
            continue
        if not np.allclose(function(z), again(z), atol=1e-5):
            raise ValueError(
                f"{what} cannot be saved: its {name} {function.__name__!r} would be loaded as "
                f"{again.__module__}.{again.__name__}, which is another function. Make it one of "
                f'your own:\n\n    {_REGISTER}("my_package")\n    def my_{name}(x):'
            )


@contextlib.contextmanager
def _random_numbers_kept() -> Iterator[None]:
    """Restores the random state from which Keras seeds initializers that have no seed."""
    state = random.getstate()
    try:
        yield
    finally:
        random.setstate(state)


def _mend(value: Any, known: Any) -> str:
    """Returns why a value could not be loaded again, and the line that fixes it."""
    is_function = isinstance(value, _FUNCTIONS)
    python = getattr(value, "python_function", value)
    if isinstance(python, functools.partial | types.MethodType | types.BuiltinFunctionType):
        return (
            f"a file holds names of functions, not {python!r}. Define a function by itself:\n\n"
            + _example(python)
        )
    if is_function and value.__name__ == "<lambda>":
        return "a lambda has no name to be found by. Define it with\n\n" + _example(value)
    if not is_function:
        return (
            f"its class needs a method `get_config` and the line\n\n    {_decorator(type(value))}\n"
            f"    class {type(value).__name__}:"
        )
    if known is not None:
        return (
            f"its name, {keras.saving.get_registered_name(value)!r}, belongs to another function. "
            "Register it under a name of its own:\n\n" + _example(value)
        )
    return (
        "a file holds the names of functions, not their code, and Keras knows none for "
        f"{value.__qualname__!r}. Add one line:\n\n" + _example(value)
    )


def _example(value: Any) -> str:
    name = getattr(value, "__name__", "residual")
    name = name if name.isidentifier() else "residual"
    function = "    @tf.function\n" if isinstance(value, _DECORATED) else ""
    code = getattr(getattr(value, "python_function", value), "__code__", None)
    arguments = ", ".join(code.co_varnames[: code.co_argcount]) if code else "u, points"
    return f"    {_decorator(value)}\n{function}    def {name}({arguments}):"


def _decorator(value: Any) -> str:
    module = (getattr(value, "__module__", None) or "__main__").rpartition(".")[2]
    package = "my_package" if module in ("__main__", "functools") else module
    return f'{_REGISTER}("{package}")'
