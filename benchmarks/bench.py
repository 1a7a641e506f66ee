"""Errors of all problems by several ways to train, each for the same time: ``ntk-keras bench``.

Curves of finished runs are kept in ``results/bench.csv``, so the bench can be spread over days. A
run that is there is not made again; delete its rows to repeat it. Run it on an idle machine.

    python -m benchmarks.bench --ways natural-gradient --seeds 0
    python -m benchmarks.bench --problems burgers kdv --ways adam-ntk --seeds 0 1 2
"""

import argparse
import itertools
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks.tables import IMAGES, RESULTS, read_csv, write_csv
from ntk_keras import problems
from ntk_keras.experiments import bench

# Those of the literature with a known solution, in the order of the table.
PROBLEMS = (
    *("wave", "burgers", "allen_cahn", "kdv", "helmholtz", "convection", "reaction"),
    *("poisson_2d", "heat_1d", "poisson_5d", "poisson_10d", "cavity", "advection_diffusion"),
    *("kuramoto_sivashinsky", "van_der_pol", "robertson"),
)


def restore(path: Path, folder: Path) -> list[bench.Run]:
    """Writes the curves of a table as histories of runs, which the bench then takes as finished.

    Args:
        path: CSV file of an earlier bench.
        folder: folder of the bench.

    Returns:
        The runs.
    """
    keys = ("problem", "way", "seed")
    runs = []
    for (problem, label, seed), rows in itertools.groupby(
        read_csv(path), lambda row: tuple(row[key] for key in keys)
    ):
        history, before = [], 0.0
        for row in rows:
            spent = float(row["seconds"])
            error = {"val_relative_l2": row["relative_l2"]}
            history.append({"step": row["step"], "seconds": spent - before, **error})
            before = spent
        place = folder / f"{problem}-{label}-seed{seed}"
        write_csv(place / "history.csv", history)
        way, _, scale = label.partition("-scale")
        runs.append(bench.Run(problems.get(problem), way, int(seed), place, float(scale or 1)))
    return runs


def main(arguments: Sequence[str] | None = None) -> None:
    """Makes the runs that are missing, and writes table, curves and figure after each."""
    top = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    top.add_argument("--problems", nargs="+", default=PROBLEMS, help="names of problems")
    top.add_argument("--ways", nargs="+", default=list(bench.WAYS), help="ways to train")
    top.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2], help="seeds of the runs")
    top.add_argument("--scales", nargs="+", type=float, default=[1.0], help="factors of equations")
    top.add_argument("--seconds", type=float, default=300.0, help="seconds of each run")
    top.add_argument("--out", type=Path, default=RESULTS, help="folder of the results")
    top.add_argument("--images", type=Path, default=IMAGES, help="folder of the figure")
    options = top.parse_args(arguments)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        runs = {run.folder: run for run in restore(options.out / "bench.csv", folder)}
        for seed, scale, problem, way in itertools.product(
            options.seeds, options.scales, options.problems, options.ways
        ):
            (run,) = bench.bench([problem], [way], [seed], options.seconds, folder, scales=[scale])
            runs[run.folder] = run
            known = sorted(runs.values(), key=_place)
            bench.write(known, folder, options.seconds)
            for file, target in (("bench.csv", options.out), ("bench.md", options.out)):
                shutil.copy(folder / file, target / file)
            shutil.copy(folder / "bench.png", options.images / "bench.png")


def _place(run: bench.Run) -> tuple[int, str, int]:
    names = [*PROBLEMS, run.problem.name]
    return names.index(run.problem.name), run.label, run.seed


if __name__ == "__main__":
    main()
