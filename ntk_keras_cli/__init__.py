"""The parser of ``ntk-keras``, outside the package, because importing that takes TensorFlow.

Help, version and mistakes in arguments need the standard library only. The commands themselves
are in :mod:`ntk_keras.cli`, which is imported once the arguments are parsed.
"""

import argparse
import importlib.metadata
import sys
from collections.abc import Sequence
from typing import Any

from ntk_keras_cli import new
from ntk_keras_cli.names import COMPARISONS, FIGURE_PRESETS, FIGURES, WEIGHTINGS
from ntk_keras_cli.options import add_bench, add_common, add_verbose
from ntk_keras_cli.start_up import without_start_up_lines

__all__ = ["main", "parser", "without_start_up_lines"]

_EXAMPLES = {
    "all": """
  ntk-keras list
  ntk-keras run wave
  ntk-keras compare wave --seeds 0 1 2
  ntk-keras new heat.py
  ntk-keras run heat.py
  ntk-keras bench burgers helmholtz --seconds 60
  ntk-keras reproduce 1 6 8
  ntk-keras run --help""",
    "list": """
  ntk-keras list""",
    "run": """
  ntk-keras run wave
  ntk-keras run wave --weighting constant --seed 1
  ntk-keras run wave --optimizer natural-gradient --steps 60
  ntk-keras run liquid_crystal --parameter lower=-2
  ntk-keras run heat.py
  ntk-keras run --settings logs/wave-quick-ntk-seed0/settings.json --logdir again""",
    "compare": """
  ntk-keras compare wave --seeds 0 1 2
  ntk-keras compare wave --weighting all
  ntk-keras compare wave --optimizer natural-gradient""",
    "new": """
  ntk-keras new heat.py""",
    "bench": """
  ntk-keras bench
  ntk-keras bench burgers helmholtz --seconds 60 --seeds 0 1 2
  ntk-keras bench heat.py --ways adam-ntk natural-gradient""",
    "reproduce": """
  ntk-keras reproduce
  ntk-keras reproduce 1 6 8
  ntk-keras reproduce --preset paper --logdir logs/paper""",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line.

    Args:
        arguments: arguments after the name of the program; by default those of the process.

    Returns:
        The exit code: 0, or 1 after an error, whose message goes to standard error.
    """
    options = parser().parse_args(arguments)
    if options.command == "new":  # needs no TensorFlow
        return _new(options)
    with without_start_up_lines():
        import tensorflow as tf

        from ntk_keras import cli

        tf.config.list_physical_devices()  # what TensorFlow has to say of a missing GPU
    return cli.execute(options)


def _new(options: argparse.Namespace) -> int:
    try:
        print(new.write(options.file))
    except (OSError, ValueError) as error:
        print(f"ntk-keras: {error}", file=sys.stderr)
        return 1
    return 0


class _Version(argparse.Action):
    """Prints the version of the installed package, which is not imported for it."""

    def __call__(self, parser: argparse.ArgumentParser, *rest: Any) -> None:
        try:
            version = importlib.metadata.version("ntk_keras")
        except importlib.metadata.PackageNotFoundError:
            version = "is not installed"
        print(f"ntk-keras {version}")
        parser.exit()


def parser() -> argparse.ArgumentParser:
    """Returns the parser of all commands; ``command`` is the name of the one given."""
    whole = argparse.ArgumentParser(
        prog="ntk-keras",
        description="Train physics-informed neural networks with NTK-weighted losses on built-in "
        "or custom\nproblems.",
        epilog=f"examples:{_EXAMPLES['all']}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    whole.add_argument("--version", action=_Version, nargs=0, help="show the version and exit")
    commands = whole.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _command(commands, "list", "list the problems and their presets")
    _add_run(_command(commands, "run", "train one problem and write its results to a folder"))
    _add_compare(
        _command(
            commands,
            "compare",
            "train one problem with constant and with adaptive loss weights, and print a table "
            "of errors",
        )
    )
    _command(commands, "new", "write a custom problem to start from").add_argument(
        "file", metavar="FILE", help="new file, ending in .py, after which the problem is named"
    )
    add_bench(
        _command(
            commands,
            "bench",
            "train problems in several ways for some seconds each, and write a table, a CSV file "
            "and a figure of errors",
        )
    )
    _add_reproduce(_command(commands, "reproduce", "make the figures of the paper"))
    return whole


def _command(commands: Any, name: str, text: str) -> argparse.ArgumentParser:
    return commands.add_parser(
        name,
        help=text,
        description=f"{text[0].upper()}{text[1:]}.",
        epilog=f"examples:{_EXAMPLES[name]}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def _add_run(run: argparse.ArgumentParser) -> None:
    add_common(run, WEIGHTINGS, "loss weights")
    run.add_argument(
        "--seed", type=int, metavar="N", help="seed of network, points and probes (default: 0)"
    )
    run.add_argument(
        "--dry-run",
        action="store_true",
        help="print the settings as --settings reads them, and write nothing (default: train)",
    )
    run.add_argument(
        "--settings",
        metavar="FILE",
        help="settings.json of an earlier run, or settings printed by --dry-run; no problem, seed "
        "or setting may be given beside it",
    )


def _add_compare(compare: argparse.ArgumentParser) -> None:
    add_common(
        compare,
        (*COMPARISONS, *WEIGHTINGS),
        "loss weights to compare with constant ones: all weightings, ntk with all estimators, or "
        "one weighting",
    )
    compare.add_argument(
        "--seeds",
        type=int,
        nargs="+",
        default=[0],
        metavar="N",
        help="seeds; every weighting is trained once with each (default: 0)",
    )


def _add_reproduce(figures: argparse.ArgumentParser) -> None:
    figures.add_argument(
        "figures",
        type=int,
        nargs="*",
        metavar="FIGURE",
        help=f"numbers of figures, {FIGURES[0]} to {FIGURES[-1]} (default: all)",
    )
    figures.add_argument(
        "--preset",
        choices=FIGURE_PRESETS,
        default="quick",
        help="sizes of the runs: a laptop's or the paper's (default: quick)",
    )
    figures.add_argument(
        "--logdir",
        metavar="FOLDER",
        help="folder for figures and runs; interrupted runs in it are continued (default: "
        "logs/reproduction-PRESET)",
    )
    add_verbose(figures)
