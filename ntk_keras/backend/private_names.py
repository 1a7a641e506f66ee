"""Every private name of Keras and TensorFlow that the package uses, each with a fallback.

Tested with Keras 3.10 and 3.15, TensorFlow 2.18 and 2.21. If a version lacks a name, the package
still works, and the function below states its fallback. ``tests/backend/test_private_names.py``
reports names that are gone.

Two private names are overridden elsewhere: ``keras.Model._maybe_symbolic_build``
(training/model.py) and ``keras.metrics.Metric._direction`` (training/metrics.py).
"""

from collections.abc import Iterator, Mapping
from typing import Any

import keras
import tensorflow as tf

__all__ = [
    "add_iterations",
    "autograph_in_force",
    "compiled_metrics",
    "converted_by_autograph",
    "in_xla",
    "input_names",
    "is_persistent",
    "is_repeated_validation",
    "loss_tracker",
    "nodes_of",
    "output_structure",
    "producer_of",
    "sublayers",
    "tape_watches",
    "without_autograph",
]


def tape_watches(tensor: tf.Tensor) -> bool:
    """Whether a gradient tape watches a tensor; True if that is unknown.

    True gives correct results for every residual, but saves no work.

    Args:
        tensor: tensor of points.
    """
    try:
        from tensorflow.python.ops.gradients_util import PossibleTapeGradientTypes
    except ImportError:
        return True
    return bool(PossibleTapeGradientTypes([tensor]))


# The context of code that neither enables nor disables AutoGraph, unlike a training step.
_AUTOGRAPH: Any = getattr(getattr(tf, "__internal__", None), "autograph", None)
_UNDECIDED: Any = (
    _AUTOGRAPH.control_status_ctx() if hasattr(_AUTOGRAPH, "control_status_ctx") else None
)


def without_autograph(function: Any) -> Any:
    """Returns a function, marked so that AutoGraph calls it without converting it.

    If TensorFlow does not know the mark, AutoGraph converts the function. Unlike
    ``tf.autograph.experimental.do_not_convert``, the mark lets the function find out whether
    AutoGraph is enabled.

    Args:
        function: plain Python function.
    """
    function.autograph_info__ = None
    return function


@without_autograph
def autograph_in_force() -> Any:
    """Returns a function that converts functions as AutoGraph does here; None if it does not.

    The fallback is None, so that AutoGraph does not convert functions given by users.
    """
    if not hasattr(_AUTOGRAPH, "control_status_ctx"):
        return None
    context = _AUTOGRAPH.control_status_ctx()
    if getattr(context.status, "name", None) != "ENABLED":
        return None
    return lambda function: _AUTOGRAPH.tf_convert(function, context)


def converted_by_autograph(function: Any) -> Any:
    """Returns the Python function that a ``tf.function`` traces; the original as a fallback.

    Args:
        function: result of ``tf.function``.
    """
    python = function.python_function
    if _UNDECIDED is None or not getattr(function, "_autograph", True):
        return python
    return _AUTOGRAPH.tf_convert(python, _UNDECIDED)


def in_xla() -> bool:
    """Whether XLA compiles what is being traced, which then cannot call Python; True if unknown.

    Only a warning depends on it.
    """
    if tf.executing_eagerly():
        return False
    try:
        from tensorflow.python.ops.control_flow_util import GraphOrParentsInXlaContext
    except ImportError:
        return True
    return bool(GraphOrParentsInXlaContext(tf.compat.v1.get_default_graph()))


def is_persistent(tape: tf.GradientTape) -> bool:
    """Whether a tape is persistent; True if it does not say.

    Args:
        tape: open or closed tape.
    """
    return getattr(tape, "_persistent", True)


def sublayers(layer: Any) -> Iterator[Any]:
    """Yields a layer and all layers inside it; the fallback uses the public list of layers.

    Args:
        layer: Keras model or layer.
    """
    if hasattr(layer, "_flatten_layers"):
        yield from layer._flatten_layers()
        return
    yield layer
    for inner in getattr(layer, "layers", []):
        yield from sublayers(inner)


def nodes_of(operation: Any) -> list[Any]:
    """Returns the nodes of an operation, one for each symbolic call; none if they are unknown.

    Args:
        operation: layer or operation of a functional model.
    """
    return list(getattr(operation, "_inbound_nodes", []))


def producer_of(tensor: Any) -> tuple[Any, Any] | None:
    """Returns the operation that made a symbolic tensor, and its node; None if they are unknown.

    Args:
        tensor: ``KerasTensor`` of a functional model.
    """
    history = getattr(tensor, "_keras_history", None)
    if history is None:
        return None
    operation, index, _ = history
    nodes = nodes_of(operation)
    return (operation, nodes[index]) if nodes else None


def input_names(model: Any) -> list[str]:
    """Returns the keys of a functional model's dict of inputs; none without one, or if unknown.

    Args:
        model: built model.
    """
    structure = getattr(model, "_inputs_struct", None)
    return list(structure) if isinstance(structure, dict) else []


def output_structure(model: Any) -> Any:
    """Returns the outputs of a functional model, nested as in the model.

    The fallback is the output, or a list of several outputs.

    Args:
        model: built model.
    """
    outputs = list(model.outputs)
    return getattr(model, "_outputs_struct", outputs if len(outputs) > 1 else outputs[0])


def add_iterations(optimizer: Any, number: int) -> None:
    """Counts steps that an optimizer has not made itself.

    With gradient accumulation, ``iterations`` is not a variable but the quotient of a private one.

    Args:
        optimizer: built optimizer of a model.
        number: number of steps.
    """
    if hasattr(optimizer, "_iterations"):
        optimizer._iterations.assign_add(number * (optimizer.gradient_accumulation_steps or 1))
    else:
        optimizer.iterations.assign_add(number)


def loss_tracker(model: keras.Model, dtype: str) -> keras.metrics.Metric:
    """Returns the mean that Keras resets every epoch and shows as ``loss``, replaced if needed.

    Args:
        model: compiled model.
        dtype: dtype of the mean. Keras' own has ``floatx``, in which a float64 loss may be
            infinite.
    """
    if getattr(getattr(model, "_loss_tracker", None), "dtype", None) != dtype:
        # Bypass the tracking of attributes, as Keras does: `metrics` already lists the tracker.
        object.__setattr__(model, "_loss_tracker", keras.metrics.Mean(name="loss", dtype=dtype))
    return model._loss_tracker


def compiled_metrics(model: keras.Model) -> Any:
    """Returns the container of the metrics given to ``compile``; None if there are none.

    Args:
        model: compiled model.
    """
    return getattr(model, "_compile_metrics", None)


def is_repeated_validation(arguments: Mapping[str, Any]) -> bool:
    """Whether ``fit`` calls ``evaluate`` with data that it has prepared once.

    Args:
        arguments: keyword arguments of ``evaluate``.
    """
    return bool(arguments.get("_use_cached_eval_dataset"))
