"""Data given to ``fit`` and ``evaluate``: what Keras iterates over, and the points of a step."""

import functools
import types
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from ntk_keras.backend import replicas, seeds
from ntk_keras.training.points import (
    as_tensors,
    check_names,
    check_numbers,
    points_by_term,
    tensors_by_term,
)
from ntk_keras.training.terms import Term
from ntk_keras.training.values import as_arrays, check_arrays, unrounded

__all__ = [
    "StepData",
    "check_ends",
    "check_validation",
    "for_steps",
    "for_validation",
    "given_points",
    "is_by_term",
    "length",
    "step_points",
    "yields_pairs",
]


class StepData(NamedTuple):
    """The data that Keras iterates over, one element per step.

    Attributes:
        batches: data of the steps, with the points that the terms do not have themselves.
        first: points by term of the first step, if they can be inspected.
        steps_per_epoch: number of steps in an epoch of endless data.
    """

    batches: Any
    first: Mapping[str, Any] | None
    steps_per_epoch: int | None


def step_points(
    terms: Sequence[Term],
    data: Any,
    seed: tf.Tensor,
    dtype: str,
    moving: Mapping[str, Any] = types.MappingProxyType({}),
) -> dict[str, Any]:
    """Returns the points of every term: the data's if it has them, otherwise the term's own.

    Replicas draw separate points, and share those that stay the same.

    Args:
        terms: terms of the model.
        data: data of one step, as Keras passes it.
        seed: integers ``[2]``, the same on all replicas.
        dtype: dtype of points that are floats.
        moving: points by term for terms whose points move.

    Returns:
        A nest of tensors by term, without the terms that have no points.

    Raises:
        ValueError: if data is not by term, or holds more than points.
    """
    given = given_points(data)
    check_names(terms, given)
    seed = replicas.replica_seed(seed)
    points = {}
    for index, term in enumerate(terms):
        if term.name in given:
            check_numbers(f"Term {term.name!r}: points", given[term.name])
            points[term.name] = as_tensors(given[term.name], dtype)
        elif term.name in moving:
            points[term.name] = moving[term.name]
        elif term.points is not None:
            own = term.points_at(seeds.fold_in(seed, 1 + index) if term.redrawn else seed, dtype)
            points[term.name] = own if term.redrawn else replicas.replica_shard(own)
    return points


def given_points(data: Any) -> Mapping[str, Any]:
    """Returns the points by term in the data of a step.

    Args:
        data: data as Keras passes it.

    Raises:
        ValueError: if data is not by term, or holds more than points.
    """
    x, *others = keras.utils.unpack_x_y_sample_weight(data)  # `train_on_batch` makes a tuple
    if any(other is not None for other in others):
        raise ValueError(
            "A step of a PINNModel takes points by term, no `y` and no `sample_weight`. Give "
            "values, and weights of points, to a Term as further arrays of its points."
        )
    # A number stands for no data in an empty dataset.
    nothing = x is None or tf.TensorShape(getattr(x, "shape", None)).rank == 0
    if not nothing and not isinstance(x, Mapping):
        raise ValueError(
            "A step of a PINNModel takes points by term, as in {'equation': points}. Received "
            f"{type(x).__name__}."
        )
    return x if isinstance(x, Mapping) else {}


def for_steps(
    x: Any, terms: Sequence[Term], dtype: str, strategy: tf.distribute.Strategy
) -> StepData:
    """Returns checked data for ``fit`` or ``evaluate``.

    Args:
        x: nothing, points by term, or a dataset of such dicts.
        terms: terms of the model.
        dtype: dtype of points that are floats.
        strategy: distribution strategy of the model.

    Raises:
        ValueError: for anything else, or data that does not fit the terms.
    """
    if isinstance(x, tf.data.Dataset):
        return StepData(x, points_by_term(terms, first_of(x)), None)
    if isinstance(x, tf.distribute.DistributedDataset | keras.utils.PyDataset):
        return StepData(x, None, None)
    if not (x is None or isinstance(x, Mapping)):
        raise ValueError(
            "Points come as a dict by term name or a dataset of such dicts, or the terms have "
            f"their own. Received {type(x).__name__}. A generator becomes a dataset by "
            "tf.data.Dataset.from_generator."
        )
    points = tensors_by_term(terms, x or {}, dtype)
    return StepData(_repeated(points or 0, strategy), points, 1)


def for_validation(
    data: Any, terms: Sequence[Term], dtype: str, batch_size: int | None
) -> tuple[Any, int | None]:
    """Returns validation data and its batch size, for ``keras.Model.fit``.

    Args:
        data: data that passed :func:`check_validation`.
        terms: terms of the model.
        dtype: dtype of points that are floats.
        batch_size: number of points at a time; all by default.
    """
    if isinstance(data, Mapping):
        points = tensors_by_term(terms, data, dtype)
        return _untuned(tf.data.Dataset.from_tensors(points)), batch_size
    if isinstance(data, tuple):
        data = as_arrays(data)
        batch_size = batch_size or length(data)
        batches = unrounded(data, dtype, batch_size)
        return (data, batch_size) if batches is None else (batches, None)
    return data, batch_size


def first_of(dataset: tf.data.Dataset) -> Mapping[str, Any]:
    """Returns the points by term of a dataset's first step.

    Args:
        dataset: dataset of dicts from term names to points.

    Raises:
        ValueError: if the dataset is empty, yields anything else, or does not know how many axes
            its tensors have.
    """
    specs = tf.nest.flatten(dataset.element_spec)
    if any(spec.shape.rank is None for spec in specs):
        raise ValueError(
            "A dataset for PINNModel.fit must know how many axes its tensors have. Received "
            f"{dataset.element_spec}. Say it, as in tf.data.Dataset.from_generator(..., "
            "output_signature={'equation': tf.TensorSpec((None, 2))})."
        )
    element = next(iter(dataset.take(1)), None)
    if element is None:
        raise ValueError("A dataset for PINNModel.fit must yield points. Received an empty one.")
    if not isinstance(element, Mapping):
        raise ValueError(
            "A dataset for PINNModel.fit must yield dicts from term names to points. "
            f"Received elements of type {type(element).__name__}."
        )
    return element


def check_ends(argument: str, data: Any, steps: int | None, by: str) -> None:
    """Refuses an endless dataset if nothing says how much of it to take.

    Args:
        argument: name of the argument with the data, for the message.
        data: a dataset, or anything else.
        steps: number of its elements to take, None for all.
        by: name of the argument that would say so.

    Raises:
        ValueError: if an endless dataset is to be taken whole.
    """
    if steps is None and _is_endless(data):
        raise ValueError(
            f"{argument} is a dataset that never ends, so neither would the first epoch. Say how "
            f"much of it to take, as in {by}=100, or leave out its `repeat()`."
        )


def yields_pairs(data: Any) -> bool:
    """Whether a dataset yields inputs with values, as validation takes them.

    Args:
        data: a dataset, or anything else.
    """
    return isinstance(data, tf.data.Dataset) and isinstance(data.element_spec, tuple)


def is_by_term(data: tuple) -> bool:
    """Whether a batch of ``test_on_batch`` holds points by term, not inputs and values.

    Args:
        data: ``(x,)``, ``(x, y)`` or ``(x, y, sample_weight)``.
    """
    x, *others = keras.utils.unpack_x_y_sample_weight(data)
    return (x is None or isinstance(x, Mapping)) and others[0] is None


def check_validation(data: Any, steps: int | None) -> None:
    """Checks validation data.

    Args:
        data: ``(points, values)``, a dataset of such pairs, points by term, or None.
        steps: number of the dataset's elements to take, None for all.

    Raises:
        ValueError: for anything else, or an endless dataset.
    """
    check_ends("validation_data", data, steps, "validation_steps")
    if isinstance(data, Mapping):
        return
    if isinstance(data, tuple) and len(data) in (2, 3):
        check_arrays(*data)
        return
    if data is not None and not isinstance(
        data, tf.data.Dataset | tf.distribute.DistributedDataset | keras.utils.PyDataset
    ):
        raise ValueError(
            "validation_data must be (points, values), a dataset of such pairs, or points by term. "
            f"Received {type(data).__name__}."
        )


def length(validation_data: Any) -> int | None:
    """Returns the number of validation points, if they are arrays.

    Args:
        validation_data: data as for ``fit``.
    """
    if not isinstance(validation_data, tuple):
        return None
    return len(tf.nest.flatten(validation_data[0])[0])


def _is_endless(data: Any) -> bool:
    if isinstance(data, keras.utils.PyDataset):
        return data.num_batches is None
    return isinstance(data, tf.data.Dataset) and bool(
        data.cardinality() == tf.data.INFINITE_CARDINALITY
    )


def _repeated(data: Any, strategy: tf.distribute.Strategy) -> Any:
    """Repeats the same data at every step, divided among replicas if there are several."""
    count = strategy.num_replicas_in_sync
    if count == 1:
        return _untuned(tf.data.Dataset.from_tensors(data).repeat())

    def local(context: tf.distribute.InputContext) -> tf.data.Dataset:
        number = context.num_replicas_in_sync // context.num_input_pipelines
        first = context.input_pipeline_id * number
        shards = [
            replicas.shard(data, index, count) if data else data
            for index in range(first, first + number)
        ]
        parts = [tf.data.Dataset.from_tensors(shard) for shard in shards]
        return _untuned(functools.reduce(tf.data.Dataset.concatenate, parts).repeat())

    return strategy.distribute_datasets_from_function(local)


def _untuned(dataset: tf.data.Dataset) -> tf.data.Dataset:
    """Removes the thread that tunes a dataset, if there is nothing to tune.

    An error keeps the iterator of ``fit`` alive until it is collected, which waits for this thread.
    Its pauses double each time, so the wait is as long again as the iterator has lived, up to a
    minute.
    """
    options = tf.data.Options()
    options.autotune.enabled = False
    return dataset.with_options(options)
