"""Parts of a step that XLA compiles though it does not compile the whole.

TensorFlow runs a graph operation by operation, which costs more than the operations themselves
where there are hundreds on small tensors. Keras leaves XLA out on a CPU unless it is asked for.
"""

from collections.abc import Callable
from typing import Any, TypeVar

import tensorflow as tf

__all__ = ["fused"]

Result = TypeVar("Result")


def fused(function: Callable[[], Result]) -> Result:
    """The result of a function, computed by one kernel of XLA's where that serves.

    It serves inside a graph of a single replica on a CPU whose tensors all have known shapes: XLA
    compiles anew for each, and where there are other devices Keras compiles the whole step.

    Args:
        function: computes a nest of tensors from those it refers to.
    """
    alone = tf.distribute.get_strategy().num_replicas_in_sync == 1
    if tf.executing_eagerly() or not alone or not _only_cpus():
        return function()
    compiled = tf.function(function, jit_compile=True, autograph=False)
    inputs = compiled.get_concrete_function().inputs
    if not all(tensor.shape.is_fully_defined() for tensor in inputs):
        return function()
    return compiled()


def _only_cpus() -> bool:
    devices: list[Any] = tf.config.list_physical_devices()
    return all(device.device_type == "CPU" for device in devices)
