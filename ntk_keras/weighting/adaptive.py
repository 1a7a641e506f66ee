"""The rules that all weighting strategies share, and the base class that applies them."""

from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

import keras
import numpy as np
import tensorflow as tf

from ntk_keras.backend import replicas
from ntk_keras.backend.checks import check_count
from ntk_keras.backend.deprecation import renamed_members
from ntk_keras.kernel.linearization import Linearization
from ntk_keras.weighting.base import Weighting, check_weights
from ntk_keras.weighting.causal import Causal
from ntk_keras.weighting.gate import Gate

__all__ = ["Adaptive", "Rules", "UpdateRules"]


class Rules(TypedDict, total=False):
    """Arguments of :class:`Adaptive` that its subclasses take too, and those of a Keras layer."""

    initial_weights: Mapping[str, float] | None
    importance: Mapping[str, float] | None
    bounds: tuple[float, float]
    exclude: Sequence[str]
    gate: Gate | None
    start_at: int
    freeze_at: int | None
    causal: Causal | None
    name: str
    dtype: Any
    trainable: bool


class UpdateRules(Rules, total=False):
    """The same arguments plus ``update_every``, for classes that do not name it themselves."""

    update_every: int


@renamed_members(present="current_weights")
class Adaptive(Weighting):
    """A strategy that proposes weights at its updates, filtered by rules.

    Subclasses override :meth:`measure` and :meth:`propose`, and :meth:`build_state` for their own
    variables. Under ``tf.distribute`` every replica measures at its own points, the sums go to
    ``propose``, and all replicas obtain the same weights.

    Args:
        update_every: number of steps from one update to the next.
        initial_weights: weights by group before the first update, which excluded groups keep; a
            group left out has weight one.
        importance: factors by group on top of what the strategy finds. A weight in use is factor x
            weight, for initial, excluded and frozen weights too. Averages and bounds concern the
            weights without them. :meth:`set_importance` changes the factors at any time.
        bounds: smallest and largest weight; proposals beyond these are clipped.
        exclude: groups that keep their initial weights. They cost nothing and do not count in the
            weights of the others.
        gate: rule (11) of Corollary 2. Its time and its sum begin with the weights of the first
            update, or with ``initial_weights`` if given.
        start_at: first step, counted from zero, that may change the weights.
        freeze_at: step from which on the weights stay fixed; None for never. To freeze them by
            hand, continue with ``Constant(model.loss_weights)``.
        **kwargs: ``causal``, weights by time as for any :class:`Weighting`, to which the rules
            above do not apply; and arguments of a Keras layer.

    Raises:
        ValueError: if an argument is out of range, or, from the model, no term belongs to a group
            or no group is left to adapt.
        TypeError: if the gate is not a :class:`Gate`.
    """

    _fixed_sizes: Mapping[str, int] = {}  # of terms that the state has something for every entry of

    def __init__(
        self,
        *,
        update_every: int = 1,
        initial_weights: Mapping[str, float] | None = None,
        importance: Mapping[str, float] | None = None,
        bounds: tuple[float, float] = (0.0, float("inf")),
        exclude: Sequence[str] = (),
        gate: Gate | None = None,
        start_at: int = 0,
        freeze_at: int | None = None,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.update_every = check_count("update_every", update_every)
        self.initial_weights = check_weights(initial_weights or {})
        self.importance = check_weights(importance or {}, "factor of importance")
        self.bounds = tuple(bounds)
        self.exclude = (exclude,) if isinstance(exclude, str) else tuple(exclude)
        self.gate = gate
        self.start_at = check_count("start_at", start_at, smallest=0)
        self.freeze_at = None if freeze_at is None else check_count("freeze_at", freeze_at)
        self._check_rules()

    def build_state(self, sizes: Mapping[str, int | None]) -> None:
        self.check_groups(self.initial_weights)
        if not self.adapted:
            raise ValueError(
                f"All groups, {list(self.groups)}, are excluded, so no weight would ever change. "
                "Leave one to adapt, or use ntk_keras.weighting.Constant."
            )
        self.loss_weights.assign([self.initial_weights.get(g, 1.0) for g in self.groups])
        self.num_steps = self.add_state("num_steps", [], dtype="int64")
        if self.gate is not None:
            self.gate_sum = self.add_state("gate_sum", [])
            self.gate_constant = self.add_state("gate_constant", [])
            self.gate_accepted = self.add_state("gate_accepted", [], dtype="int64")
            self.gate_rejected = self.add_state("gate_rejected", [], dtype="int64")

    def measure(self, linearization: Linearization, seed: tf.Tensor) -> Any:
        """Returns the strategy's measurements, whose sums over replicas have the same meaning.

        Args:
            linearization: residuals of the adapted groups' terms.
            seed: integers ``[2]``, new at every step and different on every replica.

        Returns:
            A nest of tensors of known shapes, computed before anything is assigned.
        """
        raise NotImplementedError

    def propose(self, measured: Any, seed: tf.Tensor) -> tf.Tensor:
        """Returns the next weights of the strategy, before any rule, ``[adapted]``.

        Args:
            measured: result of :meth:`measure`, summed over replicas.
            seed: integers ``[2]``, new at every step.
        """
        raise NotImplementedError

    def update(self, linearization: Linearization, seed: tf.Tensor) -> None:
        """Performs one step: an update of the weights if it is due."""
        part = linearization.restricted(*self._adapted_terms())

        def measure() -> dict[str, Any]:
            squares = [tf.reduce_sum(r**2) for r in part.residuals.values()] if self.gate else []
            return {"own": self.measure(part, replicas.replica_seed(seed)), "squares": squares}

        def adapt() -> tf.Tensor:
            proposed = tf.clip_by_value(self.propose(measured["own"], seed), *self.bounds)
            norm = tf.add_n(measured["squares"]) if self.gate else None
            self.adopt(self._gated(proposed, norm, self.gate) if self.gate else proposed)
            return tf.constant(0)

        due = self._due()
        measured = replicas.all_reduce_sum(replicas.run_if(due, measure))
        replicas.run_if(due, adapt)
        self.num_steps.assign_add(1)

    def current_weights(self) -> tf.Tensor:
        """The weights that proposals replace, in their shape."""
        return self.spread(self.loss_weights.value)

    def spread(self, values: tf.Tensor) -> tf.Tensor:
        """Converts values ``[groups]`` to the shape of proposals."""
        return tf.gather(values, [self.groups.index(group) for group in self.adapted])

    def adopt(self, weights: tf.Tensor) -> None:
        """Makes new weights, in the shape of proposals, the current ones."""
        indices = [[self.groups.index(group)] for group in self.adapted]
        self.loss_weights.assign(
            tf.tensor_scatter_nd_update(self.loss_weights.value, indices, weights)
        )

    @property
    def has_updated(self) -> bool:
        """Whether the weights come from an update; not in a graph."""
        return int(self.num_steps.numpy()) > self.start_at

    def weights_by_group(self) -> dict[str, np.ndarray]:
        """Returns the current weights of the adapted groups, as arrays; not in a graph."""
        return dict(zip(self.adapted, self.current_weights().numpy(), strict=True))

    def held_weights(self) -> dict[str, str]:
        """Explains by group which weights a bound holds at present; not in a graph."""
        smallest, largest = np.array(self.bounds, self.state_dtype)
        return {
            group: f"more was proposed than bounds={self.bounds} allow."
            for group, weights in self.weights_by_group().items()
            if (smallest > 0 and np.any(weights <= smallest))
            or (np.isfinite(largest) and np.any(weights >= largest))
        }

    def set_loss_weights(self, weights: Mapping[str, float]) -> None:
        """Sets weights of excluded groups by hand; the strategy would overwrite others.

        Args:
            weights: weights by group.

        Raises:
            ValueError: if the strategy adapts the weight of a group.
        """
        adapted = sorted(set(check_weights(weights)) & set(self.adapted))
        if adapted:
            raise ValueError(
                f"{type(self).__name__} computes the weights of {adapted} at every update, so a "
                "value set by hand would not stay. Put a factor on top of them, as in "
                f"model.set_importance({{{adapted[0]!r}: 10.0}}); leave groups to yourself by "
                "exclude=[...]; or choose all weights by hand: weighting={...}."
            )
        super().set_loss_weights(weights)

    def fixed_sizes(self, sizes: Mapping[str, int | None], what: str) -> dict[str, int]:
        """Returns the number of residual entries of every adapted term.

        Args:
            sizes: sizes of all terms, None if they may change.
            what: name of what needs fixed sizes, for the message.

        Raises:
            ValueError: if points are redrawn.
        """
        adapted = {term: sizes[term] for term in self._adapted_terms()}
        changing = [term for term, size in adapted.items() if size is None]
        if changing:
            raise ValueError(
                f"{what} needs points that stay the same. Those of {changing} are redrawn or come "
                "from a dataset. Fix them, as in `sampler.fixed(seed=0)`; tell a LossBalancer "
                "their numbers, as in sizes={'equation': 100}; or choose another weighting."
            )
        self._fixed_sizes = {term: size for term, size in adapted.items() if size is not None}
        return self._fixed_sizes

    def check_sizes(self, sizes: Mapping[str, int | None]) -> None:
        """Refuses terms of another length, if the state holds a value for each entry.

        Args:
            sizes: number of residual entries of every term, None if it may change.

        Raises:
            ValueError: if a term has more or fewer entries than at first.
        """
        for term, size in self._fixed_sizes.items():
            if sizes[term] != size:
                raise ValueError(
                    f"{type(self).__name__} holds something for each of the {size} residual "
                    f"entries of term {term!r}, which now has {sizes[term] or 'points that change'}"
                    f". Give it points for {size} entries, or build a new model on the same "
                    "network: PINNModel(model.network, terms, ...)."
                )

    def logs(self) -> dict[str, tf.Tensor]:
        """Returns ``weights/<group>``; with a gate its sum S and its numbers of passed updates."""
        if self.gate is None:
            return super().logs()
        return {
            **super().logs(),
            "gate/sum": self.gate_sum.value,
            "gate/accepted": self.gate_accepted.value,
            "gate/rejected": self.gate_rejected.value,
        }

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "update_every": self.update_every,
            "initial_weights": self.initial_weights,
            "importance": self.importance,
            "bounds": self.bounds,
            "exclude": self.exclude,
            "gate": keras.saving.serialize_keras_object(self.gate),
            "start_at": self.start_at,
            "freeze_at": self.freeze_at,
        }

    def _adapted_terms(self) -> list[str]:
        return [term for term, group in self._group_of.items() if group in self.adapted]

    def _due(self) -> tf.Tensor | None:
        """Whether the current step is one of an update; None if every step is."""
        if self.update_every == 1 and self.start_at == 0 and self.freeze_at is None:
            return None
        since_start = self.num_steps.value - self.start_at
        due = (since_start >= 0) & (since_start % self.update_every == 0)
        return due if self.freeze_at is None else due & (self.num_steps.value < self.freeze_at)

    def _gated(self, proposed: tf.Tensor, norm: tf.Tensor, gate: Gate) -> tf.Tensor:
        """Applies rule (11): the proposed weights, or the current ones if the change is too large.

        Excluded groups keep their weights, so rule and norm are those of the others.

        Args:
            proposed: proposed weights, ``[adapted]``.
            norm: value of ``||R||^2`` for the adapted groups.
            gate: the rule.
        """
        norm = tf.cast(norm, proposed.dtype)
        importance = self.spread(self.importance_factors.value)
        change = tf.reduce_max(importance * (proposed - self.current_weights())) * norm
        first = self.gate_accepted.value + self.gate_rejected.value == 0
        constant = norm if gate.constant is None else tf.constant(gate.constant, norm.dtype)
        self.gate_constant.assign(tf.where(first, constant, self.gate_constant.value))
        # Without initial weights, the first proposal is Lambda(theta_0), which is not tested.
        judged = not set(self.initial_weights).isdisjoint(self.adapted)
        free = first & (not judged)
        time = self.num_steps.value - self.start_at - (0 if judged else 1)
        bound = gate.bound(tf.maximum(time, 0), self.gate_constant.value)
        accepted = free | (self.gate_sum.value + change <= bound)
        self.gate_sum.assign_add(tf.where(accepted & ~free, change, 0))
        self.gate_accepted.assign_add(tf.cast(accepted, tf.int64))
        self.gate_rejected.assign_add(tf.cast(~accepted, tf.int64))
        return tf.where(accepted, proposed, self.current_weights())

    def _check_rules(self) -> None:
        if not (len(self.bounds) == 2 and 0 <= self.bounds[0] < self.bounds[1]):
            raise ValueError(
                "bounds must be two numbers, 0 <= smallest < largest. "
                f"Received bounds={self.bounds}."
            )
        if self.gate is not None and not isinstance(self.gate, Gate):
            raise TypeError(
                "gate must be an ntk_keras.weighting.Gate, as in gate=Gate(), or None. "
                f"Received {self.gate!r}."
            )
        if self.freeze_at is not None and self.freeze_at <= self.start_at:
            raise ValueError(
                f"freeze_at must come after start_at={self.start_at}, or no weight would ever "
                f"change. Received freeze_at={self.freeze_at}."
            )
