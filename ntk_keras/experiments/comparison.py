"""Comparisons of weightings or optimizers on one problem, with one run for each seed."""

import dataclasses
import gc
import itertools
import os
import statistics
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ntk_keras import plots
from ntk_keras.callbacks import read_history
from ntk_keras.estimators import ESTIMATORS
from ntk_keras.experiments import tables
from ntk_keras.experiments.labels import label, title
from ntk_keras.experiments.run_names import run_name, size_name
from ntk_keras.experiments.runs import Result, run
from ntk_keras.problems import Settings
from ntk_keras.weighting import WEIGHTINGS, PointWeighting

__all__ = [
    "VARIANTS",
    "against_constant",
    "compare",
    "every_estimator",
    "every_weighting",
    "figure_name",
    "label",
    "table",
]


def against_constant(settings: Settings) -> list[Settings]:
    """Returns the settings with constant weights, and the settings themselves."""
    return [dataclasses.replace(settings, weighting="constant"), settings]


def every_estimator(settings: Settings) -> list[Settings]:
    """Returns settings for constant weights, and for NTK weights with each estimator."""
    sketched = [
        dataclasses.replace(settings, weighting="ntk", estimator=name) for name in ESTIMATORS
    ]
    return [dataclasses.replace(settings, weighting="constant"), *sketched]


def every_weighting(settings: Settings) -> list[Settings]:
    """Returns settings for constant weights, NTK weights with each estimator, and all others.

    Weightings that weight each point separately need fixed points. They come last, after constant
    weights on the same fixed points.
    """
    by_group, by_point = [], [dataclasses.replace(settings, weighting="constant", redrawn=False)]
    for name, kind in WEIGHTINGS.items():
        if issubclass(kind, PointWeighting):
            by_point.append(dataclasses.replace(settings, weighting=name, redrawn=False))
        elif name not in ("constant", "ntk"):
            by_group.append(dataclasses.replace(settings, weighting=name))
    return [
        *every_estimator(settings),
        *by_group,
        *(by_point if settings.redrawn else by_point[1:]),
    ]


# Names of several variants on the command line. All other names are those of weightings.
VARIANTS: dict[str, Callable[[Settings], list[Settings]]] = {
    "all": every_weighting,
    "estimators": every_estimator,
}


def compare(
    variants: Sequence[Settings],
    seeds: Sequence[int],
    logdir: str | os.PathLike[str],
    **kwargs: Any,
) -> list[list[Result]]:
    """Runs every variant with every seed.

    All variants run with one seed before the next, so that an interrupted comparison has results
    for all of them.

    Args:
        variants: settings that differ in weights or optimizers; their seeds are ignored.
        seeds: seeds of the runs.
        logdir: folder for the runs' folders and a figure of all error curves, which are drawn over
            seconds if optimizers differ.
        **kwargs: arguments for :func:`~ntk_keras.experiments.runs.run`. With ``resume``, finished
            runs are kept.

    Returns:
        The results by variant and seed.
    """
    results: list[list[Result]] = [[] for _ in variants]
    for number, seed in enumerate(seeds, 1):
        place = f"{number} of {len(seeds)}" if len(seeds) > 1 else ""
        for variant, of_variant in zip(variants, results, strict=True):
            settings = dataclasses.replace(variant, seed=seed)
            name = title(settings, variants, place)
            folder = Path(logdir) / run_name(settings)
            of_variant.append(run(settings, folder, title=name, **kwargs))
            gc.collect()  # otherwise graphs of many runs are freed during a later, timed one
    histories = {
        label(of_variant[0].settings, variants): [
            read_history(result.folder / "history.csv") for result in of_variant
        ]
        for of_variant in results
    }
    if len(_by_optimizer(variants)) > 1:  # their steps take different times
        histories = {name: list(map(_timed, runs)) for name, runs in histories.items()}
    plots.comparison(histories).savefig(Path(logdir) / figure_name(variants), dpi=120)
    return results


def figure_name(variants: Sequence[Settings]) -> str:
    """Returns the file name of the error curves of a comparison.

    Args:
        variants: settings that are compared.
    """
    # The first variant may have constant weights, which do not use all settings.
    sizes = [size_name(same[:2][-1]) for same in _by_optimizer(variants)]
    return f"compare-{'-and-'.join(sizes)}.png"


def _by_optimizer(variants: Sequence[Settings]) -> list[list[Settings]]:
    found: dict[str, list[Settings]] = {}
    for variant in variants:
        found.setdefault(variant.optimizer, []).append(variant)
    return list(found.values())


def table(results: Sequence[Sequence[Result]]) -> str:
    """Returns errors by variant and seed as a Markdown table with a heading.

    The sum of all losses, without weights, stands for the error if the solution is not known.

    Args:
        results: results by variant and seed; gains are relative to the first variant.
    """
    variants = [of_variant[0].settings for of_variant in results]
    base = _median_error(results[0])
    seeds = [f"seed {result.settings.seed}" for result in results[0]]
    heads = ["weights", *seeds, "median", "gain", "ms per step", "seconds"]
    rows = [
        [
            label(of_variant[0].settings, variants),
            *(f"{result.error:.3g}" for result in of_variant),
            f"{_median_error(of_variant):.3g}",
            _short(base / _median_error(of_variant)),
            f"{statistics.median(r.milliseconds_per_step for r in of_variant):.1f}",
            f"{statistics.median(r.seconds for r in of_variant):.0f}",
        ]
        for of_variant in results
    ]
    measure = "Sum of losses" if results[0][0].relative_l2 is None else "Relative L2 error"
    heading = f"{measure} at the end of training, {variants[0].problem}"
    words = "gain: median of the first row divided by that of the row (larger is better)"
    unknowns = [_estimates(results, name) for name in results[0][0].unknowns]
    return "\n\n".join([heading, tables.markdown(heads, rows), words, *unknowns])


def _estimates(results: Sequence[Sequence[Result]], name: str) -> str:
    """Returns the estimates of an unknown by variant and seed as a table with a heading."""
    variants = [of_variant[0].settings for of_variant in results]
    rows = [
        [label(of_variant[0].settings, variants), *(str(r.unknowns[name]) for r in of_variant)]
        for of_variant in results
    ]
    truth = results[0][0].unknowns[name].truth
    known = "" if truth is None else f", truth {truth:g}"
    heads = ["weights", *(f"seed {result.settings.seed}" for result in results[0])]
    return f"Estimates of {name} with standard errors{known}\n\n{tables.markdown(heads, rows)}"


def _timed(rows: Sequence[Mapping[str, float]]) -> list[dict[str, float]]:
    """Returns rows with the seconds spent up to each of them."""
    ends = itertools.accumulate(row["seconds"] for row in rows)
    return [{**row, "seconds in training": end} for row, end in zip(rows, ends, strict=True)]


def _short(gain: float) -> str:
    """Returns a gain as text, such as 4.4 or 1.9e+06."""
    return f"{gain:.1f}" if gain < 1000 else f"{gain:.1e}"


def _median_error(results: Sequence[Result]) -> float:
    return statistics.median(result.error for result in results)
