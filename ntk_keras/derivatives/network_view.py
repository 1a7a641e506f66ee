"""The view of a network that a residual receives, called like the network, with derivatives."""

import dataclasses
import operator
from collections.abc import Iterable, Sequence
from typing import Any, Literal, get_args

import keras
import tensorflow as tf

from ntk_keras.backend import precision, private_names
from ntk_keras.backend.autograph import unconverted
from ntk_keras.backend.layer_hook import LayerHook
from ntk_keras.derivatives import propagation
from ntk_keras.derivatives.axis_names import as_names
from ntk_keras.derivatives.channels import VALUE, Channel, SecondOrder, describe
from ntk_keras.derivatives.jets import Jet
from ntk_keras.derivatives.network_inputs import (
    arguments,
    as_columns,
    check_kind,
    input_dtype,
    positions,
    seeds,
)
from ntk_keras.derivatives.output_view import OutputView, place_of

__all__ = ["Mode", "NetworkView", "RequestedDerivatives"]

Mode = Literal["auto", "tapes", "taylor"]


@dataclasses.dataclass
class RequestedDerivatives:
    """Derivatives requested by residuals of one kind, so that they can be computed at once.

    Attributes:
        evaluations: channels requested at the first, second, ... set of points.
        fallbacks: reasons why something was left to nested tapes.
    """

    evaluations: list[dict[Channel, None]] = dataclasses.field(default_factory=list)
    fallbacks: list[str] = dataclasses.field(default_factory=list)

    def learn(self, number: int, channels: Iterable[Channel]) -> None:
        """Records what an evaluation requested, except what the next cannot request again."""
        while len(self.evaluations) <= number:
            self.evaluations.append({})
        lasting = [c for c in channels if not isinstance(c, SecondOrder) or c.constant]
        self.evaluations[number].update(dict.fromkeys(lasting))

    def __str__(self) -> str:
        parts = [", ".join(map(describe, channels)) for channels in self.evaluations]
        if self.fallbacks:
            parts.append("nested tapes, because " + "; ".join(self.fallbacks))
        return " | ".join(parts) or "nothing yet"


@dataclasses.dataclass(eq=False)
class _Evaluation:
    """A network at its inputs, in the graph that was being built."""

    inputs: Sequence[tf.Tensor]
    graph: Any
    outputs: list[Jet]
    shared: bool = False


class NetworkView:
    """A network as residuals see it.

    Calling the view calls the network. All attributes that it lacks, such as ``layers``,
    ``trainable_variables`` and ``get_layer``, are the network's. The functions of
    :mod:`ntk_keras.derivatives` ask it first how to differentiate, and it answers by forward
    propagation if every layer has a rule.

    Args:
        network: Keras model or layer.
        mode: ``"auto"`` differentiates forward if every layer has a rule; ``"tapes"`` never does;
            ``"taylor"`` raises if it cannot.
        training: flag passed to the network when it is called as a whole.
        reuse: whether all requests at the same tensor of points share one computation. Such a view
            serves one evaluation of a residual, so that no value outlives the parameters it was
            computed with. Points that a gradient tape watches are never shared, so the tape sees
            how its values arose; a tape that watches anything else must be open before the first
            request.
        requested: derivatives that earlier views of the same residual were asked for, which with
            ``reuse`` are all computed at the first request; extended by this view.
        hook: function called for every Dense layer that channels pass.
        unknowns: unknown coefficients of the equations by name, for residuals to read.
        axes: names of the columns of points, for use in derivatives.

    Attributes:
        network: the network.
        axes: names of the columns, a tuple; None if there are none.
        unknowns: unknown coefficients by name.
        unsupported: reason why it cannot be differentiated forward, None if it can.
        fallbacks: parts of this view's work left to nested tapes, and why. As long as it is empty,
            the hook has seen everything.

    Raises:
        ValueError: if the mode is unknown, axes are not names, or ``"taylor"`` cannot serve the
            network; the message names the layer.
    """

    def __init__(
        self,
        network: Any,
        mode: Mode = "auto",
        *,
        training: bool | None = None,
        reuse: bool = False,
        requested: RequestedDerivatives | None = None,
        hook: LayerHook | None = None,
        unknowns: Any = None,
        axes: Sequence[str] | str | None = None,
    ):
        if mode not in get_args(Mode):
            raise ValueError(f"derivatives must be one of {get_args(Mode)}. Received {mode!r}.")
        self.network = network
        self.unknowns = {} if unknowns is None else unknowns
        self.axes = as_names(axes)
        self.unsupported = _why_unsupported(network, mode)
        self.fallbacks: list[str] = []
        self.requested = RequestedDerivatives() if requested is None else requested
        self._training = training
        self._reuse = reuse
        self._hook = hook
        self._evaluations: list[_Evaluation] = []
        self._served: list[tuple[_Evaluation, int]] = []

    def __getattr__(self, name: str) -> Any:
        """Returns any other attribute of the network: ``layers``, ``trainable_variables``, ..."""
        if name.startswith("__") or "network" not in self.__dict__:
            raise AttributeError(name)
        return getattr(self.network, name)

    def __getitem__(self, key: Any) -> "OutputView":
        """Returns one of several outputs, to be called and differentiated like a network.

        Args:
            key: key of the dict, or index of the list, that the network returns.
        """
        return OutputView(self, key)

    @unconverted
    def __call__(self, *inputs: Any, **kwargs: Any) -> Any:
        """Returns the network's outputs.

        Args:
            *inputs: inputs of the network: points, or several columns.
            **kwargs: further arguments of its call. ``training`` is that of the step by default.

        Raises:
            ValueError: if points have another width than the network takes, or are complex, as
                Keras would drop the imaginary part.
        """
        check_kind(inputs, self.network)
        training = kwargs.pop("training", self._training)
        if len(inputs) == 1 and isinstance(inputs[0], list | tuple):
            inputs = tuple(inputs[0]) if len(getattr(self.network, "inputs", ())) > 1 else inputs
        if not kwargs:
            evaluation = self._evaluated(inputs)
            if evaluation is not None:
                places = range(len(evaluation.outputs))
                values = [self._channels(evaluation, k, [VALUE])[0] for k in places]
                return keras.tree.map_structure(values.__getitem__, positions(self.network))
        else:
            self._note("it is called with several arguments")
        outputs = self.network(*arguments(inputs, self.network), training=training, **kwargs)
        return tf.nest.map_structure(self._widened, outputs)

    call = __call__

    def predict(self, *inputs: Any, **kwargs: Any) -> Any:
        """Raises an error, as predictions are numbers through which nothing can be trained.

        Raises:
            TypeError: always.
        """
        raise TypeError("`predict` gives numbers that no gradient passes. Call u(points)")

    def _widened(self, output: tf.Tensor) -> tf.Tensor:
        """Casts half precision to the dtype of the parameters; returns anything else unchanged."""
        # Squares of residuals and traces leave the range of float16, which ends at 65 504; the
        # network's own values seldom do.
        half = output.dtype in (tf.float16, tf.bfloat16)
        return tf.cast(output, precision.parameter_dtype(self.network)) if half else output

    def derivative_channels(
        self, points: Any, channels: Sequence[Channel], output: Any = None
    ) -> list[tf.Tensor] | None:
        """Returns derivatives of the outputs, or None if nested tapes have to be used.

        Args:
            points: points ``[n, d]``.
            channels: channels to compute.
            output: key of the dict or index of the list that the network returns, or a tuple of
                them if outputs are nested.

        Returns:
            ``[n, outputs]`` for each channel.

        Raises:
            ValueError: if points have another width than the network takes, or the output does not
                exist or is missing.
        """
        if not self.network.built:  # nor can it be asked anything before its first call
            return None
        place = place_of(positions(self.network), output, self.network)
        evaluation = self._evaluated([points])
        return None if evaluation is None else self._channels(evaluation, place, channels)

    def _evaluated(self, inputs: Sequence[Any]) -> _Evaluation | None:
        """Evaluates the network at these inputs in the current graph; None if unsupported."""
        if not self.network.built:
            return None
        # In a graph, the capture of an eager tensor.
        inputs = [tf.convert_to_tensor(x) if tf.is_tensor(x) else x for x in inputs]
        columns = as_columns(inputs, self.network)
        reason = self.unsupported or _unsuitable(columns, self.network)
        if reason is not None:
            self._note(reason)
            return None
        watched = any(map(private_names.tape_watches, inputs))
        if watched:
            self._note("a gradient tape watches its points")
        place = None if tf.executing_eagerly() else tf.compat.v1.get_default_graph()
        shared = self._reuse and not watched
        for known in self._evaluations if shared else ():
            same = len(known.inputs) == len(inputs) and all(map(operator.is_, known.inputs, inputs))
            if same and known.graph is place:
                return known
        jets = seeds(columns, everywhere=self._hook is not None)
        outputs = propagation.propagate(self.network, jets, self._hook)
        evaluation = _Evaluation(inputs, place, outputs, shared)
        if shared:
            self._evaluations.append(evaluation)
        return evaluation

    def _channels(
        self, evaluation: _Evaluation, place: int, channels: Sequence[Channel]
    ) -> list[tf.Tensor]:
        """Returns channels of one output, with those that similar residuals have requested."""
        outputs = evaluation.outputs[place]
        if not evaluation.shared:
            return _values(outputs, channels, [])
        if (evaluation, place) not in self._served:
            self._served.append((evaluation, place))
        number = self._served.index((evaluation, place))
        self.requested.learn(number, channels)
        return _values(outputs, channels, self.requested.evaluations[number])

    def _note(self, reason: str) -> None:
        for fallbacks in (self.fallbacks, self.requested.fallbacks):
            if reason not in fallbacks:
                fallbacks.append(reason)


def _values(outputs: Jet, channels: Sequence[Channel], expected: Iterable[Channel]) -> list:
    """Returns the channels, zeros included, computed in one pass with the expected ones."""
    outputs.take([*channels, *expected])
    rows = [outputs.row(c) for c in channels]
    if all(row is not None and row.shape[0] != 1 for row in rows):
        return rows
    outputs.take([VALUE])
    zeros = tf.zeros_like(outputs.row(VALUE))  # of all points
    return [zeros if row is None else row + zeros for row in rows]


def _why_unsupported(network: Any, mode: Mode) -> str | None:
    if mode == "tapes":
        return 'derivatives="tapes" was chosen'
    unsupported = propagation.why_unsupported(network, input_dtype(network))
    if unsupported is not None and mode == "taylor" and network.built:
        raise ValueError(
            f'The network cannot be differentiated forward, as derivatives="taylor" demands: '
            f'{unsupported}. Use derivatives="auto", which takes nested tapes for such a network.'
        )
    return unsupported


def _unsuitable(columns: Sequence[Any], network: Any) -> str | None:
    """Returns why inputs cannot be seeds of channels, None if they can."""
    if len(columns) != len(getattr(network, "inputs", None) or [None]):
        return "it is called with several arguments"
    wanted = input_dtype(network)
    for points in columns:
        if not tf.is_tensor(points) or points.shape.rank != 2 or points.shape[1] is None:
            return "its points are no tensor [n, d]"
        if points.dtype.name != wanted:
            return f"its points are {points.dtype.name}, the network takes {wanted}"
    return None
