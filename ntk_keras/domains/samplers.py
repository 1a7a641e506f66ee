"""Sources of points: the base class of samplers, and those made of others.

A shape such as :class:`~ntk_keras.domains.Box` has its own file beside this one, with its sampler.
"""

import abc
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from ntk_keras.backend.autograph import unconverted
from ntk_keras.backend.reprs import represent
from ntk_keras.backend.seeds import fold_in

__all__ = ["PeriodicSampler", "Sampler", "UnionSampler", "check_draws_anew"]


class Sampler(abc.ABC):
    """A source of points that draws new ones at every step, or a fixed set.

    A model that is saved whole saves its samplers by ``get_config``. Register custom classes with
    ``keras.saving.register_keras_serializable``.

    Attributes:
        axes: names of the columns of points, by which residuals may take derivatives; None if there
            are none.
        draws_anew: whether the points are new at every step; those of a
            :class:`~ntk_keras.domains.MovingSampler` stay until they move.
    """

    axes: tuple[str, ...] | None = None
    draws_anew = True

    @property
    @abc.abstractmethod
    def num_points(self) -> int:
        """The number of points in a draw."""

    @abc.abstractmethod
    def draw(self, seed: tf.Tensor, dtype: str = "float32") -> Any:
        """Draws new points with TensorFlow, inside the graph.

        Args:
            seed: integers ``[2]``. Equal seeds give equal points, eagerly and in a graph; XLA draws
                other points.
            dtype: dtype of the points.

        Returns:
            A tensor, or a nest of tensors, of ``num_points`` rows.
        """

    @abc.abstractmethod
    def fixed(self, seed: int | np.random.Generator | None = None) -> Any:
        """Draws a fixed set of points once, with NumPy and SciPy.

        Args:
            seed: integer or generator; None draws anew at every call.

        Returns:
            An array, or a nest of arrays, of ``num_points`` rows in float64.
        """

    def __repr__(self) -> str:
        return represent(self)

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Sampler":
        """Creates the sampler from its configuration, as Keras stores it."""
        return cls(**keras.saving.deserialize_keras_object(config))


@keras.saving.register_keras_serializable("ntk_keras")
class UnionSampler(Sampler):
    """The points of several samplers, concatenated."""

    def __init__(self, samplers: Sequence[Sampler]):
        self.samplers = tuple(samplers)
        for sampler in self.samplers:
            check_draws_anew("UnionSampler", sampler)
        named = [sampler.axes for sampler in self.samplers]
        self.axes = named[0] if named and named.count(named[0]) == len(named) else None

    @property
    def num_points(self) -> int:
        return sum(sampler.num_points for sampler in self.samplers)

    @unconverted
    def draw(self, seed: tf.Tensor, dtype: str = "float32") -> Any:
        drawn = [s.draw(fold_in(seed, index), dtype) for index, s in enumerate(self.samplers)]
        return tf.nest.map_structure(lambda *parts: tf.concat(parts, axis=0), *drawn)

    def fixed(self, seed: int | np.random.Generator | None = None) -> Any:
        generator = np.random.default_rng(seed)
        drawn = [sampler.fixed(generator) for sampler in self.samplers]
        return tf.nest.map_structure(lambda *parts: np.concatenate(parts), *drawn)

    def get_config(self) -> dict[str, Any]:
        """The arguments, for Keras."""
        return {"samplers": [keras.saving.serialize_keras_object(s) for s in self.samplers]}


@keras.saving.register_keras_serializable("ntk_keras")
class PeriodicSampler(Sampler):
    """Pairs of points that differ in one coordinate: the sampler's points, and shifted copies.

    Args:
        sampler: sampler of the first points.
        axis: index of the column that differs.
        value: value of that column in the second points.
    """

    def __init__(self, sampler: Sampler, axis: int, value: float):
        check_draws_anew("PeriodicSampler", sampler)
        self.sampler = sampler
        self.axes = sampler.axes
        self.axis = axis
        self.value = value

    @property
    def num_points(self) -> int:
        return self.sampler.num_points

    @unconverted
    def draw(self, seed: tf.Tensor, dtype: str = "float32") -> tuple[tf.Tensor, tf.Tensor]:
        points = self.sampler.draw(seed, dtype)
        columns = tf.unstack(points, axis=1)
        columns[self.axis] = tf.fill([self.num_points], tf.constant(self.value, dtype))
        return points, tf.stack(columns, axis=1)

    def fixed(self, seed: int | np.random.Generator | None = None) -> tuple[np.ndarray, np.ndarray]:
        points = self.sampler.fixed(seed)
        moved = points.copy()
        moved[:, self.axis] = self.value
        return points, moved

    def get_config(self) -> dict[str, Any]:
        """The arguments, for Keras."""
        sampler = keras.saving.serialize_keras_object(self.sampler)
        return {"sampler": sampler, "axis": self.axis, "value": float(self.value)}


def check_draws_anew(around: str, sampler: Any) -> None:
    """Checks a sampler that another one is built on.

    Args:
        around: name of the outer sampler's class, for the message.
        sampler: sampler whose points should not move.

    Raises:
        TypeError: if it is not a sampler.
        ValueError: if its points move.
    """
    if not isinstance(sampler, Sampler):
        raise TypeError(
            f"{around} takes a sampler, as box.interior(1000) makes one. Received {sampler!r}."
        )
    if not sampler.draws_anew:
        raise ValueError(
            f"{around} takes samplers that draw anew, and the points of {type(sampler).__name__} "
            "move by themselves. Have all of them moved, by a moving sampler around the others: "
            f"RAD(UnionSampler([...])). Received {sampler!r}."
        )
