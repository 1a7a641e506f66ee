"""The view of a network that a residual receives: called like it, and asked for derivatives."""

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any, Literal, get_args

import tensorflow as tf

from ntk_keras.backend import precision, private_names
from ntk_keras.backend.layer_hook import LayerHook
from ntk_keras.derivatives import propagation
from ntk_keras.derivatives.channels import VALUE, Channel, SecondOrder, describe
from ntk_keras.derivatives.jets import Jet, seed

__all__ = ["Mode", "NetworkView", "RequestedDerivatives"]

Mode = Literal["auto", "tapes", "taylor"]


@dataclasses.dataclass
class RequestedDerivatives:
    """What residuals of one kind have asked of a network, so that the next is served at once.

    Attributes:
        evaluations: the channels asked for at the first, second, ... set of points.
        fallbacks: why something was left to nested tapes.
    """

    evaluations: list[dict[Channel, None]] = dataclasses.field(default_factory=list)
    fallbacks: list[str] = dataclasses.field(default_factory=list)

    def learn(self, number: int, channels: Iterable[Channel]) -> None:
        """Notes what an evaluation was asked for, except what the next cannot ask for again."""
        while len(self.evaluations) <= number:
            self.evaluations.append({})
        lasting = [c for c in channels if not isinstance(c, SecondOrder) or c.constant]
        self.evaluations[number].update(dict.fromkeys(lasting))

    def __str__(self) -> str:
        parts = [", ".join(map(describe, channels)) for channels in self.evaluations]
        if self.fallbacks:
            parts.append("nested tapes, because " + "; ".join(self.fallbacks))
        return " | ".join(parts) or "nothing yet"


@dataclasses.dataclass
class _Evaluation:
    """A network at points, in the graph that was being built."""

    points: tf.Tensor
    graph: Any
    outputs: Jet


class NetworkView:
    """A network as residuals see it.

    Called, it is the network. The functions of :mod:`ntk_keras.derivatives` ask it first how to
    differentiate, and it answers by forward propagation where every layer has a rule.

    Args:
        network: a Keras model or layer.
        mode: ``"auto"`` differentiates forward if every layer has a rule; ``"tapes"`` never;
            ``"taylor"`` raises where it cannot.
        training: passed to the network when it is called as a whole.
        reuse: whether all that is asked of this view at the same tensor of points is computed once.
            Such a view serves one evaluation of a residual, so that no value outlives the
            parameters it was computed with. Points that a gradient tape watches are never shared,
            so that the tape sees how its values came about; a tape that watches anything else must
            be open before the first request.
        requested: with ``reuse``, what earlier views of the same residual were asked for, so that
            this one computes it all at the first request; extended by this one.
        hook: told of every Dense layer that channels pass.
        unknowns: unknown coefficients of the equations by name, for residuals to read.

    Attributes:
        network: the network.
        unknowns: as given.
        unsupported: why it cannot be differentiated forward, None if it can.
        fallbacks: what of this view's work was left to nested tapes, and why. As long as it is
            empty, the hook has seen everything.

    Raises:
        ValueError: for an unknown mode, or a network that ``"taylor"`` cannot serve: names the
            layer.
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
    ):
        if mode not in get_args(Mode):
            raise ValueError(f"derivatives must be one of {get_args(Mode)}. Received {mode!r}.")
        self.network = network
        self.unknowns = {} if unknowns is None else unknowns
        self.unsupported = _why_unsupported(network, mode)
        self.fallbacks: list[str] = []
        self.requested = RequestedDerivatives() if requested is None else requested
        self._training = training
        self._reuse = reuse
        self._hook = hook
        self._evaluations: list[_Evaluation] = []

    def __call__(self, *inputs: Any, **kwargs: Any) -> Any:
        """The network's outputs.

        Args:
            *inputs: what the network takes: points, or several columns.
            **kwargs: whatever else its call takes.

        Raises:
            ValueError: for points of a width that the network does not take, or complex ones,
                whose imaginary part Keras would drop.
        """
        _check_kind(inputs, self.network)
        if len(inputs) == 1 and not kwargs:
            values = self.derivative_channels(inputs[0], [VALUE])
            if values is not None:
                return values[0]
        else:
            self._note("it is called with several arguments")
        outputs = self.network(*inputs, **{"training": self._training, **kwargs})
        return tf.nest.map_structure(self._widened, outputs)

    def _widened(self, output: tf.Tensor) -> tf.Tensor:
        """Half precision in the dtype of the parameters, anything else as it is."""
        # Squares of residuals and traces leave the range of float16, which ends at 65 504; the
        # network's own values seldom do.
        half = output.dtype in (tf.float16, tf.bfloat16)
        return tf.cast(output, precision.parameter_dtype(self.network)) if half else output

    def derivative_channels(
        self, points: Any, channels: Sequence[Channel]
    ) -> list[tf.Tensor] | None:
        """Derivatives of the outputs, or None where nested tapes have to serve.

        Args:
            points: ``[n, d]``.
            channels: what to compute.

        Returns:
            ``[n, outputs]`` for each channel.

        Raises:
            ValueError: for points of a width that the network does not take.
        """
        if not self.network.built:  # nor can it be asked anything before its first call
            return None
        _check_width(points, self.network)
        if tf.is_tensor(points):
            points = tf.convert_to_tensor(points)  # in a graph, the capture of an eager tensor
        reason = self.unsupported or _unsuitable(points, self.network)
        if reason is not None:
            self._note(reason)
            return None
        if private_names.tape_watches(points):
            self._note("a gradient tape watches its points")
            return _values(self._propagated(points), channels, [])
        if not self._reuse:
            return _values(self._propagated(points), channels, [])
        number, evaluation = self._evaluation(points)
        self.requested.learn(number, channels)
        return _values(evaluation.outputs, channels, self.requested.evaluations[number])

    def _evaluation(self, points: tf.Tensor) -> tuple[int, _Evaluation]:
        """The network at these points in the present graph, and which in turn it is."""
        place = None if tf.executing_eagerly() else tf.compat.v1.get_default_graph()
        for number, evaluation in enumerate(self._evaluations):
            if evaluation.points is points and evaluation.graph is place:
                return number, evaluation
        self._evaluations.append(_Evaluation(points, place, self._propagated(points)))
        return len(self._evaluations) - 1, self._evaluations[-1]

    def _propagated(self, points: tf.Tensor) -> Jet:
        jet = seed(points, everywhere=self._hook is not None)
        return propagation.propagate(self.network, jet, self._hook)

    def _note(self, reason: str) -> None:
        for fallbacks in (self.fallbacks, self.requested.fallbacks):
            if reason not in fallbacks:
                fallbacks.append(reason)


def _values(outputs: Jet, channels: Sequence[Channel], expected: Iterable[Channel]) -> list:
    """The channels, zeros included; with them in one pass those that are expected."""
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
    unsupported = propagation.why_unsupported(network, _input_dtype(network))
    if unsupported is not None and mode == "taylor" and network.built:
        raise ValueError(
            f'The network cannot be differentiated forward, as derivatives="taylor" demands: '
            f'{unsupported}. Use derivatives="auto", which takes nested tapes for such a network.'
        )
    return unsupported


def _input_dtype(network: Any) -> str:
    inputs = getattr(network, "inputs", None)
    return inputs[0].dtype if inputs else network.compute_dtype


def _unsuitable(points: Any, network: Any) -> str | None:
    """Why points cannot be seeds of channels, None if they can."""
    if not tf.is_tensor(points) or points.shape.rank != 2 or points.shape[1] is None:
        return "its points are no tensor [n, d]"
    if points.dtype.name != _input_dtype(network):
        return f"its points are {points.dtype.name}, the network takes {_input_dtype(network)}"
    return None


def _check_kind(inputs: Any, network: Any) -> None:
    """Refuses complex inputs of a network that takes real ones."""
    given = [tf.as_dtype(x.dtype) for x in tf.nest.flatten(inputs) if hasattr(x, "dtype")]
    wanted = [tf.as_dtype(x.dtype) for x in getattr(network, "inputs", None) or []]
    complex_given = [dtype.name for dtype in given if dtype.is_complex]
    if complex_given and wanted and not any(dtype.is_complex for dtype in wanted):
        raise ValueError(
            f"points are {complex_given[0]}, but the network takes real ones. Give real and "
            "imaginary part as two columns."
        )


def _check_width(points: Any, network: Any) -> None:
    """Refuses points of wrong width, which some layers would broadcast."""
    expected = getattr(network, "input_shape", None)
    received = getattr(points, "shape", None)
    if isinstance(expected, tuple) and expected and received is not None:
        width, wanted = received[-1] if len(received) else None, expected[-1]
        if isinstance(wanted, int) and width != wanted:
            raise ValueError(f"points of width {width}, but the network takes {wanted}.")
