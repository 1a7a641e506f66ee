"""Section 5.2.1, Figures 4 to 7: sketches of a kernel that is small enough to inspect."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ntk_keras import problems, theory
from ntk_keras.backend.seeds import fold_in
from ntk_keras.estimators import Predictor
from ntk_keras.experiments.reproduction.base import Reproduced
from ntk_keras.kernel.linearization import Linearization
from ntk_keras.plots import style
from ntk_keras.problems import Settings
from ntk_keras.problems.quadratic import TRUE_COEFFICIENTS, exact_kernel
from ntk_keras.training.model import PINNModel

__all__ = [
    "Sketches",
    "Training",
    "fit",
    "kernels",
    "monte_carlo",
    "monte_carlo_errors",
    "samples",
    "train",
]


@dataclasses.dataclass(frozen=True)
class Training:
    """A run of Algorithm 3 that averages the kernel itself.

    Attributes:
        settings: settings of the run.
        model: trained model.
        first_average: average K^ after the first step, the mean of N samples at theta_0,
            ``[n, n]``.
        exact_start: kernel K(theta_0).
        exact_end: kernel K(theta_T).
    """

    settings: Settings
    model: PINNModel
    first_average: np.ndarray
    exact_start: np.ndarray
    exact_end: np.ndarray

    @property
    def last_average(self) -> np.ndarray:
        """The moving average at the end, ``[n, n]``."""
        return self.model.weighting.kernel.value.numpy()


def train(settings: Settings) -> Training:
    """Trains the quadratic predictor."""
    model = problems.build_model(problems.of(settings), settings)
    start = _exact(model)
    model.fit(epochs=1, steps_per_epoch=1, verbose=0)
    first = model.weighting.kernel.value.numpy()
    model.fit(epochs=1, steps_per_epoch=settings.steps - 1, verbose=0)
    return Training(settings, model, first, start, _exact(model))


class Sketches:
    """Means of independent sketches by Algorithm 2 at the start of training.

    Args:
        settings: settings of the quadratic predictor.

    Attributes:
        exact: kernel K(theta_0), ``[n, n]``.
    """

    def __init__(self, settings: Settings):
        model = problems.build_model(problems.of(settings), settings)
        self.exact = _exact(model)
        self._mean = _compiled_mean(model)

    def mean(self, number: int, seed: int) -> np.ndarray:
        """Returns the mean of ``number`` sketches, ``[n, n]``, drawn with a seed."""
        return self._mean(tf.constant(number), tf.constant([seed, number])).numpy()


def fit(training: Training) -> Reproduced:
    """Returns Figure 4: the data, the true function, and the result of Algorithm 3."""
    x, y = (part.numpy() for part in training.model.blocks()["data"].points)
    fine = np.linspace(-1, 1, 201)[:, np.newaxis]
    truth = np.polynomial.polynomial.polyval(fine, TRUE_COEFFICIENTS)
    figure, axes = style.panels(1, 1, 6, 4)
    ax = axes[0, 0]
    ax.plot(x, y, "o", color="0.6", markersize=4, label="data")
    ax.plot(fine, truth, "--", color="black", label="true")
    ax.plot(fine, training.model.predict(fine, verbose=0), color=style.COLORS[0], label="estimated")
    ax.set(xlabel="x", ylabel="y")
    ax.legend()
    coefficients = training.model.trainable_variables[0].numpy() ** 2
    best = np.polynomial.polynomial.polyfit(x[:, 0], y[:, 0], 2)
    numbers = {
        "coefficients of 1, x, x^2": coefficients.tolist(),
        "true ones": list(TRUE_COEFFICIENTS),
        "those of least squares": best.tolist(),
        "distance from least squares, relative": _distance(coefficients, best),
    }
    return Reproduced(figure, numbers)


def samples(sketches: Sketches, counts: Sequence[int]) -> Reproduced:
    """Returns Figure 5: the exact kernel at the start, and means of sketches.

    The mean of the fewest samples has its own colour scale; the others share that of the kernel.

    Args:
        sketches: sketches of the kernel.
        counts: numbers of samples, the fewest first.
    """
    means = {count: sketches.mean(count, seed=0) for count in counts}
    panels = {"exact": sketches.exact} | {
        f"{count} sample{'s' if count > 1 else ''}": mean for count, mean in means.items()
    }
    figure, axes = _panels()
    exact, few, *many = axes
    _heat_maps([few], [means[counts[0]]])
    _heat_maps([exact, *many], [sketches.exact, *list(means.values())[1:]])
    for ax, title in zip(axes, panels, strict=True):
        ax.set_title(title)
    expected = theory.kernel_error(sketches.exact)
    numbers = {
        "smallest and largest entry of the kernel": _range(sketches.exact),
        "relative error in the Frobenius norm": {
            str(count): _distance(mean, sketches.exact) for count, mean in means.items()
        },
        "expected": {
            str(count): float(np.sqrt(expected / count) / np.linalg.norm(sketches.exact))
            for count in counts
        },
    }
    return Reproduced(figure, numbers)


def monte_carlo_errors(
    sketches: Sketches, counts: Sequence[int], repeats: int
) -> dict[str, np.ndarray]:
    """Returns mean squared errors of means of N sketches, over M independent means for each N.

    Args:
        sketches: sketches of the kernel.
        counts: values of N.
        repeats: number M of independent means for each N.

    Returns:
        Errors of ``"kernel"`` in the Frobenius norm and of ``"trace"``, each ``[counts]``.
    """
    K = sketches.exact
    errors = []
    for count in counts:
        means = [sketches.mean(count, seed) for seed in range(1, repeats + 1)]
        squares = [(np.sum((m - K) ** 2), (np.trace(m) - np.trace(K)) ** 2) for m in means]
        errors.append(np.mean(squares, axis=0))
    kernel, trace = np.array(errors).T
    return {"kernel": kernel, "trace": trace}


def monte_carlo(sketches: Sketches, counts: Sequence[int], repeats: int) -> Reproduced:
    """Returns Figure 6: Monte Carlo errors of kernel and trace, with the theoretical line c / N.

    Args:
        sketches: sketches of the kernel.
        counts: values of N.
        repeats: number M of independent means for each N.
    """
    errors = monte_carlo_errors(sketches, counts, repeats)
    constants = {
        "kernel": theory.kernel_error(sketches.exact),
        "trace": theory.trace_variance(sketches.exact),
    }
    figure, (axes,) = style.panels(1, 2, style.WIDTH, 4)
    number = np.array(counts)
    numbers: dict[str, Any] = {"N": list(counts), "M": repeats}
    for ax, (name, values) in zip(axes, errors.items(), strict=True):
        ax.loglog(number, values, "o", markersize=4, label=f"mean over {repeats} repetitions")
        ax.loglog(number, constants[name] / number, "--", color="black", label="theory, c / N")
        ax.set(xlabel="N, samples in the estimator", ylabel="mean squared error", title=name)
        ax.legend()
        numbers[name] = {
            "slope": theory.log_slope(number, values),
            "constant of theory": constants[name],
            "constant measured over it": float(np.mean(values * number) / constants[name]),
            "mean squared error": values.tolist(),
        }
    return Reproduced(figure, numbers)


def kernels(training: Training) -> Reproduced:
    """Returns Figure 7: exact and averaged kernels at start and end, with one scale for each."""
    pairs = {
        "start": (training.exact_start, training.first_average),
        "end": (training.exact_end, training.last_average),
    }
    figure, axes = _panels()
    for row, (time, pair) in zip((axes[:2], axes[2:]), pairs.items(), strict=True):
        _heat_maps(row, pair)
        row[0].set_title(f"exact, {time}")
        row[1].set_title(f"moving average, {time}")
    numbers = {
        time: {
            "relative error in the Frobenius norm": _distance(average, exact),
            "relative error of the trace": abs(np.trace(average) / np.trace(exact) - 1),
            "smallest and largest entry of the kernel": _range(exact),
        }
        for time, (exact, average) in pairs.items()
    }
    return Reproduced(figure, numbers)


def _compiled_mean(model: PINNModel) -> Callable[[tf.Tensor, tf.Tensor], tf.Tensor]:
    """Returns a function from the number of samples and a seed ``[2]`` to the mean sketch."""

    @tf.function(jit_compile=True, autograph=False)
    def mean(number: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        linearization = Linearization(model.blocks(), model.trainable_variables)
        count = tf.shape(linearization.residuals["data"])[0]

        def add(index: tf.Tensor, total: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            return index + 1, total + Predictor().kernel(linearization, fold_in(seed, index))

        zero = tf.zeros([count, count], linearization.residuals["data"].dtype)
        _, total = tf.while_loop(lambda index, _: index < number, add, (0, zero))
        return total / tf.cast(number, total.dtype)

    return mean


def _exact(model: PINNModel) -> np.ndarray:
    """Returns the kernel, computed by its formula."""
    (x, _), theta = model.blocks()["data"].points, model.trainable_variables[0]
    return exact_kernel(x.numpy(), theta.numpy())


def _panels() -> tuple[Figure, list[Axes]]:
    figure, axes = style.panels(2, 2, 8.5, 3.5)
    return figure, list(axes.ravel())


def _heat_maps(axes: Sequence[Axes], matrices: Sequence[np.ndarray]) -> None:
    """Draws matrices on one scale, each with its colour bar."""
    scale = {"vmin": min(m.min() for m in matrices), "vmax": max(m.max() for m in matrices)}
    for ax, matrix in zip(axes, matrices, strict=True):
        image = ax.imshow(matrix, cmap="viridis", **scale)
        style.color_bar(image, ax, label="$K_{ij}$")
        ax.set(xlabel="j", ylabel="i")


def _distance(value: np.ndarray, exact: np.ndarray) -> float:
    return float(np.linalg.norm(value - exact) / np.linalg.norm(exact))


def _range(matrix: np.ndarray) -> list[float]:
    return [float(matrix.min()), float(matrix.max())]
