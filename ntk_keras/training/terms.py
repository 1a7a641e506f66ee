"""Loss terms: a name, a pointwise residual, and the points where it should vanish."""

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

    ``term.points`` and ``term.residual`` may be reassigned at any time, also by a callback. The
    next step is recompiled and uses them. Points that change often but keep their number are best
    held in a ``tf.Variable``, whose ``assign`` needs no compilation. Arrays are copied, so later
    writes to them have no effect.

    Args:
        name: name of the term in logs, plots and messages.
        residual: function ``residual(u, points)`` that returns ``[n]`` or ``[n, k]`` or a tuple of
            such components, with row i computed from point i alone. ``u`` is the network. The loss
            squares the residual: to minimise an energy, return its square root.
        points: where the residual should vanish: a tensor or nest of tensors that share their first
            axis, a :class:`~ntk_keras.domains.Sampler`, which draws new points at every step, a
            :class:`~ntk_keras.domains.MovingSampler`, which moves them, or None for the data given
            to ``fit``. Floats and complex numbers are cast to the network's precision, as are
            integers that are columns ``[n, d]`` or the only points.
        group: name of the group, whose terms share one weight; by default the term's own name.
        axes: names of the columns of points, as in ``("t", "x")``, for use in derivatives. Sampled
            points have those of their box; terms without names use the others' if these agree.

    Raises:
        ValueError: if a name is empty or has a slash, axes are not names, or points are empty, of
            unequal length or not finite.
        TypeError: if the residual is not callable.
        AttributeError: if the name or group is changed later.

    Example::

        def decay(u, points):
            return nk.derivatives.partial(u, points, "t")[:, 0] + u(points)[:, 0]

        term = nk.Term("equation", decay, nk.domains.Box(t=(0, 1)).interior(64))
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
        """Returns the arguments, for Keras.

        Raises:
            ValueError: if the residual or a sampler is not registered with Keras.
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
        """Creates the term from its configuration, as Keras stores it.

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
        """Creates a term for each component of one residual, each with its own weight.

        A sampler draws separate points for each term. Fixed points are shared.

        Args:
            names: names of the components, in the order of the columns.
            residual: function that returns ``[n, k]`` or a tuple, with k the number of names.
            points: points as for a term.
            group: group of all of them; by default each is its own.
            axes: names of the columns, as for a term.
        """
        return [
            cls(name, Column(residual, index, len(names)), points, group=group, axes=axes)
            for index, name in enumerate(names)
        ]

    def evaluate(self, u: Any, points: Any) -> Any:
        """Returns the residual at points, with the components of a tuple side by side.

        Args:
            u: network.
            points: nest of tensors; rows at :class:`WeightedPoints` are multiplied by the factors.
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
        # A custom sampler may use the word for something else.
        named = isinstance(own, list | tuple) and all(isinstance(name, str) for name in own)
        return self._axes or (tuple(own) if named else None)

    @property
    def redrawn(self) -> bool:
        """Whether the points change from step to step."""
        return self.points is None or isinstance(self.points, Sampler)

    @property
    def num_points(self) -> int | None:
        """The number of points in a step; None if they come from the data given to ``fit``."""
        if self.points is None or isinstance(self.points, Sampler):
            return getattr(self.points, "num_points", None)
        return int(tf.nest.flatten(self.points)[0].shape[0])

    def share_of_step(self, points: Any) -> float:
        """Returns the factor that scales a sum over other points to the size of a step's.

        Args:
            points: nest of tensors.
        """
        num_points = tf.nest.flatten(points)[0].shape[0]
        return (self.num_points or num_points) / num_points

    def points_at(self, seed: tf.Tensor, dtype: str) -> Any:
        """Returns the points of one step, a tensor or nest of tensors.

        Args:
            seed: integers ``[2]``, used by samplers only.
            dtype: dtype of the network, and so of points that are floats.
        """
        if isinstance(self.points, Sampler):
            return self.points.draw(seed, dtype)
        leaves = tf.nest.flatten(self.points)
        if len(leaves) != len(self._leaves) or any(map(operator.is_not, leaves, self._leaves)):
            self.points = self.points  # somebody put others into their dict or list
        if dtype not in self._tensors:
            # Created outside the calling graph, which takes them as inputs. Constants would be part
            # of the graph, which is limited to 2 GB, and would be folded at compile time.
            with tf.init_scope():
                self._tensors[dtype] = as_tensors(self.points, dtype, with_variables=True)
        return as_tensors(self._tensors[dtype], dtype)


@keras.saving.register_keras_serializable("ntk_keras")
class Column:
    """One component of a residual, ``[n]``.

    Args:
        residual: function that returns ``[n, k]`` or a tuple.
        index: index of the component.
        count: number of components k, which is checked.

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
        """Returns the component at points."""
        values = side_by_side(self._row_shapes(self.residual(u, points), points))
        if values.shape.rank != 2 or values.shape[1] != self.count:
            raise ValueError(
                f"the residual has shape {tuple(values.shape)}, but there are names for "
                f"{self.count} columns."
            )
        return values[:, self.index]

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments, for Keras. Raises ValueError for an unregistered residual."""
        residual = saving.serialize("A residual with columns", self.residual)
        return {"residual": residual, "index": self.index, "count": self.count}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Column":
        """Creates the component from its configuration, as Keras stores it."""
        residual = saving.deserialize("A residual with columns", config["residual"])
        return cls(residual, config["index"], config["count"])


def mean_scale(residual: Callable[[Any], tf.Tensor], points: Any) -> tf.Tensor:
    """Returns ``1 / sqrt(n_b)``, the factor of a residual under ``"mean"``.

    Here ``n_b`` is points times components. With ``R_b / sqrt(n_b)`` in place of ``R_b``, loss,
    kernel and traces all become means over points. The paper's sum convention needs no factor.

    Args:
        residual: function from points to residuals ``[n]`` or ``[n, k]``.
        points: nest of tensors.

    Returns:
        A scalar. On several replicas ``n_b`` counts the points of all.
    """
    values = residual(points)
    return tf.math.rsqrt(tf.cast(replicas.all_reduce_sum(tf.size(values)), values.dtype))


def check_terms(terms: Iterable[Term]) -> tuple[Term, ...]:
    """Returns the terms as a tuple. A single term is accepted too.

    Raises:
        ValueError: if there are none, or two share a name.
        TypeError: if one of them is not a term.
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
    """Returns checked points whose arrays are read-only."""
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
