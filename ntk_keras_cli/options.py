"""Options that several commands have."""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from typing import Any

from ntk_keras_cli.names import BENCH_WAYS, OPTIMIZERS, OVERRIDES, PRESETS, PROBLEMS

__all__ = ["add_bench", "add_common", "add_verbose"]


def add_bench(command: argparse.ArgumentParser) -> None:
    """Adds the options of ``bench``.

    Args:
        command: parser of the command.
    """
    command.add_argument(
        "problems",
        type=_problem,
        nargs="*",
        help="problems to train on, built-in or custom (default: all built-in ones)",
    )
    command.add_argument(
        "--ways",
        nargs="+",
        choices=BENCH_WAYS,
        default=list(BENCH_WAYS),
        metavar="NAME",
        help=f"ways to train: {', '.join(BENCH_WAYS)} (default: all)",
    )
    command.add_argument(
        "--seconds",
        type=float,
        default=60.0,
        help="seconds of training for each run (default: 60)",
    )
    command.add_argument(
        "--seeds", type=int, nargs="+", default=[0], metavar="N", help="seeds (default: 0)"
    )
    command.add_argument(
        "--scale",
        type=float,
        nargs="+",
        default=[1.0],
        metavar="FACTOR",
        help="factors of the residual of each equation, to see whether results depend on its unit; "
        "each makes runs of its own (default: 1)",
    )
    command.add_argument(
        "--logdir",
        default="logs/bench",
        metavar="FOLDER",
        help="folder of table, CSV file, figure and runs; a bench in it is continued (default: "
        "logs/bench)",
    )
    add_verbose(command)


def add_common(command: argparse.ArgumentParser, weightings: Sequence[str], text: str) -> None:
    """Adds what ``run`` and ``compare`` have in common.

    Args:
        command: parser of the command.
        weightings: values of ``--weighting``.
        text: help of ``--weighting``.
    """
    command.add_argument(
        "problem",
        type=_problem,
        nargs="?",
        help=f"problem to train on: {', '.join(PROBLEMS)}; or a custom one, as in heat.py, "
        "heat.py:NAME or package.module:NAME",
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
    add_verbose(command)
    _add_settings(command)


def _add_settings(command: argparse.ArgumentParser) -> None:
    """Adds flags that change settings of a preset."""
    command.add_argument(
        "--redrawn",
        action=argparse.BooleanOptionalAction,
        help="draw new points at every step, or keep the first ones (default: the preset's)",
    )
    command.add_argument(
        "--jit",
        action=argparse.BooleanOptionalAction,
        dest="jit_compile",
        help="compile the training step by XLA (default: the preset's)",
    )
    command.add_argument(
        "--points",
        type=_count,
        action="append",
        default=[],
        metavar="NAME=N",
        help="number of points of a term; may be repeated (default: the preset's)",
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
            "--lbfgs" if name == "lbfgs_steps" else f"--{name.replace('_', '-')}",
            dest=name,
            type=kind,
            metavar=placeholder,
            help=f"{text} (default: the preset's)",
        )


def add_verbose(command: argparse.ArgumentParser) -> None:
    """Adds ``--verbose``."""
    command.add_argument(
        "--verbose",
        type=int,
        choices=(0, 1, 2),
        default=1 if sys.stdout.isatty() else 2,
        help="progress of each run: 0 none, 1 a line that renews itself, 2 a line for each epoch "
        "(default: 1 on a terminal, otherwise 2)",
    )


def _problem(text: str) -> str:
    """The name of a built-in problem, or a file that exists, or a name in a module."""
    file = text if text.endswith(".py") else text.rpartition(":")[0]
    if file.endswith(".py") and not os.path.isfile(file):
        raise argparse.ArgumentTypeError(
            f"there is no file {file!r}. `ntk-keras new {file}` writes one to start from"
        )
    if not file and text not in PROBLEMS:
        raise argparse.ArgumentTypeError(
            f"unknown problem {text!r}. Expected one of {', '.join(PROBLEMS)}, a file such as "
            "heat.py, or a name in a module such as package.module:PROBLEM"
        )
    return text


def _parameter(text: str) -> tuple[str, Any]:
    """NAME=VALUE, the value a number where it reads as one."""
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise argparse.ArgumentTypeError(f"expected NAME=VALUE, received {text!r}")
    try:
        return name, json.loads(value)
    except json.JSONDecodeError:
        return name, value


def _count(text: str) -> tuple[str, int]:
    """NAME=N, a whole number."""
    name, value = _parameter(text)
    if type(value) is not int:
        raise argparse.ArgumentTypeError(f"expected NAME=N with a whole number, received {text!r}")
    return name, value
