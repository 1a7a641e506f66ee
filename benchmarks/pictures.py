"""The picture at the top of the README: what loss weights and natural gradients gain.

It is made from the runs of a comparison:

    ntk-keras compare wave --optimizer natural-gradient --logdir logs/gain
    python -m benchmarks.pictures logs/gain
"""

import argparse
import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

import keras
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from ntk_keras import problems
from ntk_keras.experiments import runs
from ntk_keras.plots import style

IMAGE = Path(__file__).parents[1] / "docs" / "images" / "natural-gradient.png"

# Optimizer and weighting of the runs that are shown, by title.
SHOWN = {
    "Adam, constant weights": ("adam", "constant"),
    "Adam, NTK weights": ("adam", "ntk"),
    "natural gradient": ("natural-gradient", "ntk"),
}


@dataclasses.dataclass(frozen=True)
class Solved:
    """The values of a trained network on the grid of its problem.

    Attributes:
        lines: coordinates along both axes.
        prediction: values of the network, ``[nt, nx]``.
        truth: values of the exact solution, ``[nt, nx]``.
        steps: number of training steps.
    """

    lines: Sequence[np.ndarray]
    prediction: np.ndarray
    truth: np.ndarray
    steps: int

    @property
    def error(self) -> np.ndarray:
        """The absolute error, ``[nt, nx]``."""
        return np.abs(self.prediction - self.truth)

    @property
    def relative_l2(self) -> float:
        """The relative L2 error."""
        return float(np.linalg.norm(self.error) / np.linalg.norm(self.truth))


def read(logdir: Path) -> dict[str, Solved]:
    """Returns what the runs of :data:`SHOWN` have learned, by title.

    Args:
        logdir: folder of the comparison.

    Raises:
        FileNotFoundError: if a run is missing; the message says how to make it.
    """
    folders: dict[tuple[str, str], Path] = {}
    for path in sorted(logdir.glob("*/settings.json")):
        settings = runs.load_settings(path)
        folders.setdefault((settings.optimizer, settings.weighting), path.parent)
    missing = [title for title, kind in SHOWN.items() if kind not in folders]
    if missing:
        raise FileNotFoundError(
            f"{logdir} has no runs of {missing}. Make them with `ntk-keras compare wave "
            f"--optimizer natural-gradient --logdir {logdir}`."
        )
    return {title: _solved(folders[kind]) for title, kind in SHOWN.items()}


def figure(solved: Mapping[str, Solved]) -> Figure:
    """Draws the exact solution and all predictions, and the errors below, on one scale each.

    Args:
        solved: predictions by title.
    """
    whole, axes = style.panels(2, 1 + len(solved), style.WIDTH, 2.3, sharex=True, sharey=True)
    first = next(iter(solved.values()))
    largest = float(np.max(np.abs(first.truth)))
    look = {"vmin": -largest, "vmax": largest, "cmap": style.VALUES}
    axes[0, 0].set_title("exact solution", fontsize="medium")
    image = axes[0, 0].pcolormesh(*first.lines, first.truth.T, **look)
    errors = np.concatenate([one.error.ravel() for one in solved.values()])
    low, high = np.log10(np.quantile(errors, (0.1, 1)))
    norm = LogNorm(10.0 ** np.floor(low), 10.0 ** np.round(high))
    for (top, bottom), (title, one) in zip(axes[:, 1:].T, solved.items(), strict=True):
        top.pcolormesh(*one.lines, one.prediction.T, **look)
        top.set_title(f"{title}\n{one.steps} steps", fontsize="medium")
        below = bottom.pcolormesh(*one.lines, one.error.T, norm=norm, cmap="cividis")
        bottom.set_title(f"relative L2 error {one.relative_l2:.2g}", fontsize="medium")
        bottom.set_xlabel("t")
    style.color_bar(image, axes[0], label="u", extend="both")
    style.color_bar(below, axes[1], label="absolute error", extend="both")
    _explain(axes[1, 0])
    axes[0, 0].set(ylabel="x", xlabel="t")
    return whole


def _explain(ax: Axes) -> None:
    """Fills the place below the exact solution."""
    ax.axis("off")
    words = "absolute error\non one\nlogarithmic scale"
    ax.text(0.95, 0.5, words, ha="right", va="center", transform=ax.transAxes)


def _solved(folder: Path) -> Solved:
    settings = runs.load_settings(folder / "settings.json")
    problem = problems.of(settings)
    network = keras.models.load_model(folder / "network.keras")
    prediction, truth = (values[..., 0] for values in runs.on_grid(problem, network))
    return Solved(problem.box.lines(*problem.grid), prediction, truth, settings.steps)


def main(arguments: Sequence[str] | None = None) -> None:
    """Reads the runs and writes the picture."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("logdir", type=Path, help="folder of the comparison")
    parser.add_argument("--out", type=Path, default=IMAGE, help="file of the picture")
    options = parser.parse_args(arguments)
    figure(read(options.logdir)).savefig(options.out, dpi=120)


if __name__ == "__main__":
    main()
