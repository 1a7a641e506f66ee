"""Every equation of the benchmarks holds for its solution, and the conditions too."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import ntk_keras as nk
from benchmarks.equations import EQUATIONS, PI, VISCOSITY, allen_cahn_solution, oscillation

CLOSED = {
    "klein-gordon": lambda t, x: oscillation(t, x),
    "helmholtz": lambda x, y: tf.sin(PI * x) * tf.sin(4 * PI * y),
    "poisson": lambda x, y: tf.sin(PI * x) * tf.sin(PI * y),
    "convection": lambda t, x: tf.sin(x - 50 * t),
}


@pytest.mark.parametrize("name", CLOSED)
def test_residuals_vanish_on_the_solution(name):
    equation = EQUATIONS[name]
    factor = keras.Variable(1.0, dtype="float64")

    def solution(points):
        return factor * CLOSED[name](points[:, 0], points[:, 1])[:, tf.newaxis]

    network = nk.networks.CallableNetwork(solution, [factor])
    model = nk.PINNModel(network, equation.terms(50), "constant", seed=0)
    for name_of_term, block in model.blocks().items():
        np.testing.assert_allclose(block(), 0, atol=1e-9, err_msg=name_of_term)
    points = equation.box.grid(7, 5)
    np.testing.assert_allclose(solution(points), equation.solution(points), atol=1e-12)


def grid_of(name):
    equation = EQUATIONS[name]
    points = equation.box.grid(*equation.shape)
    values = equation.solution(points).reshape(equation.shape)
    assert np.all(np.isfinite(values))
    t, x = (np.unique(points[:, axis]) for axis in (0, 1))
    return t, x, values


def test_the_solution_of_burgers_holds_its_equation():
    solution = EQUATIONS["burgers"].solution
    t, x = np.meshgrid(np.linspace(0.05, 0.25, 5), np.linspace(-0.9, 0.9, 19))
    h = 1e-4

    def at(dt, dx):
        return solution(np.stack([np.ravel(t + dt), np.ravel(x + dx)], axis=1))[:, 0]

    u, u_t = at(0, 0), (at(h, 0) - at(-h, 0)) / (2 * h)
    u_x, u_xx = (at(0, h) - at(0, -h)) / (2 * h), (at(0, h) - 2 * at(0, 0) + at(0, -h)) / h**2
    np.testing.assert_allclose(u_t + u * u_x, VISCOSITY * u_xx, atol=1e-5)
    _, x, values = grid_of("burgers")
    np.testing.assert_allclose(values[0], -np.sin(PI * x), atol=1e-12)
    np.testing.assert_allclose(values, -values[:, ::-1], atol=1e-9)


def test_the_solution_of_allen_cahn_holds_its_equation_and_has_converged():
    t, x, u = grid_of("allen-cahn")
    np.testing.assert_allclose(u[0], x**2 * np.cos(PI * x), atol=1e-12)
    coarser = allen_cahn_solution(count=1024, steps=1000).reshape(u.shape)
    assert np.linalg.norm((coarser - u)[5:]) < 1e-6 * np.linalg.norm(u)
    late, h = u[-5:, :-1], t[1] - t[0]
    second = np.fft.ifft(-((PI * np.fft.fftfreq(128, 1 / 128)) ** 2) * np.fft.fft(late[2])).real
    u_t = (8 * (late[3] - late[1]) - (late[4] - late[0])) / (12 * h)
    residual = u_t - 1e-4 * second + 5 * late[2] ** 3 - 5 * late[2]
    assert np.median(np.abs(residual)) < 1e-3  # by 128 samples; terms are of order one
