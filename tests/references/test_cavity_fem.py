"""The finite element flow in a cavity against published values, and its convergence."""

import numpy as np
import pytest

from ntk_keras.references import cavity_fem

pytest.importorskip("skfem")
GRID = np.stack(np.meshgrid(*2 * [np.linspace(0, 1, 33)], indexing="ij"), axis=-1).reshape(-1, 2)


@pytest.fixture(scope="module")
def flows():
    return {cells: cavity_fem.solve(100.0, cells) for cells in (6, 12, 24)}


def test_velocities_are_those_of_ghia_ghia_and_shin(flows):
    """Tables I and II, at Re = 100; their values have errors of about 2 %."""
    found = flows[24](np.array([[0.5, 0.5], [0.5, 0.1719], [0.5, 0.7344], [0.8047, 0.5]]))
    np.testing.assert_allclose(found[:3, 0], [-0.20581, -0.10150, 0.00332], atol=5e-3)
    assert found[3, 1] == pytest.approx(-0.24533, rel=0.04)
    assert flows[24](GRID)[:, 2].min() == pytest.approx(-0.103423, rel=2e-3)


def test_the_stream_function_converges(flows):
    coarse, middle, fine = (flows[cells](GRID)[:, 2] for cells in (6, 12, 24))
    assert np.linalg.norm(middle - fine) < np.linalg.norm(coarse - fine) / 4
    assert np.linalg.norm(middle - fine) < 5e-3 * np.linalg.norm(fine)


def test_the_boundary_values_are_given(flows):
    sides = GRID[np.any((GRID == 0) | (GRID == 1), axis=1)]
    values = flows[12](sides)
    lid = (sides[:, 1] == 1) & (sides[:, 0] > 0.1) & (sides[:, 0] < 0.9)
    np.testing.assert_allclose(values[:, 2], 0, atol=1e-12)
    np.testing.assert_allclose(values[lid, 0], 1, atol=1e-12)
    np.testing.assert_allclose(values[sides[:, 1] < 0.5, :2], 0, atol=1e-12)


def test_a_lid_that_slows_down_at_the_corners_drags_nearly_the_same_flow(flows):
    smooth = [cavity_fem.solve(100.0, cells, sharpness=50.0) for cells in (12, 24)]
    lid = GRID[GRID[:, 1] == 1]
    speed = 1 - np.cosh(50 * (lid[:, 0] - 0.5)) / np.cosh(25)
    np.testing.assert_allclose(smooth[1](lid)[:, 0], speed, atol=2e-3)
    coarse, fine = (flow(GRID)[:, 2] for flow in smooth)
    assert np.linalg.norm(coarse - fine) < 5e-3 * np.linalg.norm(fine)
    # Nearly the same flow in the middle.
    middle = np.array([[0.5, 0.5]])
    np.testing.assert_allclose(smooth[1](middle), flows[24](middle), rtol=0.1)


def test_a_flow_is_kept_on_disk(tmp_path, monkeypatch):
    monkeypatch.setenv("NTK_KERAS_CACHE", str(tmp_path))
    first = cavity_fem.solve_cached(10.0, 4)
    monkeypatch.setattr(cavity_fem, "solve", None)
    np.testing.assert_array_equal(cavity_fem.solve_cached(10.0, 4)(GRID), first(GRID))
