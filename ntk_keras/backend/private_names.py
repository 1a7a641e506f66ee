"""Every private name of Keras and TensorFlow that the package uses, each with a way without it.

Tried with Keras 3.10 and 3.15, TensorFlow 2.18 and 2.21. A version that lacks a name still works,
as each function says; ``tests/backend/test_private_names.py`` tells which one is gone.

Overridden in place, where they belong: ``keras.Model._maybe_symbolic_build`` (training/model.py)
and ``keras.metrics.Metric._direction`` (training/metrics.py).
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
    """Whether a gradient tape watches a tensor; without a way to know, it is taken to be watched.

    That is right for every residual, and only spares no work.

    Args:
        tensor: of points.
    """
    try:
        from tensorflow.python.ops.gradients_util import PossibleTapeGradientTypes
    except ImportError:
        return True
    return bool(PossibleTapeGradientTypes([tensor]))


# As where nobody has decided for or against AutoGraph, which a training step does.
_AUTOGRAPH: Any = getattr(getattr(tf, "__internal__", None), "autograph", None)
_UNDECIDED: Any = (
    _AUTOGRAPH.control_status_ctx() if hasattr(_AUTOGRAPH, "control_status_ctx") else None
)


def without_autograph(function: Any) -> Any:
    """The function, marked as one that AutoGraph calls as it is; without a mark it is converted.

    Unlike ``tf.autograph.experimental.do_not_convert`` it lets the function know whether AutoGraph
    is in force.

    Args:
        function: a plain one.
    """
    function.autograph_info__ = None
    return function


@without_autograph
def autograph_in_force() -> Any:
    """What converts a function as AutoGraph does around here; None where it does not.

    Without a way to know, None: AutoGraph is then kept from the functions that users give.
    """
    if not hasattr(_AUTOGRAPH, "control_status_ctx"):
        return None
    context = _AUTOGRAPH.control_status_ctx()
    if getattr(context.status, "name", None) != "ENABLED":
        return None
    return lambda function: _AUTOGRAPH.tf_convert(function, context)


def converted_by_autograph(function: Any) -> Any:
    """The Python function that is traced for a ``tf.function``; without a way to it, the original.

    Args:
        function: what ``tf.function`` returned.
    """
    python = function.python_function
    if _UNDECIDED is None or not getattr(function, "_autograph", True):
        return python
    return _AUTOGRAPH.tf_convert(python, _UNDECIDED)


def in_xla() -> bool:
    """Whether XLA compiles what is traced, so that Python cannot be called; if unknown, it is.

    Only a warning waits for that.
    """
    if tf.executing_eagerly():
        return False
    try:
        from tensorflow.python.ops.control_flow_util import GraphOrParentsInXlaContext
    except ImportError:
        return True
    return bool(GraphOrParentsInXlaContext(tf.compat.v1.get_default_graph()))


def is_persistent(tape: tf.GradientTape) -> bool:
    """Whether a tape says that it is persistent; one that does not say is taken at its word.

    Args:
        tape: open or closed.
    """
    return getattr(tape, "_persistent", True)


def sublayers(layer: Any) -> Iterator[Any]:
    """A layer and all layers within; without Keras' own list those that are listed in public.

    Args:
        layer: a Keras model or layer.
    """
    if hasattr(layer, "_flatten_layers"):
        yield from layer._flatten_layers()
        return
    yield layer
    for inner in getattr(layer, "layers", []):
        yield from sublayers(inner)


def nodes_of(operation: Any) -> list[Any]:
    """The uses that symbolic tensors make of an operation; none if Keras does not say.

    Args:
        operation: a layer or operation of a functional model.
    """
    return list(getattr(operation, "_inbound_nodes", []))


def producer_of(tensor: Any) -> tuple[Any, Any] | None:
    """The operation that made a symbolic tensor, and the use of it; None if Keras does not say.

    Args:
        tensor: a ``KerasTensor``.
    """
    history = getattr(tensor, "_keras_history", None)
    if history is None:
        return None
    operation, index, _ = history
    nodes = nodes_of(operation)
    return (operation, nodes[index]) if nodes else None


def input_names(model: Any) -> list[str]:
    """The keys of a functional model's dict of inputs; none of another one, or if not known.

    Args:
        model: built.
    """
    structure = getattr(model, "_inputs_struct", None)
    return list(structure) if isinstance(structure, dict) else []


def output_structure(model: Any) -> Any:
    """The outputs of a functional model as it nests them; without Keras' own, in a list if several.

    Args:
        model: built.
    """
    outputs = list(model.outputs)
    return getattr(model, "_outputs_struct", outputs if len(outputs) > 1 else outputs[0])


def add_iterations(optimizer: Any, number: int) -> None:
    """Counts steps that an optimizer has not made itself.

    Where gradients accumulate, ``iterations`` is no variable but a quotient of a private one.

    Args:
        optimizer: of a model, built.
        number: of steps.
    """
    if hasattr(optimizer, "_iterations"):
        optimizer._iterations.assign_add(number * (optimizer.gradient_accumulation_steps or 1))
    else:
        optimizer.iterations.assign_add(number)


def loss_tracker(model: keras.Model, dtype: str) -> keras.metrics.Metric:
    """The mean that Keras resets with an epoch and shows as ``loss``; one of our own without it.

    Args:
        model: compiled.
        dtype: that it is to have; Keras takes ``floatx``, where losses in float64 may be infinite.
    """
    if getattr(getattr(model, "_loss_tracker", None), "dtype", None) != dtype:
        # Past the tracking of attributes, as Keras sets its own: it stands in `metrics` already.
        object.__setattr__(model, "_loss_tracker", keras.metrics.Mean(name="loss", dtype=dtype))
    return model._loss_tracker


def compiled_metrics(model: keras.Model) -> Any:
    """The container of the metrics given to ``compile``; None without any.

    Args:
        model: compiled.
    """
    return getattr(model, "_compile_metrics", None)


def is_repeated_validation(arguments: Mapping[str, Any]) -> bool:
    """Whether ``fit`` calls ``evaluate`` with data that it has prepared once.

    Args:
        arguments: of ``evaluate``, by keyword.
    """
    return bool(arguments.get("_use_cached_eval_dataset"))
