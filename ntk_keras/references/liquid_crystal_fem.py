"""The liquid crystal of Section 5.2.3 by finite elements: an energy-stable scheme on triangles.

The Q-tensor [[q1, q2], [q2, -q1]] flows by Q_t = L Lap Q - a Q - c Tr(Q^2) Q, with Q = 0 on the
boundary of a square. Invariant energy quadratisation carries the auxiliary field

    r = sqrt(2 (a/2 Tr Q^2 + c/4 (Tr Q^2)^2 + A0)),      P = dr/dQ = (a Q + c Tr(Q^2) Q) / r,

beside Q: then Q_t = L Lap Q - r P and r_t = P : Q_t, and a step, with P of its beginning,

    (Q' - Q) / dt = L Lap (Q' + Q)/2 - P (r' + r)/2,     r' - r = P : (Q' - Q),

is linear in the new values. Elements are linear on triangles, masses lumped at the nodes. Fields
are arrays over the nodes of a square grid, ``[n + 1, n + 1, ...]``, x before y.

It needs scikit-fem: ``pip install "ntk_keras[fem]"``.

Reference:
    Gudibanda, Weber, Yue, "Convergence analysis of a fully discrete energy-stable numerical scheme
    for the Q-tensor flow of liquid crystals", SIAM J. Numer. Anal. 60 (2022).
"""

import dataclasses
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import numpy as np
import scipy

from ntk_keras.backend.checks import check_count
from ntk_keras.references import cache

__all__ = ["Solution", "SolverSettings", "lines", "solve", "solve_cached"]

VERSION = 1  # of the scheme: raise it with every change of its numbers, and old files are left


@dataclasses.dataclass(frozen=True)
class SolverSettings:
    """Everything that determines a solution except its initial values.

    Attributes:
        lower: left and lower side of the square.
        upper: right and upper side of the square.
        final_time: final time T.
        elasticity: coefficient L of the Laplacian.
        a: coefficient of Q.
        c: coefficient of ``Tr(Q^2) Q``.
        offset: constant A0, which keeps r real; so large that r hardly varies.
        cells: number of squares along a side, each of two triangles.
        steps: number of time steps.
        frames: number of equispaced times to keep, the first and the last among them.

    Raises:
        ValueError: if a count is not positive, the square or time is empty, the elasticity or c is
            not positive, the offset leaves r not real, or frames do not fall on steps.
    """

    lower: float = 0.0
    upper: float = 2.0
    final_time: float = 2.0
    elasticity: float = 0.1
    a: float = -0.25
    c: float = 1.0
    offset: float = 500.0
    cells: int = 64
    steps: int = 640
    frames: int = 9

    def __post_init__(self) -> None:
        check_count("cells", self.cells)
        check_count("steps", self.steps)
        positive = {
            "upper - lower": self.upper - self.lower,
            "final_time": self.final_time,
            "elasticity": self.elasticity,
            "c": self.c,
            # The smallest bulk energy is -a^2 / (4 c), taken where Tr Q^2 = -a / c.
            "offset - max(-a, 0)^2 / (4 c)": self.offset - max(-self.a, 0) ** 2 / (4 * self.c),
        }
        for name, value in positive.items():
            if not value > 0:
                raise ValueError(f"{name} must be positive. Received {value} in {self}.")
        if self.frames < 2 or self.steps % (self.frames - 1):
            raise ValueError(
                "frames must be at least 2, and frames - 1 a divisor of steps. Received "
                f"frames={self.frames}, steps={self.steps}."
            )

    @property
    def time_step(self) -> float:
        """The length dt of a step."""
        return self.final_time / self.steps


@dataclasses.dataclass(frozen=True)
class Solution:
    """A solution on its grid, and its energy at every step.

    Attributes:
        times: times ``[frames]``.
        line: coordinates along a side, ``[n + 1]``.
        values: values of ``(q1, q2)``, ``[frames, n + 1, n + 1, 2]``; axes t, x, y.
        energies: energies ``L/2 ||grad Q||^2 + 1/2 ||r||^2`` before and after each step, with r
            counted at inner nodes only, ``[steps + 1]``.
        dissipations: decrease ``||Q' - Q||^2 / dt`` of the energy in each step, ``[steps]``.
    """

    times: np.ndarray
    line: np.ndarray
    values: np.ndarray
    energies: np.ndarray
    dissipations: np.ndarray

    def __call__(self, points: np.ndarray) -> np.ndarray:
        """Interpolates ``(q1, q2)`` between nodes and kept times, linearly along each axis.

        Args:
            points: columns (t, x, y), ``[m, 3]``.

        Returns:
            ``[m, 2]``.

        Raises:
            ValueError: if a point is outside the square or the times.
        """
        return scipy.interpolate.RegularGridInterpolator(
            (self.times, self.line, self.line), self.values
        )(points)


def lines(settings: SolverSettings) -> tuple[np.ndarray, np.ndarray]:
    """Returns coordinates x and y of the nodes, ``[n + 1, n + 1]``; x varies along axis 0."""
    line = np.linspace(settings.lower, settings.upper, settings.cells + 1)
    x, y = np.meshgrid(line, line, indexing="ij")
    return x, y


def solve(initial: np.ndarray, settings: SolverSettings, *, progress: bool = False) -> Solution:
    """Computes the solution from given initial values.

    Args:
        initial: values of ``(q1, q2)`` at the nodes of :func:`lines`, ``[n + 1, n + 1, 2]``. Values
            on the boundary are set to zero.
        settings: settings of square, equation and scheme.
        progress: whether to show a progress bar.

    Raises:
        ImportError: if scikit-fem is missing.
        ValueError: if initial values have another shape.
        RuntimeError: if the linear system of a step is not solved to rounding.
    """
    scheme = _Scheme(settings)
    kept, energies, dissipations = [], [], []
    every = settings.steps // (settings.frames - 1)
    states = scheme.states(scheme.from_grid(_checked(initial, settings)))
    for step, (q, energy, dissipation) in enumerate(_counted(states, settings.steps, progress)):
        energies.append(energy)
        dissipations.append(dissipation)
        if step % every == 0:
            kept.append(scheme.to_grid(q))
    return Solution(
        times=np.linspace(0, settings.final_time, settings.frames),
        line=lines(settings)[0][:, 0],
        values=np.stack(kept),
        energies=np.array(energies),
        dissipations=np.array(dissipations[1:]),
    )


def solve_cached(
    initial: np.ndarray, settings: SolverSettings, *, progress: bool = True
) -> Solution:
    """Returns the result of :func:`solve`, from disk if there (:mod:`ntk_keras.references.cache`).

    A result on disk does not need scikit-fem.

    Args:
        initial: values of ``(q1, q2)`` at the nodes, ``[n + 1, n + 1, 2]``.
        settings: settings of square, equation and scheme.
        progress: whether to show a progress bar while solving.
    """
    described = {**dataclasses.asdict(settings), "version": VERSION}
    name = f"liquid_crystal_fem-{cache.key(described, {'initial': initial})}"
    arrays = cache.cached(name, lambda: vars(solve(initial, settings, progress=progress)))
    return Solution(**arrays)


class _Scheme:
    """The discrete equations; vectors ``[interior]`` and ``[2, interior]`` over inner nodes."""

    def __init__(self, settings: SolverSettings):
        self.settings = settings
        stiffness, mass, self._inner = _assemble(settings)
        self.stiffness = settings.elasticity * stiffness
        self.mass = mass
        self.rest = scipy.sparse.diags(mass / settings.time_step) + self.stiffness / 2
        self._solve_rest = scipy.sparse.linalg.splu(self.rest.tocsc()).solve

    def states(self, q: np.ndarray) -> Iterator[tuple[np.ndarray, float, float]]:
        """Yields Q, its energy and the dissipation of the step to it (0 at the start)."""
        r = self.auxiliary(q)
        yield q, self.energy(q, r), 0.0
        for _ in range(self.settings.steps):
            p = self.slope(q)
            change = self.change(q, r, p)
            q, r = q + change, r + 2 * np.sum(p * change, axis=0)  # P : Q = 2 (p1 q1 + p2 q2)
            yield q, self.energy(q, r), self.squared_norm(change) / self.settings.time_step

    def auxiliary(self, q: np.ndarray) -> np.ndarray:
        """Returns the field r of Q."""
        s = self.settings
        square = 2 * np.sum(q**2, axis=0)  # Tr Q^2
        return np.sqrt(2 * (s.a / 2 * square + s.c / 4 * square**2 + s.offset))

    def slope(self, q: np.ndarray) -> np.ndarray:
        """Returns the two components of ``P = (a Q + c Tr(Q^2) Q) / r``."""
        s = self.settings
        return (s.a + 2 * s.c * np.sum(q**2, axis=0)) * q / self.auxiliary(q)

    def change(self, q: np.ndarray, r: np.ndarray, p: np.ndarray) -> np.ndarray:
        """Q' - Q of a step, from one symmetric positive definite system.

        With d = Q' - Q, mass gamma and stiffness S, row i is
        (gamma / dt + L/2 S) d_i + gamma p_i (p . d) = -L S q_i - gamma p_i r.
        The coupling through p is weak, so conjugate gradients preconditioned by the rest of the
        system, which is factored once, need two or three iterations.
        """
        shape = q.shape

        def system(flat: np.ndarray) -> np.ndarray:
            d = flat.reshape(shape)
            return ((self.rest @ d.T).T + self.mass * p * np.sum(p * d, axis=0)).ravel()

        def without_coupling(flat: np.ndarray) -> np.ndarray:
            return self._solve_rest(flat.reshape(shape).T).T.ravel()

        right = -(self.stiffness @ q.T).T - self.mass * p * r
        size = 2 * (q.size,)
        d, failure = scipy.sparse.linalg.cg(
            scipy.sparse.linalg.LinearOperator(size, system, dtype=float),
            right.ravel(),
            rtol=1e-14,
            M=scipy.sparse.linalg.LinearOperator(size, without_coupling, dtype=float),
            maxiter=100,
        )
        if failure:
            raise RuntimeError(f"The system of a step was not solved in 100 iterations: {self}.")
        return d.reshape(shape)

    def energy(self, q: np.ndarray, r: np.ndarray) -> float:
        """Returns ``L/2 ||grad Q||^2 + 1/2 ||r||^2``, ``||grad Q||^2 = 2 sum_i q_i^T S q_i``."""
        return float(np.sum(q * (self.stiffness @ q.T).T) + np.sum(self.mass * r**2) / 2)

    def squared_norm(self, q: np.ndarray) -> float:
        """Returns ``||Q||^2 = 2 sum_i q_i^T gamma q_i``."""
        return float(2 * np.sum(self.mass * q**2))

    def from_grid(self, values: np.ndarray) -> np.ndarray:
        """From ``[n + 1, n + 1, 2]`` to ``[2, interior]``."""
        return values.reshape(-1, 2)[self._inner].T.copy()

    def to_grid(self, q: np.ndarray) -> np.ndarray:
        """From ``[2, interior]`` to ``[n + 1, n + 1, 2]``, zero on the boundary."""
        nodes = self.settings.cells + 1
        values = np.zeros([nodes**2, 2])
        values[self._inner] = q.T
        return values.reshape(nodes, nodes, 2)


def _assemble(settings: SolverSettings) -> tuple[Any, np.ndarray, np.ndarray]:
    """Stiffness and lumped mass of the inner nodes, and these nodes' places on the flat grid."""
    fem = _scikit_fem()
    from skfem.models.poisson import laplace, unit_load

    line = lines(settings)[0][:, 0]
    mesh = fem.MeshTri.init_tensor(line, line)
    basis = fem.Basis(mesh, fem.ElementTriP1())
    x_then_y = np.lexsort((mesh.p[1], mesh.p[0]))  # the mesh's node at each place of the grid
    inner = np.flatnonzero(~np.isin(x_then_y, mesh.boundary_nodes()))
    nodes = x_then_y[inner]
    stiffness = laplace.assemble(basis).tocsr()[nodes][:, nodes]
    return stiffness, unit_load.assemble(basis)[nodes], inner


def _scikit_fem() -> ModuleType:
    try:
        import skfem
    except ImportError as error:
        raise ImportError(
            "The finite element reference needs scikit-fem, which is not installed. "
            'Install it with: pip install "ntk_keras[fem]".'
        ) from error
    return skfem


def _checked(initial: np.ndarray, settings: SolverSettings) -> np.ndarray:
    expected = (settings.cells + 1, settings.cells + 1, 2)
    if np.shape(initial) != expected:
        raise ValueError(
            f"Initial values must be (q1, q2) at the nodes, {expected} with "
            f"cells={settings.cells}. Received shape {np.shape(initial)}."
        )
    return np.asarray(initial, dtype=float)


def _counted(states: Iterator[Any], steps: int, progress: bool) -> Iterator[Any]:
    """The states, with a progress bar if wanted."""
    if not progress:
        return states
    from tqdm import tqdm  # with the extra

    return iter(tqdm(states, total=steps + 1, desc="finite elements", unit="step"))
