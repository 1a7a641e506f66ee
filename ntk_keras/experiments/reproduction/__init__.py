"""The ten figures of the paper, each with its numbers.

Each module is named after the figures that it makes from runs of the problems.
"""

import functools
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from ntk_keras.experiments.reproduction import (
    figure_10,
    figures_1_to_3,
    figures_4_to_7,
    figures_8_and_9,
)
from ntk_keras.experiments.reproduction.base import PRESETS, Reproduced, Sizes, sizes
from ntk_keras.experiments.runs import Result

__all__ = ["FIGURES", "PRESETS", "Experiments", "Reproduced", "Sizes", "reproduce", "sizes"]


class Experiments:
    """The runs behind the figures, each done once, when a figure first needs it.

    Args:
        sizes: sizes of all runs.
        folder: folder that contains the folders of long runs, which are resumed.
        verbose: verbosity of long runs, as in Keras.
    """

    def __init__(self, sizes: Sizes, folder: str | os.PathLike[str], verbose: int | str = 2):
        self.sizes = sizes
        self.folder = Path(folder)
        self.verbose = verbose

    @functools.cached_property
    def descent(self) -> figures_1_to_3.Convergence:
        """The run of Figures 1 to 3."""
        return figures_1_to_3.train(self.sizes.convergence)

    @functools.cached_property
    def admissible(self) -> figures_1_to_3.Convergence:
        """The run with an admissible learning rate, for the numbers of Figure 3."""
        return figures_1_to_3.train(self.sizes.admissible)

    @functools.cached_property
    def regression(self) -> figures_4_to_7.Training:
        """The run of Figures 4 and 7."""
        return figures_4_to_7.train(self.sizes.quadratic)

    @functools.cached_property
    def sampler(self) -> figures_4_to_7.Sketches:
        """The sketches of Figures 5 and 6."""
        return figures_4_to_7.Sketches(self.sizes.quadratic)

    @functools.cached_property
    def wave_run(self) -> Result:
        """The run of Figures 8 and 9."""
        return figures_8_and_9.train(self.sizes.wave, self.folder, self.verbose)

    @functools.cached_property
    def crystal_runs(self) -> dict[str, Result]:
        """The runs of Figure 10 by name."""
        return figure_10.train(self.sizes.liquid_crystal, self.folder, self.verbose)


FIGURES: dict[int, Callable[[Experiments], Reproduced]] = {
    1: lambda of: figures_1_to_3.losses(of.descent),
    2: lambda of: figures_1_to_3.weights_and_eigenvalues(of.descent),
    3: lambda of: figures_1_to_3.time_averages(of.descent, of.admissible),
    4: lambda of: figures_4_to_7.fit(of.regression),
    5: lambda of: figures_4_to_7.samples(of.sampler, of.sizes.samples),
    6: lambda of: figures_4_to_7.monte_carlo(of.sampler, of.sizes.monte_carlo, of.sizes.repeats),
    7: lambda of: figures_4_to_7.kernels(of.regression),
    8: lambda of: figures_8_and_9.weights(of.wave_run),
    9: lambda of: figures_8_and_9.solution(of.wave_run),
    10: lambda of: figure_10.compared(of.crystal_runs),
}


def reproduce(
    sizes: Sizes,
    folder: str | os.PathLike[str],
    figures: Sequence[int] = tuple(FIGURES),
    *,
    verbose: int | str = 2,
) -> Iterator[tuple[int, Reproduced]]:
    """Makes figures of the paper, and writes each as ``figure<number>.png`` and ``.json``.

    Args:
        sizes: sizes of the runs behind the figures.
        folder: folder for the figures and for the folders of long runs, which are resumed.
        figures: numbers of the figures.
        verbose: verbosity of long runs, as in Keras.

    Returns:
        An iterator over pairs of number and figure. Each figure is made when it is requested.

    Raises:
        ValueError: if a figure does not exist, or the folder contains runs with other settings.
    """
    unknown = sorted(set(figures) - set(FIGURES))
    if unknown:
        raise ValueError(f"The paper has Figures 1 to {max(FIGURES)}. Received {unknown}.")
    return _each(Experiments(sizes, folder, verbose), figures)


def _each(experiments: Experiments, figures: Sequence[int]) -> Iterator[tuple[int, Reproduced]]:
    for number in figures:
        made = FIGURES[number](experiments)
        made.save(experiments.folder, f"figure{number:02d}")
        yield number, made
