"""Functions on a grid, against SciPy's interpolators and functions that splines represent."""

import re

import keras
import numpy as np
import pytest
import scipy.sparse.linalg
import tensorflow as tf
from scipy.interpolate import RegularGridInterpolator

import ntk_keras as nk
from ntk_keras.domains import GridInterpolator

RNG = np.random.default_rng(0)
# SciPy solves for the coefficients of a cubic spline to 1e-6 only, if it is not told otherwise.
SOLVERS = {"linear": {}, "cubic": {"solver": scipy.sparse.linalg.spsolve}}


def grid(dims):
    """Axes of unequal lengths and distances, and points of their box, corners and nodes too."""
    axes = [np.sort(RNG.uniform(-1, 2, 5 + axis)) for axis in range(dims)]
    share = np.concatenate([RNG.random((20, dims)), np.zeros((1, dims)), np.ones((1, dims))])
    lower, upper = np.array([a[0] for a in axes]), np.array([a[-1] for a in axes])
    inner = [[axis[2] for axis in axes]]
    return axes, np.concatenate([(1 - share) * lower + share * upper, inner])


@pytest.mark.parametrize("method", ["linear", "cubic"])
@pytest.mark.parametrize("dims", [1, 2, 3])
def test_values_are_those_of_scipy(dims, method):
    axes, points = grid(dims)
    for width in ((), (2,)):
        values = RNG.normal(size=(*map(len, axes), *width))
        expected = RegularGridInterpolator(axes, values, method, **SOLVERS[method])(points)
        function = GridInterpolator(axes, values, method=method)
        np.testing.assert_allclose(function(points), expected, atol=1e-10)
        single = function(tf.constant(points, tf.float32))
        assert single.dtype == tf.float32
        assert np.max(np.abs(single - expected)) < 1e-5 * np.max(np.abs(expected))


@pytest.mark.parametrize("jit_compile", [False, True])
def test_a_graph_gives_the_same_values_and_knows_their_shape(jit_compile):
    axes, points = grid(2)
    function = GridInterpolator(axes, RNG.normal(size=(5, 6, 3)), method="cubic")
    graph = tf.function(function, jit_compile=jit_compile)
    np.testing.assert_allclose(graph(points), function(points), rtol=1e-10)
    spec = tf.TensorSpec((7, 2), tf.float32)
    assert graph.get_concrete_function(spec).output_shapes == tf.TensorShape([7, 3])


def test_a_cubic_spline_represents_a_cubic_with_its_derivatives():
    """(x^3 - 2 x) y^2: derivatives by the functions of the package, exactly."""
    lines = nk.domains.Box(x=(0, 1), y=(0, 2)).lines(6, 5)
    x, y = np.meshgrid(*lines, indexing="ij")
    function = GridInterpolator(lines, ((x**3 - 2 * x) * y**2)[..., np.newaxis], method="cubic")
    points = np.array([[0.3, 1.7], [0.85, 0.4]])
    x, y = points.T
    at = tf.constant(points)
    slopes = nk.derivatives.gradient(function, at)[:, 0]
    np.testing.assert_allclose(
        slopes, np.stack([(3 * x**2 - 2) * y**2, 2 * (x**3 - 2 * x) * y], axis=1), rtol=1e-10
    )
    np.testing.assert_allclose(
        nk.derivatives.laplacian(function, at)[:, 0], 6 * x * y**2 + 2 * (x**3 - 2 * x), rtol=1e-9
    )


def test_a_table_of_one_column_in_any_order():
    times = np.array([2.0, 0.0, 1.0])
    function = GridInterpolator(times, 3 * times)
    np.testing.assert_allclose(function(np.array([0.5, 1.5])), [1.5, 4.5])
    np.testing.assert_allclose(function(np.array([[0.5], [1.5]])), [1.5, 4.5])
    assert GridInterpolator([times], 3 * times)(np.zeros((2, 4, 1))).shape == (2, 4)


def test_outside_the_grid():
    points = np.array([-0.5, 0.0, 1.0, 1.0 + 1e-15, 1.5])
    refused = GridInterpolator([0, 1], [2, 3])(points)
    np.testing.assert_array_equal(np.isnan(refused), [True, False, False, False, True])
    held = GridInterpolator([0, 1], [2, 3], outside="nearest")(points)
    np.testing.assert_allclose(held, np.interp(points, [0, 1], [2, 3]))


def test_it_is_kept_by_keras():
    axes, points = grid(2)
    function = GridInterpolator(axes, RNG.normal(size=(5, 6)), method="cubic", outside="nearest")
    config = keras.saving.serialize_keras_object(function)
    again = keras.saving.deserialize_keras_object(config)
    np.testing.assert_array_equal(again(points + 1), function(points + 1))
    assert repr(again) == "GridInterpolator(on 5 x 6 points, method='cubic')"


MISTAKES = {
    "value for each point of its grid, [2, 3], or [2, 3, 'k']": (
        ([[0, 1], [0, 1, 2]], [[1, 2]]),
        {},
    ),
    "none of them twice. Received [0. 0.]": (([[0, 0]], [1, 2]), {}),
    "needs 4 coordinates or more": (([[0, 1, 2]], [1, 2, 3]), {"method": "cubic"}),
    "must be finite real numbers": (([[0, 1]], [1, np.nan]), {}),
    "Received array([1.+1.j": (([[0, 1]], [1 + 1j, 2]), {}),
    "Received method='spline'": (([[0, 1]], [1, 2]), {"method": "spline"}),
}


@pytest.mark.parametrize("message", MISTAKES)
def test_what_does_not_fit_is_refused(message):
    arguments, options = MISTAKES[message]
    with pytest.raises(ValueError, match=re.escape(message)):
        GridInterpolator(*arguments, **options)


@pytest.mark.parametrize("points", [np.ones((3, 3)), np.ones((3, 2), int), np.ones(3)])
def test_points_that_do_not_fit_are_refused(points):
    function = GridInterpolator([[0, 1], [0, 1]], np.ones((2, 2)))
    with pytest.raises(ValueError, match="on 2 axes takes points of floats with 2 columns"):
        function(points)
