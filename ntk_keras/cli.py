"""The commands of ``ntk-keras``, such as ``run``, whose parser is ``ntk_keras_cli``."""

import argparse
import dataclasses
import json
import shlex
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from ntk_keras import problems
from ntk_keras.experiments import bench, changes, comparison, reproduction, runs, tables
from ntk_keras.problems import PROBLEMS, Problem, Settings
from ntk_keras.training.nan_check import TrainingDivergedError
from ntk_keras_cli import new, parser
from ntk_keras_cli.names import OVERRIDES

__all__ = ["execute", "main"]

_FLAGS = (*OVERRIDES, "weighting", "optimizer", "redrawn", "jit_compile")

# The files in the folder of a run.
_FILES = {
    "network.keras": "trained network",
    "result.json": "error, losses, weights and times",
    "history.csv": "the same for each epoch",
    "history.png": "errors, losses and weights over steps",
    "solution.png": "prediction, and solution and error if these are known",
    "settings.json": "settings, to repeat the run by --settings",
    "checkpoint.weights.h5": "state of training, for --resume",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line.

    Args:
        arguments: those of the process by default.

    Returns:
        The exit code: 0, or 1 after an error, whose message goes to standard error.
    """
    return execute(parser().parse_args(arguments))


def execute(options: argparse.Namespace) -> int:
    """Runs the command of parsed arguments.

    Args:
        options: arguments as :func:`ntk_keras_cli.parser` parses them.

    Returns:
        The exit code, as of :func:`main`.
    """
    try:
        _COMMANDS[options.command](options)
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
        print(f"{problem.name:20} {problem.title} ({problem.reference}); presets: {presets}")


def _size(problem: Problem, settings: Settings) -> str:
    """Depth and width, where they are the network's."""
    return f"{settings.depth} x {settings.width}, " if problem.network is None else ""


def _run(options: argparse.Namespace) -> None:
    settings = _stored(options) if options.settings else _settings(options, seed=options.seed or 0)
    if options.dry_run:
        print(json.dumps(dataclasses.asdict(settings), indent=2))
        return
    folder = Path(options.logdir) / runs.run_name(settings)
    result = runs.run(
        settings,
        folder,
        resume=options.resume,
        overwrite=options.overwrite,
        verbose=options.verbose,
    )
    print(f"\n{runs.result_table(result)}\n\nFiles in {folder}:")
    for name, text in _FILES.items():
        print(f"  {name:<21}  {text}")
    print(f"\nCurves: {_tensorboard(options.logdir)}")


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
    compared = [variant for side in sides for variant in variants(side)]
    results = comparison.compare(
        compared,
        options.seeds,
        options.logdir,
        resume=options.resume,
        overwrite=options.overwrite,
        verbose=options.verbose,
    )
    figure = Path(options.logdir) / comparison.figure_name(compared)
    print(f"\n{comparison.table(results)}\n")
    print(f"Error curves in {figure}, a folder for each run beside it")
    print(f"Curves: {_tensorboard(options.logdir)}")


def _of_gradients(options: argparse.Namespace) -> argparse.Namespace:
    """The options for a preset's own optimizer, Adam where that is a natural gradient."""
    optimizer = "adam" if options.preset == "natural-gradient" else None
    return argparse.Namespace(**{**vars(options), "optimizer": optimizer})


def _bench(options: argparse.Namespace) -> None:
    bench.bench(
        options.problems or list(PROBLEMS),
        options.ways,
        options.seeds,
        options.seconds,
        options.logdir,
        scales=options.scale,
        verbose=options.verbose,
    )
    folder = Path(options.logdir)
    print(
        f"\n{(folder / 'bench.md').read_text()}\nFigure and all errors in {folder}: bench.png, "
        "bench.csv"
    )
    print(f"Curves: {_tensorboard(folder)}")


def _reproduce(options: argparse.Namespace) -> None:
    folder = Path(options.logdir or f"logs/reproduction-{options.preset}")
    sizes = reproduction.sizes(options.preset)
    figures = options.figures or list(reproduction.FIGURES)
    folder.mkdir(parents=True, exist_ok=True)  # before hours of training, if it cannot be made
    for number, made in reproduction.reproduce(sizes, folder, figures, verbose=options.verbose):
        print(f"Figure {number}\n{tables.numbers_table(made.numbers)}\n", flush=True)
    print(
        f"Figures in {folder}, with all digits of their numbers: figure01.png, figure01.json, ..."
    )
    if any(path.is_dir() for path in folder.iterdir()):
        print(f"Curves of the runs: {_tensorboard(folder)}")


def _settings(options: argparse.Namespace, seed: int) -> Settings:
    if options.problem is None:
        other = ", or give --settings" if hasattr(options, "settings") else ""
        raise ValueError(f"Which problem? Name one of {sorted(PROBLEMS)}{other}.")
    problem = problems.get(options.problem)
    usual = "natural-gradient" if options.optimizer == "natural-gradient" else "quick"
    given = {name: getattr(options, name) for name in _FLAGS}
    given = {name: value for name, value in given.items() if value is not None}
    for name, pairs in (("points", options.points), ("parameters", options.parameter)):
        if pairs:
            given[name] = dict(pairs)
    return changes.changed(problem, options.preset or usual, {"seed": seed, **given})


def _stored(options: argparse.Namespace) -> Settings:
    """The settings of a file, that no flag may contradict."""
    known = ("problem", "preset", "seed", *_FLAGS)
    given = [name for name in known if getattr(options, name) is not None]
    given += [name for name in ("parameter", "points") if getattr(options, name)]
    if given:
        raise ValueError(f"--settings says everything about a run. Leave out {sorted(given)}.")
    settings = runs.load_settings(options.settings)
    problems.of(settings)  # refuses what it does not know
    return settings


def _tensorboard(logdir: str | Path) -> str:
    """The command that shows the curves, with the path of TensorBoard unless the shell finds it."""
    beside = Path(sys.executable).with_name("tensorboard")
    found = shutil.which("tensorboard")
    program = str(beside) if beside.exists() and found != str(beside) else "tensorboard"
    return shlex.join([program, "--logdir", str(logdir)])


_COMMANDS: dict[str, Callable[[argparse.Namespace], None]] = {
    "list": _list,
    "run": _run,
    "compare": _compare,
    "new": lambda options: print(new.write(options.file)),
    "bench": _bench,
    "reproduce": _reproduce,
}

if __name__ == "__main__":
    sys.exit(main())
