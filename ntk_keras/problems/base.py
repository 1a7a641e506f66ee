"""The definition of a problem: terms, a network, a reference solution, and settings as data."""

import dataclasses
import math
import numbers
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np
from matplotlib.figure import Figure

from ntk_keras import weighting
from ntk_keras.backend.checks import check_count
from ntk_keras.domains import Box, Shape
from ntk_keras.optimizers import NaturalGradient
from ntk_keras.training.terms import Reduction, Term

__all__ = ["OPTIMIZERS", "Problem", "Settings", "without_effect"]

OPTIMIZERS: Mapping[str, Callable[..., keras.optimizers.Optimizer]] = {
    "adam": keras.optimizers.Adam,
    "sgd": keras.optimizers.SGD,
    "natural-gradient": NaturalGradient,
}

MOST_AXES_OF_A_GRID = 3


@dataclasses.dataclass(frozen=True)
class Settings:
    """Everything that determines a run, as plain data.

    Attributes:
        problem: name of the problem.
        preset: name of the preset that the settings began as.
        weighting: name in :data:`ntk_keras.weighting.WEIGHTINGS`.
        seed: integer for network, points and probes.
        width: number of neurons in each hidden layer.
        depth: number of hidden layers.
        activation: activation of the hidden layers: ``"sin"``, ``"sin_tanh"``, see
            :func:`ntk_keras.networks.sin_tanh`, or a name that Keras knows.
        input_scale: standard deviation of the inputs that the first hidden layer receives.
        points: number of points by term.
        steps: number of training steps.
        steps_per_epoch: number of steps from one row of the history, and one checkpoint, to the
            next.
        optimizer: name in :data:`OPTIMIZERS`. ``"natural-gradient"`` determines its step lengths
            itself, whatever the learning rate.
        learning_rate: learning rate at the start.
        decay_rate: factor of the learning rate every ``decay_steps`` steps; 1 keeps it.
        decay_steps: number of steps, see ``decay_rate``.
        estimator: estimator of the traces under ``"ntk"``: a name, or one with arguments.
        averaging_rate: rate alpha of Algorithm 3; None for what suits the estimator.
        num_initial_probes: number N of Algorithm 3.
        update_every: number n of Algorithm 1, steps between updates of the weights; None for the
            weighting's usual value.
        redrawn: whether points are drawn anew at every step.
        reduction: ``"sum"`` or ``"mean"``.
        dtype: dtype of the network.
        average: content of the moving average under ``"ntk"``, ``"traces"`` or ``"kernel"``.
        parameters: parameters of the problem that differ from its defaults; see
            :attr:`Problem.parameters`.
        lbfgs_steps: number of L-BFGS iterations after the training steps, at fixed points and loss
            weights; see :func:`ntk_keras.training.lbfgs.polish`.
        jit_compile: whether XLA compiles the training step; None for what suits the device.
        equation_scale: factor of the residual named ``"equation"``, or else of the first term, to
            see whether results depend on its unit.
        source: file or module that defines the problem, and the name in it, such as
            ``"/home/me/heat.py:PROBLEM"``; None for a built-in problem.

    Raises:
        ValueError: if a count is not positive, steps do not fill their epochs, or a weighting or
            optimizer is unknown. Arguments of the weighting are checked when it is built.
    """

    problem: str
    preset: str
    points: Mapping[str, int]
    steps: int
    weighting: str = "ntk"
    seed: int = 0
    width: int = 100
    depth: int = 3
    steps_per_epoch: int = 500
    optimizer: str = "adam"
    learning_rate: float = 1e-3
    decay_rate: float = 0.9
    decay_steps: int = 1000
    estimator: str | Mapping[str, Any] = "diagonal"
    averaging_rate: float | None = None
    num_initial_probes: int = 100
    update_every: int | None = None
    redrawn: bool = True
    reduction: Reduction = "sum"
    dtype: str = "float32"
    average: str = "traces"
    activation: str = "tanh"
    input_scale: float = 1.0
    parameters: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    lbfgs_steps: int = 0
    jit_compile: bool | None = None
    equation_scale: float = 1.0
    source: str | None = None

    def __post_init__(self) -> None:
        for name in ("steps", "steps_per_epoch", "width", "depth"):
            check_count(name, getattr(self, name))
        check_count("lbfgs_steps", self.lbfgs_steps, smallest=0)
        for name, count in self.points.items():
            check_count(f"points of {name!r}", count)
        for name in ("learning_rate", "equation_scale"):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(f"{name} must be positive. Received {getattr(self, name)!r}.")
        if issubclass(weighting.kind_of(self.weighting), weighting.PointWeighting) and self.redrawn:
            raise ValueError(
                f"{self.weighting!r} weights every point, so points must stay the same. Set "
                "redrawn=False, on the command line --no-redrawn."
            )
        if self.dtype not in ("float32", "float64"):
            raise ValueError(f'dtype must be "float32" or "float64". Received {self.dtype!r}.')
        if self.optimizer not in OPTIMIZERS:
            raise ValueError(f"Unknown optimizer {self.optimizer!r}. Known: {sorted(OPTIMIZERS)}.")
        if self.steps % self.steps_per_epoch:
            raise ValueError(
                f"steps must be a multiple of steps_per_epoch={self.steps_per_epoch}. "
                f"Received steps={self.steps}."
            )

    @property
    def estimator_label(self) -> str:
        """The estimator in names of folders and tables, as ``"diagonal"`` or ``"diagonal-3"``."""
        given = {"name": self.estimator} if isinstance(self.estimator, str) else self.estimator
        return "-".join(str(value) for value in given.values())

    @property
    def epochs(self) -> int:
        """The number of epochs."""
        return self.steps // self.steps_per_epoch


def without_effect(settings: Settings) -> set[str]:
    """Returns the names of settings that weighting and optimizer do not use.

    Args:
        settings: settings of a run.
    """
    idle = set()
    if settings.weighting != "ntk":
        idle |= {"estimator", "averaging_rate", "num_initial_probes"}
    if settings.weighting == "constant":
        idle.add("update_every")
    if settings.optimizer == "natural-gradient":
        idle |= {"learning_rate", "decay_rate", "decay_steps"}
    return idle


@dataclasses.dataclass(frozen=True)
class Problem:
    """An equation with its conditions, and how to train on it and to measure errors.

    Attributes:
        name: name on the command line.
        title: one-line description.
        box: domain, a box or another shape.
        terms: function from settings to the loss terms.
        solution: exact solution, or the reference, from points ``[m, d]`` to values
            ``[m, outputs]``; None if it is unknown, so that no error is measured.
        presets: settings by name.
        grid: number of points along each axis in figures, and where errors are measured. A box of
            more than three axes is shown along the first two, in the middle of all others, and its
            errors are measured at as many random points, which are always the same.
        reference: source of the problem.
        outputs: number of outputs of the network.
        network: function from settings to the network; by default a feedforward network on the box,
            of the settings' width and depth.
        figure: function from a prediction and the solution on the grid, each ``[*grid, outputs]``,
            to a figure, the solution being None if it is unknown; by default
            :func:`ntk_keras.plots.solution`.
        parameters: parameters that a run may change, with their current values.
        variant: function from parameters by name to the same problem with them; None if it has
            none.
        periods: period of each input in which the default network is periodic, and None for the
            others; empty if there is none.
        unknowns: unknown coefficients of an inverse problem by name, as
            :class:`~ntk_keras.PINNModel` takes them.
        truth: true values of the unknowns by name, as far as they are known.
        measured: names of the terms whose residual contains measured values, as
            :meth:`ntk_keras.PINNModel.uncertainty` takes them; if empty, all terms may have noise.
    """

    name: str
    title: str
    box: Shape
    terms: Callable[[Settings], list[Term]]
    solution: Callable[[np.ndarray], np.ndarray] | Any  # or None
    presets: Mapping[str, Settings]
    grid: tuple[int, ...]
    reference: str
    outputs: int = 1
    network: Callable[[Settings], keras.Model] | None = None
    figure: Callable[[np.ndarray, Any], Figure] | None = None
    parameters: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    variant: Callable[..., "Problem"] | None = None
    periods: Sequence[float | None] = ()
    unknowns: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    truth: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    measured: Sequence[str] = ()

    @property
    def shown(self) -> Shape:
        """The part of the domain that figures show, see :attr:`grid`."""
        if not isinstance(self.box, Box) or len(self.box.axes) <= MOST_AXES_OF_A_GRID:
            return self.box
        middle = (self.box.lower + self.box.upper) / 2
        return self.box.face(**dict(list(zip(self.box.axes, middle, strict=True))[2:]))

    def with_parameters(self, changes: Mapping[str, Any]) -> "Problem":
        """Returns the problem with some parameters changed.

        Raises:
            ValueError: if the problem lacks a parameter, or a value is of another kind or out of
                range.
        """
        unknown = sorted(set(changes) - set(self.parameters))
        if unknown:
            raise ValueError(
                f"Problem {self.name!r} has no parameters {unknown}. Its parameters: "
                f"{sorted(self.parameters) or 'none'}."
            )
        for name, value in changes.items():
            usual = self.parameters[name]
            if not _of_kind(value, usual):
                raise ValueError(
                    f"Parameter {name!r} of problem {self.name!r} must be a "
                    f"{type(usual).__name__}, such as {usual!r}. Received {value!r}."
                )
        if self.variant is None or not changes:
            return self
        return self.variant(**{**self.parameters, **changes})

    def validation_data(self, dtype: str = "float32") -> tuple[np.ndarray, np.ndarray] | None:
        """Returns points ``[m, d]`` and the solution there ``[m, outputs]``, or None."""
        if self.solution is None:
            return None
        points = self.shown.grid(*self.grid)
        if self.shown is not self.box:
            points = self.box.interior(len(points)).fixed(0)
        points = points[np.isfinite(points).all(axis=1)]  # those outside of a shape are NaN
        return points.astype(dtype), self.solution(points).astype(dtype)


def _of_kind(value: Any, usual: Any) -> bool:
    """Whether a value may replace ``usual``: an integer may stand for a float, too."""
    if isinstance(usual, float):
        return isinstance(value, numbers.Real) and not isinstance(value, bool)
    return type(value) is type(usual)
