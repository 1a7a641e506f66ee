"""Times of a loss gradient, with derivatives carried forward and with nested gradient tapes.

The cases are the wave problem of Section 5.2.2 (u_tt - 4 u_xx, 3 x 500 neurons, 900 residuals, a
whole training step with constant weights), a Poisson equation in ten dimensions, the biharmonic
operator in two dimensions and the Kuramoto-Sivashinsky equation (3 x 100 neurons, 1000 points). The
two modes take turns in one process.

    python -m benchmarks.derivatives [--rounds 15] [--cases NAME ...]
"""

import argparse
import functools
import itertools
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from benchmarks.step import seconds
from benchmarks.tables import RESULTS, write_table
from ntk_keras import PINNModel, derivatives, networks, problems
from ntk_keras.derivatives import Mode, Network, NetworkView
from ntk_keras.domains import Box

MODES: tuple[Mode, ...] = ("tapes", "taylor")
STEPS = 10  # number of steps in a turn


def kuramoto_sivashinsky(u: Network, points: tf.Tensor) -> tf.Tensor:
    """Returns ``u_t + u u_x + u_xx + u_xxxx`` at points (t, x)."""
    u_t, u_x, u_xx, u_xxxx = (
        derivatives.partial(u, points, *axes) for axes in ([0], [1], [1] * 2, [1] * 4)
    )
    return u_t + u(points) * u_x + u_xx + u_xxxx


def wave_step(mode: Mode, jit_compile: bool) -> Callable[[], object]:
    """Returns a training step of the wave problem at the paper's size."""
    problem = problems.get("wave")
    settings = problem.presets["paper"]
    network = networks.feedforward(problem.box, width=settings.width, depth=settings.depth)
    model = PINNModel(network, problem.terms(settings), "constant", derivatives=mode)
    model.compile(keras.optimizers.Adam(1e-3))
    return warm(lambda: model.train_step(None), jit_compile)


def operator_step(
    operator: Callable[[Any, tf.Tensor], tf.Tensor], dimensions: int
) -> Callable[[Mode, bool], Callable[[], object]]:
    """Returns a function from a mode to the gradient of ``1/2 ||operator u||^2`` at 1000 points."""
    box = Box(**{f"x{k}": (0, 1) for k in range(dimensions)})
    network = networks.feedforward(box, width=100, depth=3, seed=0)
    theta = [v.value for v in network.trainable_variables]
    points = tf.random.stateless_uniform((1000, dimensions), seed=(1, 2))

    def gradient(mode: Mode) -> list[tf.Tensor]:
        with tf.GradientTape() as tape:
            values = operator(NetworkView(network, mode, reuse=True), points)
            loss = tf.reduce_sum(values**2) / 2
        return tape.gradient(loss, theta, unconnected_gradients="zero")

    return lambda mode, jit_compile: warm(lambda: gradient(mode), jit_compile)


def warm(function: Callable[[], object], jit_compile: bool) -> Callable[[], object]:
    """Returns the compiled function, after running it twice."""
    step = tf.function(function, jit_compile=jit_compile, autograph=False)
    step()
    step()
    return step


CASES: dict[str, Callable[[Mode, bool], Callable[[], object]]] = {
    "wave, 3 x 500": wave_step,
    "Poisson, 10-D": operator_step(derivatives.laplacian, 10),
    "biharmonic, 2-D": operator_step(derivatives.biharmonic, 2),
    "Kuramoto-Sivashinsky": operator_step(kuramoto_sivashinsky, 2),
}


def turn(step: Callable[[], object]) -> None:
    """Runs the steps of a turn, one after the other."""
    for _ in range(STEPS):
        step()


def measure(case: str, jit_compile: bool, rounds: int) -> dict[str, Any]:
    """Returns one row of the table: medians and their ratio."""
    steps = {mode: CASES[case](mode, jit_compile) for mode in MODES}
    times: dict[str, list[float]] = {mode: [] for mode in steps}
    for _, mode in itertools.product(range(rounds), steps):
        times[mode].append(1000 * seconds(functools.partial(turn, steps[mode]), STEPS))
    tapes, forward = (statistics.median(times[mode]) for mode in MODES)
    return {
        "case": case,
        "xla": "yes" if jit_compile else "no",
        "tapes, ms": round(tapes, 1),
        "forward, ms": round(forward, 1),
        "ratio": f"{forward / tapes:.2f}",
    }


def main(arguments: Sequence[str] | None = None) -> list[dict[str, Any]]:
    """Measures with and without XLA, writes the table and returns its rows."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the table")
    options = parser.parse_args(arguments)
    rows = [measure(case, jit, options.rounds) for jit in (True, False) for case in options.cases]
    write_table(options.out, "derivatives", rows)
    return rows


if __name__ == "__main__":
    main()
