"""Moving points: kept as variables of the model and moved within its step."""

import functools
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from ntk_keras.backend import graphs, precision, replicas, seeds
from ntk_keras.backend.state_holder import StateHolder
from ntk_keras.domains.moving import Moved, MovingSampler, WeightedPoints, unweighted
from ntk_keras.kernel import Block, Linearization
from ntk_keras.training import data as data_module
from ntk_keras.training.residuals import Residuals
from ntk_keras.training.terms import Term
from ntk_keras.weighting import Weighting

__all__ = ["MovesPoints", "MovingPoints"]


class MovingPoints(StateHolder):
    """The points of one term, as variables that are saved with the model.

    Args:
        term: term with a :class:`~ntk_keras.domains.MovingSampler`.
        seed: integers ``[2]`` for the first points.
        dtype: dtype of points that are floats.

    Attributes:
        term: the term.
        sampler: sampler of the term when its points were drawn.

    Raises:
        ValueError: if the model has several replicas.
    """

    def __init__(self, term: Term, seed: tf.Tensor, dtype: str):
        super().__init__()
        if tf.distribute.get_strategy().num_replicas_in_sync > 1:
            raise ValueError(
                f"Term {term.name!r}: points that move cannot be shared by several replicas, each "
                f"of which sees residuals of its own. Received {term.points!r}. Give the sampler "
                "inside it, or build the model outside the strategy's scope."
            )
        self.term = term
        self.sampler: MovingSampler = term.points
        self._drawn_in = dtype
        first = self.sampler.draw(seed, dtype)
        structure = tf.nest.map_structure(lambda _: None, first)
        self._pack = functools.partial(tf.nest.pack_sequence_as, structure)
        self._leaves = [
            self._add(f"points_{index}", leaf) for index, leaf in enumerate(tf.nest.flatten(first))
        ]
        self._factors: keras.Variable | None = None
        if self.sampler.importance_weights:
            self._factors = self._add("factors", tf.ones([self.sampler.num_points], dtype))
        self.built = True

    @property
    def points(self) -> Any:
        """The current points, with the factors of their rows if they have weights."""
        points = self._pack([tf.identity(leaf.value) for leaf in self._leaves])
        if self._factors is None:
            return points
        return WeightedPoints(points, tf.identity(self._factors.value))

    def move(
        self,
        residual: tf.Tensor,
        evaluate: Callable[[Any], tf.Tensor],
        seed: tf.Tensor,
        step: tf.Tensor,
    ) -> None:
        """Moves the points if it is time.

        Args:
            residual: residual of the term at its points, entry by entry.
            evaluate: function that evaluates the residual at other points.
            seed: integers ``[2]``, new at every step.
            step: number of the current step.

        Raises:
            ValueError: if importance weights are missing from a sampler that has them, or vice
                versa.
        """
        points, every = unweighted(self.points), self.sampler.every

        def size_at(at: Any) -> tf.Tensor:
            return _sizes(evaluate(at), tf.nest.flatten(at)[0].shape[0])

        def moved() -> tf.Tensor:
            sizes = _sizes(residual, self.sampler.num_points)
            if self._factors is not None:  # of the residual without them
                sizes /= tf.cast(self._factors.value, sizes.dtype)
            found = self.sampler.moved(points, sizes, size_at, seed, self._drawn_in)
            self._check(found)
            for leaf, value in zip(self._leaves, tf.nest.flatten(found.points), strict=True):
                leaf.assign(value)
            if self._factors is not None:
                self._factors.assign(tf.cast(tf.sqrt(found.weights), self._factors.dtype))
            return tf.constant(True)

        if every == 1:
            moved()
            return
        whole: Any = moved
        if not tf.executing_eagerly():
            # A persistent function, as TensorFlow would visit all of a branch that is not taken.
            stays = {"_noinline": True}
            whole = tf.function(moved, autograph=False, experimental_attributes=stays)
        replicas.run_if((step + 1) % every == 0, whole)

    def _check(self, found: Moved) -> None:
        """Raises ValueError for missing weights, or weights that no rows would receive."""
        expected, received = self._factors is not None, found.weights is not None
        if expected != received:
            kind = type(self.sampler).__name__
            raise ValueError(
                f"Term {self.term.name!r}: {kind}.moved must return weights, as in "
                "Moved(points, weights), if the sampler has importance_weights=True, and none if "
                f"not. Received importance_weights={expected} and "
                f"{'weights' if received else 'no weights'}. Change one of them."
            )

    def _add(self, name: str, value: tf.Tensor) -> keras.Variable:
        return self.add_weight(
            shape=tuple(value.shape),
            initializer=lambda shape, dtype: value,
            dtype=value.dtype.name,
            trainable=False,
            autocast=False,
            name=name,
        )


class MovesPoints(keras.Model):
    """A model whose terms may have points that move.

    Attributes:
        moving_points: moving points by term, in the order of the terms.
    """

    terms: tuple[Term, ...]
    network: keras.layers.Layer
    weighting: Weighting
    random_state: keras.Variable
    given_jit_compile: bool | str
    moving_points: list[MovingPoints]
    blocks: Callable[..., dict[str, Block]]
    _residuals: Residuals

    def current_points(self) -> dict[str, Any]:
        """The points of the next step by term, as arrays; moving points as they are now."""
        return {
            name: tf.nest.map_structure(np.asarray, unweighted(block.points))
            for name, block in self.blocks().items()
        }

    def _follow_moving(self) -> None:
        """Draws the first points of terms whose sampler is new; others stay where they are."""
        known = {moving.term.name: moving for moving in getattr(self, "moving_points", ())}
        found = []
        for index, term in enumerate(self.terms):
            if isinstance(term.points, MovingSampler):
                moving = known.get(term.name)
                if moving is None or moving.sampler is not term.points:
                    seed = seeds.fold_in(tf.identity(self.random_state.value), 1 + index)
                    moving = MovingPoints(term, seed, precision.parameter_dtype(self.network))
                found.append(moving)
        self.moving_points = found

    def _points(self, data: Any, seed: tf.Tensor) -> dict[str, Any]:
        """Returns the points of one step by term."""
        moving = {
            moving.term.name: moving.points
            for moving in self.moving_points
            if moving.sampler is moving.term.points
        }
        dtype = precision.parameter_dtype(self.network)
        with graphs.xla_allowed(self.given_jit_compile is not False):
            return data_module.step_points(self.terms, data, seed, dtype, moving)

    def _move_points(self, linearization: Linearization, data: Any, seed: tf.Tensor) -> None:
        """Moves points that are due, by the residuals of the step, unless the points are given.

        Args:
            linearization: residuals, recorded at the step's points.
            data: data of the step.
            seed: seed of the step, whose second number counts steps.
        """
        given = data_module.given_points(data)
        for moving in self.moving_points:
            name = moving.term.name
            if name not in given:
                block, residual = linearization.blocks[name], linearization.residuals[name]
                own = residual / tf.cast(block.scale, residual.dtype)
                evaluate = functools.partial(self._evaluate_in_time, moving.term)
                here = self._in_time(moving.term, own, block.points)
                own_seed = seeds.fold_in(seed, 1 + self.terms.index(moving.term))
                with graphs.xla_allowed(self.given_jit_compile is not False):
                    moving.move(here, evaluate, own_seed, seed[1])

    def _evaluate_in_time(self, term: Term, points: Any) -> tf.Tensor:
        return self._in_time(term, self._residuals.evaluate(term, points), points)

    def _in_time(self, term: Term, residual: tf.Tensor, points: Any) -> tf.Tensor:
        """Scales entries by causal weights, so that those that wait attract no points."""
        in_time = self.weighting.in_time
        if in_time is None:
            return residual
        entries = tf.reshape(residual, [-1])
        return tf.sqrt(in_time.at(term.name, entries, points)) * entries


def _sizes(residual: tf.Tensor, count: int) -> tf.Tensor:
    """Returns ``|r|`` of each point, summed over components, ``[count]``, without squaring."""
    return tf.reduce_sum(tf.abs(tf.reshape(residual, [count, -1])), axis=1)
