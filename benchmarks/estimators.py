"""Compares the estimators of kernel traces on the wave problem of Section 5.2.2.

Each subcommand writes a Markdown table and a CSV file to ``benchmarks/results``:

    python -m benchmarks.estimators accuracy --width 500 --steps 3000
    python -m benchmarks.estimators memory --points 20000 --width 1000 --depth 4
    python -m benchmarks.estimators training --steps 20000 [--width 500] [--part 0/2]
    python -m benchmarks.estimators report

``accuracy`` follows the weights along one training run. ``memory`` measures the peak memory of a
process for each estimator. ``training`` trains with every estimator, averaging rate and seed; these
many runs can be interrupted and resumed, or shared between processes with ``--part``. ``report``
combines their results, and those of ``python -m benchmarks.step``, into the tables and figures of
the documentation.
"""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks import accuracy, memory, report, training
from benchmarks.contenders import CONTENDERS
from benchmarks.tables import IMAGES, RESULTS, write_csv, write_table

NAMES = ["constant", *CONTENDERS]


def run_accuracy(options: argparse.Namespace) -> None:
    """Runs the subcommand ``accuracy``."""
    run = accuracy.follow(
        options.estimators,
        options.width,
        options.steps,
        options.check_every,
        options.rate,
        options.sample_at,
    )
    rows = list(accuracy.rows_of(run, options.width, options.rate))
    name = f"accuracy-{options.width}-{options.rate:g}"
    write_table(options.out, name, rows)
    write_csv(options.out / f"{name}-curves.csv", accuracy.curves(run))


def run_memory(options: argparse.Namespace) -> None:
    """Runs the subcommand ``memory``."""
    rows = memory.rows(options.estimators, options.points, options.width, options.depth)
    write_table(options.out, "memory", rows)


def run_training(options: argparse.Namespace) -> None:
    """Runs the subcommand ``training``."""
    todo = training.jobs(
        options.width, options.estimators, options.rates, options.seeds, options.steps
    )
    training.train(todo, options.logdir, options.out, options.part)


def run_report(options: argparse.Namespace) -> None:
    """Runs the subcommand ``report``."""
    write_table(options.out, "steps-to-error", training.report(options.out))
    figure = report.error_against_overhead(options.out, (50, 500))
    figure.savefig(options.figures / "error-against-overhead.png", dpi=120)
    report.seconds_to_error(options.out).savefig(options.figures / "seconds-to-error.png", dpi=120)


def part(text: str) -> tuple[int, int]:
    """Returns the two numbers of ``"k/n"``, with 0 <= k < n."""
    first, total = (int(number) for number in text.split("/"))
    if not 0 <= first < total:
        raise ValueError(f"A part is k/n with 0 <= k < n, as in 0/2. Received {text!r}.")
    return first, total


def parser() -> argparse.ArgumentParser:
    """Returns the parser of the command line."""
    top = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    commands = top.add_subparsers(required=True)

    def add(name: str, command: Callable[[argparse.Namespace], None]) -> argparse.ArgumentParser:
        sub = commands.add_parser(name)
        sub.set_defaults(command=command)
        sub.add_argument("--out", type=Path, default=RESULTS, help="folder of tables")
        return sub

    sub = add("accuracy", run_accuracy)
    sub.add_argument("--width", type=int, default=500)
    sub.add_argument("--steps", type=int, default=3000)
    sub.add_argument("--check-every", type=int, default=50)
    sub.add_argument("--rate", type=float, default=1e-2)
    sub.add_argument("--sample-at", type=int, nargs="*", default=[0, 300, 3000])
    sub.add_argument("--estimators", nargs="+", choices=CONTENDERS, default=list(CONTENDERS))
    sub = add("memory", run_memory)
    sub.add_argument("--width", type=int, default=1000)
    sub.add_argument("--depth", type=int, default=4)
    sub.add_argument("--points", type=int, nargs="+", default=[900, 20_000])
    sub.add_argument("--estimators", nargs="+", choices=NAMES, default=NAMES)
    sub = add("training", run_training)
    sub.add_argument("--width", type=int, choices=training.STUDIES, default=100)
    sub.add_argument("--steps", type=int, default=20_000)
    sub.add_argument("--estimators", nargs="+", choices=NAMES, default=NAMES)
    sub.add_argument("--rates", type=float, nargs="+", default=training.RATES)
    sub.add_argument("--seeds", type=int, nargs="+", default=training.SEEDS)
    sub.add_argument("--logdir", type=Path, default=Path("logs/estimators"))
    sub.add_argument("--part", type=part, default=(0, 1), help="k/n: every n-th run from the k-th")
    sub = add("report", run_report)
    sub.add_argument("--figures", type=Path, default=IMAGES, help="folder of figures")
    return top


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs one subcommand."""
    options = parser().parse_args(arguments)
    options.command(options)


if __name__ == "__main__":
    main()
