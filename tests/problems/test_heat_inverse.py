"""The heat equation with an unknown diffusivity: residuals, and the noise of measured values."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from ntk_keras import problems
from ntk_keras.problems import heat_1d, heat_inverse


class Solution:
    """The exact solution with a diffusivity, as residuals receive a network."""

    axes = ("t", "x")

    def __init__(self, diffusivity):
        self.unknowns = {"diffusivity": tf.constant(diffusivity, tf.float64)}

    def __call__(self, points):
        return heat_1d.exact(points)


def residuals(diffusivity, noise=0.01, seed=0):
    problem = problems.get("heat_inverse").with_parameters({"noise": noise})
    settings = dataclasses.replace(problem.presets["natural-gradient"], seed=seed)
    return {
        term.name: term.evaluate(
            Solution(diffusivity), term.points_at(tf.constant([1, 2]), "float64")
        ).numpy()
        for term in problem.terms(settings)
    }


def test_residuals_vanish_at_the_true_diffusivity_up_to_the_noise():
    exact = residuals(0.25)
    assert list(exact) == ["equation", "initial", "left", "right", "measured"]
    for name in list(exact)[:-1]:
        np.testing.assert_allclose(exact[name], 0, atol=1e-12)
    assert np.abs(residuals(0.3)["equation"]).max() > 0.1
    for noise in (0.01, 0.05):
        values = residuals(0.25, noise)["measured"]
        # Five standard errors of 480 values.
        assert abs(np.std(values) / noise - 1) < 5 / np.sqrt(2 * 480)
        assert abs(np.mean(values)) < 5 * noise / np.sqrt(480)


def test_the_noise_is_that_of_the_seed():
    first = residuals(0.25)["measured"]
    np.testing.assert_array_equal(first, residuals(0.25)["measured"])
    assert np.abs(first - residuals(0.25, seed=1)["measured"]).max() > 0.01


def test_the_noise_is_positive():
    with pytest.raises(ValueError, match="must be positive. Received noise=0.0"):
        heat_inverse.problem(0.0)
