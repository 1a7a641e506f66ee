"""Causal weights: points late in time wait until a residual is small at all earlier ones."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from ntk_keras.backend.autograph import unconverted
from ntk_keras.backend.checks import check_count, check_range
from ntk_keras.domains.moving import WeightedPoints
from ntk_keras.kernel.linearization import Linearization

__all__ = [
    "Causal",
    "TimeWeights",
    "causal_weights",
    "check_causal",
    "columns_of_time",
    "times_of",
]


@keras.saving.register_keras_serializable("ntk_keras")
@dataclasses.dataclass(frozen=True)
class Causal:
    """Weights of residual entries by their time, on top of those of their groups.

    Time is cut into bins of equal length. The weight of bin k is
    ``exp(-epsilon (L_start + sum_{j<k} L_j))``, L_j being the mean square of the residual in bin j
    and L_start that of the initial conditions: a bin waits until all of it is small. Of several
    terms a bin waits for the one that is worst. The steepness epsilon begins with the first of
    ``epsilons``; once all weights exceed the threshold, the next one takes its place. After the
    last one :attr:`Weighting.in_time` is ``finished``, at which
    :class:`~ntk_keras.callbacks.CausalStopping` ends training.

    Kernel traces are Tr K_bb = sum_i w_i / w_first K_ii, w_first being the weight of the first bin,
    so that entries that wait do not count. What all bins wait for is left out there: NTK weights
    would undo it. Losses and natural gradients have the weights as they are. These are constants in
    every derivative, and within a step. They are a function of time alone, so points may be
    redrawn; ``loss/<term>`` is logged without them. An equation that runs backward in time takes
    T - t for its column of time.

    Example:
        ``PINNModel(network, terms, nk.weighting.NTK(causal=nk.weighting.Causal("equation")))``

    Attributes:
        terms: names of the terms whose entries wait, usually the equations.
        axis: the column of time, by its name or index.
        initial: names of the initial conditions, whose mean squares add up to L_start. By default
            the terms that have points of their own, all of them at the first time; empty for none.
        epsilons: one, or several that grow and take over one after the other; larger residuals
            take smaller ones.
        threshold: what the least weight must exceed, in (0, 1).
        num_bins: of time.

    Raises:
        ValueError: for an argument out of range; from the model, for a name that is no term's, or
            terms without such a column, or whose points all have one time; and where ``initial`` is
            not given, though the points of ``terms`` come with the data.

    Reference:
        Wang, Sankaran, Perdikaris, "Respecting causality for training physics-informed neural
        networks", Comput. Methods Appl. Mech. Eng. 421 (2024).
    """

    terms: str | Sequence[str]
    axis: str | int = "t"
    initial: str | Sequence[str] | None = None
    epsilons: Sequence[float] | float = (1e-2, 1e-1, 1.0, 10.0, 100.0)
    threshold: float = 0.99
    num_bins: int = 32

    def __post_init__(self) -> None:
        named = _names(self.terms)
        epsilons = tuple(float(epsilon) for epsilon in np.atleast_1d(self.epsilons))
        object.__setattr__(self, "terms", named)
        if self.initial is not None:
            object.__setattr__(self, "initial", _names(self.initial))
        object.__setattr__(self, "epsilons", epsilons)
        if not named or not all(isinstance(name, str) for name in named):
            raise ValueError(
                "Causal needs the names of the terms whose entries wait, as in "
                f"Causal('equation'). Received terms={self.terms!r}."
            )
        if isinstance(self.axis, bool) or not isinstance(self.axis, str | int):
            raise ValueError(
                f"axis must be the name or the index of a column. Received axis={self.axis!r}."
            )
        both = set(named) & set(self.initial or ())
        if both:
            raise ValueError(
                f"A term either waits or is an initial condition. Received {sorted(both)} as both."
            )
        rising = all(a < b for a, b in zip((0.0, *epsilons), epsilons, strict=False))
        if not (epsilons and rising and np.all(np.isfinite(epsilons))):
            raise ValueError(
                "epsilons must be positive, and each larger than the one before, as in "
                f"(0.01, 0.1, 1.0). Received epsilons={self.epsilons}."
            )
        check_range("threshold", self.threshold, "(0, 1)")
        check_count("num_bins", self.num_bins, smallest=2)

    def get_config(self) -> dict[str, Any]:
        """The arguments, for Keras."""
        config = dataclasses.asdict(self)
        return {key: list(v) if isinstance(v, tuple) else v for key, v in config.items()}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Causal":
        """The settings of a configuration, as Keras stores it."""
        return cls(**config)


def check_causal(causal: Any) -> Causal | None:
    """Settings of causal weights, or None without.

    Args:
        causal: what was given for them.

    Raises:
        TypeError: for anything else.
    """
    if not isinstance(causal, Causal | None):
        raise TypeError(
            "causal must be an ntk_keras.weighting.Causal, as in causal=Causal('equation'), or "
            f"None. Received {causal!r}."
        )
    return causal


class TimeWeights:
    """The causal weights of a model, in variables of its weighting.

    Attributes:
        settings: as they were given.
        columns: the column of time by term; the model finds it.
        initial: names of the initial conditions; the model finds them.
        weights: by bin, a variable ``[num_bins]``.
        interval: first and last time of the latest step's points, a variable ``[2]``.
        stage: the index of the present epsilon, a variable; their number once all are through.

    Args:
        settings: of the weights.
        add_state: makes a variable of a name and shape.
    """

    def __init__(self, settings: Causal, add_state: Callable[..., keras.Variable]):
        self.settings = settings
        self._epsilons = tuple(np.atleast_1d(settings.epsilons).tolist())
        self.columns: dict[str, int] = {}
        self.initial: tuple[str, ...] = ()
        self.weights = add_state("time_weights", [settings.num_bins], "ones")
        self.interval = add_state("time_interval", [2])
        self.stage = add_state("causal_stage", [], dtype="int64")

    def update(self, linearization: Linearization) -> dict[str, tf.Tensor]:
        """Brings weights and epsilon up to date.

        Args:
            linearization: the residuals, recorded at the present parameters.

        Returns:
            By term that waits, w_i / w_first of its entries, ``[n_b]``: they do not underflow where
            all weights do.
        """
        dtype, start = self.weights.dtype, tf.zeros([], self.weights.dtype)
        squares, counts, times = {}, {}, {}
        for name in (*self.initial, *self.settings.terms):
            block, residual = linearization.blocks[name], linearization.residuals[name]
            # Of the residuals before the mean convention scales them.
            own = tf.cast(residual / tf.cast(block.scale, residual.dtype), dtype)
            squares[name], counts[name] = own**2, _counts(own, block.points)
            if name in self.initial:
                start += tf.reduce_sum(squares[name]) / tf.reduce_sum(counts[name])
            else:
                times[name] = tf.cast(self._times(name, residual, block.points), dtype)
        every = tf.concat(list(times.values()), axis=0)
        interval = tf.stack([tf.reduce_min(every), tf.reduce_max(every)])
        number = self.settings.num_bins
        bins = {name: _bins(at, interval, number) for name, at in times.items()}
        waits = [_earlier_squares(squares[n], counts[n], own, number) for n, own in bins.items()]
        stage, epsilon = self.stage.value, self.epsilon
        parts = tf.exp(-epsilon * tf.reduce_max(tf.stack(waits), axis=0))
        weights = tf.exp(-epsilon * start) * parts
        passed = tf.reduce_min(weights) > self.settings.threshold
        self.interval.assign(interval)
        self.weights.assign(weights)
        self.stage.assign(tf.minimum(stage + tf.cast(passed, stage.dtype), len(self._epsilons)))
        return {name: tf.gather(parts, own) for name, own in bins.items()}

    def at(self, term: str, residual: tf.Tensor, points: Any = None) -> tf.Tensor:
        """The weights of a term's entries; one for all of a term that does not wait.

        Args:
            term: its name.
            residual: ``[n_b]``.
            points: where; without them the mean over the bins is what counts.

        Returns:
            ``[n_b]`` or a scalar, in the dtype of the residual.
        """
        if term not in self.settings.terms:
            return tf.ones([], residual.dtype)
        if points is None:
            return tf.cast(tf.reduce_mean(self.weights.value), residual.dtype)
        times = tf.cast(self._times(term, residual, points), self.weights.dtype)
        bins = _bins(times, self.interval.value, self.settings.num_bins)
        return tf.cast(tf.gather(self.weights.value, bins), residual.dtype)

    @property
    def epsilon(self) -> tf.Tensor:
        """The present steepness, a scalar."""
        epsilons = tf.constant(self._epsilons, self.weights.dtype)
        return tf.gather(epsilons, tf.minimum(self.stage.value, len(self._epsilons) - 1))

    @property
    def finished(self) -> bool:
        """Whether the weights exceeded the threshold with the last epsilon too; not in a graph."""
        return int(self.stage.numpy()) == len(self._epsilons)

    def logs(self) -> dict[str, tf.Tensor]:
        """Scalars for the logs of a step: ``causal/epsilon``, ``causal/least_weight``."""
        least = tf.reduce_min(self.weights.value)
        return {"causal/epsilon": self.epsilon, "causal/least_weight": least}

    def _times(self, term: str, residual: tf.Tensor, points: Any) -> tf.Tensor:
        """The time of every entry, ``[n_b]``."""
        times = times_of(term, points, self.columns[term])
        rows = times.shape[0] or tf.shape(times)[0]
        by_point = tf.ones_like(tf.reshape(residual, [rows, -1]), times.dtype)
        return tf.reshape(times[:, tf.newaxis] * by_point, [-1])


@unconverted
def causal_weights(
    residual: tf.Tensor, times: tf.Tensor, epsilon: float | tf.Tensor, num_bins: int = 32
) -> tf.Tensor:
    """Causal weights for loops of one's own: ``exp(-epsilon sum_{j<k} L_j)`` for entries of bin k.

    Multiply the residual by their root, and loss weights see what they make of it::

        r = r * tf.sqrt(nk.weighting.causal_weights(r, points[:, 0], epsilon=1.0))

    Args:
        residual: ``[n]``.
        times: ``[n]``.
        epsilon: of the weights.
        num_bins: of equal length between the first and the last time.

    Returns:
        ``[n]``, constants in every derivative.
    """
    times = tf.cast(times, residual.dtype)
    interval = tf.stack([tf.reduce_min(times), tf.reduce_max(times)])
    bins = _bins(times, interval, num_bins)
    waits = _earlier_squares(residual**2, tf.ones_like(residual), bins, num_bins)
    if tf.is_tensor(epsilon):  # a cast would round a number to single precision first
        epsilon = tf.cast(epsilon, residual.dtype)
    weights = tf.exp(-epsilon * waits)
    return tf.stop_gradient(tf.gather(weights, bins))


def times_of(term: str, points: Any, column: int) -> tf.Tensor:
    """The times of points, ``[n]``.

    Args:
        term: whose points they are, for the message.
        points: a nest of tensors; the first one ``[n, d]`` counts.
        column: of time.

    Raises:
        ValueError: for points without such a column.
    """
    leaves = tf.nest.flatten(points)
    matrices = [x for x in leaves if tf.is_tensor(x) and x.shape.rank == 2]
    if not matrices or not 0 <= column < matrices[0].shape[1]:
        raise ValueError(
            f"Term {term!r}: time is column {column} of points [n, d]. Received points of shapes "
            f"{[tuple(x.shape) for x in leaves]}. Give Causal the axis that holds time."
        )
    return matrices[0][:, column]


def _names(given: str | Sequence[str]) -> tuple[str, ...]:
    return (given,) if isinstance(given, str) else tuple(given)


def _bins(times: tf.Tensor, interval: tf.Tensor, number: int) -> tf.Tensor:
    """The bin of each time; what lies outside of the interval belongs to the nearest one."""
    part = tf.math.divide_no_nan(times - interval[0], interval[1] - interval[0])
    return tf.cast(tf.clip_by_value(part * number, 0, number - 1), tf.int32)


def _counts(residual: tf.Tensor, points: Any) -> tf.Tensor:
    """What each entry counts in a mean: one, or the importance weight that its row has."""
    ones = tf.ones_like(residual)
    if not isinstance(points, WeightedPoints):
        return ones
    factors = tf.cast(points.factors, ones.dtype)[:, tf.newaxis]
    return tf.reshape(factors**2 * tf.reshape(ones, [factors.shape[0], -1]), [-1])


def _earlier_squares(
    squares: tf.Tensor, counts: tf.Tensor, bins: tf.Tensor, number: int
) -> tf.Tensor:
    """The sum of the mean squares of all earlier bins, ``[number]``; an empty one adds nothing."""
    squares, counts = (tf.math.unsorted_segment_sum(x, bins, number) for x in (squares, counts))
    return tf.cumsum(tf.math.divide_no_nan(squares, counts), exclusive=True)


def columns_of_time(causal: Causal, axes: Mapping[str, Sequence[str] | None]) -> dict[str, int]:
    """The column of time of each term that waits.

    Args:
        causal: settings.
        axes: names of the columns by term, None where there are none.

    Raises:
        ValueError: for a term that there is not, or whose columns have no such name.
    """
    unknown = sorted({*causal.terms, *(causal.initial or ())} - set(axes))
    if unknown:
        raise ValueError(
            f"Causal names terms that there are not: {unknown}. The terms are {list(axes)}."
        )
    columns = {}
    for name in causal.terms:
        names = axes[name]
        if isinstance(causal.axis, int):
            columns[name] = causal.axis
        elif names is not None and causal.axis in names:
            columns[name] = list(names).index(causal.axis)
        else:
            known = "no names" if names is None else f"the names {list(names)}"
            raise ValueError(
                f"Causal looks for time in the column {causal.axis!r} of term {name!r}, whose "
                f"columns have {known}. Say which it is, as in Causal({name!r}, axis=0), or name "
                "the columns, as in Term(name, residual, points, axes=('t', 'x'))."
            )
    return columns
