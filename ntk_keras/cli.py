"""The command line: ``ntk-keras list | run | compare | reproduce``."""

import argparse
import dataclasses
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ntk_keras import problems
from ntk_keras.experiments import comparison, reproduction, runs
from ntk_keras.problems import PROBLEMS, Problem, Settings
from ntk_keras.problems.base import OPTIMIZERS, without_effect
from ntk_keras.training.nan_check import TrainingDivergedError
from ntk_keras.weighting import WEIGHTINGS

__all__ = ["main"]

# Settings that a flag may change: the flag's type and its help.
_OVERRIDES = {
    "steps": (int, "training steps"),
    "width": (int, "neurons in each hidden layer"),
    "estimator": (str, "estimator of the kernel traces"),
    "averaging_rate": (float, "alpha of the moving average of kernel traces"),
    "num_initial_probes": (int, "samples in the first average"),
    "update_every": (int, "steps from one update of the weights to the next"),
    "steps_per_epoch": (int, "steps between rows of the history and checkpoints"),
}

_FLAGS = (*_OVERRIDES, "weighting", "optimizer", "redrawn")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line.

    Args:
        arguments: those of the process by default.

    Returns:
        The exit code: 0, or 1 after an error, whose message goes to standard error.
    """
    options = _parser().parse_args(arguments)
    try:
        options.command(options)
    except (ImportError, OSError, TrainingDivergedError, ValueError) as error:
        print(f"ntk-keras: {error}", file=sys.stderr)
        return 1
    return 0


def _list(options: argparse.Namespace) -> None:
    for problem in PROBLEMS.values():
        presets = ", ".join(
            f"{name} ({_size(problem, settings)}{settings.steps} steps)"
            for name, settings in problem.presets.items()
        )
        print(f"{problem.name:14} {problem.title} ({problem.reference}); presets: {presets}")


def _size(problem: Problem, settings: Settings) -> str:
    """Depth and width, where they are the network's."""
    return f"{settings.depth} x {settings.width}, " if problem.network is None else ""


def _run(options: argparse.Namespace) -> None:
    settings = _stored(options) if options.settings else _settings(options, seed=options.seed or 0)
    folder = Path(options.logdir) / runs.run_name(settings)
    result = runs.run(
        settings,
        folder,
        resume=options.resume,
        overwrite=options.overwrite,
        verbose=options.verbose,
    )
    print(f"\n{runs.result_table(result)}\n\nResults in {folder}")
    print(f"Curves: tensorboard --logdir {options.logdir}")


def _compare(options: argparse.Namespace) -> None:
    variants = comparison.VARIANTS.get(options.weighting, comparison.against_constant)
    if options.weighting in comparison.VARIANTS:
        if options.estimator is not None:
            raise ValueError(
                f"compare --weighting {options.weighting} runs every estimator. Leave --estimator "
                "out, or set one beside constant weights by --weighting ntk."
            )
        options.weighting = "ntk"
    settings = _settings(options, seed=options.seeds[0])
    if len(set(options.seeds)) < len(options.seeds):
        raise ValueError(f"Every seed makes runs of its own. Received --seeds {options.seeds}.")
    if settings.weighting == "constant":
        raise ValueError("compare sets constant weights beside others: choose another --weighting.")
    sides = [settings]
    if options.optimizer == "natural-gradient":
        sides.insert(0, _settings(_of_gradients(options), seed=options.seeds[0]))
    results = comparison.compare(
        [variant for side in sides for variant in variants(side)],
        options.seeds,
        options.logdir,
        resume=options.resume,
        overwrite=options.overwrite,
        verbose=options.verbose,
    )
    print(f"\n{comparison.table(results)}\n\nResults in {options.logdir}")


def _of_gradients(options: argparse.Namespace) -> argparse.Namespace:
    """The options for a preset's own optimizer, Adam where that is a natural gradient."""
    optimizer = "adam" if options.preset == "natural-gradient" else None
    return argparse.Namespace(**{**vars(options), "optimizer": optimizer})


def _reproduce(options: argparse.Namespace) -> None:
    folder = Path(options.logdir or f"logs/reproduction-{options.preset}")
    sizes = reproduction.sizes(options.preset)
    figures = options.figures or list(reproduction.FIGURES)
    folder.mkdir(parents=True, exist_ok=True)  # before hours of training, if it cannot be made
    for number, made in reproduction.reproduce(sizes, folder, figures, verbose=options.verbose):
        print(f"Figure {number}: {json.dumps(made.numbers)}\n", flush=True)
    print(f"Figures and numbers in {folder}")


def _settings(options: argparse.Namespace, seed: int) -> Settings:
    if options.problem is None:
        other = ", or give --settings" if hasattr(options, "settings") else ""
        raise ValueError(f"Which problem? Name one of {sorted(PROBLEMS)}{other}.")
    problem = problems.get(options.problem)
    usual = "natural-gradient" if options.optimizer == "natural-gradient" else "quick"
    presets, preset = problem.presets, options.preset or usual
    if preset not in presets:
        raise ValueError(f"Unknown preset {preset!r}. Known: {sorted(presets)}.")
    given = {name: getattr(options, name) for name in _FLAGS}
    changes = {name: value for name, value in given.items() if value is not None}
    parameters = {**presets[preset].parameters, **dict(options.parameter)}
    settings = dataclasses.replace(presets[preset], seed=seed, parameters=parameters, **changes)
    idle = sorted(set(changes) & without_effect(settings))
    if idle:
        raise ValueError(
            f"{settings.weighting!r} weights take no {' or '.join(idle)}. Leave it out, or choose "
            "another --weighting."
        )
    if "width" in changes and problem.network is not None:
        raise ValueError(f"The model of {problem.name!r} has no width. Leave --width out.")
    problems.of(settings)  # refuses what it does not know
    return settings


def _stored(options: argparse.Namespace) -> Settings:
    """The settings of a file, that no flag may contradict."""
    known = ("problem", "preset", "seed", *_FLAGS)
    given = [name for name in known if getattr(options, name) is not None]
    given += ["parameter"] if options.parameter else []
    if given:
        raise ValueError(f"--settings says everything about a run. Leave out {sorted(given)}.")
    settings = runs.load_settings(options.settings)
    problems.of(settings)  # refuses what it does not know
    return settings


def _parameter(text: str) -> tuple[str, Any]:
    """NAME=VALUE, the value a number where it reads as one."""
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise argparse.ArgumentTypeError(f"expected NAME=VALUE, received {text!r}")
    try:
        return name, json.loads(value)
    except json.JSONDecodeError:
        return name, value


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="ntk-keras",
        description="Train physics-informed neural networks with NTK-weighted losses.",
    )
    commands = parser.add_subparsers(required=True)
    commands.add_parser("list", help="list the problems").set_defaults(command=_list)
    run = commands.add_parser("run", help="train one problem and write its results")
    run.set_defaults(command=_run)
    run.add_argument("--seed", type=int, help="of network, points and probes (0)")
    run.add_argument("--settings", metavar="FILE", help="settings.json of a run, to run it again")
    compare = commands.add_parser("compare", help="set constant weights beside adaptive ones")
    compare.set_defaults(command=_compare)
    compare.add_argument("--seeds", type=int, nargs="+", default=[0])
    for command, more in ((run, []), (compare, list(comparison.VARIANTS))):
        _add_common(command)
        command.add_argument("--weighting", choices=[*WEIGHTINGS, *more])
    figures = commands.add_parser("reproduce", help="make the figures of the paper")
    figures.set_defaults(command=_reproduce)
    figures.add_argument("figures", type=int, nargs="*", help="their numbers; all by default")
    figures.add_argument("--preset", choices=reproduction.PRESETS, default="quick")
    figures.add_argument("--logdir", help="where they go (logs/reproduction-PRESET)")
    _add_verbose(figures)
    return parser


def _add_common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("problem", choices=sorted(PROBLEMS), nargs="?")
    parser.add_argument(
        "--preset",
        help="sizes of the run: quick (the default), paper, or natural-gradient (the default with "
        "that optimizer)",
    )
    parser.add_argument(
        "--optimizer", choices=OPTIMIZERS, help="what trains the network (preset's)"
    )
    parser.add_argument("--logdir", default="logs", help="where the runs' folders go")
    there = parser.add_mutually_exclusive_group()
    there.add_argument("--resume", action="store_true", help="go on with an interrupted run")
    there.add_argument("--overwrite", action="store_true", help="replace a run that is there")
    _add_verbose(parser)
    parser.add_argument(
        "--redrawn",
        action=argparse.BooleanOptionalAction,
        help="new points at every step, or the same throughout (preset's)",
    )
    parser.add_argument(
        "--parameter",
        type=_parameter,
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="a parameter of the problem; may be repeated",
    )
    for name, (kind, text) in _OVERRIDES.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=kind, help=f"{text} (preset's)")


def _add_verbose(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--verbose",
        type=int,
        default=1 if sys.stdout.isatty() else 2,
        help="0 silent, 1 a progress bar, 2 a line for each epoch",
    )


if __name__ == "__main__":
    sys.exit(main())
