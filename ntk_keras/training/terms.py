"""Loss terms: a name, a pointwise residual, and the points where it is to vanish."""

import operator
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal

import keras
import numpy as np
import tensorflow as tf

from ntk_keras.backend import replicas, saving
from ntk_keras.backend.inlining import inlined_functions
from ntk_keras.derivatives.axis_names import as_names, named_columns
from ntk_keras.domains import Sampler
from ntk_keras.domains.moving import WeightedPoints
from ntk_keras.training.points import as_tensors, check_points, is_array_like
from ntk_keras.training.row_shapes import RowShapes, side_by_side

__all__ = ["Reduction", "Term", "check_terms", "mean_scale"]

Reduction = Literal["sum", "mean"]


@keras.saving.register_keras_serializable("ntk_keras")
class Term:
    """One term of a physics-informed loss.

    ``term.points`` and ``term.residual`` may be set to others at any time, by a callback too: the
    next step uses them, after it is compiled anew. Points that change often and keep their number
    are best held in a ``tf.Variable``, whose ``assign`` needs no compilation. Arrays are copied, so
    that what is written to them afterwards cannot be missed.

    Args:
        name: names the term in logs, plots and messages.
        residual: ``residual(u, points)`` returns ``[n]`` or ``[n, k]``, row i from point i alone,
            or a tuple of such components, which the loss squares: of an energy or another loss
            give what has it as its square; ``u`` is the network, callable on points.
        points: where the residual is to vanish. A tensor or any nest of tensors that share their
            first axis stays the same; a :class:`~ntk_keras.domains.Sampler` draws new points at
            every step, a :class:`~ntk_keras.domains.MovingSampler` moves them; None takes them from
            the data given to ``fit``. Reaches ``residual`` as it is, except that floats and complex
            numbers become tensors of the network's precision, as do columns of integers ``[n, d]``
            and integers that are all there is.
        group: terms of one group share one weight; the group is the term's own name by default.
        axes: names of the columns of points, ``("t", "x")``, by which the residual may take
            derivatives. Points that are drawn from a box have its names; terms without any go by
            those of the other terms, if these agree.

    Raises:
        ValueError: for an empty name, one with a slash, axes that are no names, or points that are
            empty, of unequal length or not finite.
        TypeError: if the residual is not callable.
        AttributeError: once it is made, for another name or group, by which logs and weights go.
    """

    name: str
    residual: Callable[[Any, Any], tf.Tensor]
    group: str
    points: Any
    _axes: tuple[str, ...] | None
    _tensors: dict[str, Any]
    _leaves: list[Any]
    calls_python: bool = False  # as far as was seen before training
    _row_shapes: RowShapes

    def __init__(
        self,
        name: str,
        residual: Callable[[Any, Any], tf.Tensor],
        points: Any = None,
        *,
        group: str | None = None,
        axes: Sequence[str] | str | None = None,
    ):
        for label in (name,) if group is None else (name, group):
            if not isinstance(label, str) or not label or "/" in label:
                raise ValueError(
                    "A term and its group need names that are not empty and hold no slash, which "
                    f"TensorBoard would take for a folder. Received {label!r}."
                )
        self.name = name
        self.group = group or name
        self._axes = as_names(axes)
        self.residual = residual
        self.points = points

    def __setattr__(self, name: str, value: Any) -> None:
        if name in ("name", "group") and name in vars(self):
            raise AttributeError(
                f"Term {self.name!r} keeps its {name}, by which its logs and weights go. Received "
                f"{value!r}. Make another one: Term({self.name!r}, residual, points, group=...)."
            )
        if name == "residual" and not callable(value):
            raise TypeError(
                f"Term {self.name!r}: residual must be callable as residual(u, points). "
                f"Received {value!r}."
            )
        if name == "residual":
            super().__setattr__("_row_shapes", RowShapes())
        if name == "points":
            value = _read_only(self.name, value)
            super().__setattr__("_tensors", {})  # of the points before
            super().__setattr__("_leaves", tf.nest.flatten(value))
        super().__setattr__(name, value)

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
            "axes": self._axes,
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
        return cls(name, residual, points, group=config["group"], axes=config.get("axes"))

    @classmethod
    def columns(
        cls,
        names: Sequence[str],
        residual: Callable[[Any, Any], tf.Tensor],
        points: Any = None,
        *,
        group: str | None = None,
        axes: Sequence[str] | str | None = None,
    ) -> list["Term"]:
        """A term for every component of one residual, each with a weight of its own.

        A sampler draws points for each of them; fixed points are shared.

        Args:
            names: of the components, in the order of the columns.
            residual: returns ``[n, k]`` or a tuple, k the number of names.
            points: as for a term.
            group: that all of them belong to; each is its own by default.
            axes: as for a term.
        """
        return [
            cls(name, Column(residual, index, len(names)), points, group=group, axes=axes)
            for index, name in enumerate(names)
        ]

    def evaluate(self, u: Any, points: Any) -> Any:
        """The residual at points; the components of a tuple side by side.

        Args:
            u: the network.
            points: where; rows at :class:`WeightedPoints` are multiplied by the factors.
        """
        if isinstance(points, WeightedPoints):
            values = self.evaluate(u, points.points)
            factors = tf.cast(points.factors, values.dtype)
            return values * (factors if values.shape.rank == 1 else factors[:, tf.newaxis])
        with inlined_functions(), named_columns(u):
            values = self.residual(u, points)
        return side_by_side(self._row_shapes(values, points))

    @property
    def axes(self) -> tuple[str, ...] | None:
        """Names of the columns of points; None if neither the term nor its sampler has any."""
        own: Any = self.points.axes if isinstance(self.points, Sampler) else None
        # A sampler of one's own may mean something else by the word.
        named = isinstance(own, list | tuple) and all(isinstance(name, str) for name in own)
        return self._axes or (tuple(own) if named else None)

    @property
    def redrawn(self) -> bool:
        """Whether the points change from step to step."""
        return self.points is None or isinstance(self.points, Sampler)

    @property
    def num_points(self) -> int | None:
        """The number of points in a step; None where the data given to ``fit`` has them."""
        if self.points is None or isinstance(self.points, Sampler):
            return getattr(self.points, "num_points", None)
        return int(tf.nest.flatten(self.points)[0].shape[0])

    def share_of_step(self, points: Any) -> float:
        """What a sum over other points is multiplied by to compare to that of a step.

        Args:
            points: a nest of tensors.
        """
        num_points = tf.nest.flatten(points)[0].shape[0]
        return (self.num_points or num_points) / num_points

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
        leaves = tf.nest.flatten(self.points)
        if len(leaves) != len(self._leaves) or any(map(operator.is_not, leaves, self._leaves)):
            self.points = self.points  # somebody put others into their dict or list
        if dtype not in self._tensors:
            # Made outside of the graph that asks, which takes them as an input: constants would be
            # part of it, of 2 GB at most, and folded when it is compiled.
            with tf.init_scope():
                self._tensors[dtype] = as_tensors(self.points, dtype, with_variables=True)
        return as_tensors(self._tensors[dtype], dtype)


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
        self._row_shapes = RowShapes()

    def __setattr__(self, name: str, value: Any) -> None:
        if hasattr(self, "_row_shapes"):
            raise AttributeError(
                f"A column keeps its {name}. Set the residual of the term instead, to another "
                "column: Term.columns(names, residual)[index].residual."
            )
        super().__setattr__(name, value)

    def __call__(self, u: Any, points: Any) -> tf.Tensor:
        """The component at points."""
        values = side_by_side(self._row_shapes(self.residual(u, points), points))
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


def _read_only(name: str, points: Any) -> Any:
    """Points that were checked, and whose arrays nobody can write to."""
    if points is None or isinstance(points, Sampler):
        return points
    points = tf.nest.map_structure(
        lambda x: x.value if isinstance(x, keras.Variable) else x, points
    )
    check_points(name, points)

    def copied(value: Any) -> Any:
        if not (isinstance(value, np.ndarray) or is_array_like(value)):
            return value
        value = np.array(value)
        value.flags.writeable = False
        return value

    return tf.nest.map_structure(copied, points)
