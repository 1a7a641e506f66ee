"""Long times: causal weights, slabs and natural gradients on three equations, in equal time.

Networks have three hidden layers and inputs scaled to -3 to 3, with tanh for Allen-Cahn and sines
elsewhere. Points are redrawn at every step, and weights are NTK weights. Adam's networks for
Allen-Cahn have ten harmonics in space, other periodic networks one. Adam trains in single
precision, natural gradients in double precision. Adam's learning rate decays from 1e-3, in later
slabs from 3e-4. The names of the ways state where this differs. Only the time of training steps
counts, including compilation. The first slab has the share --first of the seconds, and the later
slabs share the rest equally.

    python -m benchmarks.long_times --seconds 600
    python -m benchmarks.long_times --equations wave --ways "Adam" "Adam, tanh" --seeds 0 1 2
"""

import argparse
import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

import ntk_keras as nk
from benchmarks.equations import EQUATIONS as KNOWN
from benchmarks.equations import PI, Equation, equal, network, value
from benchmarks.tables import RESULTS, write_table
from ntk_keras import derivatives
from ntk_keras.callbacks import Stopwatch
from ntk_keras.derivatives import Network
from ntk_keras.domains import Box

PERIODS = 10


def vibration(t: Any, x: Any) -> Any:
    """Returns ``sin(pi x) cos(2 pi t) + sin(3 pi x) cos(6 pi t) / 2``, of period one in time."""
    first = tf.sin(PI * x) * tf.cos(2 * PI * t)
    return first + tf.sin(3 * PI * x) * tf.cos(6 * PI * t) / 2


def string(u: Network, p: tf.Tensor) -> tf.Tensor:
    """Returns ``u_tt - 4 u_xx``."""
    return derivatives.second_order(u, p, [1, -4])[:, 0]


def velocity(u: Network, p: tf.Tensor) -> tf.Tensor:
    """Returns ``u_t``."""
    return derivatives.partial(u, p, 0)[:, 0]


EQUATIONS = {
    "allen-cahn": KNOWN["allen-cahn"],
    "convection": KNOWN["convection"],
    "wave": Equation(
        Box(t=(0, PERIODS), x=(0, 1)),
        string,
        {
            "initial": ({"t": 0.0}, equal(lambda p: vibration(p[:, 0], p[:, 1]))),
            "velocity": ({"t": 0.0}, velocity),
            "left": ({"x": 0.0}, value),
            "right": ({"x": 1.0}, value),
        },
        lambda p: np.asarray(vibration(p[:, 0], p[:, 1]))[:, None],
        (401, 51),
    ),
}
# The mean square of an equation's largest term. Epsilons are divided by it.
SIZES = {"allen-cahn": 1.0, "convection": 1e3, "wave": 1e3}
# Initial values, and the power of t that multiplies the network. It leaves derivatives in time free
# from that order on.
STARTS = {
    "allen-cahn": (lambda p: p[:, 1:] ** 2 * keras.ops.cos(PI * p[:, 1:]), 1),
    "convection": (lambda p: keras.ops.sin(p[:, 1:]), 1),
    "wave": (
        lambda p: keras.ops.sin(PI * p[:, 1:]) + keras.ops.sin(3 * PI * p[:, 1:]) / 2,
        2,
    ),
}


@dataclasses.dataclass(frozen=True)
class Way:
    """A way to train.

    Attributes:
        natural: whether natural gradients train the network, and not Adam.
        causal: whether weights are causal.
        slabs: whether training is in slabs.
        falling: whether Adam's learning rate decays.
        polished: whether L-BFGS takes the second half of the time.
        single: whether natural gradients use single precision.
        hard: whether initial conditions are built into the network.
        importance: factor of the weights of initial conditions.
        network: ``"tanh"`` or ``"fourier"`` in place of the equation's own network.
    """

    natural: bool = False
    causal: bool = False
    slabs: bool = False
    falling: bool = True
    polished: bool = False
    single: bool = False
    hard: bool = False
    importance: float = 1.0
    network: str = ""


WAYS = {
    "Adam": Way(),
    "Adam, causal": Way(causal=True),
    "Adam, causal, hard start": Way(causal=True, hard=True),
    "Adam, hard start": Way(hard=True),
    "Adam, slabs": Way(slabs=True),
    "Adam, slabs, important start": Way(slabs=True, importance=10),
    "Adam, causal, slabs": Way(causal=True, slabs=True),
    "natural": Way(natural=True),
    "natural, causal": Way(natural=True, causal=True),
    "natural, slabs": Way(natural=True, slabs=True),
    "natural, single precision": Way(natural=True, single=True),
    "Adam, constant rate": Way(falling=False),
    "Adam, L-BFGS": Way(polished=True),
    "Adam, tanh": Way(network="tanh"),
    "Adam, Fourier features": Way(network="fourier"),
}


class Until(keras.callbacks.Callback):
    """Ends training after some seconds of training steps, measured by a ``Stopwatch`` before it."""

    def __init__(self, seconds: float):
        super().__init__()
        self.limit = seconds
        self.seconds = 0.0

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Adds the seconds of the epoch."""
        self.seconds += logs["seconds"]
        self.model.stop_training = self.seconds > self.limit


def on_slab(equation: Equation, slab: nk.Slab) -> Equation:
    """Returns an equation on a slab, whose initial conditions continue the previous slab."""
    conditions = {
        name: ({"t": slab.start}, slab.initial(residual)) if "t" in face else (face, residual)
        for name, (face, residual) in equation.conditions.items()
    }
    x = (equation.box.lower[1], equation.box.upper[1])
    box = Box(t=(slab.start, slab.end), x=x)
    return dataclasses.replace(equation, box=box, conditions=conditions)


def network_for(
    equation: Equation, kind: str, width: int, seed: int, dtype: str
) -> keras.layers.Layer:
    """Returns the network of an equation, or another one in its place.

    Args:
        equation: equation to solve.
        kind: ``""`` for the equation's own network, ``"tanh"``, or ``"fourier"`` for frequencies
            similar to those of the wave.
        width: number of neurons in each of the three hidden layers.
        seed: seed of the initial values.
        dtype: dtype of the network.
    """
    if kind == "tanh":
        equation = dataclasses.replace(equation, activation=keras.ops.tanh)
    if kind != "fourier":
        return network(equation, width, 3, seed, dtype)
    keras.utils.set_random_seed(seed)
    points = keras.Input((2,), dtype=dtype)
    features = nk.networks.FourierFeatures(32, scale=4 * PI, dtype=dtype)(points)
    inside = Box(**{f"f{index}": (-1, 1) for index in range(64)})
    hidden = nk.networks.feedforward(inside, width=width, depth=3, dtype=dtype)
    return keras.Model(points, hidden(features))


def polish(model: nk.PINNModel, box: Box, seconds: float, seed: int) -> None:
    """Continues training with L-BFGS at fixed points."""
    data = {"equation": box.interior(5000).fixed(seed)}
    watched = [Stopwatch(), Until(seconds)]
    nk.polish(model, data, epochs=10**6, iterations_per_epoch=20, callbacks=watched, verbose=0)


def model_for(
    slab: nk.Slab, name: str, way: Way, seed: int, options: argparse.Namespace
) -> nk.PINNModel:
    """Returns the compiled model of a slab.

    Args:
        slab: slab of the march, which has all times if there is only one.
        name: name of the equation.
        way: way to train.
        seed: seed of networks and points.
        options: options of the command line.
    """
    equation = on_slab(EQUATIONS[name], slab)
    starts = [start for start, (face, _) in equation.conditions.items() if "t" in face]
    points = options.natural_points if way.natural else options.points
    width = options.natural_width if way.natural else options.width
    dtype = "float64" if way.natural and not way.single else "float32"
    if name == "allen-cahn" and not way.natural:
        equation = dataclasses.replace(equation, harmonics=10)
    net = network_for(equation, way.network, width, seed, dtype)
    terms = equation.terms(points)
    if way.hard:
        values, power = STARTS[name]
        net = nk.networks.hard_constraint(net, lambda p: p[:, :1] ** power, values)
        terms = [term for term in terms if term.name not in starts]
    epsilons = [epsilon / SIZES[name] for epsilon in options.epsilons]
    causal = nk.weighting.Causal("equation", epsilons=epsilons) if way.causal else None
    weighting = nk.weighting.NTK(causal=causal)
    model = nk.PINNModel(net, terms, weighting, seed=seed + 1000 * slab.index)
    if not way.hard:
        model.set_importance(dict.fromkeys(starts, way.importance))
    rate = 1e-3 if slab.index == 0 else 3e-4
    falling = keras.optimizers.schedules.ExponentialDecay(rate, 2000, 0.9)
    adam = keras.optimizers.Adam(falling if way.falling else rate)
    model.compile(nk.optimizers.NaturalGradient() if way.natural else adam)
    return model


def train(name: str, way: Way, seed: int, options: argparse.Namespace) -> nk.March:
    """Trains on an equation in one way, and returns the march, which may have a single slab.

    Args:
        name: name of the equation.
        way: way to train.
        seed: seed of networks and points.
        options: options of the command line.
    """
    box = EQUATIONS[name].box
    number = options.slabs if way.slabs else 1
    times = np.linspace(box.lower[0], box.upper[0], number + 1)
    march = nk.March(lambda slab: model_for(slab, name, way, seed, options), times)
    first = options.seconds * (options.first if number > 1 else 1)
    later = (options.seconds - first) / max(number - 1, 1)
    if way.polished:
        first = options.seconds / 2
    march.fit(
        epochs=10**6,
        steps_per_epoch=5 if way.natural else 50,
        callbacks=lambda slab: [Stopwatch(), Until(later if slab.index else first)],
        verbose=0,
    )
    if way.polished:
        polish(march.models[0], box, first, seed)
    return march


def errors(name: str, march: nk.March) -> dict[str, str]:
    """Returns relative L2 errors on the grid, and on its last tenth in time."""
    equation = EQUATIONS[name]
    grid = equation.box.grid(*equation.shape)
    truth, found = equation.solution(grid), march.predict(grid, verbose=0)
    late = grid[:, 0] > 0.9 * equation.box.upper[0] + 0.1 * equation.box.lower[0]
    return {
        "error": f"{_relative(found, truth):.1e}",
        "late error": f"{_relative(found[late], truth[late]):.1e}",
    }


def _relative(found: np.ndarray, truth: np.ndarray) -> float:
    return float(np.linalg.norm(found - truth) / np.linalg.norm(truth))


def study(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Trains every combination of equation, way and seed, and returns a row for each."""
    table: list[dict[str, Any]] = []
    for name in options.equations:
        for label in options.ways:
            for seed in options.seeds:
                way = WAYS[label]
                march = train(name, way, seed, options)
                steps = sum(int(model.optimizer.iterations.numpy()) for model in march.models)
                in_time = march.models[-1].weighting.in_time
                epsilon = f"{float(in_time.epsilon):.0e}" if in_time is not None else ""
                head = {"equation": name, "way": label, "seed": seed, "seconds": options.seconds}
                points = options.natural_points if way.natural else options.points
                sizes = {"points": points, "slabs": len(march.models)}
                found = {"steps": steps, "epsilon": epsilon}
                table.append(head | sizes | errors(name, march) | found)
                print(table[-1], flush=True)
                keras.backend.clear_session()
    return table


def parser() -> argparse.ArgumentParser:
    """Returns the parser of the command line."""
    top = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    top.add_argument("--equations", nargs="+", choices=EQUATIONS, default=list(EQUATIONS))
    top.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    top.add_argument("--seeds", nargs="+", type=int, default=[0])
    top.add_argument("--seconds", type=float, default=600.0)
    top.add_argument("--slabs", type=int, default=5, help="number of them")
    top.add_argument("--first", type=float, default=0.2, help="the first slab's share of seconds")
    top.add_argument("--epsilons", nargs="+", type=float, default=[100.0, 1000.0])
    top.add_argument("--points", type=int, default=1000, help="inside, of Adam")
    top.add_argument("--width", type=int, default=100, help="of Adam's networks")
    top.add_argument("--natural-points", type=int, default=2400)
    top.add_argument("--natural-width", type=int, default=30)
    top.add_argument("--out", type=Path, default=RESULTS, help="folder of the table")
    top.add_argument("--name", default="long-times", help="of the table's files")
    return top


def main(arguments: Sequence[str] | None = None) -> list[dict[str, Any]]:
    """Measures, writes the table and returns its rows."""
    options = parser().parse_args(arguments)
    rows = study(options)
    write_table(options.out, options.name, rows)
    return rows


if __name__ == "__main__":
    main()
