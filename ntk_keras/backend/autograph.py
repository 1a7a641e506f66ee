"""Keeps AutoGraph, which converts what a user's ``tf.function`` calls, out of the package."""

import dataclasses
import functools
import types
from collections.abc import Callable, Mapping
from typing import Any, TypeVar, cast

import tensorflow as tf

from ntk_keras.backend import private_names

__all__ = ["unconverted"]

Function = TypeVar("Function", bound=Callable[..., Any])


def unconverted(function: Function) -> Function:
    """Keeps AutoGraph from converting a function, but not the functions that users pass to it.

    Conversion takes seconds, warns about code that it cannot read, and changes nothing in code
    written for graphs. A user's function may rely on it.

    Args:
        function: public function, which a user's ``tf.function`` may call.
    """
    as_it_is = tf.autograph.experimental.do_not_convert(function)

    @functools.wraps(function)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        convert = private_names.autograph_in_force()
        if convert is None:
            return function(*args, **kwargs)
        args = tuple(_converted(argument, convert) for argument in args)
        return as_it_is(*args, **{k: _converted(v, convert) for k, v in kwargs.items()})

    return cast(Function, private_names.without_autograph(wrapped))


@private_names.without_autograph
def _converted(argument: Any, convert: Callable[[Any], Any]) -> Any:
    """Returns an argument with its functions converted."""
    if isinstance(argument, types.FunctionType | types.MethodType | functools.partial):
        return convert(argument)
    if isinstance(argument, Mapping):
        return {name: _converted(value, convert) for name, value in argument.items()}
    if dataclasses.is_dataclass(argument) and hasattr(argument, "residual"):  # a block
        residual = _converted(argument.residual, convert)
        return dataclasses.replace(cast(Any, argument), residual=residual)
    return argument
