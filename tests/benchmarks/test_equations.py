"""Equations of the benchmarks that are no problem of the package hold for their solutions."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import ntk_keras as nk
from benchmarks.equations import EQUATIONS, oscillation

CLOSED = {
    "klein-gordon": lambda t, x: oscillation(t, x),
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
