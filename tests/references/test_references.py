"""The finite element reference: its energy law, its rates, another method, and its cache."""

import dataclasses
import sys

import numpy as np
import pytest
from scipy.integrate import solve_ivp

from ntk_keras.references import cache
from ntk_keras.references import liquid_crystal_fem as fem

SMALL = fem.SolverSettings(cells=8, steps=16, frames=5)
# Large coefficients, so that a wrong factor in the bulk energy shows.
STRONG = fem.SolverSettings(final_time=0.5, elasticity=0.2, a=-3.0, c=4.0, frames=2)


def smooth(settings):
    """Initial values whose odd extension over the boundary is smooth."""
    x, y = (np.pi * z / 2 for z in fem.lines(settings))
    return np.stack([np.sin(x) * np.sin(y), 0.5 * np.sin(2 * x) * np.sin(y)], axis=-1)


def tensor_rate(q, laplacian, s):
    """Q_t of the paper's equation, written with 2 x 2 matrices; ``q`` and result ``[m, 2]``."""

    def tensor(q):
        return np.stack([[q[:, 0], q[:, 1]], [q[:, 1], -q[:, 0]]]).transpose(2, 0, 1)

    Q = tensor(q)
    trace = np.trace(Q @ Q, axis1=1, axis2=2)[:, None, None]
    rate = s.elasticity * tensor(laplacian) - s.a * Q - s.c * trace * Q
    return rate[:, 0]


def by_lines(second_derivative, initial, s):
    """The method of lines: inner nodes, their second derivatives by a matrix, an adaptive solver.

    Args:
        second_derivative: along one axis, ``[k, k]``.
        initial: at the inner nodes, ``[k, k, 2]``.
        s: of the equation.
    """

    def rate(_, flat):
        q = flat.reshape(initial.shape)
        laplacian = np.einsum("ij,jkc->ikc", second_derivative, q)
        laplacian += np.einsum("ij,kjc->kic", second_derivative, q)
        return tensor_rate(q.reshape(-1, 2), laplacian.reshape(-1, 2), s).ravel()

    end = solve_ivp(rate, (0, s.final_time), initial.ravel(), "DOP853", rtol=1e-11, atol=1e-12).y[
        :, -1
    ]
    return end.reshape(initial.shape)


def by_finite_differences(initial, s):
    """Second differences on the grid of ``s``; inner nodes at the end."""
    k, h = s.cells - 1, (s.upper - s.lower) / s.cells
    difference = (np.eye(k, k=1) + np.eye(k, k=-1) - 2 * np.eye(k)) / h**2
    return by_lines(difference, initial[1:-1, 1:-1], s)


def by_sines(initial, s):
    """Derivatives of the sine series through the nodes, exact for smooth odd functions."""
    n, side = s.cells, s.upper - s.lower
    modes = np.arange(1, n)
    sines = np.sin(np.pi * np.outer(modes, modes) / n)  # its own inverse, times 2 / n
    second = sines @ np.diag(-((np.pi * modes / side) ** 2)) @ sines * 2 / n
    return by_lines(second, initial[1:-1, 1:-1], s)


def slope(sizes, errors):
    return np.polyfit(np.log(sizes), np.log(errors), 1)[0]


def relative_error(values, truth):
    return np.linalg.norm(values - truth) / np.linalg.norm(truth)


@pytest.mark.parametrize("a", [-0.25, 3.0])
@pytest.mark.parametrize("offset", [1.0, 500.0])
@pytest.mark.parametrize("lower", [0.0, -2.0])
def test_every_step_loses_exactly_the_energy_it_dissipates(lower, offset, a):
    """E' - E = -||Q' - Q||^2 / dt, whatever the time step."""
    rng = np.random.default_rng(0)
    for steps in (4, 64):
        s = fem.SolverSettings(lower=lower, cells=12, steps=steps, frames=2, a=a, offset=offset)
        solution = fem.solve(rng.standard_normal([13, 13, 2]), s)
        change = np.diff(solution.energies)
        # A hundred roundings of the energy, a sum of as many terms.
        rounding = 100 * np.finfo(float).eps * solution.energies[0]
        np.testing.assert_allclose(change, -solution.dissipations, rtol=0, atol=rounding)
        assert solution.dissipations[0] > 1e6 * rounding


def test_the_energy_is_the_continuous_one_at_the_start():
    """Against quadrature of E by hand: L |grad Q|^2 / 2 + F + A0 over the square."""
    s = fem.SolverSettings(cells=64, steps=1, frames=2, a=-3.0, c=4.0)
    x, y = (np.pi * z / 2 for z in np.meshgrid(*2 * [(np.arange(400) + 0.5) / 200]))
    q1, q2 = np.sin(x) * np.sin(y), 0.5 * np.sin(2 * x) * np.sin(y)
    square = 2 * (q1**2 + q2**2)
    bulk = np.mean(s.a / 2 * square + s.c / 4 * square**2 + s.offset) * 4
    # Eigenfunctions of the Laplacian: ||grad q||^2 is the eigenvalue times ||q||^2 (1 and 1/4).
    gradient = 2 * (np.pi / 2) ** 2 * (2 * 1 + 5 / 4)
    # Of the boundary's nodes, where Q = 0 and r is constant, the scheme takes no account.
    edge = s.offset * (4 - (2 - 2 / 64) ** 2)
    energy = fem.solve(smooth(s), s).energies[0]
    assert energy + edge == pytest.approx(s.elasticity / 2 * gradient + bulk, abs=0.02)


def test_errors_are_of_second_order_in_h():
    """Against sine series, dt proportional to h^2."""
    cells = np.array([8, 16, 32])
    errors = []
    fine = dataclasses.replace(STRONG, cells=32)
    truth = by_sines(smooth(fine), fine)
    for n in cells:
        s = dataclasses.replace(STRONG, cells=int(n), steps=int(2 * n**2))
        every = 32 // n
        errors.append(
            relative_error(
                fem.solve(smooth(s), s).values[-1, 1:-1, 1:-1],
                truth[every - 1 :: every, every - 1 :: every],
            )
        )
    assert slope(cells, errors) == pytest.approx(-2, abs=0.1)
    assert errors[-1] < 5e-3


def test_errors_are_of_first_order_in_dt():
    """Against lines on the same grid, so that time steps alone make the difference."""
    steps = np.array([40, 80, 160, 320])
    s = dataclasses.replace(STRONG, cells=12)
    truth = by_finite_differences(smooth(s), s)
    errors = [
        relative_error(
            fem.solve(smooth(s), dataclasses.replace(s, steps=int(n))).values[-1, 1:-1, 1:-1], truth
        )
        for n in steps
    ]
    assert slope(steps, errors) == pytest.approx(-1, abs=0.1)
    # What is left when dt goes to zero, by extrapolation, is no error of another order.
    assert abs(2 * errors[-1] - errors[-2]) < 0.05 * errors[-1]


@pytest.mark.parametrize("lower", [0.0, -2.0])
def test_initial_values_are_kept_but_for_the_boundary(lower):
    s = dataclasses.replace(SMALL, lower=lower)
    values = np.random.default_rng(0).standard_normal([9, 9, 2])
    solution = fem.solve(values, s)
    np.testing.assert_array_equal(solution.values[0, 1:-1, 1:-1], values[1:-1, 1:-1])
    for edge in (solution.values[:, 0], solution.values[:, -1]):
        assert not edge.any()
    for edge in (solution.values[:, :, 0], solution.values[:, :, -1]):
        assert not edge.any()


def test_kept_frames_are_the_states_at_their_times():
    every_step = fem.solve(smooth(SMALL), dataclasses.replace(SMALL, frames=17))
    some = fem.solve(smooth(SMALL), SMALL)
    np.testing.assert_array_equal(some.times, [0, 0.5, 1, 1.5, 2])
    np.testing.assert_array_equal(some.values, every_step.values[::4])


def test_a_solution_is_linear_between_nodes_and_times():
    solution = fem.solve(smooth(SMALL), SMALL)
    x = solution.line
    at_node = solution(np.array([[0.5, x[2], x[5]]]))
    np.testing.assert_allclose(at_node, solution.values[1, 2, 5][None], atol=1e-15)
    between = solution(np.array([[0.75, (x[2] + x[3]) / 2, x[5]]]))
    mean = solution.values[1:3, 2:4, 5].mean(axis=(0, 1))
    np.testing.assert_allclose(between, mean[None], atol=1e-15)
    with pytest.raises(ValueError, match="out of bounds"):
        solution(np.array([[2.5, 1.0, 1.0]]))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv(cache.FOLDER_VARIABLE, str(tmp_path / "cache"))
    return tmp_path / "cache"


def assert_equal(one, other):
    for field in dataclasses.fields(fem.Solution):
        np.testing.assert_array_equal(getattr(one, field.name), getattr(other, field.name))


def test_a_solution_is_computed_once(folder, monkeypatch):
    first = fem.solve_cached(smooth(SMALL), SMALL, progress=False)
    assert len(list(folder.iterdir())) == 1
    monkeypatch.setattr(fem, "solve", None)  # a second computation would fail
    assert_equal(fem.solve_cached(smooth(SMALL), SMALL), first)


@pytest.mark.parametrize("change", [{"a": -0.5}, {"steps": 20}, {"offset": 400.0}])
def test_other_settings_have_another_file(folder, change):
    fem.solve_cached(smooth(SMALL), SMALL, progress=False)
    other = dataclasses.replace(SMALL, **change)
    assert_equal(
        fem.solve_cached(smooth(SMALL), other, progress=False), fem.solve(smooth(SMALL), other)
    )
    fem.solve_cached(2 * smooth(SMALL), SMALL, progress=False)
    assert len(list(folder.iterdir())) == 3


@pytest.mark.parametrize("content", [b"", b"torn"])
def test_a_file_that_cannot_be_read_is_computed_again(folder, content):
    first = fem.solve_cached(smooth(SMALL), SMALL, progress=False)
    (path,) = folder.iterdir()
    path.write_bytes(content or path.read_bytes()[:-200])
    assert_equal(fem.solve_cached(smooth(SMALL), SMALL, progress=False), first)
    assert_equal(fem.solve_cached(smooth(SMALL), SMALL, progress=False), first)


def test_an_interrupted_writer_leaves_nothing_behind(folder, monkeypatch):
    def interrupted(file, **arrays):
        file.write(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(np, "savez_compressed", interrupted)
    with pytest.raises(KeyboardInterrupt):
        cache.cached("name", lambda: {"x": np.zeros(3)})
    assert list(folder.iterdir()) == []


def test_the_cache_is_in_the_users_folder_by_default(monkeypatch, tmp_path):
    monkeypatch.delenv(cache.FOLDER_VARIABLE, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache.folder() == tmp_path / "ntk_keras"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache.folder() == tmp_path / ".cache" / "ntk_keras"


def test_without_scikit_fem_the_error_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "skfem", None)
    with pytest.raises(ImportError, match=r'pip install "ntk_keras\[fem\]"'):
        fem.solve(smooth(SMALL), SMALL)


def test_a_progress_bar_is_shown_if_wanted(capsys):
    fem.solve(smooth(SMALL), SMALL)
    assert capsys.readouterr().err == ""
    fem.solve(smooth(SMALL), SMALL, progress=True)
    assert "finite elements" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"cells": 0}, "cells must be an integer"),
        ({"steps": 0}, "steps must be an integer"),
        ({"frames": 4}, "frames must be at least 2"),
        ({"frames": 1}, "frames must be at least 2"),
        ({"elasticity": 0.0}, "elasticity must be positive"),
        ({"c": -1.0}, "c must be positive"),
        ({"upper": 0.0}, "upper - lower must be positive"),
        ({"final_time": 0.0}, "final_time must be positive"),
        ({"a": -2.0, "offset": 1.0}, "offset - .* must be positive"),
    ],
)
def test_settings_out_of_range_are_refused(change, words):
    with pytest.raises(ValueError, match=words):
        dataclasses.replace(SMALL, **change)


def test_initial_values_of_another_grid_are_refused():
    with pytest.raises(ValueError, match=r"\(9, 9, 2\) with cells=8. Received shape \(8, 8, 2\)"):
        fem.solve(np.zeros([8, 8, 2]), SMALL)
