"""Section 5.1, Figures 1 to 3: gradient descent with exact weights converges as the theorems say.

The Poisson equation is solved with four points. They are so few that n <= p, and the kernel is
positive definite.
"""

import dataclasses
from typing import Any

import keras
import numpy as np
from matplotlib.axes import Axes

from ntk_keras import problems, theory
from ntk_keras.callbacks import TimeAverages
from ntk_keras.experiments.reproduction import mode_tracking
from ntk_keras.experiments.reproduction.base import Reproduced
from ntk_keras.plots import style
from ntk_keras.problems import Settings

__all__ = ["Convergence", "losses", "time_averages", "train", "weights_and_eigenvalues"]

TARGET = 1e-9  # the loss that is to be reached in Figure 1


@dataclasses.dataclass(frozen=True)
class Convergence:
    """A run of the convergence test.

    Attributes:
        settings: settings of the run.
        history: history of Keras, by name and epoch; an epoch is one step.
        averages: callback that holds the measurements of every step.
    """

    settings: Settings
    history: dict[str, list[float]]
    averages: TimeAverages

    @property
    def epochs(self) -> np.ndarray:
        """The numbers 1, 2, ... of the epochs, as on the logarithmic axis of the paper."""
        return np.arange(1, self.settings.steps + 1)


def train(settings: Settings) -> Convergence:
    """Trains on the Poisson equation, and measures every step."""
    model = problems.build_model(problems.of(settings), settings)
    averages = TimeAverages(spectrum=True)
    history: keras.callbacks.History = model.fit(
        epochs=settings.epochs,
        steps_per_epoch=settings.steps_per_epoch,
        callbacks=[averages],
        verbose=0,
    )
    return Convergence(settings, history.history, averages)


def losses(run: Convergence) -> Reproduced:
    """Returns Figure 1: the total loss, and the loss of each term.

    As in the paper, the loss of a term is the mean of its squared residuals, over two points for
    the equation. The total is the sum without weights.
    """
    points = {"equation": run.settings.points["equation"], "left": 1, "right": 1}
    terms = {name: 2 * np.array(run.history[f"loss/{name}"]) / n for name, n in points.items()}
    total = np.sum(list(terms.values()), axis=0)
    figure, axes = style.panels(1, 1, 6, 4)
    ax = axes[0, 0]
    labels = ("PDE residual", "boundary, x = 0", "boundary, x = 1")
    ax.loglog(run.epochs, total, color="0.75", linewidth=5, label="total")
    for values, label, dashes in zip(terms.values(), labels, ("-", "--", ":"), strict=True):
        ax.loglog(run.epochs, values, dashes, label=label)
    ax.set(xlabel="epoch", ylabel="loss, mean of squares")
    ax.legend()
    below = np.flatnonzero(total < TARGET)
    numbers = {
        "loss at the first epoch": float(total[0]),
        "loss at the last epoch": float(total[-1]),
        f"first epoch below {TARGET}": int(run.epochs[below[0]]) if len(below) else None,
        "learning rate": run.settings.learning_rate,
    }
    return Reproduced(figure, numbers)


def weights_and_eigenvalues(run: Convergence) -> Reproduced:
    """Returns Figure 2: the loss weights, and the kernel's eigenvalues through their crossings."""
    weights = run.averages.weights()
    eigenvalues = mode_tracking.track_modes(run.averages.eigenvalues()[:-1])
    figure, ((left, right),) = style.panels(1, 2, style.WIDTH, 4)
    for values, group, dashes in zip(weights.T, run.averages.groups, ("-", "--"), strict=True):
        left.loglog(run.epochs, values, dashes, label=group)
    # As in the paper, the mode that is smallest at the start comes first.
    modes = eigenvalues.T[np.argsort(eigenvalues[0])]
    for number, (values, dashes) in enumerate(zip(modes, _styles(len(modes)), strict=True), 1):
        right.loglog(run.epochs, values, dashes, label=f"mode {number}")
    left.set(xlabel="epoch", ylabel="loss weight")
    right.set(xlabel="epoch", ylabel="eigenvalue of the kernel")
    left.legend()
    right.legend()
    numbers = {
        "weights at the start": dict(zip(run.averages.groups, weights[0].tolist(), strict=True)),
        "weights at the end": dict(zip(run.averages.groups, weights[-1].tolist(), strict=True)),
        "smallest and largest weight": [float(weights.min()), float(weights.max())],
        "modes at the start": modes[:, 0].tolist(),
        "modes at the end": modes[:, -1].tolist(),
        "smallest and largest eigenvalue": [float(eigenvalues.min()), float(eigenvalues.max())],
        "order of the modes at the end": (1 + np.argsort(-modes[:, -1])).tolist(),
    }
    return Reproduced(figure, numbers)


def time_averages(run: Convergence, admissible: Convergence) -> Reproduced:
    """Returns Figure 3: averages of residual and gradient over steps, with lines of order 1/T.

    Args:
        run: run of Figures 1 and 2.
        admissible: run with a learning rate that satisfies the conditions of Theorem 1.
    """
    averages = run.averages.averages()
    figure, ((left, right),) = style.panels(1, 2, style.WIDTH, 4)
    _plot_average(left, run.epochs, averages["residual"] / 2, "$\\|R\\|^2 / 2$", style.COLORS[0])
    _plot_average(right, run.epochs, averages["gradient"], "$\\|\\nabla F\\|^2$", style.COLORS[0])
    weighted = averages["weighted_gradient"]
    _plot_average(right, run.epochs, weighted, "$\\|\\nabla G\\|^2$", style.COLORS[1])
    left.set(xlabel="epoch", ylabel="time-averaged loss")
    right.set(xlabel="epoch", ylabel="time-averaged squared gradient norm")
    left.legend()
    right.legend()
    numbers = {
        "slopes over the last decade": run.averages.slopes(),
        "of the run": bounds(run),
        "with an admissible step": bounds(admissible),
    }
    return Reproduced(figure, numbers)


def bounds(run: Convergence) -> dict[str, Any]:
    """Returns the bounds of Theorems 1 and 2 along a run, and how closely the run approaches them.

    Args:
        run: run by gradient descent.
    """
    averages, rate = run.averages, run.settings.learning_rate
    constants = averages.constants(rate)
    squares, means = averages.squares(), averages.averages()
    total = np.sum(squares, axis=1)
    resolved = total[:-1] > 1e-20 * total[0]
    inequality = theory.gradient_bound(
        squares[:-1], averages.weights(), rate, averages.curvatures(rate)[1]
    )
    return {
        "constants": dataclasses.asdict(constants),
        # None if every learning rate is admissible: F was nowhere convex along the steps.
        "largest step length of Theorem 1": constants.largest_learning_rate
        if constants.lipschitz
        else None,
        "factor of Theorem 1": constants.factor,
        "average of the residual over Theorem 1's bound, at most": float(
            np.max(means["residual"] / constants.residual_bound(total))
        ),
        "average of the gradient over inequality (10), at most": float(
            np.max(means["weighted_gradient"][:-1] / inequality)
        ),
        "R.K Lambda R / |R|^2, at least": float(
            np.min(averages.alignments()[resolved] / total[:-1][resolved])
        ),
        "k_min l_min": constants.k_min * constants.l_min,
    }


def _plot_average(ax: Axes, epochs: np.ndarray, values: np.ndarray, label: str, color: str) -> None:
    """Plots an average, and a line of order 1/T through its end."""
    ax.loglog(epochs, values, color=color, label=f"average of {label}")
    late = epochs[len(epochs) // 50 :]
    ax.loglog(late, values[-1] * epochs[-1] / late, "--", color=color, label="$O(T^{-1})$")


def _styles(count: int) -> list[str]:
    return [("-", "--", "-.", ":")[index % 4] for index in range(count)]
