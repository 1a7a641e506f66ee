"""The protocol of all weightings."""

import inspect
import types
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from ntk_keras.backend.state_holder import StateHolder
from ntk_keras.kernel.linearization import Linearization
from ntk_keras.kernel.scaled_rows import ScaledRows
from ntk_keras.weighting.causal import Causal, TimeWeights, check_causal

__all__ = ["Weighting", "by_name", "check_weights"]


def by_name(names: Iterable[str], values: tf.Tensor | None) -> dict[str, float]:
    """Returns values ``[names]`` as floats by name; nothing for None.

    Args:
        names: names of the values.
        values: tensor ``[names]``, outside a graph.
    """
    return {} if values is None else dict(zip(names, values.numpy().tolist(), strict=True))


def check_weights(weights: Mapping[str, float], what: str = "loss weight") -> dict[str, float]:
    """Returns weights chosen by hand, as floats.

    Args:
        weights: weights by group.
        what: name of the weights, for messages.

    Raises:
        TypeError: if it is not a dict of numbers.
        ValueError: if a weight is negative or not finite.
    """
    if not isinstance(weights, Mapping):
        raise TypeError(
            f"Give a {what} by group, as in {{'boundary': 10.0}}. Received {weights!r}."
        )
    checked = {}
    for group, weight in weights.items():
        try:
            checked[group] = float("none" if isinstance(weight, str) else weight)
        except (TypeError, ValueError):
            raise TypeError(
                f"A {what} must be a number, as in {{'boundary': 10.0}}; a dict that names a "
                f"weighting has the key 'name'. Received {weight!r} for {group!r}."
            ) from None
        if not 0 <= checked[group] < float("inf"):
            raise ValueError(
                f"A {what} must be finite and not negative. Received {weight} for group {group!r}."
            )
    return checked


def _arguments(kind: type) -> Iterator[str]:
    """Yields the constructor arguments of a class and its bases down to Keras' own."""
    own = [base for base in kind.__mro__ if issubclass(base, Weighting)]
    for base in own:
        if "__init__" in vars(base):
            parameters = inspect.signature(base).parameters.values()
            yield from (p.name for p in parameters if p.kind is not p.VAR_KEYWORD)


@keras.saving.register_keras_serializable("ntk_keras")
class Weighting(StateHolder):
    """A strategy that gives every group of loss terms its weight.

    Its state lives in Keras variables, so it is saved, restored and distributed with its model, and
    a changed weight never retraces the step. Subclasses override :meth:`build_state` and
    :meth:`update`.

    Args:
        causal: weights of residual entries by their time, on top of the groups' weights.
        **kwargs: further arguments of a Keras layer.

    Attributes:
        groups: names of the groups, in the order of :attr:`loss_weights`.
        adapted: groups whose weights the strategy changes, in the order of :attr:`traces`: all of
            them, unless some are excluded.
        exclude_variables: names or paths of variables that the kernel leaves out.
        loss_weights: weights lambda that the strategy has found, a variable ``[groups]``.
        importance_factors: the user's factors on top of them, a variable ``[groups]``; the products
            are the weights in use, :attr:`effective_weights`.
        uses_kernel: whether the weights depend on the kernel, which requires each residual row to
            be a function of its own point.
        differentiates: whether an update takes products with the Jacobian or its rows.
        distributes: whether several replicas can share the strategy.
        in_time: current causal weights, if there is a model; None otherwise.
    """

    uses_kernel = False
    differentiates = False
    distributes = True
    groups: tuple[str, ...] = ()
    _settings: frozenset[str] = frozenset()  # which a model depends on, once there is one
    exclude: tuple[str, ...] = ()
    exclude_variables: tuple[str, ...] = ()
    importance: Mapping[str, float] = types.MappingProxyType({})
    loss_weights: keras.Variable
    importance_factors: keras.Variable
    in_time: TimeWeights | None = None

    def __init__(self, *, causal: Causal | None = None, **kwargs: Any):
        super().__init__(**kwargs)
        self.causal = check_causal(causal)

    def prepare(
        self, group_of: Mapping[str, str], dtype: str, sizes: Mapping[str, int | None]
    ) -> None:
        """Creates the state. The model calls this once, when it is constructed.

        Args:
            group_of: group of every term, in the order of the residual blocks.
            dtype: dtype of the state, that of the network's parameters.
            sizes: number of residual entries of every term, None if it may change.
        """
        if self.groups:
            raise ValueError(
                f"This {type(self).__name__} already belongs to a model with groups {self.groups}: "
                "its state cannot serve two. Construct one weighting for each model."
            )
        if not self.distributes and tf.distribute.get_strategy().num_replicas_in_sync > 1:
            raise ValueError(
                f"This {type(self).__name__} cannot be shared by several replicas. Weigh by "
                "traces (`NTK`, `ExactNTK`), losses or gradients under tf.distribute, or build the "
                "model outside the strategy's scope."
            )
        if self.causal is not None and tf.distribute.get_strategy().num_replicas_in_sync > 1:
            raise ValueError(
                "Causal weights compare points of all times, of which a replica has a part. Build "
                "the model outside the strategy's scope, or leave out `causal`."
            )
        self._group_of = dict(group_of)
        self.groups = tuple(dict.fromkeys(group_of.values()))
        self.check_groups(self.exclude)
        self.adapted = tuple(group for group in self.groups if group not in self.exclude)
        self.state_dtype = dtype
        self.loss_weights = self.add_state("loss_weights", [len(self.groups)], "ones")
        self.build_state(sizes)
        if self.causal is not None:
            self.in_time = TimeWeights(self.causal, self.add_state)
        # The last variable: files from before it existed are loaded without it.
        self.importance_factors = self.add_state("importance_factors", [len(self.groups)], "ones")
        self.set_importance(self.importance)
        self.warned: set[str] = set()  # groups whose user was told that a bound holds their weight
        self.built = True
        self._settings = frozenset(_arguments(type(self)))

    def __setattr__(self, name: str, value: Any) -> None:
        if name in self._settings:
            raise AttributeError(
                f"This {type(self).__name__} belongs to a model whose steps are compiled with its "
                f"{name}, so a change would be ignored. Build a new model on the same network with "
                f"the weighting that you want. Factors, and constant weights, change at any time "
                "by model.set_importance and model.set_loss_weights."
            )
        super().__setattr__(name, value)

    def check_sizes(self, sizes: Mapping[str, int | None]) -> None:
        """Refuses terms of another length, if the state holds a value for each entry.

        Args:
            sizes: number of residual entries of every term, None if it may change.
        """

    def add_state(
        self, name: str, shape: Sequence[int], initializer: str = "zeros", dtype: str | None = None
    ) -> keras.Variable:
        """Adds a variable that is saved with the model and not changed by its optimizer."""
        return self.add_weight(
            shape=tuple(shape),
            initializer=initializer,
            dtype=dtype or self.state_dtype,
            trainable=False,
            autocast=False,
            name=name,
        )

    def build_state(self, sizes: Mapping[str, int | None]) -> None:
        """Creates the variables of a subclass."""

    def follow(self, linearization: Linearization, seed: tf.Tensor) -> None:
        """Performs one step: causal weights, then :meth:`update` on the rows they produce.

        What all bins wait for is left out of these rows, as adaptive weights would undo it.

        Args:
            linearization: residual by term, recorded at the current parameters.
            seed: integers ``[2]``, new at every step.
        """
        if self.in_time is not None:
            parts = self.in_time.update(linearization)
            factors = {term: tf.sqrt(part) for term, part in parts.items()}
            linearization = ScaledRows(linearization, factors)
        self.update(linearization, seed)

    def update(self, linearization: Linearization, seed: tf.Tensor) -> None:
        """Updates :attr:`loss_weights`, inside the compiled step.

        Args:
            linearization: residual by term, recorded at the current parameters.
            seed: integers ``[2]``, new at every step.
        """

    def pool(self, by_term: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """Sums scalars by term into ``[adapted]``: a group's trace is the sum of its terms'."""
        pooled = [
            tf.add_n([tf.cast(by_term[term], self.state_dtype) for term in self.terms_of(group)])
            for group in self.adapted
        ]
        return tf.stack(pooled)

    def terms_of(self, group: str) -> list[str]:
        """Returns the terms of a group, in the order of the residual blocks."""
        return [term for term, its_group in self._group_of.items() if its_group == group]

    def weight_of(self, term: str, residual: tf.Tensor) -> tf.Tensor:
        """Returns the current weight of a term's residual.

        Args:
            term: name of the term.
            residual: tensor ``[n_b]``.

        Returns:
            A scalar, the weight of the term's group; or ``[n_b]``, a weight for every entry.
        """
        weight = self.effective_weights[self.groups.index(self._group_of[term])]
        return tf.cast(weight, residual.dtype)

    def weights_at(self, term: str, residual: tf.Tensor, points: Any = None) -> tf.Tensor:
        """Returns the current weight of a term's residual times the weight of its time.

        Args:
            term: name of the term.
            residual: tensor ``[n_b]``.
            points: points of the residual; without them the mean over time counts.

        Returns:
            A scalar or ``[n_b]``.
        """
        weight = self.weight_of(term, residual)
        return weight if self.in_time is None else weight * self.in_time.at(term, residual, points)

    @property
    def effective_weights(self) -> tf.Tensor:
        """The weights in use, ``[groups]``: the strategy's times the importance factors."""
        return self.importance_factors.value * self.loss_weights.value

    def set_loss_weights(self, weights: Mapping[str, float]) -> None:
        """Sets weights by hand; other groups keep theirs.

        Args:
            weights: weights in use from now on, by group; importance factors become one.

        Raises:
            TypeError: if it is not a dict of numbers.
            ValueError: if a weight is negative or not finite, or no term belongs to a group.
        """
        weights = check_weights(weights)
        self.check_groups(weights)
        self._assign(self.loss_weights, weights)
        self._assign(self.importance_factors, dict.fromkeys(weights, 1.0))

    def set_importance(self, importance: Mapping[str, float]) -> None:
        """Sets the factors on top of the strategy's weights; other groups keep theirs.

        Args:
            importance: factors by group.

        Raises:
            TypeError: if it is not a dict of numbers.
            ValueError: if a factor is negative or not finite, or no term belongs to a group.
        """
        importance = check_weights(importance, "factor of importance")
        self.check_groups(importance)
        self._assign(self.importance_factors, importance)

    def load_own_variables(self, store: Any) -> None:
        """Loads as for any layer; older files without importance factors leave them unchanged.

        Args:
            store: variables by number.
        """
        last = str(len(self.variables))
        if last not in store.keys():  # noqa: SIM118, a group of an HDF5 file
            kept = self.importance_factors.numpy()
            store = {**{key: store[key] for key in store.keys()}, last: kept}  # noqa: SIM118
        super().load_own_variables(store)

    def _assign(self, variable: keras.Variable, by_group: Mapping[str, float]) -> None:
        """Assigns some entries of a variable ``[groups]``."""
        present = dict(zip(self.groups, variable.numpy(), strict=True))
        variable.assign(list({**present, **by_group}.values()))

    def check_groups(self, named: Sequence[str] | Mapping[str, float]) -> None:
        """Raises ValueError for a name that is not a group."""
        unknown = sorted(set(named) - set(self.groups))
        if unknown:
            raise ValueError(
                f"{type(self).__name__} names groups that no term belongs to: {unknown}. "
                f"The groups are {list(self.groups)}."
            )

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments, for Keras."""
        config = super().get_config()
        if self.causal is None:
            return config
        return {**config, "causal": keras.saving.serialize_keras_object(self.causal)}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Weighting":
        """Creates the strategy from its configuration, which does not contain its state."""
        return cls(**keras.saving.deserialize_keras_object(config))

    @property
    def variables(self) -> list[keras.Variable]:
        """The strategy's variables, without the importance factors, which only the user changes."""
        return [v for v in super().variables if v is not getattr(self, "importance_factors", None)]

    @property
    def state(self) -> list[keras.Variable]:
        """Every variable that an update changes."""
        return self.variables

    @property
    def traces(self) -> tf.Tensor | None:
        """The trace estimates behind the weights, ``[adapted]``; None if there are none."""
        return None

    @property
    def standard_errors(self) -> tf.Tensor | None:
        """Standard errors of :attr:`traces`, ``[adapted]``; None if they are not known."""
        return None

    def logs(self) -> dict[str, tf.Tensor]:
        """Returns scalars for the logs: ``weights/<group>``, and those of causal weights."""
        weights = tf.unstack(self.effective_weights)
        by_group = {f"weights/{g}": w for g, w in zip(self.groups, weights, strict=True)}
        return by_group if self.in_time is None else {**by_group, **self.in_time.logs()}
