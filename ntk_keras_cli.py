"""The parser of ``ntk-keras``, outside the package, because importing that takes TensorFlow.

Help, version and mistakes in arguments need the standard library only. The commands themselves
are in :mod:`ntk_keras.cli`, which is imported once the arguments are parsed.
"""

import argparse
import contextlib
import importlib.metadata
import json
import os
import re
import sys
import tempfile
from collections.abc import Iterator, Sequence
from typing import Any

__all__ = [
    "COMPARISONS",
    "ESTIMATORS",
    "FIGURES",
    "FIGURE_PRESETS",
    "OPTIMIZERS",
    "OVERRIDES",
    "PRESETS",
    "PROBLEMS",
    "WEIGHTINGS",
    "main",
    "parser",
    "without_start_up_lines",
]

# Names that the package defines; tests/experiments/test_cli.py compares them with it.
PROBLEMS = ("liquid_crystal", "poisson", "quadratic", "wave")
PRESETS = ("quick", "paper", "natural-gradient")
OPTIMIZERS = ("adam", "sgd", "natural-gradient")
WEIGHTINGS = (
    "constant",
    "ntk",
    "exact-ntk",
    "gradient-norm",
    "softadapt",
    "relobralo",
    "uncertainty",
    "self-adaptive",
    "residual-attention",
)
COMPARISONS = ("all", "estimators")
ESTIMATORS = (
    "predictor",
    "block-predictor",
    "product",
    "reverse",
    "diagonal",
    "perturbation",
    "exact",
)
FIGURES = tuple(range(1, 11))
FIGURE_PRESETS = ("quick", "paper")

# Settings that a flag may change: its type, its placeholder and its help.
OVERRIDES: dict[str, tuple[type, str, str]] = {
    "steps": (int, "N", "number of training steps"),
    "width": (int, "N", "number of neurons in each hidden layer"),
    "estimator": (
        str,
        "NAME",
        f"estimator of the kernel traces, with ntk weights: {', '.join(ESTIMATORS)}",
    ),
    "averaging_rate": (float, "ALPHA", "rate of the moving average of traces, with ntk weights"),
    "num_initial_probes": (int, "N", "number of samples in the first average, with ntk weights"),
    "update_every": (int, "N", "number of steps from one update of the loss weights to the next"),
    "steps_per_epoch": (
        int,
        "N",
        "number of steps from one row of the history, and one checkpoint, to the next; --steps "
        "must be a multiple of it",
    ),
}

_EXAMPLES = {
    "all": """
  ntk-keras list
  ntk-keras run wave
  ntk-keras compare wave --seeds 0 1 2
  ntk-keras reproduce 1 6 8
  ntk-keras run --help""",
    "list": """
  ntk-keras list""",
    "run": """
  ntk-keras run wave
  ntk-keras run wave --weighting constant --seed 1
  ntk-keras run wave --optimizer natural-gradient --steps 60
  ntk-keras run liquid_crystal --parameter lower=-2
  ntk-keras run --settings logs/wave-quick-ntk-seed0/settings.json --logdir again""",
    "compare": """
  ntk-keras compare wave --seeds 0 1 2
  ntk-keras compare wave --weighting all
  ntk-keras compare wave --optimizer natural-gradient""",
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
    with without_start_up_lines():
        import tensorflow as tf

        from ntk_keras import cli

        tf.config.list_physical_devices()  # what TensorFlow has to say of a missing GPU
    return cli.execute(options)


# Messages about the machine that TensorFlow writes while it is imported, whatever its log level.
_START_UP = re.compile(
    r"I\d{4} "
    r"|\d{4}-\d\d-\d\d [\d:.]+: I "
    r"|WARNING: All log messages before absl"
    r"|To enable the following instructions"
    r"|.*(Unable to register cu|computation placer already registered|Could not find TensorRT)"
    r"|.*failed call to cuInit.*\(303\)"  # no driver of a GPU
)


@contextlib.contextmanager
def without_start_up_lines() -> Iterator[None]:
    """Keeps what TensorFlow writes about the machine while it is imported off standard error.

    TensorFlow's log level does not apply to lines written before its logging is set up, so that
    file descriptor 2 is redirected. Everything else that was written, such as a warning, follows
    at the end; after an error, everything does. ``TF_CPP_MIN_LOG_LEVEL=0`` shows all lines.
    """
    if os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "1") == "0" or sys.stderr is None:
        yield
        return
    kept: re.Pattern[str] | None = None
    sys.stderr.flush()
    standard_error = os.dup(2)
    with tempfile.TemporaryFile("w+", errors="replace") as written:
        os.dup2(written.fileno(), 2)
        try:
            yield
            kept = _START_UP
        finally:
            sys.stderr.flush()
            os.dup2(standard_error, 2)
            os.close(standard_error)
            written.seek(0)
            lines = [line for line in written if not (kept and kept.match(line))]
            sys.stderr.write("".join(lines))


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
        description="Train physics-informed neural networks with NTK-weighted losses on the "
        "problems of the paper.",
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
    _add_common(run, WEIGHTINGS, "loss weights")
    run.add_argument(
        "--seed", type=int, metavar="N", help="seed of network, points and probes (default: 0)"
    )
    run.add_argument(
        "--settings",
        metavar="FILE",
        help="settings.json of an earlier run, to repeat it; no problem, seed or setting may be "
        "given beside it",
    )


def _add_compare(compare: argparse.ArgumentParser) -> None:
    _add_common(
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
    _add_verbose(figures)


def _add_common(command: argparse.ArgumentParser, weightings: Sequence[str], text: str) -> None:
    command.add_argument(
        "problem", choices=PROBLEMS, nargs="?", help="problem to train on; see ntk-keras list"
    )
    command.add_argument(
        "--weighting",
        choices=weightings,
        metavar="NAME",
        help=f"{text}: {', '.join(weightings)} (default: the preset's)",
    )
    command.add_argument(
        "--preset",
        metavar="NAME",
        help=f"settings to start from: {', '.join(PRESETS)} (default: quick, or natural-gradient "
        "with that optimizer)",
    )
    command.add_argument(
        "--optimizer", choices=OPTIMIZERS, help="optimizer (default: the preset's)"
    )
    command.add_argument(
        "--logdir",
        default="logs",
        metavar="FOLDER",
        help="folder in which each run gets a folder of its own (default: logs)",
    )
    existing = command.add_mutually_exclusive_group()
    existing.add_argument(
        "--resume",
        action="store_true",
        help="continue runs that were interrupted, and keep finished ones (default: refuse)",
    )
    existing.add_argument(
        "--overwrite",
        action="store_true",
        help="replace existing runs of the same settings (default: refuse)",
    )
    _add_verbose(command)
    _add_settings(command)


def _add_settings(command: argparse.ArgumentParser) -> None:
    """Adds flags that change settings of a preset."""
    command.add_argument(
        "--redrawn",
        action=argparse.BooleanOptionalAction,
        help="draw new points at every step, or keep the first ones (default: the preset's)",
    )
    command.add_argument(
        "--parameter",
        type=_parameter,
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="parameter of the problem, such as lower=-2; may be repeated (default: the preset's)",
    )
    for name, (kind, placeholder, text) in OVERRIDES.items():
        command.add_argument(
            f"--{name.replace('_', '-')}",
            type=kind,
            metavar=placeholder,
            help=f"{text} (default: the preset's)",
        )


def _add_verbose(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--verbose",
        type=int,
        choices=(0, 1, 2),
        default=1 if sys.stdout.isatty() else 2,
        help="progress of each run: 0 none, 1 a line that renews itself, 2 a line for each epoch "
        "(default: 1 on a terminal, otherwise 2)",
    )


def _parameter(text: str) -> tuple[str, Any]:
    """NAME=VALUE, the value a number where it reads as one."""
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise argparse.ArgumentTypeError(f"expected NAME=VALUE, received {text!r}")
    try:
        return name, json.loads(value)
    except json.JSONDecodeError:
        return name, value
