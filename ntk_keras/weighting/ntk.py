"""Weights from the neural tangent kernel: Algorithms 1 and 3 of the paper."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import keras
import tensorflow as tf
from typing_extensions import Unpack

from ntk_keras import estimators
from ntk_keras.backend import replicas
from ntk_keras.backend.checks import check_count, check_range
from ntk_keras.backend.seeds import fold_in
from ntk_keras.estimators import (
    ESTIMATORS,
    Diagonal,
    Estimator,
    Exact,
    KernelEstimator,
    is_exact,
)
from ntk_keras.kernel.linearization import Linearization
from ntk_keras.weighting import floors, moving_average
from ntk_keras.weighting.adaptive import Adaptive, Rules
from ntk_keras.weighting.trace_ratio import weights_from_traces

__all__ = ["NTK", "ExactNTK"]


@keras.saving.register_keras_serializable("ntk_keras")
class NTK(Adaptive):
    """Algorithm 3: ``lambda_b = Tr K / Tr K_bb`` from a moving average of kernel estimates.

    The average starts as the mean of ``num_initial_probes`` samples, so the first weights are
    already reliable. Each update then takes one sample: ``K_t = (1 - alpha) K_{t-1} + alpha K^``. A
    sample that is not finite is left out and counted.

    Args:
        estimator: name or object of :mod:`ntk_keras.estimators`, or a name with arguments, as in
            ``{"name": "diagonal", "num_points": 9}``. ``"diagonal"`` is exact at the cost of a
            plain reverse pass if Jacobians are factored. ``"predictor"`` is Algorithm 2 as printed,
            with one probe over all blocks; ``"block-predictor"`` works block by block.
        averaging_rate: rate alpha per step, in (0, 1]; 1 keeps no memory. By default 1e-2 for
            entries of the diagonal (``"diagonal"``, ``"exact"``) and the paper's 1e-3 for noisier
            samples.
        num_initial_probes: number N of samples in the first average.
        num_probes: number of samples averaged at later updates; always one if these are exact.
        update_every: number n of steps between updates (Algorithm 1). The average then moves by
            ``1 - (1 - alpha)^n``, so its memory in steps is unchanged.
        trace_floor: smallest share of the total trace, in (0, 1), that a group may have, which
            bounds its weight by ``1 / trace_floor``. By default 1e-5 for sampled traces, as noise
            lowers small ones. Exact traces are bounded only as far as the dtype requires, or by
            1e-5 if zero.
        clip: whether negative values of a sample become zero (Remark 6): traces, or the diagonal of
            an averaged kernel. This improves a single sample but makes averages too large and the
            weights of small traces too small, the more so with noise. Averages need only the floor.
        exclude_variables: names or paths of variables that are constants in the kernel, such as
            unknown coefficients of another size. By default all trainable variables are included.
        average: ``"traces"`` keeps one number for each group; ``"kernel"`` keeps the whole matrix
            ``[n, n]``, which requires fixed points.
        **rules: rules of :class:`Adaptive`.

    Raises:
        ValueError: if an argument is outside its range, or a name is unknown.

    Reference:
        Sections 4 and 4.2; Remark 6.

    Example::

        weighting = nk.weighting.NTK("diagonal", averaging_rate=0.1, trace_floor=1e-6)
        model = nk.PINNModel(network, terms, weighting)
        model.compile("adam")
        model.fit(epochs=10, steps_per_epoch=100)
    """

    uses_kernel = True
    differentiates = True

    def __init__(
        self,
        estimator: str | Mapping[str, Any] | Estimator = "diagonal",
        averaging_rate: float | None = None,
        num_initial_probes: int = 100,
        num_probes: int = 1,
        update_every: int = 1,
        trace_floor: float | None = None,
        clip: bool = False,
        exclude_variables: Sequence[str] = (),
        average: Literal["traces", "kernel"] = "traces",
        **rules: Unpack[Rules],
    ):
        super().__init__(update_every=update_every, **rules)
        self.estimator = estimators.get(estimator)
        if averaging_rate is None:
            averaging_rate = 1e-2 if isinstance(self.estimator, Diagonal | Exact) else 1e-3
        self.averaging_rate = check_range(
            "averaging_rate", averaging_rate, "(0, 1]", "; 1 keeps no memory of earlier estimates"
        )
        self.num_initial_probes = check_count("num_initial_probes", num_initial_probes)
        self.num_probes = check_count("num_probes", num_probes)
        if trace_floor is not None:
            check_range("trace_floor", trace_floor, "(0, 1)")
        self.trace_floor = trace_floor
        self.clip = clip
        self.exclude_variables = (
            (exclude_variables,) if isinstance(exclude_variables, str) else tuple(exclude_variables)
        )
        self.average = average
        # Nobody computes the kernel's entries between the points of two replicas.
        self.distributes = average == "traces"
        self._check()

    def build_state(self, sizes: Mapping[str, int | None]) -> None:
        super().build_state(sizes)
        self.sampled_groups: tuple[str, ...] = ()  # known once an update was traced
        self.average_traces = self.add_state("traces", [len(self.adapted)])
        self.num_updates = self.add_state("num_updates", [], dtype="int64")
        self.num_rejected = self.add_state("num_rejected", [], dtype="int64")
        if self.average == "kernel":
            self._sizes = self.fixed_sizes(sizes, 'average="kernel"')
            num_residuals = sum(self._sizes.values())
            self.kernel = self.add_state("kernel", [num_residuals, num_residuals])
            self._sample_shape = [num_residuals, num_residuals]
        else:
            self.update_variances = self.add_state("update_variances", [len(self.adapted)])
            self.average_variances = self.add_state("average_variances", [len(self.adapted)])
            self._sample_shape = [2, len(self.adapted)]

    def measure(self, linearization: Linearization, seed: tf.Tensor) -> dict[str, tf.Tensor]:
        """Returns the mean of this step's samples, the variance of one, and their number."""
        linearization = linearization.without(*self.exclude_variables)
        first = self.num_updates.value == 0
        exact = is_exact(self.estimator, linearization)
        self.sampled_groups = tuple(
            group
            for group in self.adapted
            if not is_exact(self.estimator, linearization.restricted(*self.terms_of(group)))
        )
        initial, later = (1, 1) if exact else (self.num_initial_probes, self.num_probes)
        num_samples = 1 if initial == later == 1 else tf.where(first, initial, later)
        total, accepted = self._sum_of_samples(linearization, seed, num_samples)
        number = tf.cast(tf.maximum(accepted, 1), total.dtype)
        mean = total / number
        measured = {
            "accepted": accepted,
            "rejected": num_samples - accepted,
            "without": tf.cast(accepted == 0, tf.int32),
        }
        if self.average == "kernel":
            return {**measured, "mean": mean}
        variance = tf.maximum(mean[1] - mean[0] ** 2, 0) * number / tf.maximum(number - 1, 1)
        return {**measured, "mean": mean[0], "variance": variance}

    def propose(self, measured: dict[str, tf.Tensor], seed: tf.Tensor) -> tf.Tensor:
        """Takes one step of the moving average and returns the resulting weights."""
        usable = measured["without"] == 0  # a replica without a sample would be missing in the sums
        if self.average == "kernel":
            self._move(self.kernel, measured["mean"], usable)
            self.average_traces.assign(self._traces_of(self.kernel.value))
            latest = self._traces_of(measured["mean"])
        else:
            self._move_variances(measured, usable)
            self._move(self.average_traces, measured["mean"], usable)
            latest = measured["mean"]
        self.num_rejected.assign_add(tf.cast(measured["rejected"], tf.int64))
        # Until an initial sample is finite, every update takes initial samples.
        first = self.num_updates.value == 0
        self.num_updates.assign_add(tf.cast(~first | usable, tf.int64))
        return weights_from_traces(self.traces, self._floors(latest, usable))

    @property
    def traces(self) -> tf.Tensor:
        return self.average_traces.value

    @property
    def standard_errors(self) -> tf.Tensor | None:
        """The standard errors of :attr:`traces`, ``[adapted]``; None if the kernel is averaged.

        They include the noise of the samples, and the lag of the average behind a moving trace as
        far as samples show it.
        """
        return None if self.average == "kernel" else tf.sqrt(self.average_variances.value)

    def held_weights(self) -> dict[str, str]:
        """Adds the groups whose traces are below the floor."""
        return super().held_weights() | floors.held_weights(
            dict(zip(self.adapted, self.traces.numpy(), strict=True)),
            self.trace_floor,
            self.sampled_groups,
        )

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "estimator": estimators.serialize(self.estimator),
            "averaging_rate": self.averaging_rate,
            "num_initial_probes": self.num_initial_probes,
            "num_probes": self.num_probes,
            "trace_floor": self.trace_floor,
            "clip": self.clip,
            "exclude_variables": self.exclude_variables,
            "average": self.average,
        }

    def _floors(self, latest: tf.Tensor, usable: tf.Tensor) -> float | tf.Tensor:
        """Returns the smallest share of the total for each trace, ``[adapted]`` or one for all.

        An average lags: for long it may hold a peak of one trace, or the time when another was
        zero, as for a satisfied inequality. So its weight may exceed that of a sampled trace only
        as far as the exact one does.

        Args:
            latest: traces of this update, ``[adapted]``.
            usable: whether there is any.
        """
        if self.trace_floor is not None:
            return self.trace_floor
        positive = tf.maximum(latest, 0)
        share = tf.math.divide_no_nan(positive, tf.reduce_sum(positive))
        exact = tf.constant([group not in self.sampled_groups for group in self.adapted])
        known = exact & ((share > 0) | ~usable)
        return tf.where(known, tf.minimum(share, floors.SAMPLED), floors.SAMPLED)

    @property
    def _rate(self) -> float:
        return moving_average.rate_of_update(self.averaging_rate, self.update_every)

    def _move(self, average: keras.Variable, mean: tf.Tensor, usable: tf.Tensor) -> None:
        """Moves an average towards the mean of samples, if that is usable."""
        # An average of nothing but zeros, as of an inequality satisfied so far, does not count.
        fresh = (self.num_updates.value == 0) | (average.value == 0)
        rate = tf.where(fresh, tf.ones([], mean.dtype), tf.cast(self._rate, mean.dtype))
        moved = moving_average.moved(average.value, mean, rate)
        average.assign(tf.where(usable, moved, average.value))

    def _move_variances(self, measured: dict[str, tf.Tensor], usable: tf.Tensor) -> None:
        """Follows the variances of an update and the average, at first from the sample spread."""
        mean, variance = measured["mean"], measured["variance"]
        rate = tf.cast(self._rate, mean.dtype)
        number = tf.cast(measured["accepted"] / replicas.num_replicas(), mean.dtype)
        first = self.num_updates.value == 0
        before = self.average_traces.value
        followed = moving_average.update_variance(self.update_variances.value, mean, before, rate)
        update = tf.where(first, variance / self.num_probes, followed)
        moved = moving_average.average_variance(self.average_variances.value, update, rate)
        average = tf.where(first, variance / tf.maximum(number, 1), moved)
        self.update_variances.assign(tf.where(usable, update, self.update_variances.value))
        self.average_variances.assign(tf.where(usable, average, self.average_variances.value))

    def _sum_of_samples(
        self,
        linearization: Linearization,
        seed: tf.Tensor,
        num_samples: int | tf.Tensor,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns the sum of the finite ones among ``num_samples`` samples, and their number."""

        def add_sample(
            index: tf.Tensor, total: tf.Tensor, accepted: tf.Tensor
        ) -> tuple[tf.Tensor, ...]:
            sample_seed = fold_in(seed, index)
            sample = self._sample(linearization, sample_seed)
            finite = tf.reduce_all(tf.math.is_finite(sample))
            total = tf.where(finite, total + sample, total)
            return index + 1, total, accepted + tf.cast(finite, tf.int32)

        if not tf.is_tensor(num_samples):  # one at any step, without the loop
            _, total, accepted = add_sample(0, tf.zeros(self._sample_shape, self.state_dtype), 0)
            return total, accepted
        # One loop, whatever the number of samples: the first step, an ordinary step and a step
        # without an update run the same graph.
        _, total, accepted = tf.while_loop(
            lambda index, *_: index < num_samples,
            add_sample,
            (0, tf.zeros(self._sample_shape, self.state_dtype), 0),
            parallel_iterations=1,
        )
        return total, accepted

    def _sample(self, linearization: Linearization, seed: tf.Tensor) -> tf.Tensor:
        """Returns one estimate: the kernel ``[n, n]``, or traces and squares ``[2, adapted]``."""
        if isinstance(self.estimator, KernelEstimator) and self.average == "kernel":
            kernel = tf.cast(self.estimator.kernel(linearization, seed), self.state_dtype)
            diagonal = tf.maximum(tf.linalg.diag_part(kernel), 0)
            return tf.linalg.set_diag(kernel, diagonal) if self.clip else kernel
        sample = self.estimator.traces(linearization, seed)
        if self.clip:
            sample = {name: tf.maximum(trace, 0) for name, trace in sample.items()}
        traces = self.pool(sample)
        return tf.stack([traces, moving_average.square(traces)])

    def _traces_of(self, kernel: tf.Tensor) -> tf.Tensor:
        parts = tf.split(tf.linalg.diag_part(kernel), list(self._sizes.values()))
        sums = [tf.reduce_sum(part) for part in parts]
        return self.pool(dict(zip(self._sizes, sums, strict=True)))

    def _check(self) -> None:
        if self.average == "kernel" and self.causal is not None:
            raise ValueError(
                "Causal weights change at every step, so that an average of kernels has none. "
                "Average traces, as by default, or leave out `causal`."
            )
        if self.average not in ("traces", "kernel"):
            raise ValueError(
                f'average must be "traces" or "kernel". Received average={self.average!r}.'
            )
        if self.average == "kernel" and not isinstance(self.estimator, KernelEstimator):
            able = [name for name, e in ESTIMATORS.items() if isinstance(e(), KernelEstimator)]
            raise ValueError(
                f'average="kernel" needs an estimator of the whole kernel, one of {able}. Received '
                f"{self.estimator}, which estimates traces only."
            )


class _FurtherArguments(Rules, total=False):
    """Arguments of :class:`NTK` that :class:`ExactNTK` takes too."""

    num_initial_probes: int
    num_probes: int
    trace_floor: float | None
    clip: bool
    exclude_variables: Sequence[str]
    average: Literal["traces", "kernel"]


@keras.saving.register_keras_serializable("ntk_keras")
class ExactNTK(NTK):
    """Algorithm 1: weights from the exact kernel, recomputed every ``update_every`` steps.

    Args:
        update_every: number n of steps from one computation to the next.
        averaging_rate: rate alpha in (0, 1]; the default 1 is Algorithm 1.
        estimator: estimator that computes the traces exactly.
        **kwargs: further arguments of :class:`NTK`.

    Reference:
        Algorithm 1 and equation (5).
    """

    def __init__(
        self,
        update_every: int = 1,
        averaging_rate: float = 1.0,
        estimator: str | Mapping[str, Any] | Estimator = "exact",
        **kwargs: Unpack[_FurtherArguments],
    ):
        super().__init__(
            estimator, averaging_rate=averaging_rate, update_every=update_every, **kwargs
        )
