"""The stacked residual R(theta), recorded so that it can be differentiated with respect to theta.

The neural tangent kernel is made of one Jacobian, ``J = dR/dtheta`` of shape ``[n, p]``: everything
that is estimated about ``K = J J^T`` comes from products with ``J`` and its transpose. This module
is the only one that touches the parameters: it takes residual blocks as plain functions and
parameters as a list of ``tf.Variable`` or ``keras.Variable``, and knows no model.
"""

import copy
import functools
from collections.abc import Callable, Mapping, Sequence

import tensorflow as tf

from ntk_keras.backend.autograph import unconverted
from ntk_keras.backend.graphs import run_each_sequentially, run_with_xla
from ntk_keras.backend.variables import Variables, names_of, parameters_at, watchable
from ntk_keras.kernel.block import Block, check_real
from ntk_keras.kernel.factored import FactoredJacobian
from ntk_keras.kernel.gram import gram, rows_of, symmetric_product
from ntk_keras.kernel.per_sample import flat_rows, map_entries, map_gradients, squared_norms

__all__ = ["Linearization"]


class Linearization:
    """The residual ``R(theta)`` at the current parameters, with products by J and ``J^T``.

    Vectors in residual space are dicts of ``[n_b]`` by block. Vectors in parameter space are lists
    of tensors in the order and shapes of ``variables``.

    Attributes:
        residuals: ``R(theta)`` by block, each ``[n_b]``.
        variables: parameters theta, in the order given.

    Args:
        blocks: residual blocks by name, or functions without arguments in their place.
        variables: parameters theta.
        factored: whether blocks that can be recorded keep their Jacobians in factored form
            (:mod:`ntk_keras.kernel.factored`). It costs as much as a plain reverse pass, and
            afterwards rows of J and products with J are cheap.
        jit_compile: whether XLA compiles diagonals in a graph on a CPU; False for never.
    """

    def __init__(
        self,
        blocks: Mapping[str, Block | Callable[[], tf.Tensor]],
        variables: Variables,
        *,
        factored: bool = False,
        jit_compile: bool = True,
    ):
        self.blocks = {
            name: block if isinstance(block, Block) else Block(block)
            for name, block in blocks.items()
        }
        self._compute = functools.partial(run_with_xla, enabled=jit_compile)
        self.variables = list(variables)
        check_real(self.variables)
        self._theta = watchable(self.variables)
        self._places = list(range(len(self._theta)))
        self._jacobians = {
            name: FactoredJacobian(block, variables)
            for name, block in self.blocks.items()
            if factored and block.can_factor(self.variables)
        }
        with tf.GradientTape(persistent=True, watch_accessed_variables=False) as tape:
            tape.watch(self._theta)
            taped = {n: block() for n, block in self.blocks.items() if n not in self._jacobians}
        self._tape = tape
        self.residuals = {
            name: self._jacobians[name].residual if name in self._jacobians else taped[name]
            for name in self.blocks
        }

    def __repr__(self) -> str:
        blocks = {name: residual.shape[0] for name, residual in self.residuals.items()}
        return f"{type(self).__name__}(residuals={blocks}, variables={len(self.variables)})"

    @unconverted
    def vjp(self, cotangents: Mapping[str, tf.Tensor]) -> list[tf.Tensor]:
        """Returns ``J^T v`` by one reverse pass over the recorded residuals.

        Args:
            cotangents: vector v by block, each ``[n_b]``; a block left out counts as zero.

        Returns:
            One tensor for each variable, in its shape.
        """
        factored = {name: v for name, v in cotangents.items() if name in self._jacobians}
        taped = {name: v for name, v in cotangents.items() if name not in self._jacobians}
        pulled = [self._jacobians[name].vjp(v) for name, v in factored.items()]
        by_tape = self._taped_vjp(taped) if taped or not factored else [None] * len(self._theta)
        return [
            _sum(theta, part, *(by_variable.get(place) for by_variable in pulled))
            for theta, part, place in zip(self._theta, by_tape, self._places, strict=True)
        ]

    @unconverted
    def loss_gradient(self, *names: str) -> tf.Tensor:
        """Returns the gradient ``J_b^T R_b`` of ``1/2 ||R_b||^2``, summed over blocks, ``[p]``."""
        pulled = self.vjp({name: self.residuals[name] for name in names})
        return tf.concat([tf.reshape(part, [-1]) for part in pulled], axis=0)

    @unconverted
    def product(self, vector: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Returns ``K v = J (J^T v)``, without forming J or K.

        Args:
            vector: vector v by block, each ``[n_b]``; a block left out counts as zero.

        Returns:
            ``K v`` by block, for the blocks of ``vector``, each ``[n_b]``.
        """
        pulled = [tf.stop_gradient(part) for part in self.vjp(vector)]
        return self.restricted(*vector).jvp(pulled)

    @unconverted
    def jvp(self, direction: Sequence[tf.Tensor]) -> dict[str, tf.Tensor]:
        """Returns ``J w``, without forming J.

        Args:
            direction: direction w, one tensor for each variable.

        Returns:
            ``[n_b]`` by block.
        """
        by_place = dict(zip(self._places, direction, strict=True))
        taped = {name: r for name, r in self.residuals.items() if name not in self._jacobians}
        pushed = self._taped_jvp(taped, list(direction))
        return {
            name: pushed[name] if name in taped else self._jacobians[name].jvp(by_place)
            for name in self.residuals
        }

    @unconverted
    def rows(self, name: str, subset: tf.Tensor | None = None) -> tf.Tensor:
        """Returns rows of J, as vectors in parameter space.

        Args:
            name: name of a block.
            subset: indices of its points, or of the entries of a block without points or with
                coupled ones; all by default.

        Returns:
            ``[m, p]``, point by point.
        """
        if name in self._jacobians:
            of_block = self._jacobians[name]
            return self._compute(lambda: rows_of(of_block, self._places, subset))
        return self._taped_rows(flat_rows, name, None, subset)

    def num_units(self, name: str) -> int | None:
        """Returns the number of points or entries of :meth:`rows`; None if a graph cannot know.

        Args:
            name: name of a block.
        """
        block = self.blocks[name]
        if block.is_whole:
            return self.residuals[name].shape[0]
        return tf.nest.flatten(block.points)[0].shape[0]

    def in_double(self) -> "Linearization":
        """Returns the same recording, with its factored blocks in double precision."""
        part = copy.copy(self)
        part._jacobians = {name: j.in_double() for name, j in self._jacobians.items()}
        part.residuals = {
            name: part._jacobians[name].residual if name in part._jacobians else residual
            for name, residual in self.residuals.items()
        }
        return part

    @unconverted
    def gram(self) -> tf.Tensor:
        """Returns ``K = J J^T`` of all blocks, ``[n, n]``, from factors if all are factored.

        Otherwise all rows of J are held at once.
        """
        if all(map(self.is_factored, self.blocks)):
            return gram([self._jacobians[name] for name in self.blocks], self._places)
        return symmetric_product(tf.concat(list(map(self.rows, self.blocks)), axis=0), axis=0)

    @unconverted
    def diagonal(
        self, subset: Mapping[str, tf.Tensor] | None = None, chunk_size: int | None = None
    ) -> dict[str, tf.Tensor]:
        """Returns ``K_ii = ||J_i||^2`` of every residual entry.

        Args:
            subset: indices by block of the points that count, or of the entries of a block without
                points or with coupled ones; all by default.
            chunk_size: number of points whose gradients are computed at a time if a block is not
                factored; chosen by memory by default.

        Returns:
            ``[n_b]`` by block, fewer with a subset.
        """
        chosen = subset or {}

        def factored(name: str) -> tf.Tensor:
            return self._jacobians[name].diagonal(self._places, chosen.get(name))

        def taped(name: str) -> tf.Tensor:
            return self._taped_rows(squared_norms, name, chunk_size, chosen.get(name))

        cheap = [name for name in self.blocks if name in self._jacobians]
        dear = [name for name in self.blocks if name not in self._jacobians]
        entries = self._compute(lambda: run_each_sequentially(factored, cheap)) if cheap else {}
        entries |= run_each_sequentially(taped, dear)
        return {name: entries[name] for name in self.blocks}

    @unconverted
    def residuals_at(self, parameters: Sequence[tf.Tensor]) -> dict[str, tf.Tensor]:
        """Returns R at other parameters; the variables keep their values bit for bit.

        Args:
            parameters: one tensor for each variable.

        Returns:
            Residuals by block, each ``[n_b]``.
        """
        with parameters_at(self.variables, parameters):
            return {name: block() for name, block in self.blocks.items()}

    def restricted(self, *names: str) -> "Linearization":
        """Returns some blocks of the recording, whose products do no work for the others."""
        part = copy.copy(self)
        part.blocks = {name: self.blocks[name] for name in names}
        part.residuals = {name: self.residuals[name] for name in names}
        return part

    def without(self, *names: str) -> "Linearization":
        """Returns the same recording with the named parameters as constants.

        Args:
            names: names or paths of variables.

        Raises:
            ValueError: if no variable has a name, or none is left.
        """
        if not names:
            return self
        known = [names_of(variable) for variable in self.variables]
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
        part._places = [self._places[index] for index in kept]
        return part

    def shifted(self, direction: Sequence[tf.Tensor], step: tf.Tensor) -> list[tf.Tensor]:
        """Returns ``theta + step * direction``, as tensors."""
        return [
            theta + tf.cast(step, theta.dtype) * change
            for theta, change in zip(self._theta, direction, strict=True)
        ]

    def is_factored(self, name: str) -> bool:
        """Whether a block keeps its Jacobian in factored form, so that its diagonal is cheap."""
        return name in self._jacobians

    @property
    def parameters(self) -> list[tf.Tensor]:
        """The parameters theta, one tensor for each variable."""
        return [tf.convert_to_tensor(theta) for theta in self._theta]

    def norm(self) -> tf.Tensor:
        """Returns the Euclidean norm of theta."""
        return tf.linalg.global_norm(self.parameters)

    def _taped_rows(
        self,
        reduce: Callable[[list[tf.Tensor]], tf.Tensor],
        name: str,
        chunk_size: int | None,
        subset: tf.Tensor | None,
    ) -> tf.Tensor:
        """Applies ``reduce`` to every gradient of a block that is not factored."""
        block = self.blocks[name]
        if not block.coupled:
            return map_gradients(reduce, block, self.variables, chunk_size, subset)
        return self._recorded_rows(reduce, name, chunk_size, subset)

    def _recorded_rows(
        self,
        reduce: Callable[[list[tf.Tensor]], tf.Tensor],
        name: str,
        chunk_size: int | None,
        subset: tf.Tensor | None,
    ) -> tf.Tensor:
        """Does the same by a reverse pass through the recording for each entry."""

        def gradient(cotangent: tf.Tensor) -> list[tf.Tensor]:
            return self._taped_vjp({name: cotangent})

        recorded = self.residuals[name]
        return map_entries(reduce, recorded, gradient, self.variables, chunk_size, subset)

    def _taped_vjp(self, cotangents: Mapping[str, tf.Tensor]) -> list[tf.Tensor]:
        return self._tape.gradient(
            [self.residuals[name] for name in cotangents],
            self._theta,
            output_gradients=list(cotangents.values()),
            unconnected_gradients=tf.UnconnectedGradients.ZERO,
        )

    def _taped_jvp(
        self, like: Mapping[str, tf.Tensor], direction: list[tf.Tensor]
    ) -> dict[str, tf.Tensor]:
        """Returns ``J w`` for taped blocks.

        The product ``J^T v`` is linear in v, so differentiating ``<J^T v, w>`` with respect to v
        gives ``J w``: a second reverse pass, through the first ("double reverse"), which unlike
        forward accumulation also compiles with XLA.

        Args:
            like: any cotangent by block.
            direction: direction w.
        """
        if not like:
            return {}
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(list(like.values()))
            pulled = self._taped_vjp(like)
        pushed = tape.gradient(
            pulled,
            list(like.values()),
            output_gradients=direction,
            unconnected_gradients=tf.UnconnectedGradients.ZERO,
        )
        return dict(zip(like, pushed, strict=True))


def _sum(like: tf.Variable, *parts: tf.Tensor | None) -> tf.Tensor:
    """Returns the sum of the parts that exist, in the shape of a variable."""
    present = [tf.reshape(part, like.shape) for part in parts if part is not None]
    return tf.add_n(present) if present else tf.zeros(like.shape, like.dtype)
