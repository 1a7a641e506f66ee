"""What every figure of the paper is made of: sizes as data, a picture and the numbers beside it."""

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
    """Everything that decides the ten figures, as plain data.

    Attributes:
        convergence: the run of Figures 1 to 3, an epoch for each step.
        admissible: the same with a step length that Theorem 1 admits.
        quadratic: the run of Figures 4 and 7, whose start Figures 5 and 6 sample.
        samples: numbers of samples in Figure 5, after the exact kernel.
        monte_carlo: numbers of samples in Figure 6.
        repeats: M, of each.
        wave: the run of Figures 8 and 9, weights compared after every epoch.
        liquid_crystal: the run of Figure 10 with weights; the other differs in them only.
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
        figure: the picture.
        numbers: beside it, plain data.
        others: more pictures by name, that the paper does not have.
    """

    figure: Figure
    numbers: Mapping[str, Any]
    others: Mapping[str, Figure] = dataclasses.field(default_factory=dict)

    def save(self, folder: Path, name: str) -> None:
        """Writes pictures and numbers.

        Args:
            folder: where to, which is made.
            name: of the files, without ending.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self.figure.savefig(folder / f"{name}.png", dpi=100)
        for other, figure in self.others.items():
            figure.savefig(folder / f"{name}-{other}.png", dpi=100)
        (folder / f"{name}.json").write_text(json.dumps(self.numbers, indent=2) + "\n")


def sizes(preset: str) -> Sizes:
    """The sizes of a preset of the problems.

    The convergence test and the quadratic predictor are small enough for the paper's size in any
    case. Networks, steps and points of wave and liquid crystal are the preset's, their weights
    Algorithm 3 as printed: one probe over all terms, alpha = 1e-3. N of its first average is open;
    with 1000 the first traces, a sample of which errs by 130 to 150 % (3 x 500), are right to 5 %.
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
        # Evenly spaced logarithms from 10 to 1000; of 100 squares of one normal deviate each, the
        # mean errs by 14 %, and a slope through 25 means by 2 %.
        monte_carlo=tuple(round(10 ** (1 + k / 12)) for k in range(25)),
        repeats=100,
        wave=dataclasses.replace(wave, steps_per_epoch=wave.steps // 100),
        liquid_crystal=liquid_crystal,
    )


PRESETS = ("quick", "paper")
