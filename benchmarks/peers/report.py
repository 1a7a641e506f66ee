"""Table and figure of the packages, and the check that all compute the same residuals."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from benchmarks.peers.environments import PEERS
from benchmarks.peers.host import Series, Worker
from benchmarks.step import quartiles, significant
from ntk_keras.plots import style

REFERENCE = ("ours", "taylor")  # the reference of ratios
# Second derivatives of a wide network lose a few of float32's 7 digits. If they are computed in
# different orders, they differ by up to 6e-6 at 3 x 500. Errors would make a far larger difference.
TOLERANCE = 2e-5
CUT = 6  # bars longer than this multiple of the shortest are cut


def differences(residuals: Mapping[str, Mapping[str, Sequence[float]]]) -> dict[str, float]:
    """Returns the largest deviation from ours by package, relative to a term's largest residual."""
    ours = {term: np.array(rows) for term, rows in residuals["ours"].items()}
    return {
        name: max(
            float(np.max(np.abs(np.array(theirs[term]) - rows)) / np.max(np.abs(rows)))
            for term, rows in ours.items()
        )
        for name, theirs in residuals.items()
    }


def check_equal(running: Mapping[str, Worker]) -> dict[str, float]:
    """Compares the residuals of all workers with the same network at the same points.

    Returns:
        The result of :func:`differences`.

    Raises:
        ValueError: if a package computes different residuals.
    """
    found = differences({name: worker.ask("residuals") for name, worker in running.items()})
    wrong = {name: value for name, value in found.items() if not value <= TOLERANCE}
    if wrong:
        raise ValueError(f"Residuals differ from ours by more than {TOLERANCE}: {wrong}.")
    return found


def rows_of(
    series: Sequence[Series], versions: Mapping[str, str], equal: Mapping[str, float]
) -> list[dict[str, Any]]:
    """Returns a row for each case, and for each rarer update of weights computed from it."""
    by_case = {(one.peer, one.case.name): one.times for one in series}
    rows = []
    for one in series:
        plain = by_case.get((one.peer, one.case.plain), [])
        kinds = [(one.case.weights, one.times)]
        for every in one.case.thinned:
            weights = one.case.weights.replace("every step", f"every {every} steps (computed)")
            kinds.append((weights, thinned(one.times, plain, every)))
        for weights, times in kinds:
            rows.append(
                {
                    "package": PEERS[one.peer].title,
                    "versions": versions[one.peer],
                    "weights": weights,
                    "compiled": one.case.compiled,
                    **_numbers(times, by_case[REFERENCE]),
                    "residuals differ by": f"{equal[one.peer]:.0e}",
                }
            )
    return rows


def thinned(times: Sequence[float], plain: Sequence[float], every: int) -> list[float]:
    """Returns times of a step if the excess over a plain step occurs only every few steps."""
    return [p + (t - p) / every for t, p in zip(times, plain, strict=False)]


def _numbers(times: Sequence[float], reference: Sequence[float]) -> dict[str, Any]:
    """Returns the median, the quartiles, and the median ratio within rounds."""
    low, median, high = (1000 * q for q in quartiles(times))
    ratios = [t / r for t, r in zip(times, reference, strict=False)]
    return {
        "ms": significant(median),
        "quartiles": f"{significant(low)} to {significant(high)}",
        "ratio": f"{statistics.median(ratios):.2f}",
        "turns": len(times),
    }


def figure(rows: Sequence[Mapping[str, Any]]) -> Figure:
    """Draws milliseconds of a step as bars, with a colour for each package; the longest are cut."""
    whole, axes = style.panels(1, 1, style.WIDTH, 1 + 0.28 * len(rows))
    ax = axes[0, 0]
    packages = list(dict.fromkeys(row["package"] for row in rows))
    times = np.array([float(row["ms"]) for row in rows])
    end = 1.15 * max(times[times <= CUT * times.min()])
    colors = [style.COLORS[packages.index(row["package"])] for row in rows]
    bars = ax.barh(range(len(rows)), np.minimum(times, end), color=colors)
    numbers = [
        f"{row['ms']} \N{RIGHTWARDS ARROW}" if t > end else row["ms"]
        for row, t in zip(rows, times, strict=True)
    ]
    ax.bar_label(bars, numbers, padding=3)
    labels = [f"{row['package']}: {row['weights']}{_compiled(row)}" for row in rows]
    ax.set_yticks(range(len(rows)), labels)
    ax.invert_yaxis()
    ax.set(xlabel="milliseconds per step", xlim=(0, 1.15 * end))
    return whole


def _compiled(row: Mapping[str, Any]) -> str:
    return "" if row["compiled"] == "no" else f" ({row['compiled']})"
