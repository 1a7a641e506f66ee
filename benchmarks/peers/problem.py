"""The wave problem as plain numbers, for workers that have only NumPy and one package.

It is ``u_tt - 4 u_xx = 0`` on (0, 1)^2; columns of points are (t, x). This repeats
:mod:`ntk_keras.problems.wave`, which workers cannot import; a test compares the two.
"""

import dataclasses
import json
import math
from collections.abc import Mapping

import numpy as np

SPEED = 2.0
MEAN, DEVIATION = 0.5, 1 / math.sqrt(12)  # statistics of uniform points, to standardise inputs
LEARNING_RATE = 1e-3
# The fixed coordinates of a term's points, as {column: value}.
FACES: dict[str, dict[int, float]] = {
    "equation": {},
    "velocity": {0: 0.0},
    "initial": {0: 0.0},
    "left": {1: 0.0},
    "right": {1: 1.0},
}


@dataclasses.dataclass(frozen=True)
class Setting:
    """The setting of the problem: points, network and dtype.

    Attributes:
        width: number of neurons in each hidden layer.
        depth: number of hidden layers.
        points: number of points by term.
        activation: activation of the hidden layers, ``"tanh"`` or ``"sin"``.
        input_scale: standard deviation of the inputs of the first layer.
        dtype: dtype of the network.
    """

    width: int = 500
    depth: int = 3
    points: Mapping[str, int] = dataclasses.field(
        default_factory=lambda: {
            "equation": 300,
            "velocity": 300,
            "initial": 100,
            "left": 100,
            "right": 100,
        }
    )
    activation: str = "tanh"
    input_scale: float = 1.0
    dtype: str = "float32"

    @property
    def sizes(self) -> list[int]:
        """The sizes of the layers, including inputs and output."""
        return [2, *[self.width] * self.depth, 1]

    @property
    def input_factor(self) -> float:
        """The factor of centred inputs. As in Keras, the variance is rounded to float32."""
        return 1 / math.sqrt(np.float32((DEVIATION / self.input_scale) ** 2))

    def to_json(self) -> str:
        """Returns the setting as one line of JSON."""
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "Setting":
        """Creates the setting from the result of :meth:`to_json`."""
        return cls(**json.loads(text))


def network(setting: Setting) -> list[tuple[np.ndarray, np.ndarray]]:
    """Returns kernels ``[in, out]`` and biases ``[out]``, the same in every process.

    The values are rounded to float32. Kernels are Glorot normal. Biases are not zero, so that the
    comparison would show a missing one.
    """
    random = np.random.default_rng(0)
    layers = []
    for inputs, outputs in zip(setting.sizes[:-1], setting.sizes[1:], strict=True):
        kernel = random.normal(0, math.sqrt(2 / (inputs + outputs)), (inputs, outputs))
        bias = random.normal(0, 0.1, outputs)
        kernel, bias = (a.astype(np.float32).astype(setting.dtype) for a in (kernel, bias))
        layers.append((kernel, bias))
    return layers


def draw(term: str, number: int, random: np.random.Generator) -> np.ndarray:
    """Returns uniform points of a term, ``[number, 2]`` in float32."""
    points = random.random((number, 2), dtype=np.float32)
    for column, value in FACES[term].items():
        points[:, column] = value
    return points


def fixed_points(setting: Setting) -> dict[str, np.ndarray]:
    """Returns the points by term where residuals are compared, the same in every process."""
    random = np.random.default_rng(1)
    drawn = {term: draw(term, number, random) for term, number in setting.points.items()}
    return {term: points.astype(setting.dtype) for term, points in drawn.items()}


def grid() -> np.ndarray:
    """Returns the grid on which errors are measured, 101 by 101 points ``[m, 2]``."""
    axis = np.linspace(0, 1, 101)
    return np.stack(np.meshgrid(axis, axis, indexing="ij"), axis=-1).reshape(-1, 2)


def solution(points: np.ndarray) -> np.ndarray:
    """Returns ``sin(pi x) cos(2 pi t) + 1/2 sin(4 pi x) cos(8 pi t)``, ``[m]``."""
    t, x = math.pi * points.T
    return np.sin(x) * np.cos(SPEED * t) + np.sin(4 * x) * np.cos(4 * SPEED * t) / 2


def relative_error(values: np.ndarray) -> float:
    """Returns the relative L2 error of values ``[m]`` on the grid."""
    exact = solution(grid())
    return float(np.linalg.norm(np.ravel(values) - exact) / np.linalg.norm(exact))
