"""The estimators of kernel traces compared on the wave problem of Section 5.2.2.

Each sub-command writes a Markdown table and a CSV file into ``benchmarks/results``:

    python -m benchmarks.estimators training --steps 20000 [--part 0/2]
    python -m benchmarks.estimators report

``training`` trains with every estimator, averaging rate and seed (many runs: interrupt and resume
at will, or share them between processes by ``--part``); ``report`` makes its table.
"""

import argparse
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks import training
from benchmarks.step_time import markdown
from ntk_keras.estimators import ESTIMATORS

RESULTS = Path(__file__).parent / "results"
NAMES = ["constant", *ESTIMATORS]


def write_table(out: Path, name: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Prints the rows as a Markdown table and writes it."""
    table = markdown(rows)
    print(table)
    out.mkdir(parents=True, exist_ok=True)
    (out / f"{name}.md").write_text(table + "\n")


def run_training(options: argparse.Namespace) -> None:
    """Sub-command ``training``."""
    todo = training.jobs(options.estimators, options.rates, options.seeds, options.steps)
    training.train(todo, options.logdir, options.out, options.part)


def run_report(options: argparse.Namespace) -> None:
    """Sub-command ``report``."""
    write_table(options.out, "training", training.report(options.out))


def part(text: str) -> tuple[int, int]:
    """``"k/n"`` as two numbers, 0 <= k < n."""
    first, total = (int(number) for number in text.split("/"))
    if not 0 <= first < total:
        raise ValueError(f"A part is k/n with 0 <= k < n, as in 0/2. Received {text!r}.")
    return first, total


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    commands = top.add_subparsers(required=True)

    def add(name: str, command: Callable[[argparse.Namespace], None]) -> argparse.ArgumentParser:
        sub = commands.add_parser(name)
        sub.set_defaults(command=command)
        sub.add_argument("--out", type=Path, default=RESULTS, help="folder of tables")
        return sub

    sub = add("training", run_training)
    sub.add_argument("--steps", type=int, default=20_000)
    sub.add_argument("--estimators", nargs="+", choices=NAMES, default=NAMES)
    sub.add_argument("--rates", type=float, nargs="+", default=training.RATES)
    sub.add_argument("--seeds", type=int, nargs="+", default=training.SEEDS)
    sub.add_argument("--logdir", type=Path, default=Path("logs/estimators"))
    sub.add_argument("--part", type=part, default=(0, 1), help="k/n: every n-th run from the k-th")
    add("report", run_report)
    return top


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs one sub-command."""
    options = parser().parse_args(arguments)
    options.command(options)


if __name__ == "__main__":
    main()
