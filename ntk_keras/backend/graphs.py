"""Ways to run parts of a graph: as one graph, sequentially, or compiled by XLA into one kernel.

TensorFlow runs a graph operation by operation. With hundreds of operations on small tensors, this
costs more than the operations themselves. On a CPU, Keras does not use XLA unless it is asked to.
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
    "on_one_cpu",
    "run_each_sequentially",
    "run_sequentially",
    "run_with_xla",
    "xla_allowed",
]

Function = TypeVar("Function", bound=Callable[..., Any])
Result = TypeVar("Result")

_XLA_ALLOWED = contextvars.ContextVar("xla_allowed", default=True)


def as_graph(function: Function) -> Function:
    """Runs a function as one graph if it is called eagerly.

    Vectorisation builds a graph in any case. By itself, in eager mode, it would build one for every
    vectorised call in the function.

    Args:
        function: function of plain data and tensors, without state.
    """

    @functools.wraps(function)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        if not tf.executing_eagerly():
            return function(*args, **kwargs)
        graph = tf.function(lambda: function(*args, **kwargs), autograph=False)
        return graph.get_concrete_function()()

    return cast(Function, wrapped)


def run_with_xla(function: Callable[[], Result], enabled: bool = True) -> Result:
    """Returns the result of a function, computed by one XLA kernel where possible.

    XLA is used inside a graph with a single replica, on a machine that has only CPUs, if all input
    tensors have fully known shapes. XLA compiles again for every shape, and with other devices
    Keras compiles the whole step.

    Args:
        function: function without arguments, which computes a nest of tensors from those that it
            captures.
        enabled: whether XLA may be used.
    """
    enabled = enabled and _XLA_ALLOWED.get()
    if not enabled or tf.executing_eagerly() or not on_one_cpu():
        return function()
    compiled = tf.function(function, jit_compile=True, autograph=False)
    inputs = compiled.get_concrete_function().inputs
    if not all(tensor.shape.is_fully_defined() for tensor in inputs):
        return function()
    return compiled()


@contextlib.contextmanager
def xla_allowed(allowed: bool) -> Iterator[None]:
    """Sets whether :func:`run_with_xla` may use XLA inside a ``with`` statement.

    It is meant for samplers, which have no argument for this.

    Args:
        allowed: whether XLA may be used, unless a ``with`` statement around this one forbids it.
    """
    before = _XLA_ALLOWED.set(allowed and _XLA_ALLOWED.get())
    try:
        yield
    finally:
        _XLA_ALLOWED.reset(before)


def on_one_cpu() -> bool:
    """Whether there is a single replica, on a machine that has only CPUs."""
    devices: list[Any] = tf.config.list_physical_devices()
    only_cpus = all(device.device_type == "CPU" for device in devices)
    return only_cpus and tf.distribute.get_strategy().num_replicas_in_sync == 1


def run_sequentially(functions: Iterable[Callable[[], tf.Tensor]]) -> list[tf.Tensor]:
    """Returns the results of functions, each computed after the previous one.

    Otherwise a graph could compute all of them at once, and hold the intermediate tensors of all.

    Args:
        functions: functions without arguments, in the order in which they are called.
    """
    computed: list[tf.Tensor] = []
    for function in functions:
        with tf.control_dependencies(computed[-1:]):
            computed.append(function())
    return computed


def run_each_sequentially(
    compute: Callable[[str], tf.Tensor], names: Iterable[str]
) -> dict[str, tf.Tensor]:
    """Returns the results of a function by name, each computed after the previous one.

    Args:
        compute: function from a name to a tensor.
        names: names in the order of computation.
    """
    names = list(names)
    computed = run_sequentially(functools.partial(compute, name) for name in names)
    return dict(zip(names, computed, strict=True))


def map_one_by_one(function: Callable[[Any], Any], elements: Any, dtypes: Any) -> Any:
    """Applies ``tf.map_fn`` one element at a time, and cleans up if the function raises.

    Args:
        function: function of one element.
        elements: nest of tensors that share their first axis.
        dtypes: dtypes of the tensors that the function returns.
    """
    scope = tf.compat.v1.get_variable_scope()
    before = scope.caching_device
    try:
        return tf.map_fn(function, elements, fn_output_signature=dtypes, parallel_iterations=1)
    except BaseException:
        # `tf.map_fn` sets a caching device, in a scope that graphs share with the program around
        # them. A tf.distribute strategy would find it there.
        if not tf.executing_eagerly():
            scope.set_caching_device(before)
        raise


def add_present(terms: Iterable[tf.Tensor | None]) -> Any:
    """Returns the sum of the terms, where None stands for zero; None if all terms are None.

    Args:
        terms: tensors of one shape, or None.
    """
    present = [term for term in terms if term is not None]
    return functools.reduce(operator.add, present) if present else None


def add_one_by_one(functions: Iterable[Callable[[], tf.Tensor]]) -> Any:
    """Returns the sum of the results of functions, each computed after the previous one.

    Otherwise a graph could hold all results at once.

    Args:
        functions: functions that return tensors of one shape. Without functions, the sum is None.
    """
    total: Any = None
    for function in functions:
        with tf.control_dependencies([] if total is None else [total]):
            total = function() if total is None else total + function()
    return total
