"""The estimators that the benchmarks compare, by their names in tables."""

from collections.abc import Mapping
from typing import Any

from ntk_keras.estimators import ESTIMATORS

# On the wave problem, Jacobians are factored, and "diagonal" is then "exact". If they are not
# factored, it takes three points.
CONTENDERS: dict[str, str | Mapping[str, Any]] = {
    **{name: name for name in ESTIMATORS if name != "diagonal"},
    "diagonal-3": {"name": "diagonal", "num_points": 3},
}
