"""Loss weights for custom training loops."""

import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from ntk_keras import weighting as weighting_module
from ntk_keras.backend import saving, seeds
from ntk_keras.backend.autograph import unconverted
from ntk_keras.backend.state_holder import StateHolder
from ntk_keras.kernel.block import Block
from ntk_keras.kernel.linearization import Linearization
from ntk_keras.kernel.tape_linearization import TapeLinearization
from ntk_keras.training import weight_warnings
from ntk_keras.training.weight_readings import WeightReadings
from ntk_keras.weighting import NTK, Weighting

__all__ = ["LossBalancer"]


@keras.saving.register_keras_serializable("ntk_keras")
class LossBalancer(WeightReadings, StateHolder):
    """Turns residuals and the tape that recorded them into loss weights, once a training step.

    The balancer keeps its weighting and the moving average of kernel traces in Keras variables.
    Create it outside ``tf.function`` and call it inside. To save it, set it as an attribute of a
    Keras model or a ``tf.train.Checkpoint`` (``get_weights`` leaves out the optimizers of
    ``"uncertainty"`` and ``"self-adaptive"``). If residuals are not finite, or the new state would
    not be, only the seed changes. The step warns of zero traces and of weights that a bound holds;
    if XLA compiles the step, the warning comes when ``loss_weights`` is read.

    Args:
        terms: names of the loss terms, or a dict from names to groups whose terms share a weight.
        weighting: name in :data:`ntk_keras.weighting.WEIGHTINGS`, a weighting object, or constant
            weights by group. The default is NTK weights from one reverse pass over the tape for
            each term. Their averaging rate 1e-2 reaches a given error soonest (``NTK("reverse")``
            keeps the paper's 1e-3). The first call takes ten probes; after a hundred steps this is
            as certain as a first call with a hundred (``num_initial_probes=100``).
        sizes: number of residual entries of each term, for weightings that store something for each
            entry: pointwise weightings and ``NTK(average="kernel")``.
        seed: integer for the probes; None takes one from Keras' global random state.
        dtype: dtype of weights and traces, which should be that of the parameters;
            ``keras.config.floatx()`` by default.

    Attributes:
        weighting: the weighting object.

    Raises:
        ValueError: if there are no terms, or the weighting rejects an argument.

    Warns:
        UserWarning: when called with residuals of higher precision than ``dtype``.

    Example::

        balancer = LossBalancer(["equation", "boundary"])

        @tf.function(jit_compile=True)
        def train_step(x):
            with tf.GradientTape(persistent=True) as tape:
                residuals = {"equation": equation(network, x), "boundary": network(ends)}
            weights = balancer(residuals, tape, network.trainable_variables)
            gradients = tape.gradient(
                list(residuals.values()),
                network.trainable_variables,
                [weights[name] * r for name, r in residuals.items()],  # of 1/2 sum_b w_b |r_b|^2
            )
            optimizer.apply(gradients, network.trainable_variables)
    """

    def __init__(
        self,
        terms: Iterable[str] | Mapping[str, str],
        weighting: str | Mapping[str, Any] | Weighting | None = None,
        *,
        sizes: Mapping[str, int] | None = None,
        seed: int | None = None,
        dtype: str | None = None,
        **kwargs: Any,
    ):
        dtype = dtype or keras.config.floatx()
        super().__init__(dtype=dtype, **{"trainable": False, **kwargs})
        if isinstance(terms, str):
            raise ValueError(f"terms must be several names, as in [{terms!r}].")
        self.group_of = dict(terms) if isinstance(terms, Mapping) else {t: t for t in terms}
        if not self.group_of:
            raise ValueError("A LossBalancer needs at least one term. Received none.")
        if weighting is None:
            weighting = NTK("reverse", averaging_rate=1e-2, num_initial_probes=10)
        self.weighting = weighting_module.get(weighting)
        if self.weighting.causal is not None:
            raise ValueError(
                "A LossBalancer sees residuals without the times of their points, which causal "
                "weights need. Multiply a residual by their root before it is weighted, as in r * "
                "tf.sqrt(nk.weighting.causal_weights(r, times, epsilon=1.0)), or train a PINNModel."
            )
        self.sizes = {term: (sizes or {}).get(term) for term in self.group_of}
        self.weighting.prepare(self.group_of, dtype, self.sizes)
        self.seed = seed
        self.random_state = seeds.add_random_state(self, seed)
        self.built = True

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments, for Keras. The variables hold the state.

        Raises:
            ValueError: if the weighting could not be loaded again.
        """
        saving.check_loadable("The weighting of the balancer", self.weighting)
        return {
            **keras.layers.Layer.get_config(self),
            "terms": self.group_of,
            "weighting": keras.saving.serialize_keras_object(self.weighting),
            "sizes": {term: size for term, size in self.sizes.items() if size is not None},
            "seed": self.seed,
            "dtype": self.variable_dtype,
        }

    def __repr__(self) -> str:
        terms = list(getattr(self, "group_of", ()))
        return f"LossBalancer({terms}, {getattr(self, 'weighting', None)!r})"

    def _before_reading(self) -> None:
        weight_warnings.warn_of_bounds(self.weighting, {})  # steps that XLA compiles say nothing

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "LossBalancer":
        """Creates the balancer from its configuration. Its averages start anew."""
        return cls(**keras.saving.deserialize_keras_object(config))

    # Not `call`: Keras would cast the residuals, and the tape would no longer recognise them.
    @unconverted
    def __call__(
        self,
        residuals: Mapping[str, tf.Tensor | Block | Callable[[], tf.Tensor]],
        tape: tf.GradientTape | None,
        variables: Sequence[tf.Variable | keras.Variable],
    ) -> dict[str, tf.Tensor]:
        """Updates the weights and returns them.

        Args:
            residuals: tensors ``[n]`` or ``[n, k]`` by term, recorded by ``tape``; without a tape,
                functions that compute them, which work with every estimator.
            tape: persistent tape, or None.
            variables: parameters theta.

        Returns:
            The weight of every term, in the order of ``residuals``: a scalar, or for pointwise
            weightings ``[n * k]``, one for each entry of the flattened residual.

        Raises:
            ValueError: if names are not those of the balancer, or the tape or estimator is
                unsuitable.
        """
        if set(residuals) != set(self.group_of):
            raise ValueError(
                f"Residuals must be those of the terms {list(self.group_of)}. "
                f"Received {list(residuals)}."
            )
        ordered = {name: residuals[name] for name in self.group_of}
        if tape is None:
            linearization = Linearization(ordered, variables)
        else:
            linearization = TapeLinearization(ordered, tape, variables)
        self._warn_of_digits(linearization.residuals)
        previous = [tf.identity(v.value) for v in self.weighting.state]
        self.weighting.update(linearization, seeds.advance(self.random_state))
        present = [tf.identity(v.value) for v in self.weighting.state]
        floats = [x for x in present if x.dtype.is_floating]
        floats += linearization.residuals.values()
        good = tf.reduce_all([tf.reduce_all(tf.math.is_finite(x)) for x in floats])
        for variable, *values in zip(self.weighting.state, present, previous, strict=True):
            variable.assign(tf.where(good, *values))
        weight_warnings.warn_in_step(self.weighting, linearization.residuals)
        return {
            name: self.weighting.weight_of(name, linearization.residuals[name])
            for name in residuals
        }

    def _warn_of_digits(self, residuals: Mapping[str, tf.Tensor]) -> None:
        own = tf.as_dtype(self.variable_dtype)
        finer = sorted({r.dtype.name for r in residuals.values() if r.dtype.size > own.size})
        if finer:
            warnings.warn(
                f"Residuals are {', '.join(finer)}, weights and traces {own.name}, which has fewer "
                f"digits and a smaller range. Say LossBalancer(..., dtype={finer[-1]!r}).",
                stacklevel=3,
            )
