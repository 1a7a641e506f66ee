"""Strategies with a weight for every residual entry, for fixed points."""

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from typing_extensions import Unpack

from ntk_keras.backend.checks import check_range
from ntk_keras.kernel.linearization import Linearization
from ntk_keras.weighting.adaptive import Adaptive, UpdateRules

__all__ = ["PointWeighting", "ResidualAttention", "SelfAdaptive"]


class PointWeighting(Adaptive):
    """A strategy that proposes a weight for every residual entry of the adapted groups.

    The loss is ``1/2 sum_i w_i R_i^2``. ``loss_weights`` holds the mean weight of each group. At
    other points, as in ``evaluate``, that mean is used.

    Attributes:
        entry_weights: weights w, a variable ``[n]``, with the adapted terms concatenated.
    """

    default_weight = 1.0
    distributes = False  # a replica does not hold all entries

    def build_state(self, sizes: Mapping[str, int | None]) -> None:
        super().build_state(sizes)
        self._sizes = self.fixed_sizes(sizes, "A weight for every point")
        initial = [
            np.full(size, self.initial_weights.get(self._group_of[term], self.default_weight))
            for term, size in self._sizes.items()
        ]
        self.entry_weights = self.add_state("entry_weights", [sum(self._sizes.values())])
        self.adopt(tf.constant(np.concatenate(initial), self.state_dtype))

    def current_weights(self) -> tf.Tensor:
        """The weight of every entry, ``[n]``."""
        return self.entry_weights.value

    def spread(self, values: tf.Tensor) -> tf.Tensor:
        """Repeats values ``[groups]`` for every entry, ``[n]``."""
        places = [self.groups.index(self._group_of[term]) for term in self._sizes]
        return tf.repeat(tf.gather(values, places), list(self._sizes.values()))

    def weights_by_group(self) -> dict[str, np.ndarray]:
        """Returns the current weights of all entries by adapted group; not in a graph."""
        by_term = self.split(self.entry_weights.value)
        return {
            group: np.concatenate([by_term[term] for term in self.terms_of(group)])
            for group in self.adapted
        }

    def adopt(self, weights: tf.Tensor) -> None:
        """Assigns the weights, and their means by group."""
        self.entry_weights.assign(weights)
        parts = self.split(weights)
        sums = self.pool({term: tf.reduce_sum(part) for term, part in parts.items()})
        super().adopt(sums / self.pool({term: tf.size(part) for term, part in parts.items()}))

    def weight_of(self, term: str, residual: tf.Tensor) -> tf.Tensor:
        if term not in self._sizes or residual.shape[0] != self._sizes[term]:
            return super().weight_of(term, residual)
        factor = self.importance_factors.value[self.groups.index(self._group_of[term])]
        return tf.cast(factor * self.split(self.entry_weights.value)[term], residual.dtype)

    def split(self, entries: tf.Tensor) -> dict[str, tf.Tensor]:
        """Splits entries ``[n]`` into ``[n_b]`` by adapted term."""
        parts = tf.split(entries, list(self._sizes.values()))
        return dict(zip(self._sizes, parts, strict=True))

    def join(self, by_term: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """Joins values ``[n_b]`` by adapted term into ``[n]``.

        Raises:
            ValueError: if a term has more or fewer entries than weights.
        """
        for term, size in self._sizes.items():
            if by_term[term].shape[0] not in (size, None):
                raise ValueError(
                    f"{type(self).__name__} has a weight for each of the {size} residual entries "
                    f"of term {term!r}. Received {by_term[term].shape[0]} entries: train on the "
                    "points of the term itself, or choose another weighting."
                )
        entries = tf.concat([tf.cast(by_term[t], self.state_dtype) for t in self._sizes], axis=0)
        return tf.ensure_shape(entries, self.entry_weights.shape)


@keras.saving.register_keras_serializable("ntk_keras")
class SelfAdaptive(PointWeighting):
    """``w_i = mask_i^q``, with masks trained to increase the loss.

    While the network descends ``1/2 sum_i w_i R_i^2``, an optimizer ascends it along the masks,
    whose gradient is ``q/2 mask_i^(q - 1) R_i^2``. The larger a residual, the faster its weight
    grows.

    Args:
        optimizer: name or Keras optimizer of the masks; Adam(5e-3) by default.
        exponent: power q, positive.
        **rules: rules of :class:`Adaptive`.

    Raises:
        ValueError: if the exponent is not positive, or the model's points are redrawn.

    Reference:
        McClenny, Braga-Neto, "Self-adaptive physics-informed neural networks", J. Comput. Phys. 474
        (2023), with the polynomial mask.
    """

    def __init__(
        self,
        optimizer: str | keras.optimizers.Optimizer | None = None,
        exponent: float = 2.0,
        **rules: Unpack[UpdateRules],
    ):
        super().__init__(**rules)
        self.optimizer = keras.optimizers.get(optimizer or keras.optimizers.Adam(5e-3))
        self.exponent = check_range("exponent", exponent, "(0, inf)")

    def build_state(self, sizes: Mapping[str, int | None]) -> None:
        super().build_state(sizes)
        self.masks = self.add_state("masks", self.entry_weights.shape)
        self.masks.assign(self.entry_weights.value ** (1 / self.exponent))
        self.optimizer.build([self.masks])

    def measure(self, linearization: Linearization, seed: tf.Tensor) -> tf.Tensor:
        """Returns the squares of all residual entries, ``[n]``."""
        return self.join({name: r**2 for name, r in linearization.residuals.items()})

    def propose(self, measured: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """Takes one step of ascent."""
        gradient = self.exponent / 2 * self.masks.value ** (self.exponent - 1) * measured
        self.optimizer.apply([-gradient], [self.masks])
        return self.masks.value**self.exponent

    @property
    def state(self) -> list[keras.Variable]:
        return [*super().state, *self.optimizer.variables]

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "optimizer": keras.optimizers.serialize(self.optimizer),
            "exponent": self.exponent,
        }


@keras.saving.register_keras_serializable("ntk_keras")
class ResidualAttention(PointWeighting):
    """``w_i = a_i^2``, with ``a_i -> gamma a_i + eta |R_i| / max_j |R_j|``.

    The maximum is over the term. The attention ``a_i`` remembers how large a residual has been
    beside the others of its term, and never exceeds ``eta / (1 - gamma)``. No gradient is needed.

    Args:
        decay: factor gamma, in [0, 1).
        rate: rate eta, positive.
        **rules: rules of :class:`Adaptive`. Weights start at zero, as in the paper, unless initial
            ones are given.

    Raises:
        ValueError: if an argument is out of range, or the model's points are redrawn.

    Reference:
        Anagnostopoulos, Toscano, Stergiopulos, Karniadakis, "Residual-based attention in
        physics-informed neural networks", Comput. Methods Appl. Mech. Eng. 421 (2024).
    """

    default_weight = 0.0

    def __init__(self, decay: float = 0.999, rate: float = 0.01, **rules: Unpack[UpdateRules]):
        super().__init__(**rules)
        self.decay = check_range("decay", decay, "[0, 1)")
        self.rate = check_range("rate", rate, "(0, inf)")

    def measure(self, linearization: Linearization, seed: tf.Tensor) -> tf.Tensor:
        """Returns every residual entry as a share of its term's largest, ``[n]``."""
        shares = {
            name: tf.math.divide_no_nan(tf.abs(r), tf.reduce_max(tf.abs(r)))
            for name, r in linearization.residuals.items()
        }
        return self.join(shares)

    def propose(self, measured: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """Takes one step of the attention."""
        return (self.decay * tf.sqrt(self.current_weights()) + self.rate * measured) ** 2

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "decay": self.decay, "rate": self.rate}
