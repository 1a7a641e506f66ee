"""Networks that have the right values on a boundary whatever their parameters are."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import ntk_keras as nk
from ntk_keras.networks import box_distance, feedforward, hard_constraint

BOX = nk.domains.Box(t=(1, 3), x=(-1, 2))


def start(points):
    return keras.ops.sin(points[:, 1:2])


def constrained(outputs=1, **faces):
    network = feedforward(BOX, outputs, width=6, depth=1, dtype="float64", seed=1)
    return hard_constraint(network, box_distance(BOX, **faces), start)


def test_values_on_the_boundary_are_those_prescribed():
    network = constrained(2, t="lower", x="both")
    for face in (BOX.face(t=1), BOX.face(x=-1), BOX.face(x=2)):
        points = face.sample(9).fixed(0)
        expected = np.sin(points[:, 1:]) + np.zeros([9, 2])
        np.testing.assert_allclose(network(points), expected, atol=1e-14)
    end = BOX.face(t=3).sample(9).fixed(0)
    assert np.min(np.abs(network(end) - np.sin(end[:, 1:]))) > 1e-3


def test_the_distance_lies_between_zero_and_one():
    points = BOX.grid(21, 31)
    t, x = (points.T - BOX.lower[:, None]) / (BOX.upper - BOX.lower)[:, None]
    for faces, expected in (
        ({"t": "lower", "x": "both"}, 4 * t * x * (1 - x)),
        ({"t": "upper"}, 1 - t),
        ({}, 16 * t * (1 - t) * x * (1 - x)),
    ):
        found = box_distance(BOX, **faces)(points)[:, 0]
        np.testing.assert_allclose(found, expected, atol=1e-14)
        assert (found.min(), found.max() <= 1) == (0, True)


def test_it_is_differentiated_forward_and_factored():
    def wave(u, x):
        return nk.derivatives.second_order(u, x, [1.0, -1.0])[:, 0]

    network = constrained(t="lower", x="both")
    points = BOX.sample(6).fixed(0)
    views = [nk.derivatives.NetworkView(network, mode) for mode in ("taylor", "tapes")]
    forward, nested = (wave(view, tf.constant(points)) for view in views)
    np.testing.assert_allclose(forward, nested, rtol=1e-11)
    model = nk.PINNModel(network, [nk.Term("wave", wave, points)], seed=0)
    assert model._residuals.not_factored == {"wave": None}


def test_the_distance_of_a_part_of_a_disk_goes_forward():
    """By an R-function: zero on the circle and on the chord t = 1, positive between them."""

    def distance(points):
        t, x = points[:, :1], points[:, 1:2]
        chord, circle = t - 1, 9 - t**2 - x**2
        return chord + circle - keras.ops.sqrt(chord**2 + circle**2)

    network = feedforward(BOX, width=6, depth=1, dtype="float64", seed=1)
    network = hard_constraint(network, distance)
    angles = np.linspace(0.1, 1, 5)
    arc = 3 * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    np.testing.assert_allclose(network(arc), 0, atol=1e-13)
    inside = tf.constant([[1.5, 0.2], [2.1, -0.9], [1.1, 1.7]], "float64")
    views = [nk.derivatives.NetworkView(network, mode) for mode in ("taylor", "tapes")]
    for orders in ((0,), (0, 1), (1, 1, 1), (0, 0, 1, 1)):
        forward, nested = (nk.derivatives.partial(view, inside, *orders) for view in views)
        np.testing.assert_allclose(forward, nested, rtol=1e-10)


def test_a_file_gives_it_back(tmp_path):
    network = constrained(t="lower")
    network.save(tmp_path / "network.keras")
    points = BOX.sample(6).fixed(0)
    loaded = keras.models.load_model(tmp_path / "network.keras")
    np.testing.assert_array_equal(loaded(points), network(points))
    assert nk.derivatives.NetworkView(loaded).unsupported is None


def test_mistakes_are_refused():
    network = feedforward(BOX, width=4, depth=1)
    with pytest.raises(ValueError, match=r"Faces are named by axis.*Received y='both'"):
        box_distance(BOX, y="both")
    with pytest.raises(ValueError, match=r"Faces are named by axis.*Received x='left'"):
        box_distance(BOX, x="left")
    with pytest.raises(ValueError, match="no two faces along 't'"):
        box_distance(BOX.face(t=1), t="lower")
    with pytest.raises(
        ValueError, match=r"distance must have one column.*Received shape \(None,\)"
    ):
        hard_constraint(network, lambda x: x[:, 0])
    with pytest.raises(TypeError, match="values must be a function of symbolic points"):
        hard_constraint(network, box_distance(BOX), lambda x: tf.sin(x[:, :1]))
    unbuilt = keras.Sequential([keras.layers.Dense(1)])
    with pytest.raises(ValueError, match="takes a built network"):
        hard_constraint(unbuilt, box_distance(BOX))
