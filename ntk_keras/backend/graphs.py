"""How parts of a graph run: as one graph, one after the other, or compiled by XLA into one kernel.

TensorFlow runs a graph operation by operation, which costs more than the operations themselves
where there are hundreds on small tensors. Keras leaves XLA out on a CPU unless it is asked for.
"""

import contextlib
import contextvars
import functools
import operator
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar, cast

import tensorflow as tf

__all__ = [
    "add_one_by_one",
    "add_present",
    "as_graph",
    "map_one_by_one",
    "run_each_sequentially",
    "run_sequentially",
    "run_with_xla",
    "xla_allowed",
]

Function = TypeVar("Function", bound=Callable[..., Any])
Result = TypeVar("Result")

_XLA_ALLOWED = contextvars.ContextVar("xla_allowed", default=True)


def as_graph(function: Function) -> Function:
    """Runs a function as one graph where it is called eagerly.

    Vectorisation builds a graph in any case; by itself, in eager mode, one for every call within.

    Args:
        function: of plain data and tensors, with nothing to remember.
    """

    @functools.wraps(function)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        if not tf.executing_eagerly():
            return function(*args, **kwargs)
        graph = tf.function(lambda: function(*args, **kwargs), autograph=False)
        return graph.get_concrete_function()()

    return cast(Function, wrapped)


def run_with_xla(function: Callable[[], Result], enabled: bool = True) -> Result:
    """The result of a function, computed by one kernel of XLA's where that serves.

    It serves inside a graph of a single replica on a CPU whose tensors all have known shapes: XLA
    compiles anew for each, and where there are other devices Keras compiles the whole step.

    Args:
        function: computes a nest of tensors from those it refers to.
        enabled: False leaves XLA out in any case.
    """
    alone = tf.distribute.get_strategy().num_replicas_in_sync == 1
    enabled = enabled and _XLA_ALLOWED.get()
    if not enabled or tf.executing_eagerly() or not alone or not _only_cpus():
        return function()
    compiled = tf.function(function, jit_compile=True, autograph=False)
    inputs = compiled.get_concrete_function().inputs
    if not all(tensor.shape.is_fully_defined() for tensor in inputs):
        return function()
    return compiled()


@contextlib.contextmanager
def xla_allowed(allowed: bool) -> Iterator[None]:
    """Within it :func:`run_with_xla` may use XLA or not, as samplers have no argument for that.

    Args:
        allowed: False leaves XLA out.
    """
    before = _XLA_ALLOWED.set(allowed and _XLA_ALLOWED.get())
    try:
        yield
    finally:
        _XLA_ALLOWED.reset(before)


def run_sequentially(functions: Iterable[Callable[[], tf.Tensor]]) -> list[tf.Tensor]:
    """Each result computed after the one before, where a graph would hold them all at once.

    Args:
        functions: what computes them.
    """
    computed: list[tf.Tensor] = []
    for function in functions:
        with tf.control_dependencies(computed[-1:]):
            computed.append(function())
    return computed


def run_each_sequentially(
    compute: Callable[[str], tf.Tensor], names: Iterable[str]
) -> dict[str, tf.Tensor]:
    """What is computed by name, one after the other.

    Args:
        compute: of a name.
        names: in their order.
    """
    names = list(names)
    computed = run_sequentially(functools.partial(compute, name) for name in names)
    return dict(zip(names, computed, strict=True))


def map_one_by_one(function: Callable[[Any], Any], elements: Any, dtypes: Any) -> Any:
    """``tf.map_fn``, an element at a time, which leaves nothing behind if the function raises.

    Args:
        function: of one element.
        elements: a nest of tensors that share their first axis.
        dtypes: of the tensors that it returns.
    """
    scope = tf.compat.v1.get_variable_scope()
    before = scope.caching_device
    try:
        return tf.map_fn(function, elements, fn_output_signature=dtypes, parallel_iterations=1)
    except BaseException:
        # It sets one, in a scope that graphs share with the program around them, where a
        # tf.distribute strategy would meet it.
        if not tf.executing_eagerly():
            scope.set_caching_device(before)
        raise


def add_present(terms: Iterable[tf.Tensor | None]) -> Any:
    """The sum of the terms that are not None, which stands for zero; None if all are.

    Args:
        terms: tensors of one shape, and None.
    """
    present = [term for term in terms if term is not None]
    return functools.reduce(operator.add, present) if present else None


def add_one_by_one(functions: Iterable[Callable[[], tf.Tensor]]) -> Any:
    """The sum of what functions compute, where a graph would hold all of it at once.

    Args:
        functions: compute tensors of one shape, each after the one before; None if there are none.
    """
    total: Any = None
    for function in functions:
        with tf.control_dependencies([] if total is None else [total]):
            total = function() if total is None else total + function()
    return total


def _only_cpus() -> bool:
    devices: list[Any] = tf.config.list_physical_devices()
    return all(device.device_type == "CPU" for device in devices)
