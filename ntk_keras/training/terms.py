"""Loss terms: a name, a pointwise residual, and the points where it is to vanish."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal

import keras
import numpy as np
import tensorflow as tf

from ntk_keras.backend import replicas, saving
from ntk_keras.domains import Box, Sampler

__all__ = ["Reduction", "Term", "check_points", "check_terms", "mean_scale"]

Reduction = Literal["sum", "mean"]


@keras.saving.register_keras_serializable("ntk_keras")
class Term:
    """One term of a physics-informed loss.

    Args:
        name: names the term in logs, plots and messages.
        residual: ``residual(u, points)`` returns ``[n]`` or ``[n, k]``, row i from point i alone,
            or a tuple of such components; ``u`` is the network, callable on points.
        points: where the residual is to vanish. A tensor or any nest of tensors that share their
            first axis stays the same; a :class:`~ntk_keras.domains.Sampler` draws new points at
            every step; None takes them from the data given to ``fit``. Reaches ``residual`` as it
            is, except that floats become tensors of the network's dtype.
        group: terms of one group share one weight; the group is the term's own name by default.

    Raises:
        ValueError: for an empty name, one with a slash, or points that are empty, of unequal length
            or not finite.
        TypeError: if the residual is not callable.
    """

    def __init__(
        self,
        name: str,
        residual: Callable[[Any, Any], tf.Tensor],
        points: Any = None,
        *,
        group: str | None = None,
    ):
        for label in (name,) if group is None else (name, group):
            if not isinstance(label, str) or not label or "/" in label:
                raise ValueError(
                    "A term and its group need names that are not empty and hold no slash, which "
                    f"TensorBoard would take for a folder. Received {label!r}."
                )
        if not callable(residual):
            raise TypeError(
                f"Term {name!r}: residual must be callable as residual(u, points). "
                f"Received {residual!r}."
            )
        self.name = name
        self.residual = residual
        self.group = group or name
        self.points = points
        if points is not None and not isinstance(points, Sampler):
            check_points(name, points)

    def __repr__(self) -> str:
        return f"Term({self.name!r}, group={self.group!r})"

    def get_config(self) -> dict[str, Any]:
        """The arguments, for Keras.

        Raises:
            ValueError: if the residual or a sampler is not registered with Keras, so that it could
                not be found again.
        """
        residual, points = f"Term {self.name!r}: its residual", f"Term {self.name!r}: its points"
        if isinstance(self.points, Sampler):
            sampler, fixed = saving.serialize(points, self.points), None
        else:
            sampler, fixed = None, self.points
        return {
            "name": self.name,
            "residual": saving.serialize(residual, self.residual),
            "sampler": sampler,
            "fixed": None if fixed is None else saving.serialize_points(points, fixed),
            "group": self.group,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Term":
        """The term of a configuration, as Keras stores it.

        Raises:
            ValueError: if its residual or sampler is not registered here.
        """
        name, points = config["name"], None
        if config["sampler"] is not None:
            points = saving.deserialize(f"Term {name!r}: its points", config["sampler"])
        elif config["fixed"] is not None:
            points = saving.deserialize_points(config["fixed"])
        residual = saving.deserialize(f"Term {name!r}: its residual", config["residual"])
        return cls(name, residual, points, group=config["group"])

    @classmethod
    def columns(
        cls,
        names: Sequence[str],
        residual: Callable[[Any, Any], tf.Tensor],
        points: Any = None,
        *,
        group: str | None = None,
    ) -> list["Term"]:
        """A term for every component of one residual, each with a weight of its own.

        A sampler draws points for each of them; fixed points are shared.

        Args:
            names: of the components, in the order of the columns.
            residual: returns ``[n, k]`` or a tuple, k the number of names.
            points: as for a term.
            group: that all of them belong to; each is its own by default.
        """
        return [
            cls(name, Column(residual, index, len(names)), points, group=group)
            for index, name in enumerate(names)
        ]

    def evaluate(self, u: Any, points: Any) -> Any:
        """The residual at points; the components of a tuple side by side.

        Args:
            u: the network.
            points: where.
        """
        return _side_by_side(self.residual(u, points))

    @property
    def redrawn(self) -> bool:
        """Whether the points change from step to step."""
        return self.points is None or isinstance(self.points, Sampler)

    def points_at(self, seed: tf.Tensor, dtype: str) -> Any:
        """The points of one step.

        Args:
            seed: ``[2]`` integers; used by a sampler only.
            dtype: of the network, and so of points that are floats.

        Returns:
            A tensor or nest of tensors.
        """
        if isinstance(self.points, Sampler):
            return self.points.draw(seed, dtype)
        return as_tensors(self.points, dtype)


@keras.saving.register_keras_serializable("ntk_keras")
class Column:
    """One component of a residual, ``[n]``.

    Args:
        residual: returns ``[n, k]`` or a tuple.
        index: of the component.
        count: k, which is checked.

    Raises:
        ValueError: when called, if there are more or fewer components.
    """

    def __init__(self, residual: Callable[[Any, Any], Any], index: int, count: int):
        if not callable(residual):
            raise TypeError(f"residual must be callable. Received {residual!r}.")
        self.residual = residual
        self.index = index
        self.count = count

    def __call__(self, u: Any, points: Any) -> tf.Tensor:
        """The component at points."""
        values = _side_by_side(self.residual(u, points))
        if values.shape.rank != 2 or values.shape[1] != self.count:
            raise ValueError(
                f"the residual has shape {tuple(values.shape)}, but there are names for "
                f"{self.count} columns."
            )
        return values[:, self.index]

    def get_config(self) -> dict[str, Any]:
        """The arguments, for Keras. Raises ValueError for a residual that is not registered."""
        residual = saving.serialize("A residual with columns", self.residual)
        return {"residual": residual, "index": self.index, "count": self.count}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Column":
        """The component of a configuration, as Keras stores it."""
        residual = saving.deserialize("A residual with columns", config["residual"])
        return cls(residual, config["index"], config["count"])


def mean_scale(residual: Callable[[Any], tf.Tensor], points: Any) -> tf.Tensor:
    """1 / sqrt(n_b), n_b = points x components: the factor of a residual under ``"mean"``.

    With R_b / sqrt(n_b) in place of R_b, loss, kernel and traces all become means over points. The
    sum convention, the paper's, needs no factor.

    Args:
        residual: maps points to residuals ``[n]`` or ``[n, k]``.
        points: a nest of tensors.

    Returns:
        A scalar; on several replicas n_b counts the points of all.
    """
    values = residual(points)
    return tf.math.rsqrt(tf.cast(replicas.all_reduce_sum(tf.size(values)), values.dtype))


def check_terms(terms: Iterable[Term]) -> tuple[Term, ...]:
    """The terms as a tuple; one alone will do.

    Raises:
        ValueError: if there are none, or two share a name.
        TypeError: for anything that is not a term.
    """
    terms = (terms,) if isinstance(terms, Term) else tuple(terms)
    for term in terms:
        if not isinstance(term, Term):
            raise TypeError(
                "Every term must be an ntk_keras.Term, as in Term(name, residual, points). "
                f"Received {term!r}."
            )
    names = [term.name for term in terms]
    if not terms:
        raise ValueError("A model needs at least one term. Received an empty list.")
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise ValueError(
            f"Every term needs a name of its own. Names used more than once: {repeated}. "
            "Terms that are to share a weight have different names and one `group`."
        )
    return terms


def check_points(name: str, points: Any) -> None:
    """Checks a nest of fixed points.

    Args:
        name: of the term, for the message.
        points: a nest of arrays or tensors.

    Raises:
        ValueError: if it is empty, its tensors differ in length, or a value is not finite.
    """
    if isinstance(points, Sampler):
        raise ValueError(
            f"Term {name!r}: data holds points, not samplers. Received {points!r}. Give the "
            "sampler to the Term, or its points, as in box.interior(100).fixed(seed=0)."
        )
    if isinstance(points, Box):
        raise ValueError(
            f"Term {name!r}: points must be points or a sampler. Received {points!r}. Say how many "
            "to draw from it, as in box.interior(100)."
        )
    tensors = [np.asarray(x) for x in tf.nest.flatten(points)]
    if len(tensors) > 1 and not any(x.ndim for x in tensors):
        raise ValueError(
            f"Term {name!r}: points are a nest of {len(tensors)} single numbers, as a list of "
            "lists is taken for. Pass one array, as in np.array(points)."
        )
    lengths = [x.shape[0] if x.ndim else None for x in tensors]
    if not tensors or None in lengths or 0 in lengths or len(set(lengths)) > 1:
        raise ValueError(
            f"Term {name!r}: points must be one tensor, or a nest of tensors, that share a first "
            f"axis of positive length. Received shapes {[x.shape for x in tensors]}."
        )
    for x in tensors:
        if np.issubdtype(x.dtype, np.floating) and not np.all(np.isfinite(x)):
            row = int(np.argwhere(~np.isfinite(x))[0][0])
            raise ValueError(
                f"Term {name!r}: points must be finite. Row {row} holds {x[row]}. "
                "Remove such rows, or mend what made them."
            )


def as_tensors(points: Any, dtype: str) -> Any:
    """A nest of points as tensors, floats in ``dtype``."""
    return tf.nest.map_structure(lambda x: _tensor(x, dtype), points)


def _side_by_side(values: Any) -> Any:
    """The components of a tuple as columns, ``[n, k]``; anything else as it is."""
    if not isinstance(values, tuple | list):
        return values
    return tf.concat([v if v.shape.rank == 2 else v[:, tf.newaxis] for v in values], axis=1)


def _tensor(value: Any, dtype: str) -> tf.Tensor:
    """Floats as a tensor of ``dtype``; everything else as TensorFlow takes it."""
    if not tf.is_tensor(value):
        # By NumPy: TensorFlow would round Python's numbers to single precision first.
        array = np.asarray(value)
        is_float = np.issubdtype(array.dtype, np.floating)
        return tf.constant(array, dtype if is_float else None)
    return tf.cast(value, dtype) if value.dtype.is_floating else tf.convert_to_tensor(value)


def check_keys(terms: Iterable[Term], data: Mapping[str, Any]) -> None:
    """Raises ValueError for data with a key that is no term's name."""
    names = {term.name for term in terms}
    unknown = sorted(set(data) - names)
    if unknown:
        raise ValueError(
            f"The data's keys must be names of terms. Unknown: {unknown}. Terms: {sorted(names)}."
        )


def by_term(terms: Iterable[Term], data: Mapping[str, Any]) -> Mapping[str, Any]:
    """Checks that data given by term names only terms and leaves none without points.

    Raises:
        ValueError: for a key that is no term, or a term left without points.
    """
    check_keys(terms, data)
    missing = sorted(t.name for t in terms if t.points is None and t.name not in data)
    if missing:
        raise ValueError(
            f"Terms without points: {missing}. Give them points when constructing the Term, or "
            "pass `fit` a dict, or a dataset of dicts, with their names as keys."
        )
    return data
