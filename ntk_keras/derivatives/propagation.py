"""Traversal of a network layer by layer, to carry channels or to inspect each layer."""

import contextlib
import weakref
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import keras
import numpy as np

from ntk_keras.backend import private_names
from ntk_keras.backend.layer_hook import LayerHook
from ntk_keras.derivatives.jets import Jet, constant
from ntk_keras.derivatives.layer_rules import rule_of

__all__ = ["propagate", "why_unsupported"]

T = TypeVar("T")
Visit = Callable[[Any, list[Any]], T]


class _UnsupportedError(Exception):
    """Raised with the reason why a network cannot be differentiated forward."""


def why_unsupported(network: Any, dtype: str) -> str | None:
    """Returns why channels cannot pass a network, with the first such layer; None if they can.

    Args:
        network: built Keras model or layer.
        dtype: dtype of the points.
    """

    def look(operation: Any, inputs: list[Any]) -> None:
        reason = _reason(operation, dtype)
        if reason is not None:
            kind = type(operation).__name__
            raise _UnsupportedError(f"layer {operation.name!r} ({kind}): {reason}")

    if not network.built:
        return "the network is not built"
    try:
        _visit(network, [None] * len(getattr(network, "inputs", None) or [None]), look)
    except _UnsupportedError as found:
        return str(found)
    return None


def propagate(network: Any, inputs: list[Jet], hook: LayerHook | None = None) -> list[Jet]:
    """Returns the jets of the network's outputs.

    Args:
        network: supported network.
        inputs: jets of its inputs, ``[n, d]`` each.
        hook: function called with every Dense layer's product.
    """

    def apply(operation: Any, inputs: list[Any]) -> Any:
        jets = [x if isinstance(x, Jet) else constant(x) for x in inputs]
        return rule_of(operation).apply(operation, jets, hook)  # type: ignore[union-attr]

    return _as_list(_visit(network, inputs, apply))


def _reason(operation: Any, dtype: str) -> str | None:
    rule = rule_of(operation)
    if rule is None:
        return "there is no rule for it, see register_layer"
    dtypes = {getattr(operation, name, dtype) for name in ("compute_dtype", "variable_dtype")}
    if dtypes != {dtype}:
        return f"it computes in {' and '.join(sorted(dtypes))}, the points are {dtype}"
    return rule.unsupported(operation)


def _visit(operation: Any, inputs: list[Any], visit: Visit) -> Any:
    """Applies a layer; for a model, its own layers one by one."""
    if isinstance(operation, keras.layers.Lambda) and rule_of(operation) is None:
        operation = _expanded(operation, len(inputs))
    if not isinstance(operation, keras.Model) or rule_of(operation) is not None:
        return visit(operation, inputs)
    if not type(operation).call.__module__.startswith("keras."):
        raise _UnsupportedError(f"model {operation.name!r} has a call of its own")
    if isinstance(operation, keras.Sequential):
        for layer in operation.layers:
            inputs = _as_list(_visit(layer, inputs, visit))
        return inputs[0] if len(inputs) == 1 else inputs
    return _visit_graph(operation, inputs, visit)


def _visit_graph(model: Any, inputs: list[Any], visit: Visit) -> Any:
    """Applies the layers of a functional model, each after those it needs."""
    if len(inputs) != len(model.inputs):
        raise _UnsupportedError(f"model {model.name!r} has several inputs")
    values = dict(zip(map(id, model.inputs), inputs, strict=True))

    def value(tensor: Any) -> Any:
        if not isinstance(tensor, keras.KerasTensor):
            return _number(tensor, model)
        if id(tensor) not in values:
            made = private_names.producer_of(tensor)
            if made is None:
                raise _UnsupportedError(f"model {model.name!r} does not show its graph")
            operation, arguments = made[0], made[1].arguments
            if any(isinstance(x, keras.KerasTensor) for x in keras.tree.flatten(arguments.kwargs)):
                raise _UnsupportedError(f"layer {operation.name!r} has keyword inputs")
            results = _visit(operation, _values(arguments.args, value), visit)
            made_at_once = list(made[1].output_tensors)
            if len(made_at_once) > 1 and results is None:  # of a mere look
                results = [None] * len(made_at_once)
            values.update(zip(map(id, made_at_once), _as_list(results), strict=True))
        return values[id(tensor)]

    outputs = [value(tensor) for tensor in model.outputs]
    return outputs[0] if len(outputs) == 1 else outputs


_EXPANDED: weakref.WeakKeyDictionary[Any, Any] = weakref.WeakKeyDictionary()


def _expanded(layer: keras.layers.Lambda, count: int) -> Any:
    """Returns a Lambda layer as the model of its function on symbolic inputs, or itself."""
    if layer not in _EXPANDED:
        _EXPANDED[layer] = layer
        nodes = private_names.nodes_of(layer)
        if nodes and not layer.arguments:
            shapes = [(x.shape[1:], x.dtype) for x in nodes[0].input_tensors]
            inputs = [keras.Input(shape, dtype=dtype) for shape, dtype in shapes]
            # If the function fails on symbolic tensors, the layer is left unchanged.
            with contextlib.suppress(Exception):
                outputs = layer.function(inputs[0] if count == 1 else inputs)
                _EXPANDED[layer] = keras.Model(inputs, outputs, name=layer.name)
    return _EXPANDED[layer]


def _as_list(values: Any) -> list[Any]:
    return values if isinstance(values, list) else [values]


def _values(arguments: Sequence[Any], value: Callable[[Any], Any]) -> list[Any]:
    return [value(x) for x in keras.tree.flatten(arguments)]


def _number(argument: Any, model: Any) -> Any:
    if isinstance(argument, slice | type(...)):  # of an index, which its rule looks at
        return argument
    if isinstance(argument, bool) or np.ndim(argument) or not np.isreal(argument):
        raise _UnsupportedError(
            f"model {model.name!r} holds an argument that is no number: {argument!r}"
        )
    return argument
