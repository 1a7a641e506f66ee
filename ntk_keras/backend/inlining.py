"""Runs functions that users decorate with ``tf.function`` in place.

A traced graph is fixed. If it was traced while parameters were replaced, it keeps the replacements
as constants. If it was traced earlier, it reads the variables, even where they are replaced. And
tensors inside it cannot be watched. Wherever residuals are evaluated, the trace is therefore
ignored: the Python function runs as a part of the graph that is being built, or eagerly.
"""

import contextlib
import threading
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from ntk_keras.backend import private_names

__all__ = ["inlined_functions"]

_Function: Any = type(tf.function(lambda: None))
_originals = {name: getattr(_Function, name) for name in ("__call__", "get_concrete_function")}
_lock = threading.Lock()
_open = 0  # number of open `with` statements, in all threads
_here = threading.local()


@contextlib.contextmanager
def inlined_functions() -> Iterator[None]:
    """Runs functions decorated by ``tf.function`` in place, inside a ``with`` statement.

    This concerns calls in the current thread only. Functions of TensorFlow and Keras, which build
    loops with them, are still traced. ``input_signature`` only converts positional arguments to
    tensors, ``jit_compile`` has no effect, and AutoGraph converts the function in a graph. No trace
    is added to a function, and none is used.
    """
    _here.depth = getattr(_here, "depth", 0) + 1
    _count(1)
    try:
        yield
    finally:
        _here.depth -= 1
        _count(-1)


def _count(change: int) -> None:
    """Counts ``with`` statements, and replaces methods of ``tf.function`` while any is open."""
    global _open
    with _lock:
        _open += change
        ours = {"__call__": _call, "get_concrete_function": _get_concrete_function}
        for name, method in (ours if _open else _originals).items():
            setattr(_Function, name, method)


def _call(function: Any, *args: Any, **kwargs: Any) -> Any:
    if not _is_inlined(function):
        return _originals["__call__"](function, *args, **kwargs)
    python = function.python_function
    if not tf.executing_eagerly() and _layer_of(python) is None:
        python = private_names.converted_by_autograph(function)
    args, kwargs = tf.nest.map_structure(_as_tensor, (args, kwargs))  # as tracing does
    return python(*_as_signed(args, function.input_signature), **kwargs)


def _get_concrete_function(function: Any, *args: Any, **kwargs: Any) -> Any:
    if not _is_inlined(function):
        return _originals["get_concrete_function"](function, *args, **kwargs)
    return function


def _is_inlined(function: Any) -> bool:
    if not getattr(_here, "depth", 0):
        return False
    python = function.python_function
    module = getattr(python, "__module__", None) or ""
    return module.split(".")[0] not in ("tensorflow", "keras") or _layer_of(python) is not None


def _layer_of(python: Any) -> keras.layers.Layer | None:
    """Returns the Keras layer or model that a function is, or is a method of; otherwise None."""
    owner = getattr(python, "__self__", python)
    return owner if isinstance(owner, keras.layers.Layer) else None


def _as_signed(args: tuple[Any, ...], signature: Any) -> list[Any]:
    """Returns positional arguments, as tensors where an ``input_signature`` says so."""
    specs = tuple(signature or ())[: len(args)]
    made = [
        tf.convert_to_tensor(x, spec.dtype) if isinstance(spec, tf.TensorSpec) else x
        for x, spec in zip(args, specs, strict=False)
    ]
    return [*made, *args[len(made) :]]


def _as_tensor(argument: Any) -> Any:
    return tf.convert_to_tensor(argument) if isinstance(argument, np.ndarray) else argument
