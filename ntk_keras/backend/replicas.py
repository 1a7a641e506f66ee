"""Operations across the replicas of ``tf.distribute``, which do nothing for a single replica.

A step on several replicas is a step on all their points: residuals, losses, gradients, traces and
squared norms are those of the stacked blocks of all replicas. Each of them but the residuals is
therefore a sum over replicas. Ratios, such as loss weights, are taken after the sum.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from ntk_keras.backend.seeds import fold_in

__all__ = [
    "all_reduce_sum",
    "as_logs",
    "may_meet",
    "num_replicas",
    "put_back_unless",
    "replica_seed",
    "replica_shard",
    "run_if",
    "shard",
]


def num_replicas() -> int:
    """Returns the number of replicas that run the current step."""
    context = tf.distribute.get_replica_context()
    return 1 if context is None else context.num_replicas_in_sync


def all_reduce_sum(values: Any) -> Any:
    """Returns the sum over replicas of every tensor in a nest.

    It must not be called inside ``tf.cond`` or a loop.

    Args:
        values: nest of tensors with the same structure and shapes on all replicas, or None.
            Integers must be below 2^53.

    Returns:
        The nest of sums, the same on all replicas.
    """
    if num_replicas() == 1 or values is None:
        return values
    # TensorFlow reduces tensors of one dtype at a time, and integers on one device only.
    doubles = tf.nest.map_structure(lambda x: tf.cast(x, tf.float64), values)
    sums = tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, doubles)
    return tf.nest.map_structure(lambda total, x: tf.cast(total, x.dtype), sums, values)


def replica_seed(seed: tf.Tensor) -> tf.Tensor:
    """Returns a seed ``[2]`` for this replica alone; for a single replica, the seed itself.

    Args:
        seed: integers ``[2]``, the same on all replicas.
    """
    # The index is far from the small ones that steps fold in for terms and samples.
    return seed if num_replicas() == 1 else fold_in(seed, 2**30 + _index())


def replica_shard(points: Any) -> Any:
    """Returns this replica's share of points that all replicas hold, every ``num_replicas()``-th.

    Args:
        points: nest of tensors that share their first axis.
    """
    if num_replicas() == 1:
        return points
    return shard(points, _index(), num_replicas())


def shard(points: Any, index: tf.Tensor | int, number: int) -> Any:
    """Returns one of ``number`` parts of points: rows ``index``, ``index + number``, ...

    Args:
        points: nest of tensors that share their first axis.
        index: index of the part.
        number: number of parts.
    """
    return tf.nest.map_structure(lambda x: x[index::number], points)


def run_if(due: tf.Tensor | None, function: Callable[[], Any]) -> Any:
    """Returns the result of a function if it is due, otherwise zeros in the same structure.

    In eager mode, it returns None in place of zeros.

    Args:
        due: boolean scalar; None for always.
        function: function that returns a nest of tensors of known shapes.
    """
    if due is None:
        return function()
    if tf.executing_eagerly():
        return function() if due else None
    # Results of the first branch, which is traced before the second. AutoGraph, which reaches this
    # code in a replica's thread, cannot read an annotated name that functions share.
    results = list[Any]()

    def perform() -> Any:
        results.append(function())
        return results[-1]

    def leave() -> Any:
        return tf.nest.map_structure(lambda x: tf.zeros(x.shape, x.dtype), results[-1])

    if may_meet() and num_replicas() == 1:
        # An optimizer in the function may synchronize replicas: the condition must be around them.
        def among_all(strategy: tf.distribute.Strategy) -> Any:
            once = functools.partial(strategy.extended.call_for_each_replica, perform)
            return tf.cond(due, once, leave)

        return tf.distribute.get_replica_context().merge_call(among_all)
    return tf.cond(due, perform, leave)


def as_logs(scalars: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    """Returns the logs of a step, equal on all replicas, in a shape that Keras can average.

    Args:
        scalars: scalars by name.
    """
    if isinstance(tf.distribute.get_strategy(), tf.distribute.MultiWorkerMirroredStrategy):
        # Across workers, Keras averages along a first axis, which scalars do not have.
        return {name: tf.reshape(value, [1]) for name, value in scalars.items()}
    # Outside a graph, the value of a variable is the variable, which Keras cannot pass on.
    return {name: tf.convert_to_tensor(value) for name, value in scalars.items()}


def may_meet() -> bool:
    """Whether an optimizer's step synchronizes replicas, which is not allowed in ``tf.cond``.

    It does under any strategy, even with a single replica.
    """
    return tf.distribute.has_strategy()


def put_back_unless(good: tf.Tensor, before: Sequence[tuple[keras.Variable, tf.Tensor]]) -> None:
    """Restores the values that variables had before a step, unless the step was good.

    Args:
        good: boolean scalar, the same on all replicas.
        before: variables with their values before the step.
    """
    targets = [variable.value for variable, _ in before]
    values = [value for _, value in before]

    def put_back(strategy: tf.distribute.Strategy, good: Any, values: Sequence[Any]) -> None:
        for target, value in zip(targets, values, strict=True):
            strategy.extended.update(target, _keep_if, args=(good, value), group=False)

    if may_meet():
        context = tf.distribute.get_replica_context()
        context.merge_call(put_back, args=(good, values))
        return
    for target, value in zip(targets, values, strict=True):
        _keep_if(target, good, value)


def _keep_if(variable: tf.Variable, good: tf.Tensor, before: tf.Tensor) -> None:
    variable.assign(tf.where(good, variable, before))


def _index() -> tf.Tensor | int:
    return tf.distribute.get_replica_context().replica_id_in_sync_group
