"""The quadratically parameterized predictor of Section 5.2.1: a regression with three parameters.

The predictor ``f_theta(x) = (theta * theta) . (1, x, x^2)`` is fitted to noisy samples of
``pi x^2 + e x + sqrt(2)`` on [-1, 1]. No equation is solved and no network is trained. The purpose
is a kernel ``K = J J^T`` with ``J_ij = 2 theta_j x_i^j``, which is small enough to inspect and
changes with theta. There is one group of residuals, so its weight is ``Tr K / Tr K = 1``, and
Algorithm 3 trains by plain gradient descent.
"""

import dataclasses
import functools
import math
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from ntk_keras.backend.checks import check_count
from ntk_keras.derivatives import Network
from ntk_keras.domains import Box
from ntk_keras.problems.base import Problem, Settings
from ntk_keras.training.terms import Term

BOX = Box(x=(-1, 1))

# theta* * theta* for the features (1, x, x^2). The paper prints theta* in the opposite order.
TRUE_COEFFICIENTS = (math.sqrt(2), math.e, math.pi)


@dataclasses.dataclass(frozen=True)
class Parameters:
    """Parameters that the paper leaves open.

    Attributes:
        noise: standard deviation of the noise. We read the second argument of the paper's
            N(0, 1 / sqrt(2)) as such; if it were the variance, this would be 2^(-1/4) = 0.84.
        data_seed: seed of the noise; the samples are the same for all runs.
        start: initial value of every entry of theta. The paper gives none. With 0.47, the entries
            of the kernel are between 0.66 and 2.65, as in Figure 5.

    Raises:
        ValueError: if the noise is negative, or the start is zero, where every gradient vanishes.
    """

    noise: float = 1 / math.sqrt(2)
    data_seed: int = 0
    start: float = 0.47

    def __post_init__(self) -> None:
        check_count("data_seed", self.data_seed, smallest=0)
        if self.noise < 0:
            raise ValueError(f"noise must not be negative. Received noise={self.noise}.")
        if not self.start:
            raise ValueError("start must not be zero, where every gradient vanishes.")


@keras.saving.register_keras_serializable("ntk_keras")
class QuadraticPredictor(keras.layers.Layer):
    """The predictor ``f_theta(x) = (theta * theta) . (1, x, x^2)``, ``[n, 1]`` to ``[n, 1]``.

    Args:
        start: initial value of every entry of theta.
        **kwargs: further arguments of a Keras layer.
    """

    def __init__(self, start: float = 0.47, **kwargs: Any):
        super().__init__(**kwargs)
        self.start = start

    def build(self, input_shape: Any) -> None:
        """Creates theta, ``[3]``."""
        self.theta = self.add_weight(
            shape=(3,), initializer=keras.initializers.Constant(self.start), name="theta"
        )

    def call(self, x: tf.Tensor) -> tf.Tensor:
        """Returns the predictions."""
        features = tf.concat([tf.ones_like(x), x, x**2], axis=1)
        return tf.linalg.matvec(features, self.theta**2)[:, tf.newaxis]

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "start": self.start}


@keras.saving.register_keras_serializable("ntk_keras.quadratic")
def misfit(u: Network, samples: tuple[tf.Tensor, tf.Tensor]) -> tf.Tensor:
    """Returns the residual, ``f_theta(x_i) - y_i``."""
    x, y = samples
    return (u(x) - y)[:, 0]


def data(num_points: int, parameters: Parameters) -> tuple[np.ndarray, np.ndarray]:
    """Returns equispaced x and noisy y, each ``[n, 1]``."""
    x = BOX.grid(num_points)
    noise = np.random.default_rng(parameters.data_seed).standard_normal(x.shape)
    return x, solution(x) + parameters.noise * noise


def solution(points: np.ndarray) -> np.ndarray:
    """Returns the true output, ``pi x^2 + e x + sqrt(2)``, ``[m, 1]``."""
    return np.polynomial.polynomial.polyval(points, TRUE_COEFFICIENTS)


def exact_kernel(x: np.ndarray, theta: np.ndarray) -> np.ndarray:
    """Returns ``K_ij = sum_k 4 theta_k^2 x_i^k x_j^k`` by formula, for comparison.

    Args:
        x: points ``[n, 1]``.
        theta: parameters ``[3]``.

    Returns:
        ``[n, n]``.
    """
    jacobian = 2 * theta * x ** np.arange(3)
    return jacobian @ jacobian.T


def terms(settings: Settings, parameters: Parameters) -> list[Term]:
    """Returns one term, the misfit of all samples."""
    return [Term("data", misfit, data(settings.points["data"], parameters))]


def network(settings: Settings, parameters: Parameters) -> keras.Model:
    """Returns the predictor as a Keras model; width and depth have no meaning."""
    predictor = QuadraticPredictor(parameters.start, dtype=settings.dtype, name="predictor")
    return keras.Sequential([keras.Input((1,), dtype=settings.dtype), predictor], name="network")


# The paper states 50 samples, 10^5 steps, alpha = 1e-4, and up to 2 x 10^4 samples of the kernel.
# It leaves open: the learning rate, here far below the stability limit 2 / Tr K = 3e-3 at the end;
# N of the first average, here 2000, which already looks like the kernel in Figure 5; and the
# difference step, here 1e-8 of theta's norm in double precision. For Figure 7, the kernel itself is
# averaged.
PAPER = Settings(
    "quadratic",
    "paper",
    {"data": 50},
    steps=100_000,
    steps_per_epoch=1000,
    optimizer="sgd",
    learning_rate=1e-4,
    decay_rate=1.0,
    estimator="predictor",
    averaging_rate=1e-4,
    num_initial_probes=2000,
    redrawn=False,
    dtype="float64",
    average="kernel",
)


def problem(**parameters: Any) -> Problem:
    """Returns the problem with :class:`Parameters` by name; the others keep their defaults."""
    chosen = Parameters(**parameters)
    return Problem(
        name="quadratic",
        title="Regression by a quadratically parameterized predictor",
        box=BOX,
        terms=functools.partial(terms, parameters=chosen),
        solution=solution,
        grid=(201,),
        reference="Section 5.2.1",
        # "quick" has a tenth of the steps, and an average with a tenth of the memory.
        presets={
            "quick": dataclasses.replace(
                PAPER, preset="quick", steps=10_000, steps_per_epoch=500, averaging_rate=1e-3
            ),
            "paper": PAPER,
            "natural-gradient": Settings(
                "quadratic",
                "natural-gradient",
                {"data": 50},
                steps=20,
                steps_per_epoch=1,
                optimizer="natural-gradient",
                dtype="float64",
                redrawn=False,
            ),
        },
        network=functools.partial(network, parameters=chosen),
        parameters=dataclasses.asdict(chosen),
        variant=problem,
    )


PROBLEM = problem()
