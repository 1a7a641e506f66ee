"""Networks other than Keras models: functions with their own variables."""

from collections.abc import Callable, Iterable
from typing import Any

import keras
import tensorflow as tf

from ntk_keras.backend.variables import WrappedVariable
from ntk_keras.kernel.block import check_real

__all__ = ["CallableNetwork"]


class CallableNetwork(keras.layers.Layer):
    """A network that is not a Keras model: a function or a ``tf.Module``, and its variables.

    Training changes the given variables in place. Nested tapes differentiate the network. It is
    saved by ``save_weights`` but not by ``save``, as a file holds no code.

    Args:
        function: function from what the residuals pass, ``[n, d]`` or several inputs, to outputs.
        variables: ``tf.Variable`` or ``keras.Variable`` objects to be trained, which the function
            reads. They have one dtype, which is that of points.
        **kwargs: further arguments of a Keras layer.

    Raises:
        TypeError: if the function is not callable, or a variable is not a variable.
        ValueError: if there are no variables, or they have several dtypes or are complex.
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
        """Returns the function's outputs."""
        return self.function(*inputs)

    def get_config(self) -> dict[str, Any]:
        raise ValueError(
            f"Network {self.name!r} is a function with variables of its own, which a file cannot "
            "hold. Use `save_weights`, or write the network as a Keras layer to save it whole."
        )
