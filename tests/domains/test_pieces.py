import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

from ntk_keras.domains.pieces import Piece, Placed, _aliases


def line(threshold):
    """The numbers of [0, 1) below a threshold."""
    return Piece(
        1, threshold, lambda unit: Placed(unit, None, unit[:, 0] < threshold), rate=threshold
    )


def test_the_first_that_are_kept_are_drawn_in_order():
    unit = tf.constant([[0.9], [0.1], [0.3], [0.8], [0.2], [0.4]], tf.float64)
    np.testing.assert_array_equal(line(0.5).draw(unit, 3).points[:, 0], [0.1, 0.3, 0.2])


def test_too_few_come_once_more():
    unit = tf.constant([[0.9], [0.1], [0.3], [0.8]], tf.float64)
    np.testing.assert_array_equal(line(0.5).draw(unit, 5).points[:, 0], [0.1, 0.3, 0.1, 0.3, 0.1])


@pytest.mark.parametrize("rate", [0.01, 0.5, 0.98, 1 - 1e-9])
@pytest.mark.parametrize("count", [1, 100, 10_000])
def test_enough_are_placed(rate, count):
    candidates = line(rate).num_candidates(count)
    assert stats.binom(candidates, min(rate, 0.9999)).cdf(count - 1) < 1e-9
    assert candidates < 2.2 * (count + 50) / rate


def test_tables_of_a_choice_have_the_shares_of_its_weights():
    weights = np.random.default_rng(0).uniform(0, 1, 50) ** 4
    stay, other = _aliases(weights)
    shares = stay.copy()
    np.add.at(shares, other, 1 - stay)
    np.testing.assert_allclose(shares / 50, weights / weights.sum(), rtol=1e-10, atol=1e-15)
