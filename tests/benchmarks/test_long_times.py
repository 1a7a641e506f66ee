"""The benchmark of long times: its wave, and what it makes of an equation on a slab."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import ntk_keras as nk
from benchmarks import long_times
from benchmarks.long_times import EQUATIONS, WAYS, on_slab, parser, vibration


def test_the_wave_is_a_solution():
    factor = keras.Variable(1.0, dtype="float64")
    network = nk.networks.CallableNetwork(
        lambda p: factor * vibration(p[:, 0], p[:, 1])[:, None], [factor]
    )
    u = nk.derivatives.NetworkView(network)
    for term in EQUATIONS["wave"].terms(50):
        points = tf.constant(term.points.fixed(0))
        np.testing.assert_allclose(term.evaluate(u, points), 0, atol=1e-9, err_msg=term.name)
    grid = EQUATIONS["wave"].box.grid(7, 5)
    np.testing.assert_allclose(network(grid), EQUATIONS["wave"].solution(grid), atol=1e-12)


def test_a_slab_has_its_part_of_the_box():
    slab = on_slab(EQUATIONS["wave"], nk.Slab(0, 2.0, 4.0))
    assert slab.box.lower.tolist() == [2, 0]
    assert slab.box.upper.tolist() == [4, 1]
    points = {term.name: term.points.fixed(0) for term in slab.terms(50)}
    assert np.all(points["velocity"][:, 0] == 2)
    assert np.all(points["right"][:, 1] == 1)
    assert np.ptp(points["right"][:, 0]) > 1


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
def test_every_way_trains(way, tmp_path):
    sizes = ["--seconds", "0", "--slabs", "2", "--points", "50", "--natural-points", "50"]
    widths = ["--width", "8", "--natural-width", "8", "--out", str(tmp_path)]
    (row,) = long_times.main(["--equations", "allen-cahn", "--ways", way, *sizes, *widths])
    assert 0 < float(row["error"]) < 10
    assert parser().parse_args([]).slabs == 5
