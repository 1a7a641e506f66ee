"""Causal weights: later points wait until the residual is small at all earlier ones."""

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

    Time is divided into bins of equal length. The weight of bin k is
    ``exp(-epsilon (L_start + sum_{j<k} L_j))``, with ``L_j`` the mean square of the residual in bin
    j and ``L_start`` that of the initial conditions. A bin therefore waits until these are small;
    of several terms, the worst one counts. The steepness epsilon starts with the first of
    ``epsilons``; once all weights exceed the threshold, the next one takes its place. After the
    last one :attr:`Weighting.in_time` is ``finished``, at which
    :class:`~ntk_keras.callbacks.CausalStopping` ends training.

    Kernel traces are ``Tr K_bb = sum_i w_i / w_first K_ii``, with ``w_first`` the weight of the
    first bin, so entries that wait do not count. A factor common to all bins is left out there, as
    NTK weights would undo it. Losses and natural gradients use the weights themselves, as constants
    in every derivative and within a step. Points may be redrawn, as the weights depend on time
    alone. ``loss/<term>`` is logged without them. For an equation that runs backward in time, use
    ``T - t`` as its time column.

    Attributes:
        terms: names of the terms whose entries wait, usually the equations.
        axis: column of time, by name or index.
        initial: names of the initial conditions, whose mean squares add up to ``L_start``. By
            default the terms with points of their own that are all at the first time; empty for
            none.
        epsilons: number, or increasing numbers used in turn. Larger residuals need smaller ones.
        threshold: value in (0, 1) that the smallest weight must exceed.
        num_bins: number of time bins.

    Raises:
        ValueError: if an argument is out of range; from the model, if a term is unknown, has no
            such column, or has points at a single time; or if ``initial`` is missing and the points
            of ``terms`` come with the data.

    Example:
        ``PINNModel(network, terms, nk.weighting.NTK(causal=nk.weighting.Causal("equation")))``

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
        """Returns the arguments, for Keras."""
        config = dataclasses.asdict(self)
        return {key: list(v) if isinstance(v, tuple) else v for key, v in config.items()}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Causal":
        """Creates the settings from their configuration, as Keras stores them."""
        return cls(**config)


def check_causal(causal: Any) -> Causal | None:
    """Returns the settings of causal weights, or None.

    Args:
        causal: settings, or None.

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
        settings: the settings.
        columns: column of time by term, found by the model.
        initial: names of the initial conditions, found by the model.
        weights: weights by bin, a variable ``[num_bins]``.
        interval: first and last time of the latest step's points, a variable ``[2]``.
        stage: index of the current epsilon, a variable; the number of epsilons when finished.

    Args:
        settings: settings of the weights.
        add_state: function that creates a variable from a name and shape.
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
        """Updates the weights and epsilon.

        Args:
            linearization: residuals, recorded at the current parameters.

        Returns:
            The ratios ``w_i / w_first`` of the entries by waiting term, ``[n_b]``, which do not
            underflow when all weights do.
        """
        dtype, start = self.weights.dtype, tf.zeros([], self.weights.dtype)
        squares, counts, times = {}, {}, {}
        for name in (*self.initial, *self.settings.terms):
            block, residual = linearization.blocks[name], linearization.residuals[name]
            # From the residuals before the mean convention scales them.
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
        """Returns the weights of a term's entries, or a single one if the term does not wait.

        Args:
            term: name of the term.
            residual: tensor ``[n_b]``.
            points: points of the entries; without them the mean over the bins counts.

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
        """The current steepness, a scalar."""
        epsilons = tf.constant(self._epsilons, self.weights.dtype)
        return tf.gather(epsilons, tf.minimum(self.stage.value, len(self._epsilons) - 1))

    @property
    def finished(self) -> bool:
        """Whether the weights exceed the threshold with the last epsilon; not in a graph."""
        return int(self.stage.numpy()) == len(self._epsilons)

    def logs(self) -> dict[str, tf.Tensor]:
        """Returns the logged scalars ``causal/epsilon`` and ``causal/least_weight``."""
        least = tf.reduce_min(self.weights.value)
        return {"causal/epsilon": self.epsilon, "causal/least_weight": least}

    def _times(self, term: str, residual: tf.Tensor, points: Any) -> tf.Tensor:
        """Returns the time of every entry, ``[n_b]``."""
        times = times_of(term, points, self.columns[term])
        rows = times.shape[0] or tf.shape(times)[0]
        by_point = tf.ones_like(tf.reshape(residual, [rows, -1]), times.dtype)
        return tf.reshape(times[:, tf.newaxis] * by_point, [-1])


@unconverted
def causal_weights(
    residual: tf.Tensor, times: tf.Tensor, epsilon: float | tf.Tensor, num_bins: int = 32
) -> tf.Tensor:
    """Returns causal weights for custom loops: ``exp(-epsilon sum_{j<k} L_j)`` in bin k.

    Multiply the residual by their root, and loss weights see the weighted residual::

        r = r * tf.sqrt(nk.weighting.causal_weights(r, points[:, 0], epsilon=1.0))

    Args:
        residual: tensor ``[n]``.
        times: times of the entries, ``[n]``.
        epsilon: steepness of the weights.
        num_bins: number of bins of equal length between the first and the last time.

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
    """Returns the times of points, ``[n]``.

    Args:
        term: name of the term with these points, for the message.
        points: nest of tensors, whose first one ``[n, d]`` counts.
        column: index of the time column.

    Raises:
        ValueError: if points have no such column.
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
    """Returns the bin of each time; times outside the interval belong to the nearest bin."""
    part = tf.math.divide_no_nan(times - interval[0], interval[1] - interval[0])
    return tf.cast(tf.clip_by_value(part * number, 0, number - 1), tf.int32)


def _counts(residual: tf.Tensor, points: Any) -> tf.Tensor:
    """Returns how much each entry counts in a mean: one, or the importance weight of its row."""
    ones = tf.ones_like(residual)
    if not isinstance(points, WeightedPoints):
        return ones
    factors = tf.cast(points.factors, ones.dtype)[:, tf.newaxis]
    return tf.reshape(factors**2 * tf.reshape(ones, [factors.shape[0], -1]), [-1])


def _earlier_squares(
    squares: tf.Tensor, counts: tf.Tensor, bins: tf.Tensor, number: int
) -> tf.Tensor:
    """Sums the mean squares of all earlier bins, ``[number]``; an empty bin adds nothing."""
    squares, counts = (tf.math.unsorted_segment_sum(x, bins, number) for x in (squares, counts))
    return tf.cumsum(tf.math.divide_no_nan(squares, counts), exclusive=True)


def columns_of_time(causal: Causal, axes: Mapping[str, Sequence[str] | None]) -> dict[str, int]:
    """Returns the column of time of each term that waits.

    Args:
        causal: settings.
        axes: names of the columns by term, None if there are none.

    Raises:
        ValueError: if a term is unknown, or its columns lack the name.
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
