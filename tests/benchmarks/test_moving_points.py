"""The problems by which moving points are measured."""

import keras
import numpy as np
import tensorflow as tf

import ntk_keras as nk
from benchmarks.moving_points import PROBLEMS, front


def test_the_front_fulfils_its_terms():
    factor = keras.Variable(1.0, dtype="float64")
    network = nk.networks.CallableNetwork(
        lambda points: factor * front(points)[:, tf.newaxis], [factor]
    )
    problem = PROBLEMS["front"]
    u = nk.derivatives.NetworkView(network)
    for term in problem.terms(50):
        points = tf.constant(term.points.fixed(0))
        np.testing.assert_allclose(term.evaluate(u, points), 0, atol=1e-8, err_msg=term.name)
    points = problem.box.grid(7, 5)
    np.testing.assert_allclose(network(points), problem.solution(points), atol=1e-12)
