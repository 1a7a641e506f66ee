"""The parts of every figure of the paper: sizes as data, the figure itself, and its numbers."""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from ntk_keras import problems
from ntk_keras.problems import Settings

__all__ = ["PRESETS", "Reproduced", "Sizes", "sizes"]


@dataclasses.dataclass(frozen=True)
class Sizes:
    """Everything that determines the ten figures, as plain data.

    Attributes:
        convergence: settings of the run of Figures 1 to 3, with one step per epoch.
        admissible: settings of the same run with a learning rate that Theorem 1 admits.
        quadratic: settings of the run of Figures 4 and 7. Figures 5 and 6 sample its start.
        samples: numbers of samples in Figure 5, next to the exact kernel.
        monte_carlo: numbers N of samples in Figure 6.
        repeats: number M of repetitions for each N.
        wave: settings of the run of Figures 8 and 9. Weights are compared after every epoch.
        liquid_crystal: settings of the weighted run of Figure 10. The other run has constant
            weights, and otherwise the same settings.
    """

    convergence: Settings
    admissible: Settings
    quadratic: Settings
    samples: tuple[int, int, int]
    monte_carlo: tuple[int, ...]
    repeats: int
    wave: Settings
    liquid_crystal: Settings


@dataclasses.dataclass(frozen=True)
class Reproduced:
    """One figure of the paper.

    Attributes:
        figure: figure as in the paper.
        numbers: numbers that belong to the figure, as plain data.
        others: further figures by name, which are not in the paper.
    """

    figure: Figure
    numbers: Mapping[str, Any]
    others: Mapping[str, Figure] = dataclasses.field(default_factory=dict)

    def save(self, folder: Path, name: str) -> None:
        """Writes figures and numbers.

        Args:
            folder: folder to write to; it is created.
            name: name of the files, without extension.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self.figure.savefig(folder / f"{name}.png", dpi=100)
        for other, figure in self.others.items():
            figure.savefig(folder / f"{name}-{other}.png", dpi=100)
        (folder / f"{name}.json").write_text(json.dumps(self.numbers, indent=2) + "\n")


def sizes(preset: str) -> Sizes:
    """Returns the sizes of a preset of the problems.

    The convergence test and the quadratic predictor are small enough to have the paper's size in
    every preset. For the wave and the liquid crystal, the preset gives networks, steps and points.
    Their weights are those of Algorithm 3 as printed, with one probe over all terms and
    alpha = 1e-3. The paper leaves the number N of probes in the first average open. One sample of
    the traces has an error of 130 to 150 % (3 x 500), so 1000 samples give the first traces to 5 %.
    """
    convergence = dataclasses.replace(
        problems.get("poisson").presets["paper"], steps=1000, steps_per_epoch=1
    )
    sketched: dict[str, Any] = {
        "weighting": "ntk",
        "estimator": "predictor",
        "averaging_rate": 1e-3,
        "num_initial_probes": 1000,
    }
    wave, liquid_crystal = (
        dataclasses.replace(problems.get(name).presets[preset], **sketched)
        for name in ("wave", "liquid_crystal")
    )
    return Sizes(
        convergence=convergence,
        admissible=dataclasses.replace(convergence, learning_rate=1e-7),
        quadratic=problems.get("quadratic").presets["paper"],
        samples=(1, 2000, 20_000),
        # Logarithmically spaced from 10 to 1000. The mean of 100 squared normal variables has a
        # standard error of 14 %, and the slope through 25 such means one of 2 %.
        monte_carlo=tuple(round(10 ** (1 + k / 12)) for k in range(25)),
        repeats=100,
        wave=dataclasses.replace(wave, steps_per_epoch=wave.steps // 100),
        liquid_crystal=liquid_crystal,
    )


PRESETS = ("quick", "paper")
