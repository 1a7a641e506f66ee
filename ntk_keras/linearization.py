"""The stacked residual R(theta), recorded so that it can be differentiated with respect to theta.

The neural tangent kernel is made of one Jacobian, ``J = dR/dtheta`` of shape ``[n, p]``: everything
that is estimated about ``K = J J^T`` comes from products with ``J`` and its transpose. This module
is the only one that touches the parameters: it takes residual blocks as plain functions and
parameters as a list of ``tf.Variable`` or ``keras.Variable``, and knows no model.
"""

import contextlib
import copy
import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

__all__ = ["Block", "Linearization", "Recording", "parameters_at"]

Variables = Sequence[tf.Variable | keras.Variable]


@dataclasses.dataclass(frozen=True)
class Block:
    """One block R_b of the stacked residual.

    Attributes:
        residual: maps ``points`` to residuals ``[n]`` or ``[n, k]``. Each row must depend on its
            own point only. Without points it takes no argument, and rows may depend on anything.
        points: a tensor or any nest of tensors that share their first axis, of length ``n``.
        scale: constant factor of the residual, ``1 / sqrt(n k)`` under the mean convention.
    """

    residual: Callable[..., tf.Tensor]
    points: Any = None
    scale: tf.Tensor | float = 1.0

    def __call__(self) -> tf.Tensor:
        """The block's residuals at the present parameters, ``[n * k]``, point by point."""
        return self.at(self.points)

    def at(self, points: Any) -> tf.Tensor:
        """The residuals of other points, with the scale of this block, ``[m * k]``."""
        values = self.residual() if points is None else self.residual(points)
        values = tf.reshape(values, [-1])
        # A Python number as it is: a cast would round it to single precision on the way.
        scale = tf.cast(self.scale, values.dtype) if tf.is_tensor(self.scale) else self.scale
        return values * scale


class Linearization:
    """R(theta) at the present parameters, with products by J and J^T.

    Vectors in residual space are dicts of ``[n_b]`` by block, vectors in parameter space lists of
    tensors in the order and shapes of ``variables``.

    Attributes:
        residuals: R(theta) by block, each ``[n_b]``.
        variables: the parameters theta, in the order given.

    Args:
        blocks: residual blocks by name; any function without arguments will do for a block.
        variables: the parameters theta.
    """

    def __init__(self, blocks: Mapping[str, Block | Callable[[], tf.Tensor]], variables: Variables):
        self.blocks = {
            name: block if isinstance(block, Block) else Block(block)
            for name, block in blocks.items()
        }
        self.variables = list(variables)
        self._theta = tensors(self.variables)
        with tf.GradientTape(persistent=True, watch_accessed_variables=False) as tape:
            tape.watch(self._theta)
            self.residuals = self._evaluate()
        self._tape = tape

    def vjp(self, cotangents: Mapping[str, tf.Tensor]) -> list[tf.Tensor]:
        """J^T v, one reverse pass over the recorded residuals.

        Args:
            cotangents: v by block, each ``[n_b]``; a block left out counts as zero.

        Returns:
            One tensor for each variable, in its shape.
        """
        names = list(cotangents)
        return self._tape.gradient(
            [self.residuals[name] for name in names],
            self._theta,
            output_gradients=[cotangents[name] for name in names],
            unconnected_gradients=tf.UnconnectedGradients.ZERO,
        )

    def product(self, vector: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """K v = J (J^T v), without forming J or K.

        J^T v is one reverse pass. It is linear in v, so differentiating ``<J^T v, w>`` with respect
        to v gives J w: a second reverse pass, through the first ("double reverse"), which unlike
        forward accumulation also compiles with XLA.

        Args:
            vector: v by block, each ``[n_b]``; a block left out counts as zero.

        Returns:
            K v by block, for the blocks of ``vector``, each ``[n_b]``.
        """
        names = list(vector)
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch([vector[name] for name in names])
            pulled = self.vjp(vector)
        pushed = tape.gradient(
            pulled,
            [vector[name] for name in names],
            output_gradients=[tf.stop_gradient(part) for part in pulled],
            unconnected_gradients=tf.UnconnectedGradients.ZERO,
        )
        return dict(zip(names, pushed, strict=True))

    def residuals_at(self, parameters: Sequence[tf.Tensor]) -> dict[str, tf.Tensor]:
        """R at other parameters; the variables keep their values bit for bit.

        Args:
            parameters: one tensor for each variable.

        Returns:
            Residuals by block, each ``[n_b]``.
        """
        with parameters_at(self.variables, parameters):
            return self._evaluate()

    def restricted(self, *names: str) -> "Linearization":
        """Some blocks alone, on the same recording: their products do no work for the others."""
        part = copy.copy(self)
        part.blocks = {name: self.blocks[name] for name in names}
        part.residuals = {name: self.residuals[name] for name in names}
        return part

    def without(self, *names: str) -> "Linearization":
        """The same recording as a function of the other parameters; those named are constants.

        Args:
            names: names or paths of variables.

        Raises:
            ValueError: for a name that no variable has, or if none is left.
        """
        known = [_names_of(variable) for variable in self.variables]
        kept = [index for index, own in enumerate(known) if own.isdisjoint(names)]
        unknown = sorted(set(names).difference(*known))
        if unknown or not kept:
            trouble = f"{unknown} are not variables" if unknown else "no variable would be left"
            raise ValueError(
                f"Leaving {list(names)} out of the kernel: {trouble}. There are "
                f"{[max(own, key=len) for own in known]}."
            )
        part = copy.copy(self)
        part.variables = [self.variables[index] for index in kept]
        part._theta = [self._theta[index] for index in kept]
        return part

    def shifted(self, direction: Sequence[tf.Tensor], step: tf.Tensor) -> list[tf.Tensor]:
        """Theta + step * direction, as tensors."""
        return [
            theta + tf.cast(step, theta.dtype) * change
            for theta, change in zip(self._theta, direction, strict=True)
        ]

    @property
    def parameters(self) -> list[tf.Tensor]:
        """Theta, one tensor for each variable."""
        return [tf.convert_to_tensor(theta) for theta in self._theta]

    def norm(self) -> tf.Tensor:
        """Euclidean norm of theta."""
        return tf.linalg.global_norm(self.parameters)

    def _evaluate(self) -> dict[str, tf.Tensor]:
        return {name: block() for name, block in self.blocks.items()}


class Recording(Linearization):
    """R(theta) as somebody else's persistent tape has recorded it, with products by J and J^T.

    What needs residuals at other parameters or points is not to be had from a tape.

    Args:
        residuals: by name, ``[n]`` or ``[n, k]``, computed from ``variables`` under ``tape``.
        tape: persistent.
        variables: the parameters theta.

    Raises:
        ValueError: for a tape that is not persistent, or that has recorded no way from a residual
            to the variables.
    """

    def __init__(
        self,
        residuals: Mapping[str, tf.Tensor],
        tape: tf.GradientTape,
        variables: Variables,
    ):
        self.blocks = {name: Block(_refuse) for name in residuals}
        self.variables = list(variables)
        self._theta = tensors(self.variables)
        self._tape = tape
        self._recorded = dict(residuals)
        self.residuals = {name: tf.reshape(r, [-1]) for name, r in residuals.items()}
        self._check()

    def vjp(self, cotangents: Mapping[str, tf.Tensor]) -> list[tf.Tensor]:
        """J^T v, one reverse pass over the tape; arguments as for :class:`Linearization`."""
        recorded = {name: self._recorded[name] for name in cotangents}
        return self._tape.gradient(
            list(recorded.values()),
            self._theta,
            output_gradients=[tf.reshape(cotangents[n], tf.shape(r)) for n, r in recorded.items()],
            unconnected_gradients=tf.UnconnectedGradients.ZERO,
        )

    def _check(self) -> None:
        if not getattr(self._tape, "_persistent", True):
            raise ValueError(
                "Weights take several reverse passes over the tape. Make it persistent: "
                "tf.GradientTape(persistent=True)."
            )
        lost = [
            name
            for name, residual in self._recorded.items()
            if all(g is None for g in self._tape.gradient(residual, self._theta))
        ]
        if lost:
            raise ValueError(
                f"The tape has recorded no way from {lost} to the variables. Compute residuals "
                "from the network inside `with tape:`, and pass the variables they depend on."
            )


def _refuse() -> tf.Tensor:
    """Stands for the function of a recorded residual, which is not known."""
    raise ValueError(
        "A tape holds residuals at the present parameters and points only. Give functions that "
        'compute them instead, or choose an estimator that needs no others: "reverse" or "product".'
    )


@contextlib.contextmanager
def parameters_at(variables: Variables, values: Sequence[tf.Tensor]) -> Iterator[None]:
    """Lets functions of ``variables`` see ``values`` instead, inside a ``with`` statement.

    A ``keras.Variable`` is never written: Keras' stateless scope shows the values to whoever reads
    it. A bare ``tf.Variable`` knows no such scope, so its value is saved, replaced and put back;
    it is not moved back by subtraction, which would let rounding make it drift.

    Args:
        variables: the parameters to replace.
        values: one tensor for each variable.
    """
    pairs = list(zip(variables, values, strict=True))
    keras_pairs = [pair for pair in pairs if isinstance(pair[0], keras.Variable)]
    bare_pairs = [pair for pair in pairs if not isinstance(pair[0], keras.Variable)]
    saved = [tf.identity(variable) for variable, _ in bare_pairs]
    try:
        for variable, value in bare_pairs:
            variable.assign(value)
        with keras.StatelessScope(state_mapping=keras_pairs):
            yield
    finally:
        for (variable, _), value in zip(bare_pairs, saved, strict=True):
            variable.assign(value)


def _names_of(variable: tf.Variable | keras.Variable) -> set[str]:
    """What a user may call a variable: its name, and its path among layers."""
    return {variable.name.removesuffix(":0"), getattr(variable, "path", variable.name)}


def tensors(variables: Variables) -> list[Any]:
    """What a gradient tape can watch: the ``tf.Variable`` behind a ``keras.Variable``."""
    return [v.value if isinstance(v, keras.Variable) else v for v in variables]
