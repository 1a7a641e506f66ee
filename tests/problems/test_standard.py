"""Problems with the standard configuration: residuals against solutions, one set of presets."""

import dataclasses
import importlib

import numpy as np
import pytest
import tensorflow as tf

from ntk_keras import problems
from ntk_keras.problems import PROBLEMS, burgers

PAPER = {"poisson", "quadratic", "wave", "liquid_crystal"}
STANDARD = sorted(set(PROBLEMS) - PAPER)
MODULES = {name: importlib.import_module(f"ntk_keras.problems.{name}") for name in STANDARD}
EXACT = [name for name, module in MODULES.items() if hasattr(module, "exact")]
SPECTRAL = [name for name, module in MODULES.items() if hasattr(module, "SOLVER")]


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
    assert np.abs(residual(term, network, points)).max() < 1e-5 * largest


@pytest.mark.parametrize("name", SPECTRAL)
def test_a_reference_has_the_initial_values(name):
    problem, settings = small(name)
    (initial,) = (term for term in problem.terms(settings) if term.name == "initial")
    points = points_of(initial)
    values = tf.constant(problem.solution(points.numpy()))
    np.testing.assert_allclose(residual(initial, lambda p: values, points), 0, atol=1e-12)


def test_all_have_the_same_configuration():
    def shared(settings):
        return dataclasses.replace(settings, problem="", points={"equation": 0})

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
