"""Samplers whose points move to where the residual is large: RAD, R3 and RAR."""

import abc
from collections.abc import Callable
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from ntk_keras.backend.checks import check_count, check_range
from ntk_keras.backend.graphs import map_one_by_one
from ntk_keras.backend.seeds import fold_in
from ntk_keras.domains.choices import chosen_rows, probabilities_of
from ntk_keras.domains.samplers import Sampler, check_draws_anew

__all__ = ["R3", "RAD", "RAR", "Moved", "MovingSampler", "WeightedPoints", "unweighted"]


class Moved(NamedTuple):
    """The result of a move.

    Attributes:
        points: new points, as many as before.
        weights: importance weights ``[n]`` with which sums over the points equal those over uniform
            points on average; None if there are none.
    """

    points: Any
    weights: Any = None


class WeightedPoints(NamedTuple):
    """Points with a factor for each, by which the rows of the residual are multiplied.

    Attributes:
        points: nest of tensors.
        factors: roots of importance weights, ``[n]``.
    """

    points: Any
    factors: tf.Tensor


class MovingSampler(Sampler):
    """A sampler whose points stay, and sometimes move to where the residual is large.

    The first points are a draw of ``sampler``. A :class:`~ntk_keras.PINNModel` moves them inside
    the compiled step, for each term by that term's residual, and saves them with its weights.
    Without a model it draws what ``sampler`` draws. Subclasses define where points go
    (:meth:`moved`).

    Args:
        sampler: sampler of the first points and of new ones, such as ``box.interior(1000)``.
        every: number of steps from one move to the next.

    Attributes:
        importance_weights: whether :meth:`moved` returns weights, by which rows of the residual
            count. It must if this is true, and must not if it is false, the default.

    Raises:
        TypeError: if ``sampler`` is not a sampler.
        ValueError: if its points move by themselves, or a number is out of range.
    """

    importance_weights = False
    draws_anew = False

    def __init__(self, sampler: Sampler, *, every: int):
        check_draws_anew(type(self).__name__, sampler)
        self.sampler = sampler
        self.axes = sampler.axes
        self.every = check_count("every", every)

    @property
    def num_points(self) -> int:
        return self.sampler.num_points

    @abc.abstractmethod
    def moved(
        self,
        points: Any,
        sizes: tf.Tensor,
        size_at: Callable[[Any], tf.Tensor],
        seed: tf.Tensor,
        dtype: str,
    ) -> Moved:
        """Computes where the points go, with TensorFlow inside the graph.

        Args:
            points: current points.
            sizes: size of the residual at the points, ``[n]``: ``|r|``, summed over components,
                times the roots of causal weights.
            size_at: function that returns the sizes ``[m]`` at other points.
            seed: integers ``[2]``, new at every move.
            dtype: dtype of points that are drawn.
        """

    def draw(self, seed: tf.Tensor, dtype: str = "float32") -> Any:
        return self.sampler.draw(seed, dtype)

    def fixed(self, seed: int | np.random.Generator | None = None) -> Any:
        return self.sampler.fixed(seed)

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments, for Keras."""
        return {"sampler": keras.saving.serialize_keras_object(self.sampler), "every": self.every}


@keras.saving.register_keras_serializable("ntk_keras")
class RAD(MovingSampler):
    """Residual-based adaptive distribution: all points are chosen anew by the residual.

    Each uniform candidate is chosen with a probability proportional to ``|r|^k / mean(|r|^k) + c``,
    at most one, so no candidate is chosen twice. The residual is evaluated at as many candidates at
    a time as there are points.

    Args:
        sampler: sampler of the first points and the candidates.
        every: number of steps from one choice to the next. Take fewer if steps are expensive, as
            for :class:`~ntk_keras.optimizers.NaturalGradient`.
        k: power that sets how strongly points gather where the residual is large.
        c: uniform part beside it; zero leaves places with small residuals empty.
        candidates: number of candidates for each point.
        importance_weights: whether each row of the residual is multiplied by the root of (uniform
            probability / its own), so that losses, traces and natural gradients are those of
            uniform points on average. By default rows count equally, as in the paper, and training
            has its weight where the points are.

    Raises:
        TypeError: if ``sampler`` is not a sampler.
        ValueError: if its points move by themselves, or a number is out of range.

    Example:
        ``nk.Term("equation", equation, nk.domains.RAD(box.interior(1000)))``

    Reference:
        Wu, Zhu, Tan, Kartha, Lu, "A comprehensive study of non-adaptive and residual-based adaptive
        sampling for physics-informed neural networks", Comput. Methods Appl. Mech. Eng. 403 (2023).
    """

    def __init__(
        self,
        sampler: Sampler,
        *,
        every: int = 100,
        k: float = 1.0,
        c: float = 1.0,
        candidates: int = 10,
        importance_weights: bool = False,
    ):
        super().__init__(sampler, every=every)
        self.k = check_range("k", k, "(0, inf)")
        self.c = check_range("c", c, "[0, inf)")
        self.candidates = check_count("candidates", candidates, smallest=2)
        self.importance_weights = importance_weights

    def moved(
        self,
        points: Any,
        sizes: tf.Tensor,
        size_at: Callable[[Any], tf.Tensor],
        seed: tf.Tensor,
        dtype: str,
    ) -> Moved:
        drawn, found = _candidates(self, self.candidates, points, sizes, size_at, seed, dtype)
        shift = tf.random.stateless_uniform(
            [], fold_in(seed, self.candidates), dtype=tf.float64, alg="philox"
        )
        probabilities = probabilities_of(self._scores(found), self.num_points)
        rows = chosen_rows(probabilities, self.num_points, shift)
        weights = None
        if self.importance_weights:
            weights = 1 / (self.candidates * tf.gather(probabilities, rows))
        return Moved(tf.nest.map_structure(lambda x: tf.gather(x, rows), drawn), weights)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "k": self.k,
            "c": self.c,
            "candidates": self.candidates,
            "importance_weights": self.importance_weights,
        }

    def _scores(self, sizes: tf.Tensor) -> tf.Tensor:
        """Returns the values to which probabilities are proportional, in float64."""
        sizes = tf.cast(sizes, tf.float64)
        powers = tf.math.divide_no_nan(sizes, tf.reduce_max(sizes)) ** self.k
        scores = tf.math.divide_no_nan(powers, tf.reduce_mean(powers)) + self.c
        scores = tf.where(tf.reduce_sum(scores) > 0, scores, tf.ones_like(scores))
        # Points with values that are not finite go first, so the next step reports them.
        finite = tf.math.is_finite(sizes)
        return tf.where(tf.reduce_all(finite), scores, tf.cast(~finite, tf.float64))


@keras.saving.register_keras_serializable("ntk_keras")
class R3(MovingSampler):
    """Retain, resample, release: points with ``|r|`` above its mean stay, others are redrawn.

    The residuals of the step decide, so a move costs no more than a draw. Points are released by
    themselves where the residual has become small.

    Args:
        sampler: sampler of the first points and of new ones.
        every: number of steps from one move to the next.

    Raises:
        TypeError: if ``sampler`` is not a sampler.
        ValueError: if its points move by themselves, or a number is out of range.

    Example:
        ``nk.Term("equation", equation, nk.domains.R3(box.interior(1000)))``

    Reference:
        Daw, Bu, Wang, Perdikaris, Karpatne, "Mitigating propagation failures in physics-informed
        neural networks using retain-resample-release (R3) sampling", ICML (2023).
    """

    def __init__(self, sampler: Sampler, *, every: int = 1):
        super().__init__(sampler, every=every)

    def moved(
        self,
        points: Any,
        sizes: tf.Tensor,
        size_at: Callable[[Any], tf.Tensor],
        seed: tf.Tensor,
        dtype: str,
    ) -> Moved:
        stay = sizes > tf.reduce_mean(sizes)

        def replaced(old: tf.Tensor, new: tf.Tensor) -> tf.Tensor:
            return tf.where(tf.reshape(stay, [-1] + [1] * (old.shape.rank - 1)), old, new)

        drawn = self.sampler.draw(fold_in(seed, 0), dtype)
        return Moved(tf.nest.map_structure(replaced, points, drawn))


@keras.saving.register_keras_serializable("ntk_keras")
class RAR(MovingSampler):
    """Residual-based adaptive refinement: points are added where the residual is largest.

    The number of points stays fixed, so nothing is recompiled. Every second point keeps the place
    at which it was drawn, and among the others those with the smallest residual are replaced. The
    paper adds points to a growing set.

    Args:
        sampler: sampler of the first points and the candidates.
        every: number of steps from one refinement to the next.
        added: number of points per refinement; by default one in a hundred, at least one.
        candidates: number of candidates for each point.

    Raises:
        TypeError: if ``sampler`` is not a sampler.
        ValueError: if its points move by themselves, a number is out of range, more than half of
            the points are to be added, or there is a single point.

    Example:
        ``nk.Term("equation", equation, nk.domains.RAR(box.interior(1000), added=20))``

    Reference:
        Lu, Meng, Mao, Karniadakis, "DeepXDE: a deep learning library for solving differential
        equations", SIAM Review 63 (2021).
    """

    def __init__(
        self,
        sampler: Sampler,
        *,
        every: int = 100,
        added: int | None = None,
        candidates: int = 10,
    ):
        super().__init__(sampler, every=every)
        if self.num_points < 2:
            raise ValueError(
                "RAR moves every second point, and the others keep their places, so it needs two "
                f"points at least. Received a sampler of {self.num_points}."
            )
        usual = max(1, self.num_points // 100)
        self.added = usual if added is None else check_count("added", added)
        self.candidates = check_count("candidates", candidates)
        if self.added > self.num_points // 2:
            raise ValueError(
                f"RAR replaces at most half of its {self.num_points} points, as the others keep "
                f"their places. Received added={self.added}. Give fewer, or a sampler of more."
            )

    def moved(
        self,
        points: Any,
        sizes: tf.Tensor,
        size_at: Callable[[Any], tf.Tensor],
        seed: tf.Tensor,
        dtype: str,
    ) -> Moved:
        drawn, found = _candidates(self, self.candidates, points, sizes, size_at, seed, dtype)
        found = tf.where(tf.math.is_finite(found), found, found.dtype.max)
        best = tf.math.top_k(found, self.added).indices
        places = 2 * tf.math.top_k(-sizes[::2], self.added).indices[:, tf.newaxis]

        def replaced(old: tf.Tensor, new: tf.Tensor) -> tf.Tensor:
            return tf.tensor_scatter_nd_update(old, places, tf.gather(new, best))

        return Moved(tf.nest.map_structure(replaced, points, drawn))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "added": self.added, "candidates": self.candidates}


def _candidates(
    moving: MovingSampler,
    draws: int,
    points: Any,
    sizes: tf.Tensor,
    size_at: Callable[[Any], tf.Tensor],
    seed: tf.Tensor,
    dtype: str,
) -> tuple[Any, tf.Tensor]:
    """Returns several draws of points as one, and the sizes, evaluated one draw at a time."""

    def evaluated(seed: tf.Tensor) -> tuple[Any, tf.Tensor]:
        drawn = moving.sampler.draw(seed, dtype)
        return drawn, size_at(drawn)

    seeds = tf.stack([fold_in(seed, number) for number in range(draws)])
    specs = tf.nest.map_structure(lambda x: tf.TensorSpec(x.shape, x.dtype), (points, sizes))
    found = map_one_by_one(evaluated, seeds, specs)
    return tf.nest.map_structure(lambda x: tf.reshape(x, [-1, *x.shape[2:]]), found)


def unweighted(points: Any) -> Any:
    """Returns points without factors, as a residual takes them.

    Args:
        points: nest of tensors, or :class:`WeightedPoints`.
    """
    return points.points if isinstance(points, WeightedPoints) else points
