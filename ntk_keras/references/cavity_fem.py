"""The flow in a square whose lid moves, by finite elements.

The Navier-Stokes equations ``(v . grad) v = -grad p + Lap v / Re``, ``div v = 0`` hold on the unit
square. The lid, y = 1, moves with speed one. With a finite sharpness s its speed is continuous at
the corners, ``1 - cosh(s (x - 1/2)) / cosh(s / 2)``. The other sides are at rest. Velocities are
quadratic and pressures linear along each axis (Taylor-Hood elements), on rectangles that are small
near the sides. Newton's method starts from the Stokes flow. The stream function, with
``v = (psi_y, -psi_x)``, is found from the curl of the velocity.

It needs scikit-fem: ``pip install "ntk_keras[fem]"``.

Reference:
    Ghia, Ghia, Shin, "High-Re solutions for incompressible flow using the Navier-Stokes equations
    and a multigrid method", J. Comput. Phys. 48 (1982).
"""

import dataclasses
import math
from typing import Any

import numpy as np
import scipy

from ntk_keras.references import cache

__all__ = ["Solution", "solve", "solve_cached"]

VERSION = 1  # of the method: raise it with every change of its numbers, and old files are left
ITERATIONS = 20
TOLERANCE = 1e-12


@dataclasses.dataclass(frozen=True)
class Solution:
    """Values at the nodes of quadratic elements.

    Attributes:
        line: coordinates of the elements' ends along a side, ``[cells + 1]``.
        values: velocity and stream function ``(v1, v2, psi)`` at ends and middles of elements,
            ``[2 cells + 1, 2 cells + 1, 3]``; axes x, y.
    """

    line: np.ndarray
    values: np.ndarray

    def __call__(self, points: np.ndarray) -> np.ndarray:
        """Evaluates ``(v1, v2, psi)``.

        Args:
            points: columns (x, y), ``[m, 2]``.

        Returns:
            ``[m, 3]``.
        """
        (i, along_x), (j, along_y) = (self._place(points[:, k]) for k in (0, 1))
        near = self.values[i[:, :, np.newaxis], j[:, np.newaxis, :]]
        return np.einsum("ma,mb,mabk->mk", along_x, along_y, near)

    def _place(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns the three nodes of each point's element along an axis, and their weights."""
        cell = np.clip(np.searchsorted(self.line, x, "right") - 1, 0, len(self.line) - 2)
        s = (x - self.line[cell]) / np.diff(self.line)[cell]
        weights = np.stack([(1 - s) * (1 - 2 * s), 4 * s * (1 - s), s * (2 * s - 1)], axis=1)
        return 2 * cell[:, np.newaxis] + np.arange(3), weights


def solve(reynolds: float = 100.0, cells: int = 36, sharpness: float = math.inf) -> Solution:
    """Computes the flow.

    Args:
        reynolds: Reynolds number Re.
        cells: number of elements along a side.
        sharpness: sharpness s of the lid's speed.

    Raises:
        ImportError: if scikit-fem is missing.
        RuntimeError: if Newton's method does not converge.
    """
    scheme = _Scheme(reynolds, cells, sharpness)
    flow = scheme.stokes()
    for _ in range(ITERATIONS):
        change = scheme.newton(flow)
        flow = flow + change
        if np.abs(change).max() < TOLERANCE * np.abs(flow).max():
            return scheme.solution(flow)
    raise RuntimeError(f"Newton's method did not converge for reynolds={reynolds}, cells={cells}.")


def solve_cached(reynolds: float = 100.0, cells: int = 36, sharpness: float = math.inf) -> Solution:
    """Returns the result of :func:`solve`, from disk if there (:mod:`ntk_keras.references.cache`).

    A result on disk does not need scikit-fem.

    Args:
        reynolds: Reynolds number Re.
        cells: number of elements along a side.
        sharpness: sharpness s of the lid's speed.
    """
    arguments = {"reynolds": reynolds, "cells": cells, "sharpness": sharpness, "version": VERSION}
    name = f"cavity_fem-{cache.key(arguments, {})}"
    return Solution(**cache.cached(name, lambda: vars(solve(reynolds, cells, sharpness))))


class _Scheme:
    """The discrete equations for vectors of all velocities, then all pressures but one."""

    def __init__(self, reynolds: float, cells: int, sharpness: float):
        try:
            import skfem
        except ImportError as error:
            raise ImportError(
                "The reference of the cavity needs scikit-fem, which is not installed. "
                'Install it with: pip install "ntk_keras[fem]".'
            ) from error
        self.fem, self.reynolds, self.sharpness = skfem, reynolds, sharpness
        self.line = (1 - np.cos(np.pi * np.arange(cells + 1) / cells)) / 2
        mesh = skfem.MeshQuad.init_tensor(self.line, self.line)
        self.velocity = skfem.Basis(mesh, skfem.ElementVector(skfem.ElementQuad2()), intorder=5)
        self.scalar = self.velocity.with_element(skfem.ElementQuad2())
        pressure = self.velocity.with_element(skfem.ElementQuad1())
        self.count = self.velocity.N
        stiffness = _vector_laplace(skfem).assemble(self.velocity) / reynolds
        coupling = -_divergence(skfem).assemble(self.velocity, pressure)
        self.linear = scipy.sparse.bmat([[stiffness, coupling.T], [coupling, None]], format="csr")
        # The pressure is determined up to a constant: it is zero at one node.
        fixed = [*self.velocity.get_dofs().all(), self.count]
        self.free = np.setdiff1d(np.arange(self.count + pressure.N), fixed)

    def stokes(self) -> np.ndarray:
        """Returns the flow without inertia, with all boundary values."""
        flow = np.zeros(self.linear.shape[0])
        x, y = self.velocity.doflocs[:, : self.count : 2]
        # At rest in the corners, where the lid would otherwise push the fluid through the sides.
        flow[: self.count : 2] = (y == 1) * _lid_speed(x, self.sharpness)
        return flow + self._solved(self.linear, -self.linear @ flow)

    def newton(self, flow: np.ndarray) -> np.ndarray:
        """Returns the change of a step of Newton's method."""
        field = self.velocity.interpolate(flow[: self.count])
        inertia = _inertia(self.fem).assemble(self.velocity, v=field)
        derivative = _inertia_derivative(self.fem).assemble(self.velocity, v=field)
        blank = scipy.sparse.csr_matrix(2 * (self.linear.shape[0] - self.count,))
        matrix = self.linear + scipy.sparse.block_diag([derivative, blank], format="csr")
        residual = self.linear @ flow
        residual[: self.count] += inertia
        return self._solved(matrix, -residual)

    def solution(self, flow: np.ndarray) -> Solution:
        """Returns velocity and stream function at the nodes."""
        from skfem.models.poisson import laplace

        field = self.velocity.interpolate(flow[: self.count])
        right = _curl(self.fem).assemble(self.scalar, v=field)
        psi = self.fem.solve(
            *self.fem.condense(laplace.assemble(self.scalar), right, D=self.scalar.get_dofs())
        )
        places = self.scalar.doflocs
        order = np.lexsort((places[1].round(12), places[0].round(12)))
        side = 2 * len(self.line) - 1
        # The components of the velocity alternate, in the order of the scalar's nodes.
        values = np.column_stack([flow[: self.count].reshape(-1, 2), psi])[order]
        return Solution(self.line, values.reshape(side, side, 3))

    def _solved(self, matrix: Any, right: np.ndarray) -> np.ndarray:
        """Solves for the unknowns that are free; all others stay."""
        change = np.zeros(len(right))
        inner = matrix[self.free][:, self.free].tocsc()
        change[self.free] = scipy.sparse.linalg.spsolve(inner, right[self.free])
        return change


def _lid_speed(x: np.ndarray, sharpness: float) -> np.ndarray:
    """Returns the speed between the corners, and zero in them."""
    if math.isinf(sharpness):
        return np.where((x > 0) & (x < 1), 1.0, 0.0)
    return 1 - np.cosh(sharpness * (x - 0.5)) / np.cosh(sharpness / 2)


def _vector_laplace(fem: Any) -> Any:
    return fem.BilinearForm(lambda u, v, _: _inner(u.grad, v.grad))


def _divergence(fem: Any) -> Any:
    return fem.BilinearForm(lambda u, q, _: (u.grad[0, 0] + u.grad[1, 1]) * q)


def _inertia(fem: Any) -> Any:
    return fem.LinearForm(lambda v, w: _inner(_along(w.v, w.v), v))


def _inertia_derivative(fem: Any) -> Any:
    return fem.BilinearForm(lambda u, v, w: _inner(_along(w.v, u) + _along(u, w.v), v))


def _curl(fem: Any) -> Any:
    """The right side of ``-Lap psi = (v2)_x - (v1)_y``."""
    return fem.LinearForm(lambda q, w: (w.v.grad[1, 0] - w.v.grad[0, 1]) * q)


def _along(v: Any, u: Any) -> np.ndarray:
    """Returns ``(v . grad) u``."""
    return np.einsum("j...,ij...->i...", np.asarray(v), u.grad)


def _inner(a: Any, b: Any) -> np.ndarray:
    """Returns the sum of products of all components."""
    a, b = np.asarray(a), np.asarray(b)
    return (a * b).sum(axis=tuple(range(a.ndim - 2)))
