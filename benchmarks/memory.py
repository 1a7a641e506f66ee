"""Peak memory of a loss gradient and one sample of the traces, in one process per estimator."""

import dataclasses
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from benchmarks.contenders import CONTENDERS
from benchmarks.processes import peak_memory
from ntk_keras import Block, Linearization, estimators, problems

# Ninths of the residuals of the paper's wave problem, by term.
NINTHS = {"equation": 3, "velocity": 3, "initial": 1, "left": 1, "right": 1}


def rows(
    names: Sequence[str], numbers: Sequence[int], width: int, depth: int
) -> list[dict[str, Any]]:
    """Returns a table with a row for each estimator and a column for each number of residuals."""
    table = []
    for name in names:
        row: dict[str, Any] = {"network": f"{depth} x {width}", "estimator": name}
        for number in numbers:
            row[f"GB, {number} residuals"] = f"{peak(name, number, width, depth):.2f}"
        print(row, flush=True)
        table.append(row)
    return table


def peak(name: str, points: int, width: int, depth: int) -> float:
    """Returns the peak resident memory of a new process that evaluates once, in GB."""
    arguments = [name, str(points), str(width), str(depth)]
    finished = subprocess.run(
        [sys.executable, "-m", "benchmarks.memory", *arguments],
        check=True,
        capture_output=True,
        text=True,
    )
    return float(finished.stdout.split()[-1])


def evaluate(name: str, points: int, width: int, depth: int) -> None:
    """Evaluates the gradient of the loss and, unless weights are constant, a sample of traces."""
    problem = problems.get("wave")
    small = dataclasses.replace(problem.presets["paper"], width=width, depth=depth)
    model = problems.build_model(problem, small)  # inspects its terms at few points
    large = dataclasses.replace(
        small, points={term: share * points // 9 for term, share in NINTHS.items()}
    )

    def block(term: Any, seed: int) -> Block:
        drawn = term.points_at(tf.constant([0, seed]), "float32")
        return dataclasses.replace(model.blocks()[term.name], points=drawn)

    @tf.function(jit_compile=True, autograph=False)
    def step() -> list[tf.Tensor]:
        blocks = {term.name: block(term, i) for i, term in enumerate(problem.terms(large))}
        factored = name != "constant"
        linearization = Linearization(blocks, model.trainable_variables, factored=factored)
        results = [tf.linalg.global_norm(linearization.vjp(linearization.residuals))]
        if factored:
            sample = estimators.get(CONTENDERS[name]).traces(linearization, tf.constant([1, 0]))
            results.extend(sample.values())
        return results

    step()


if __name__ == "__main__":
    evaluate(sys.argv[1], *(int(word) for word in sys.argv[2:]))
    print(peak_memory())
