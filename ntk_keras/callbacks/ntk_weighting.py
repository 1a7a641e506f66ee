"""NTK weights for any other Keras model: Algorithm 1 as a callback."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from ntk_keras import kernel
from ntk_keras.backend.checks import check_count, check_range
from ntk_keras.backend.variables import Unassigned, is_connected, watchable
from ntk_keras.kernel.block import Block, named_blocks
from ntk_keras.kernel.coupling import is_coupled
from ntk_keras.training import weight_warnings
from ntk_keras.weighting import floors, weights_from_traces
from ntk_keras.weighting.base import check_weights

__all__ = ["NTKWeighting"]


class NTKWeighting(keras.callbacks.Callback):
    """Sets a model's loss weights to ``Tr K / Tr K_bb`` from the exact kernel, every n steps.

    The model must expose its residuals, and weights that can be assigned and are read by its
    training step, such as ``self.add_weight(initializer="ones", trainable=False)`` for each loss
    term. A plain Python number would be frozen into the compiled step.

    Args:
        residuals: residuals by name. Each is a :class:`~ntk_keras.kernel.block.Block`, a function
            of points with points, which costs one gradient per point; or a function without
            arguments that returns ``[n]`` or ``[n, k]``, which costs one pass over all points per
            residual. By default ``model.residuals``.
        loss_weights: objects with ``assign``, by name; or a function of the dict of weights. By
            default ``model.loss_weights``.
        update_every: number n of steps between updates; the first update precedes the first step.
        averaging_rate: rate alpha of a moving average over updates, in (0, 1]; the default 1 is
            Algorithm 1.
        variables: parameters theta; by default the model's trainable variables.
        importance: factors by name on top of ``Tr K / Tr K_bb``.
        trace_floor: smallest share of the total trace that a block may have, in (0, 1). By default
            there is none, as the traces are exact, but a trace of zero counts as 1e-5.
        chunk_size: number of points, or of entries of residuals without points, whose gradients are
            computed at a time; chosen by memory by default.

    Attributes:
        importance: the factors; a change counts from the next update on.
        traces: current traces by name, floats.
        weights: current weights by name, floats; logged as ``weights/<name>``.

    Raises:
        ValueError: if an argument is out of range; before training starts, if names do not match or
            residuals do not depend on the variables.

    Reference:
        Algorithm 1 and equation (5).

    Example::

        # `model.train_step` reads its variables `equation_weight` and `boundary_weight`.
        weighting = nk.callbacks.NTKWeighting(
            {"equation": nk.Block(model.equation, x), "boundary": nk.Block(model, ends)},
            {"equation": model.equation_weight, "boundary": model.boundary_weight},
            update_every=100,
        )
        model.compile("adam")
        model.fit(data, epochs=10, steps_per_epoch=100, callbacks=[weighting])
    """

    def __init__(
        self,
        residuals: Mapping[str, Block | Callable[[], tf.Tensor]] | None = None,
        loss_weights: Mapping[str, Any] | Callable[[dict[str, float]], None] | None = None,
        *,
        update_every: int = 1000,
        averaging_rate: float = 1.0,
        variables: Sequence[Any] | None = None,
        importance: Mapping[str, float] | None = None,
        trace_floor: float | None = None,
        chunk_size: int | None = None,
    ):
        super().__init__()
        self.residuals = residuals
        self.loss_weights = loss_weights
        self.update_every = check_count("update_every", update_every)
        self.averaging_rate = check_range("averaging_rate", averaging_rate, "(0, 1]")
        self.variables = variables
        self.importance = check_weights(importance or {}, "factor of importance")
        if trace_floor is not None:
            check_range("trace_floor", trace_floor, "(0, 1)")
        self.trace_floor = trace_floor
        self.chunk_size = None if chunk_size is None else check_count("chunk_size", chunk_size)
        self.traces: dict[str, float] = {}
        self.weights: dict[str, float] = {}
        self._steps = self._iterations = 0
        self._warned: set[str] = set()
        self._compute: Callable[[], tf.Tensor] | None = None

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Finds residuals and weights, and compiles the traces."""
        residuals = self._given("residuals")
        self._targets = self._given("loss_weights")
        if isinstance(self._targets, Mapping):
            self._check_targets(residuals, self._targets)
        variables = self.variables or self.model.trainable_variables
        if not variables:
            raise ValueError(
                "NTKWeighting found no trainable variables. Build the model before `fit`, by "
                "calling it on a point, or pass `variables=`."
            )
        self._names = list(residuals)
        unknown = sorted(set(self.importance) - set(residuals))
        if unknown:
            raise ValueError(f"importance names {unknown}. The residuals are {self._names}.")
        unconnected = _unconnected(residuals, variables)
        if unconnected:
            raise ValueError(
                f"The residuals of {unconnected} do not depend on the variables that are trained. "
                "Compute them from the model that `fit` trains, which a loaded model is not."
            )
        blocks = {name: _examined(block) for name, block in named_blocks(residuals).items()}

        def compute() -> tf.Tensor:
            with Unassigned():  # averages that layers keep are the training step's
                traces = kernel.traces(blocks, variables, chunk_size=self.chunk_size)
            return tf.stack(list(traces.values()))

        self._compute = tf.function(compute, autograph=False)

    def on_train_batch_begin(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Updates the weights if n steps have passed."""
        # Keras calls this once for `steps_per_execution` steps.
        if self._steps % self.update_every < getattr(self.model, "steps_per_execution", 1):
            self.update()
        self._iterations = self._iterations_done()

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Counts the completed steps: fewer if the data of an epoch ends."""
        moved = self._iterations_done() - self._iterations
        self._steps += moved or getattr(self.model, "steps_per_execution", 1)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Adds the weights to the logs."""
        if logs is not None:
            logs.update({f"weights/{name}": weight for name, weight in self.weights.items()})

    def update(self) -> None:
        """Computes the traces at the current parameters and sets the weights."""
        if self._compute is None:
            raise RuntimeError("NTKWeighting.update needs the model that `fit` gives it.")
        computed = self._compute().numpy()
        traces = computed.astype("float64")
        if not np.all(np.isfinite(traces)):
            bad = [n for n, t in zip(self._names, traces, strict=True) if not np.isfinite(t)]
            raise ValueError(
                f"The kernel trace of {bad} is NaN or infinite at step {self._steps}: a residual "
                "or its gradient is not finite at the present parameters."
            )
        if self.traces:
            previous = np.array(list(self.traces.values()))
            traces = (1 - self.averaging_rate) * previous + self.averaging_rate * traces
        # No lower than the dtype that the model computes in can represent.
        least = np.where(traces > 0, floors.smallest(tf.as_dtype(computed.dtype)), floors.SAMPLED)
        weights = weights_from_traces(tf.constant(traces), self.trace_floor or least).numpy()
        self.traces = dict(zip(self._names, traces.tolist(), strict=True))
        self._warn(traces.astype(computed.dtype))
        by_name = zip(self._names, weights.tolist(), strict=True)
        self.weights = {name: self.importance.get(name, 1.0) * weight for name, weight in by_name}
        if callable(self._targets):
            self._targets(self.weights)
        else:
            for name, weight in self.weights.items():
                self._targets[name].assign(weight)

    def _warn(self, traces: np.ndarray) -> None:
        """Warns of traces that are zero or below the floor."""
        weight_warnings.warn_of_zero_traces(self._warned, self.traces, self._vanishes)
        by_name = dict(zip(self._names, traces, strict=True))
        held = floors.held_weights(by_name, self.trace_floor, sampled=())
        weight_warnings.warn_of_held_weights(self._warned, held)

    def _vanishes(self, name: str) -> bool:
        return not np.any(named_blocks(self._given("residuals"))[name]())

    def _iterations_done(self) -> int:
        """Returns the steps of the model's optimizer; none if a step uses another one."""
        optimizer = getattr(self.model, "optimizer", None)
        return 0 if optimizer is None else int(optimizer.iterations.numpy())

    def _given(self, attribute: str) -> Any:
        """Returns the argument of this name, or the model's attribute."""
        given = getattr(self, attribute)
        found = getattr(self.model, attribute, None) if given is None else given
        fits = isinstance(found, Mapping) or (attribute == "loss_weights" and callable(found))
        if not fits:
            raise ValueError(
                f"NTKWeighting found no `{attribute}`: pass `{attribute}=` or give the model an "
                f"attribute `{attribute}`, a dict by name of loss term. Received {found!r}."
            )
        return found

    def _check_targets(self, residuals: Mapping[str, Any], targets: Mapping[str, Any]) -> None:
        fixed = sorted(name for name, t in targets.items() if not hasattr(t, "assign"))
        if set(residuals) != set(targets) or fixed:
            raise ValueError(
                "NTKWeighting needs one assignable weight, a keras.Variable or tf.Variable, for "
                f"each residual. Residuals: {sorted(residuals)}; weights: {sorted(targets)}; "
                f"not assignable: {fixed}."
            )
        trained = {id(variable) for variable in watchable(self.model.trainable_variables)}
        moved = sorted(name for name, t in targets.items() if id(watchable([t])[0]) in trained)
        if moved:
            raise ValueError(
                f"The weights of {moved} are trainable, so the optimizer would move them too. Make "
                "them with `trainable=False`."
            )


def _examined(block: Block) -> Block:
    """Returns a block that reports whether its rows depend on other points."""
    return block if block.is_whole else dataclasses.replace(block, coupled=is_coupled(block))


def _unconnected(residuals: Mapping[str, Any], variables: Sequence[Any]) -> list[str]:
    """Returns the names of those that depend on none of the variables."""
    found: list[str] = []

    def look() -> None:
        for name, block in named_blocks(residuals).items():
            with tf.GradientTape(watch_accessed_variables=False) as tape:
                tape.watch(watchable(variables))
                values = block()
            if not is_connected(tape, values, watchable(variables)):
                found.append(name)

    tf.function(look, autograph=False).get_concrete_function()
    return found
