r"""Time of a training step, as ``fit`` runs it, by method of differentiation and weighting.

All methods run in one process and take turns, so that other load on the machine affects all of them
alike. Ratios are taken within a round, and the median over rounds is stated. A turn is one
execution of the function that ``fit`` calls: several steps in one compiled loop, including the
drawing of points, the optimizer and logs.

The method ``tapes``, with constant weights and nested gradient tapes, is the reference of all
ratios. ``taylor`` has constant weights and derivatives carried forward. Further methods have NTK
weights at every step, one for each estimator, and derivatives carried forward. Cases are the wave
equation of Section 5.2.2 in two dimensions, and a Poisson equation in others, with three hidden
layers of tanh.

    python -m benchmarks.step --figure docs/images/step.png    # all studies below
    python -m benchmarks.step --studies methods --xla no --name step-no-xla
    python -m benchmarks.step --widths 50 200 --dimensions 10 --methods tapes exact --name mine

**Share of the matrix-product rate.** With derivatives carried forward, a point of a term takes one
row through every layer for each channel: one for a value, two for a first derivative (it needs the
value), 2 + d for a second-order operator with d coefficients. A product with the kernel of a layer
takes ``2 rows in out`` operations, since every multiplication comes with an addition. A plain step
has three such products in each layer but the first, where the reverse pass does not continue to the
inputs:

    forward + cotangents + gradients = 2 rows (sum_l in_l out_l + sum_{l > 1} in_l out_l
                                               + sum_l in_l out_l).

A plain step needs at least these operations. The share is their number divided by the time of the
step and by the rate of a large float32 product, which takes a turn in the same round. The number is
the same for every method: a share of 0.8 means that the products of a plain step alone would take
four fifths of the time.
"""

import argparse
import dataclasses
import functools
import gc
import itertools
import logging
import math
import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.contenders import CONTENDERS
from benchmarks.tables import RESULTS, write_table
from ntk_keras import PINNModel, derivatives, networks, problems
from ntk_keras.derivatives import Mode, Network
from ntk_keras.domains import Box, Shape
from ntk_keras.estimators import Diagonal
from ntk_keras.plots import style
from ntk_keras.training.terms import Term
from ntk_keras.weighting import NTK, Constant, Weighting

DEPTH = 3
MATRIX_SIZE = 2048  # size of the matrix product that measures the machine
TURN_SECONDS = 0.25  # approximate time of a turn of plain steps
PLAIN = "tapes"  # the reference of ratios


@dataclasses.dataclass(frozen=True)
class Method:
    """A way to train: a weighting, and how residuals differentiate the network."""

    weighting: Callable[[], Weighting]
    derivatives: Mode = "taylor"


@dataclasses.dataclass(frozen=True)
class Case:
    """The size of a problem.

    Attributes:
        dimensions: number of dimensions of the points.
        width: number of neurons in each of the three hidden layers.
        points: number of residuals of all terms together.
    """

    dimensions: int = 2
    width: int = 500
    points: int = 900

    @property
    def equation(self) -> str:
        """The name of the equation."""
        return "wave" if self.dimensions == 2 else "Poisson"


def ntk(estimator: Any, **arguments: Any) -> Method:
    """Returns a method with NTK weights at every step.

    The first average takes several samples, so every step contains a loop over samples, even if it
    later has a single pass. Two initial samples suffice for that; the default is a hundred.
    """
    return Method(functools.partial(NTK, estimator, num_initial_probes=2, **arguments))


METHODS: dict[str, Method] = {
    "tapes": Method(Constant, "tapes"),
    "taylor": Method(Constant),
    **{name: ntk(estimator) for name, estimator in CONTENDERS.items()},
}
OTHERS: dict[str, Method] = {
    "diagonal-16": ntk(Diagonal(16)),
    "exact, every 10th step": ntk("exact", update_every=10),
    **{
        f"{name}, tapes": dataclasses.replace(ntk(estimator), derivatives="tapes")
        for name, estimator in CONTENDERS.items()
    },
}
FEW = ("tapes", "taylor", "exact")

# In each study one quantity varies. The others are those of the paper's wave problem, or smaller if
# the largest case would take minutes per step. XLA takes ten seconds to compile each method, so
# most studies have few methods.
STUDIES: dict[str, tuple[Sequence[str], Sequence[Case]]] = {
    "methods": (
        (*METHODS, "exact, every 10th step"),
        [Case(), Case(width=100), Case(width=50)],
    ),
    "widths": ((*FEW, "predictor"), [Case(width=200), Case(width=1000)]),
    "dimensions": (FEW, [Case(4, 200), Case(10, 200)]),
    "points": (FEW, [Case(2, 200, 100), Case(2, 200, 10_000), Case(2, 200, 100_000)]),
}


# The cost of a step by formula.


def channel_rows(case: Case) -> int:
    """Returns the rows through every layer in a step: points times channels, over all terms."""
    n = counts(case)
    if case.equation == "wave":
        return 4 * n["equation"] + 2 * n["velocity"] + n["initial"] + n["left"] + n["right"]
    return (2 + case.dimensions) * n["equation"] + n["boundary"]


def flops(case: Case) -> float:
    """Returns the operations of a plain step's matrix products; see the module's docstring."""
    sizes = [case.dimensions, *[case.width] * DEPTH, 1]
    products = [a * b for a, b in itertools.pairwise(sizes)]
    return 2 * channel_rows(case) * (2 * sum(products) + sum(products[1:]))


def steps_in_turn(case: Case) -> int:
    """Returns the number of steps in an execution of about :data:`TURN_SECONDS`, at least one."""
    per_neuron = 3e-9  # seconds for each number, apart from the products
    seconds = flops(case) / 1e11 + channel_rows(case) * case.width * DEPTH * per_neuron + 1e-3
    return min(max(round(TURN_SECONDS / seconds), 1), 100)


# The models.


def counts(case: Case) -> dict[str, int]:
    """Returns points by term: the paper's shares for the wave, else a third on the boundary."""
    if case.equation == "wave":
        ninths = {"velocity": 3, "initial": 1, "left": 1, "right": 1}
        n = {name: max(case.points * share // 9, 1) for name, share in ninths.items()}
    else:
        n = {"boundary": max(case.points // 3, 2 * case.dimensions)}
    return {"equation": case.points - sum(n.values()), **n}


def poisson(u: Network, points: tf.Tensor) -> tf.Tensor:
    """Returns ``Lap u + d pi^2 prod_k sin(pi x_k)``, zero for ``u = prod_k sin(pi x_k)``."""
    product = tf.reduce_prod(tf.sin(math.pi * points), axis=1)
    return derivatives.laplacian(u, points)[:, 0] + points.shape[1] * math.pi**2 * product


def value(u: Network, points: tf.Tensor) -> tf.Tensor:
    """Returns the value itself, which is zero on the boundary."""
    return u(points)[:, 0]


def box_and_terms(case: Case) -> tuple[Shape, list[Term]]:
    """Returns the domain and the loss terms of a case."""
    n = counts(case)
    if case.equation == "wave":
        problem = problems.get("wave")
        return problem.box, problem.terms(dataclasses.replace(problem.presets["paper"], points=n))
    box = Box(**{f"x{k}": (0, 1) for k in range(case.dimensions)})
    return box, [
        Term("equation", poisson, box.interior(n["equation"])),
        Term("boundary", value, box.boundary(n["boundary"])),
    ]


def build(case: Case, method: Method, jit_compile: bool) -> PINNModel:
    """Returns the compiled model; equal arguments give equal models."""
    box, terms = box_and_terms(case)
    network = networks.feedforward(box, width=case.width, depth=DEPTH, seed=0)
    model = PINNModel(network, terms, method.weighting(), derivatives=method.derivatives, seed=0)
    schedule = keras.optimizers.schedules.ExponentialDecay(1e-3, 1000, 0.9)
    model.compile(
        keras.optimizers.Adam(schedule),
        # On a CPU, "auto" uses XLA only for exact diagonals; False would exclude it there, too.
        jit_compile=jit_compile or "auto",
        steps_per_execution=steps_in_turn(case),
    )
    return model


def execution(model: PINNModel) -> Callable[[], object]:
    """Returns the function that ``fit`` calls for ``steps_per_execution`` steps, already traced."""
    model.make_train_function()
    iterator = iter(tf.data.Dataset.from_tensors(0).repeat())  # as in `fit` without data
    execute = functools.partial(model.train_function, iterator)
    execute()
    return execute


# Measurements.


@dataclasses.dataclass
class Times:
    """Measurements by turn.

    Attributes:
        step: seconds of a step, by method.
        rate: operations per second of the large product.
    """

    step: dict[str, list[float]]
    rate: list[float] = dataclasses.field(default_factory=list)


def matrix_rate() -> float:
    """Returns the operations per second of one large float32 product."""
    a, b = (tf.random.stateless_normal([MATRIX_SIZE] * 2, [0, k]) for k in range(2))
    began = time.perf_counter()
    tf.matmul(a, b).numpy()
    return 2 * MATRIX_SIZE**3 / (time.perf_counter() - began)


def seconds(execute: Callable[[], object], steps: int) -> float:
    """Returns the seconds of one step, averaged over an execution."""
    began = time.perf_counter()
    execute()
    return (time.perf_counter() - began) / steps


def measure(
    case: Case, methods: Sequence[str], *, jit_compile: bool, rounds: int, patience: float
) -> Times:
    """Measures all methods in turns, round after round.

    Args:
        case: case to train.
        methods: names in :data:`METHODS` or :data:`OTHERS`.
        jit_compile: whether XLA compiles the step.
        rounds: largest number of rounds.
        patience: seconds after which no further round begins, after at least three.
    """
    known = METHODS | OTHERS
    models = {name: build(case, known[name], jit_compile) for name in methods}
    executions = {name: execution(model) for name, model in models.items()}
    times = Times({name: [] for name in methods})
    began = time.perf_counter()
    matrix_rate()
    for index in range(rounds):
        if index >= 3 and time.perf_counter() - began > patience:
            break
        times.rate.append(matrix_rate())
        for name, execute in executions.items():
            times.step[name].append(seconds(execute, steps_in_turn(case)))
    return times


def release() -> None:
    """Frees the memory of models that are no longer referenced."""
    keras.backend.clear_session()
    gc.collect()


def rows_of(case: Case, times: Times, jit_compile: bool) -> list[dict[str, Any]]:
    """Returns a row for each method."""
    plain = np.array(times.step.get(PLAIN, [math.nan] * len(times.rate)))
    rows = []
    for name, values in times.step.items():
        low, median, high = (1000 * q for q in quartiles(values))
        share = statistics.median(flops(case) / (np.array(values) * np.array(times.rate)))
        rows.append(
            {
                "equation": f"{case.equation}, {case.dimensions}-D",
                "network": f"{DEPTH} x {case.width}",
                "residuals": case.points,
                "xla": "yes" if jit_compile else "no",
                "method": name,
                "ms": significant(median),
                "quartiles": f"{significant(low)} to {significant(high)}",
                "ratio": f"{statistics.median(np.array(values) / plain):.2f}",
                "share": f"{share:.2f}",
                "Gflop/s": round(statistics.median(times.rate) / 1e9),
                "turns": len(values),
            }
        )
    return rows


def quartiles(values: Sequence[float]) -> tuple[float, float, float]:
    """Returns lower quartile, median and upper quartile, which for a single value are the value."""
    if len(values) == 1:
        return (values[0],) * 3
    low, median, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, median, high


def significant(number: float) -> str:
    """Returns a number with three digits, without an exponent."""
    return f"{number:.{max(2 - math.floor(math.log10(number)), 0)}f}"


# The figure.


def figure(rows: Sequence[Mapping[str, Any]]) -> Figure:
    """Draws ratios of all methods at the paper's size, and over each quantity that varies."""
    whole, ((bars, *panels),) = style.panels(
        1, 4, 1.1 * style.WIDTH, 3.6, width_ratios=[1.4, 1, 1, 1]
    )
    _bars(bars, rows)
    axes = {"width": 1, "dimensions": 0, "residuals": 2}
    for ax, (label, place) in zip(panels, axes.items(), strict=True):
        _lines(ax, rows, place)
        ax.set(xlabel=label, ylabel="time, nested tapes = 1")
        if label != "dimensions":
            ax.set_xscale("log")
    handles = {
        label: handle
        for ax in panels
        for handle, label in zip(*ax.get_legend_handles_labels(), strict=True)
    }
    whole.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=len(handles))
    return whole


def key_of(row: Mapping[str, Any]) -> tuple[int, int, int]:
    """Returns dimensions, width and residuals of a row."""
    dimensions = row["equation"].split(", ")[1].removesuffix("-D")
    return int(dimensions), int(row["network"].split(" x ")[1]), int(row["residuals"])


def _bars(ax: Axes, rows: Sequence[Mapping[str, Any]]) -> None:
    """Draws the ratios of the case with the most methods."""
    by_case: dict[tuple, list[Mapping[str, Any]]] = {}
    for row in rows:
        by_case.setdefault(key_of(row), []).append(row)
    (_, width, points), shown = max(by_case.items(), key=lambda item: (len(item[1]), item[0]))
    ax.barh([row["method"] for row in shown], [float(row["ratio"]) for row in shown])
    ax.axvline(1, color="black", linewidth=0.8)
    ax.invert_yaxis()
    ax.set(title=f"{DEPTH} x {width}, {points} residuals", xlabel="time, nested tapes = 1")


def _lines(ax: Axes, rows: Sequence[Mapping[str, Any]], place: int) -> None:
    """Draws ratios over one quantity of :func:`key_of`, at the most common values of the others."""
    others = [tuple(np.delete(key_of(row), place).tolist()) for row in rows]
    values: dict[tuple, set] = {}
    for row, other in zip(rows, others, strict=True):
        values.setdefault(other, set()).add(key_of(row)[place])
    most = max(values, key=lambda other: len(values[other]))
    along = [row for row, other in zip(rows, others, strict=True) if other == most]
    for name in (*FEW, "predictor"):
        points = sorted((key_of(r)[place], float(r["ratio"])) for r in along if r["method"] == name)
        if len(points) == len(values[most]):
            ax.plot(*zip(*points, strict=True), "o-", label=name)
    fixed = [f"{most[0]}-D"] if place else [f"{DEPTH} x {most[0]}"]
    fixed.append(f"{DEPTH} x {most[1]}" if place == 2 else f"{most[1]} residuals")
    ax.set_title(", ".join(fixed))
    ax.set_ylim(bottom=0)


# The command line.


def parser() -> argparse.ArgumentParser:
    """Returns the parser of the command line."""
    top = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    top.add_argument("--studies", nargs="+", choices=STUDIES, default=list(STUDIES))
    for name in ("widths", "dimensions", "points"):
        top.add_argument(f"--{name}", nargs="+", type=int, help="instead of studies, all products")
    top.add_argument("--methods", nargs="+", choices=METHODS | OTHERS, help="these alone")
    top.add_argument("--rounds", type=int, default=24, help="at most, for each case")
    top.add_argument("--patience", type=float, default=24.0, help="seconds for a case's rounds")
    top.add_argument("--xla", choices=("yes", "no"), default="yes")
    top.add_argument("--out", type=Path, default=RESULTS, help="folder of the table")
    top.add_argument("--name", default="step", help="of the table's files, without suffix")
    top.add_argument("--figure", type=Path, help="where to draw all studies")
    return top


def plan(options: argparse.Namespace) -> Iterable[tuple[Case, Sequence[str]]]:
    """Returns the cases to measure, with the methods for each."""
    given = [options.dimensions, options.widths, options.points]
    if any(given):
        usual = dataclasses.astuple(Case())
        axes = [values or [default] for values, default in zip(given, usual, strict=True)]
        methods = options.methods or tuple(METHODS)
        return [(Case(*numbers), methods) for numbers in itertools.product(*axes)]
    chosen = [STUDIES[name] for name in options.studies]
    return [(case, options.methods or methods) for methods, cases in chosen for case in cases]


def main(arguments: Sequence[str] | None = None) -> list[dict[str, Any]]:
    """Measures, writes table and figure, and returns the table's rows."""
    options = parser().parse_args(arguments)
    logging.getLogger("tensorflow").setLevel(logging.ERROR)  # it mistakes many models for retracing
    rows: list[dict[str, Any]] = []
    jit = options.xla == "yes"
    for case, methods in plan(options):
        times = measure(
            case, methods, jit_compile=jit, rounds=options.rounds, patience=options.patience
        )
        release()
        rows += rows_of(case, times, jit)
        print(f"{case}: {len(times.rate)} rounds", flush=True)
    write_table(options.out, options.name, rows)
    if options.figure:
        options.figure.parent.mkdir(parents=True, exist_ok=True)
        figure(rows).savefig(options.figure, dpi=120)
    return rows


if __name__ == "__main__":
    main()
