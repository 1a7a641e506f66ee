"""Problems with the standard configuration: residuals against solutions, one set of presets."""

import dataclasses
import importlib
import math

import numpy as np
import pytest
import tensorflow as tf

from ntk_keras import problems
from ntk_keras.experiments import runs
from ntk_keras.problems import PROBLEMS, burgers

PAPER = {"poisson", "quadratic", "wave", "liquid_crystal"}
STANDARD = sorted(set(PROBLEMS) - PAPER)
MODULES = {name: importlib.import_module(f"ntk_keras.problems.{name}") for name in STANDARD}
EXACT = [name for name, module in MODULES.items() if hasattr(module, "exact")]
SPECTRAL = [name for name, module in MODULES.items() if hasattr(module, "SOLVER")]


@pytest.fixture(scope="module", autouse=True)
def short_references():
    """Fourier methods with a tenth of the steps."""
    with pytest.MonkeyPatch.context() as patch:
        for name in SPECTRAL:
            solver = MODULES[name].SOLVER
            steps = 2 * (solver.frames - 1)
            patch.setattr(MODULES[name], "SOLVER", dataclasses.replace(solver, steps=steps))
            MODULES[name].reference.cache_clear()
        yield
    for name in SPECTRAL:
        MODULES[name].reference.cache_clear()


def points_of(term):
    return term.points_at(tf.constant([1, 2]), "float64")


class Named:
    """A function that a residual differentiates by the names of axes."""

    def __init__(self, function, term):
        self.function = function
        self.axes = term.axes

    def __call__(self, points):
        return self.function(points)


def residual(term, function, points):
    return term.evaluate(Named(function, term), points).numpy()


def small(name):
    """The problem, and settings with few points."""
    problem = problems.get(name)
    settings = problem.presets["quick"]
    few = dict.fromkeys(settings.points, 24)
    return problem, dataclasses.replace(settings, points=few)


@pytest.mark.parametrize("name", EXACT)
def test_residuals_vanish_on_the_exact_solution_only(name):
    problem, settings = small(name)
    exact = MODULES[name].exact
    for term in problem.terms(settings):
        points = points_of(term)
        np.testing.assert_allclose(residual(term, exact, points), 0, atol=1e-8, err_msg=term.name)

        def wrong(p):
            return exact(p) + tf.exp(tf.reduce_sum(p / 2, axis=1, keepdims=True))

        assert np.abs(residual(term, wrong, points)).max() > 0.1, term.name


@pytest.mark.parametrize("name", EXACT)
def test_errors_are_measured_against_the_exact_solution(name):
    problem = problems.get(name)
    points, values = problem.validation_data("float64")
    assert values.shape == (len(points), problem.outputs)
    assert problem.box.contains(points[::97]).all()
    np.testing.assert_allclose(values[::97], MODULES[name].exact(tf.constant(points[::97])))


def as_network(solution, time):
    """A reference near a time, as a function that tapes differentiate."""
    first = int(np.searchsorted(solution.times, time)) - 4
    near, waves = range(first, first + 8), solution.wave_numbers
    nodes, modes = solution.times[near], solution.modes[near]

    def network(points):
        t, phases = points[:, :1], (points[:, 1:] - solution.lower) * waves
        value = 0.0
        for j, node in enumerate(nodes):
            others = np.delete(nodes, j)
            weight = tf.reduce_prod((t - others) / (node - others), axis=1)
            parts = tf.cos(phases) * modes[j].real - tf.sin(phases) * modes[j].imag
            value += weight * tf.reduce_sum(parts, axis=1)
        return value[:, tf.newaxis]

    return network


@pytest.mark.parametrize("name", SPECTRAL)
def test_the_equation_vanishes_on_its_reference(name):
    problem, settings = small(name)
    reference = MODULES[name].reference()
    term = problem.terms(settings)[0]
    time = reference.times[-1] / 2
    points = tf.concat([0 * points_of(term)[:, :1] + time, points_of(term)[:, 1:]], axis=1)
    network = as_network(reference, time)
    np.testing.assert_allclose(network(points), problem.solution(points.numpy()), atol=1e-12)
    largest = np.abs(residual(term, lambda p: network(p) + tf.sin(p[:, 1:]), points)).max()
    # The steps are few: 5e-4 for KdV, and 3e-6 with four times as many.
    assert np.abs(residual(term, network, points)).max() < 1e-3 * largest


@pytest.mark.parametrize("name", SPECTRAL)
def test_a_reference_has_the_initial_values(name):
    problem, settings = small(name)
    (initial,) = (term for term in problem.terms(settings) if term.name == "initial")
    points = points_of(initial)
    values = tf.constant(problem.solution(points.numpy()))
    np.testing.assert_allclose(residual(initial, lambda p: values, points), 0, atol=1e-12)


def test_the_cavity_has_the_equation_of_its_stream_function():
    """At a polynomial, with derivatives by hand."""
    problem, settings = small("cavity")
    term = problem.terms(settings)[0]
    points = points_of(term)
    x, y = points.numpy().T
    # psi = x^3 y^2: psi_x = 3 x^2 y^2, psi_y = 2 x^3 y, Lap psi = 6 x y^2 + 2 x^3.
    expected = 2 * x**3 * y * (6 * y**2 + 6 * x**2) - 3 * x**2 * y**2 * 12 * x * y
    expected -= 2 * 12 * x / 100  # Lap^2 psi = 2 psi_xxyy = 24 x
    found = residual(term, lambda p: p[:, :1] ** 3 * p[:, 1:] ** 2, points)
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_the_lid_of_the_cavity_is_at_rest_in_the_corners():
    problem, settings = small("cavity")
    lid = next(term for term in problem.terms(settings) if term.name == "lid")
    points = tf.constant([[0.0, 1.0], [0.5, 1.0], [0.98, 1.0]], tf.float64)
    speed = [0.0, 1.0, 1 - np.cosh(24) / np.cosh(25)]
    found = residual(lid, lambda p: 3 * p[:, 1:], points)
    np.testing.assert_allclose(found, 3 - np.array(speed), atol=1e-9)


def test_in_many_dimensions_errors_are_measured_at_random_points():
    problem = problems.get("poisson_5d")
    points, _ = problem.validation_data("float64")
    assert points.shape == (51 * 51, 5)
    assert np.ptp(points, axis=0).min() > 0.99
    np.testing.assert_array_equal(points, problem.validation_data("float64")[0])
    shown = problem.shown.grid(*problem.grid)
    np.testing.assert_array_equal(np.unique(shown[:, 2:]), 0.5)
    prediction, truth = runs.on_grid(problem, lambda p: tf.constant(MODULES["poisson_5d"].exact(p)))
    figure = runs.solution_figure(problem, prediction, truth)
    assert [figure.axes[0].get_xlabel(), figure.axes[0].get_ylabel()] == ["x1", "x2"]


def test_on_a_disk_points_outside_do_not_count():
    points, values = problems.get("advection_diffusion").validation_data()
    assert np.linalg.norm(points, axis=1).max() <= 1 + 1e-6
    assert np.all(np.isfinite(values))


def test_periodic_networks_are_periodic():
    problem, settings = small("convection")
    network = problems.build_model(problem, dataclasses.replace(settings, width=8)).network
    ends = [np.array([[0.3, x]], "float32") for x in problem.box.lower[1:] + [0, 2 * np.pi]]
    np.testing.assert_allclose(network(ends[0]), network(ends[1]), atol=1e-5)


def test_the_reference_of_van_der_pol_has_converged():
    reference, t = MODULES["van_der_pol"].reference, np.linspace(0, 6, 601)
    x, y = reference()(t)
    np.testing.assert_allclose(reference(1e-10)(t), [x, y], atol=1e-8)
    h = t[1] - t[0]

    def rate(values):
        return (8 * (values[3:-1] - values[1:-3]) - (values[4:] - values[:-4])) / (12 * h)

    np.testing.assert_allclose(rate(x), y[2:-2], atol=1e-6)
    np.testing.assert_allclose(rate(y), ((1 - x**2) * y - x)[2:-2], atol=1e-5)


def test_the_reference_of_robertson_has_converged():
    reference, s = MODULES["robertson"].reference, np.linspace(-5, 5, 1001)
    values = reference()(s)
    np.testing.assert_allclose(reference(1e-10)(s), values, atol=1e-8)
    a, z, c = values
    np.testing.assert_allclose(a + 1e-4 * z + c, 1, atol=1e-12)
    h = s[1] - s[0]
    found = (8 * (values[:, 3:-1] - values[:, 1:-3]) - (values[:, 4:] - values[:, :-4])) / (12 * h)
    slow, fast = -0.04 * a + c * z, 3e7 * (1e-4 * z) ** 2
    expected = math.log(10) * 10**s * np.array([slow, 1e4 * (-slow - fast), fast])
    np.testing.assert_allclose(found, expected[:, 2:-2], atol=1e-5)  # z is steep at t = 1e-4


def test_robertson_has_the_rates_of_its_text():
    """At polynomials (s, s^2, 1), with derivatives by hand."""
    problem, settings = small("robertson")
    term = problem.terms(settings)[0]
    points = points_of(term)
    s = points.numpy()[:, 0]
    t, fast = math.log(10) * 10**s, 0.3 * s**4
    slow = -0.04 * s + s**2
    expected = np.stack([1 - t * slow, 2e-4 * s + t * (slow + fast), -t * fast], axis=1)
    found = residual(term, lambda p: tf.concat([p, p**2, 1 + 0 * p], axis=1), points)
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_all_have_the_same_configuration():
    def shared(settings):
        return dataclasses.replace(settings, problem="", points={"equation": 1})

    for preset in ("quick", "natural-gradient"):
        of_all = {repr(shared(problems.get(name).presets[preset])) for name in STANDARD}
        assert len(of_all) == 1


def test_the_viscosity_of_burgers_equation_is_a_parameter():
    problem = problems.get("burgers").with_parameters({"viscosity": 0.01})
    equation = problem.terms(problem.presets["quick"])[0]
    assert equation.residual == burgers.Equation(0.01)
    points = tf.constant([[0.5, 0.1], [1.0, -0.7]], tf.float64)
    np.testing.assert_array_equal(problem.solution(points.numpy()), burgers.exact(points, 0.01))
    assert not np.allclose(problem.solution(points.numpy()), burgers.exact(points), atol=1e-3)
    with pytest.raises(ValueError, match=r"at least 0.003. Received viscosity=0.001"):
        problem.with_parameters({"viscosity": 0.001})
