"""Networks that are no Keras models: functions of variables of their own."""

from collections.abc import Callable, Iterable
from typing import Any

import keras
import tensorflow as tf

from ntk_keras.backend.variables import WrappedVariable
from ntk_keras.kernel.block import check_real

__all__ = ["CallableNetwork"]


class CallableNetwork(keras.layers.Layer):
    """A network that is no Keras model: a function, or a ``tf.Module``, and its variables.

    Training writes the variables that are given, so whoever holds them sees them change. Nested
    tapes differentiate it. ``save_weights`` keeps it; ``save`` cannot, as a file holds no code.

    Args:
        function: maps what the residuals give it, ``[n, d]`` or several inputs, to outputs.
        variables: that it reads and training is to change, ``tf.Variable`` or ``keras.Variable``,
            of one dtype, which is that of points.
        **kwargs: as for any Keras layer.

    Raises:
        TypeError: for a function that is not callable, or what is no variable.
        ValueError: for no variables, or such of several dtypes, or complex ones.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        variables: Iterable[tf.Variable | keras.Variable],
        **kwargs: Any,
    ):
        variables = list(variables)
        others = [v for v in variables if not isinstance(v, tf.Variable | keras.Variable)]
        if not callable(function) or others:
            raise TypeError(
                "A CallableNetwork needs a function of points and a list of the tf.Variables that "
                f"it reads. Received {function!r} and {others or variables!r}."
            )
        dtypes = {tf.as_dtype(v.dtype).name for v in variables}
        if len(dtypes) != 1:
            raise ValueError(
                "A CallableNetwork needs variables of one dtype, or there is nothing to train. "
                f"Received {len(variables)} variables of dtypes {sorted(dtypes)}."
            )
        check_real(variables)
        super().__init__(dtype=dtypes.pop(), **kwargs)
        self.function = function
        self.borrowed = [
            v if isinstance(v, keras.Variable) else WrappedVariable(v) for v in variables
        ]
        self.built = True

    def call(self, *inputs: Any) -> Any:
        """The function's outputs."""
        return self.function(*inputs)

    def get_config(self) -> dict[str, Any]:
        raise ValueError(
            f"Network {self.name!r} is a function with variables of its own, which a file cannot "
            "hold. Use `save_weights`, or write the network as a Keras layer to save it whole."
        )
