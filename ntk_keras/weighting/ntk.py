"""Weights from the neural tangent kernel: Algorithms 1 and 3 of the paper."""

from collections.abc import Mapping
from typing import Any, Literal

import keras
import tensorflow as tf

from ntk_keras.checks import check_count
from ntk_keras.estimators import ESTIMATORS, Estimator, Exact
from ntk_keras.linearization import Linearization
from ntk_keras.seeds import fold_in
from ntk_keras.weighting.base import Weighting, weights_from_traces

__all__ = ["NTK", "ExactNTK"]


@keras.saving.register_keras_serializable("ntk_keras")
class NTK(Weighting):
    """Algorithm 3: lambda_b = Tr K / Tr K_bb from a moving average of kernel estimates.

    At the first step the average is the mean of ``num_initial_probes`` samples, so that the first
    weights are already sane; after that K_t = (1 - alpha) K_{t-1} + alpha K^, one sample at each
    update. A sample that is not finite is left out and counted.

    Args:
        estimator: ``"block-predictor"``, Algorithm 2 on each block by itself; ``"predictor"``,
            Algorithm 2 as printed, with one probe over all blocks; ``"exact"``; or an object with
            the methods of :class:`ntk_keras.estimators.Estimator`.
        averaging_rate: alpha, in (0, 1]; 1 keeps no memory.
        num_initial_probes: N, the number of samples in the first average; by default 100, or one of
            an exact estimator.
        update_every: number of steps from one update to the next (Algorithm 1's n).
        trace_floor: smallest share of the total trace that a group may have, in (0, 1), which
            bounds its weight by ``1 / trace_floor``.
        average: ``"traces"`` keeps one number for each group; ``"kernel"`` keeps the whole matrix,
            ``[n, n]``, which needs points that are not redrawn.

    Raises:
        ValueError: for an argument outside its range, or an unknown name.

    Reference:
        Sections 4 and 4.2.
    """

    uses_kernel = True

    def __init__(
        self,
        estimator: str | Estimator = "block-predictor",
        averaging_rate: float = 1e-3,
        num_initial_probes: int | None = None,
        update_every: int = 1,
        trace_floor: float = 1e-5,
        average: Literal["traces", "kernel"] = "traces",
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.estimator = _resolve(estimator)
        self.averaging_rate = averaging_rate
        if num_initial_probes is None:
            num_initial_probes = 1 if isinstance(self.estimator, Exact) else 100
        self.num_initial_probes = check_count("num_initial_probes", num_initial_probes)
        self.update_every = check_count("update_every", update_every)
        self.trace_floor = trace_floor
        self.average = average
        self._check()

    def build_state(self, sizes: Mapping[str, int | None]) -> None:
        self.average_traces = self.add_state("traces", [len(self.groups)])
        self.num_steps = self.add_state("num_steps", [], dtype="int64")
        self.num_rejected = self.add_state("num_rejected", [], dtype="int64")
        if self.average == "kernel":
            self._sizes = self._known(sizes)
            num_residuals = sum(self._sizes.values())
            self.kernel = self.add_state("kernel", [num_residuals, num_residuals])

    def update(self, linearization: Linearization, seed: tf.Tensor) -> None:
        """One step of the moving average, and the weights that follow from it."""
        count = self.num_steps.value
        num_samples = tf.where(
            count == 0,
            self.num_initial_probes,
            tf.cast(count % self.update_every == 0, tf.int32),
        )
        if self.average == "kernel":
            kernel = self._averaged(self.kernel, linearization, seed, num_samples)
            traces = self._traces_of(kernel)
            self.average_traces.assign(traces)
        else:
            traces = self._averaged(self.average_traces, linearization, seed, num_samples)
        self.loss_weights.assign(weights_from_traces(traces, self.trace_floor))

    @property
    def traces(self) -> tf.Tensor:
        return self.average_traces.value

    def get_config(self) -> dict[str, Any]:
        names = [name for name, known in ESTIMATORS.items() if known() == self.estimator]
        return {
            **super().get_config(),
            "estimator": names[0] if names else self.estimator,
            "averaging_rate": self.averaging_rate,
            "num_initial_probes": self.num_initial_probes,
            "update_every": self.update_every,
            "trace_floor": self.trace_floor,
            "average": self.average,
        }

    def _averaged(
        self,
        average: keras.Variable,
        linearization: Linearization,
        seed: tf.Tensor,
        num_samples: tf.Tensor,
    ) -> tf.Tensor:
        """Moves ``average`` by ``num_samples`` samples, none being allowed, and returns it."""
        total, accepted = self._sum_of_samples(average, linearization, seed, num_samples)
        mean = total / tf.cast(tf.maximum(accepted, 1), total.dtype)
        rate = tf.cast(tf.where(self.num_steps.value == 0, 1.0, self.averaging_rate), mean.dtype)
        moved = (1 - rate) * average.value + rate * mean
        value = tf.where(accepted > 0, moved, average.value)
        average.assign(value)
        self.num_rejected.assign_add(tf.cast(num_samples - accepted, tf.int64))
        # Until an initial sample is finite, every step takes initial samples.
        count = self.num_steps.value
        self.num_steps.assign_add(tf.cast((count > 0) | (accepted > 0), tf.int64))
        return value

    def _sum_of_samples(
        self,
        like: keras.Variable,
        linearization: Linearization,
        seed: tf.Tensor,
        num_samples: tf.Tensor,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Sum of the finite ones among ``num_samples`` samples, and their number."""

        def add_sample(
            index: tf.Tensor, total: tf.Tensor, accepted: tf.Tensor
        ) -> tuple[tf.Tensor, ...]:
            sample_seed = fold_in(seed, index)
            sample = self._sample(linearization, sample_seed)
            finite = tf.reduce_all(tf.math.is_finite(sample))
            total = tf.where(finite, total + sample, total)
            return index + 1, total, accepted + tf.cast(finite, tf.int32)

        # One loop, whatever the number of samples: the first step, an ordinary step and a step
        # without an update run the same graph.
        _, total, accepted = tf.while_loop(
            lambda index, *_: index < num_samples,
            add_sample,
            (0, tf.zeros(like.shape, self.state_dtype), 0),
            parallel_iterations=1,
        )
        return total, accepted

    def _sample(self, linearization: Linearization, seed: tf.Tensor) -> tf.Tensor:
        """One estimate of what is averaged: traces ``[groups]`` or the kernel ``[n, n]``."""
        if self.average == "kernel":
            return tf.cast(self.estimator.kernel(linearization, seed), self.state_dtype)
        return self.pool(self.estimator.traces(linearization, seed))

    def _traces_of(self, kernel: tf.Tensor) -> tf.Tensor:
        parts = tf.split(tf.linalg.diag_part(kernel), list(self._sizes.values()))
        sums = [tf.reduce_sum(part) for part in parts]
        return self.pool(dict(zip(self._sizes, sums, strict=True)))

    def _known(self, sizes: Mapping[str, int | None]) -> dict[str, int]:
        changing = [term for term, size in sizes.items() if size is None]
        if changing:
            raise ValueError(
                'average="kernel" keeps one row for each residual entry, so the points must stay '
                f"the same. The points of {changing} are redrawn or come from a dataset. Fix them, "
                'as in `sampler.fixed(seed=0)`, or use average="traces".'
            )
        return {term: size for term, size in sizes.items() if size is not None}

    def _check(self) -> None:
        if not 0 < self.averaging_rate <= 1:
            raise ValueError(
                "averaging_rate must lie in (0, 1]; 1 keeps no memory of earlier estimates. "
                f"Received averaging_rate={self.averaging_rate}."
            )
        if not 0 < self.trace_floor < 1:
            raise ValueError(
                f"trace_floor must lie in (0, 1). Received trace_floor={self.trace_floor}."
            )
        if self.average not in ("traces", "kernel"):
            raise ValueError(
                f'average must be "traces" or "kernel". Received average={self.average!r}.'
            )


@keras.saving.register_keras_serializable("ntk_keras")
class ExactNTK(NTK):
    """Algorithm 1: weights from the exact kernel, computed anew every ``update_every`` steps.

    Args:
        update_every: n, the number of steps from one computation to the next.
        averaging_rate: alpha in (0, 1]; 1, the default, is Algorithm 1.
        estimator: what computes the traces exactly.
        **kwargs: further arguments of :class:`NTK`.

    Reference:
        Algorithm 1 and equation (5).
    """

    def __init__(
        self,
        update_every: int = 1,
        averaging_rate: float = 1.0,
        estimator: str | Estimator = "exact",
        **kwargs: Any,
    ):
        super().__init__(
            estimator, averaging_rate=averaging_rate, update_every=update_every, **kwargs
        )


def _resolve(estimator: str | Estimator) -> Estimator:
    if not isinstance(estimator, str):
        if isinstance(estimator, type) or not callable(getattr(estimator, "traces", None)):
            raise TypeError(
                "estimator must be a name or an object with a method `traces`, as in "
                f"NTK(ntk_keras.estimators.Predictor()). Received {estimator!r}."
            )
        return estimator
    if estimator not in ESTIMATORS:
        raise ValueError(
            f"Unknown estimator {estimator!r}. Known estimators: {sorted(ESTIMATORS)}; or pass an "
            "object with the methods of ntk_keras.estimators.Estimator."
        )
    return ESTIMATORS[estimator]()
