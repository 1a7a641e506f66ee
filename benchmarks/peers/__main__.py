"""The command line; see the docstring of the package."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks import peers
from benchmarks.peers import report
from benchmarks.peers.environments import DEFAULT_FOLDER, PEERS, install
from benchmarks.peers.host import prepare, take_turns, workers
from benchmarks.peers.problem import Setting
from benchmarks.tables import IMAGES, RESULTS, write_table

NOTES = """Ratios are to the first row, medians over rounds. "Computed" rows are a plain step and a
share of the update of the row above. "Residuals differ by": the largest deviation from ntk_keras at
the same points and parameters, in units of the term's largest residual. DeepXDE has no
adaptive weights; PINA has no compiled step."""


def parser() -> argparse.ArgumentParser:
    """Returns the parser of the command line."""
    top = argparse.ArgumentParser(
        prog="python -m benchmarks.peers",
        description=peers.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument("--peers", nargs="+", choices=PEERS, default=list(PEERS))
    top.add_argument("--environments", type=Path, default=DEFAULT_FOLDER, help="their folder")
    top.add_argument("--install-only", action="store_true", help="make environments, measure none")
    top.add_argument("--constant", action="store_true", help="only cases of constant weights")
    top.add_argument("--width", type=int, default=Setting().width)
    top.add_argument("--rounds", type=int, default=9)
    top.add_argument("--seconds", type=float, default=0.8, help="of a turn")
    top.add_argument("--patience", type=float, default=25.0, help="seconds of all turns of a case")
    top.add_argument("--out", type=Path, default=RESULTS, help="folder of peers.csv and peers.md")
    top.add_argument("--figure", type=Path, default=IMAGES / "peers.png")
    return top


def main(arguments: Sequence[str] | None = None) -> list[dict[str, Any]]:
    """Installs, checks, measures, writes table and figure, and returns the table's rows."""
    options = parser().parse_args(arguments)
    names = list(dict.fromkeys(["ours", *options.peers]))  # ours is the reference
    for name in names:
        install(name, options.environments)
    if options.install_only:
        return []
    with workers(names, options.environments, Setting(width=options.width)) as running:
        versions = {
            name: ", ".join(f"{k} {v}" for k, v in worker.ask("describe")["versions"].items())
            for name, worker in running.items()
        }
        equal = report.check_equal(running)
        print(f"Residuals equal ours: {equal}", flush=True)
        series = prepare(running, lambda case: not options.constant or not case.adaptive)
        take_turns(
            running,
            series,
            rounds=options.rounds,
            seconds=options.seconds,
            patience=options.patience,
            report=lambda index: print(f"round {index + 1} of {options.rounds}", flush=True),
        )
    rows = report.rows_of(series, versions, equal)
    write_table(options.out, "peers", rows, NOTES)
    options.figure.parent.mkdir(parents=True, exist_ok=True)
    report.figure(rows).savefig(options.figure, dpi=120)
    return rows


if __name__ == "__main__":
    main()
