"""Where points move: by the papers' rules, with exact probabilities, for points of every kind."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import ntk_keras as nk
from ntk_keras.backend.seeds import fold_in
from ntk_keras.domains import R3, RAD, RAR, Box, Disk, choices

LINE = Box(x=(0, 1))
SEED = tf.constant([3, 4])


def first_column(points):
    return tf.nest.flatten(points)[0][:, 0]


def peak(points):
    """Hardly anything but near x = 1."""
    return first_column(points) ** 20


def steep(points):
    return tf.exp(5 * first_column(points))


def move(sampler, size_at=first_column, seed=SEED):
    """The points before, and what they are moved to."""
    points = sampler.draw(tf.constant([0, 0]), "float64")
    return points, sampler.moved(points, size_at(points), size_at, seed, "float64")


# The share of the density (|r|^k / mean + c) / (1 + c), r = x, below 1/2.
SHARES = [(1, 1, 3 / 8), (1, 0, 1 / 4), (2, 0, 1 / 8), (1, 3, 7 / 16)]


@pytest.mark.parametrize(("k", "c", "share"), SHARES)
def test_the_density_of_rad_is_that_of_the_paper(k, c, share):
    sampler = RAD(LINE.interior(4000), k=k, c=c, candidates=5)
    drawn = [move(sampler, seed=tf.constant([1, n]))[1].points for n in range(5)]
    # Of 20000 points: five standard errors.
    assert np.mean(np.concatenate(drawn) < 0.5) == pytest.approx(share, abs=0.018)


def test_no_candidate_is_chosen_twice():
    _, moved = move(RAD(LINE.interior(100), c=0, candidates=3), peak)
    assert len(np.unique(moved.points)) == 100


def test_probabilities_add_up_and_none_exceeds_one():
    scores = np.random.default_rng(0).uniform(size=500) ** 30
    found = choices.probabilities_of(tf.constant(scores), 200).numpy()
    assert np.sum(found) == pytest.approx(200, rel=1e-12)
    assert np.max(found) == 1
    small = found < 1
    assert 0 < np.sum(small) < 500
    ratios = found[small] / scores[small]
    np.testing.assert_allclose(ratios, ratios[0], rtol=1e-12)
    assert np.min(scores[~small]) * ratios[0] >= 1 - 1e-12


def test_every_row_is_chosen_as_often_as_its_probability_says():
    scores = np.random.default_rng(0).uniform(0.1, 3, size=40)
    probabilities = choices.probabilities_of(tf.constant(scores), 15)
    choose = tf.function(lambda shift: choices.chosen_rows(probabilities, 15, shift))
    shifts = (np.arange(400) + 0.5) / 400
    counts = np.zeros(40)
    for shift in shifts:
        rows = choose(tf.constant(shift)).numpy()
        assert len(set(rows)) == 15
        counts[rows] += 1
    np.testing.assert_allclose(counts / 400, probabilities, atol=1 / 400)


def test_importance_weights_are_the_ratio_of_densities():
    sampler = RAD(LINE.interior(400), candidates=20, importance_weights=True)
    points, weights = move(sampler)[1]
    np.testing.assert_allclose(weights, 2 / (1 + 2 * points[:, 0]), rtol=0.03)
    for function in (np.ones_like, np.square, lambda x: x < 0.1):
        mean = np.mean(weights * function(points[:, 0].numpy()))
        uniform = LINE.interior(10**5, "sobol").fixed(0)
        assert mean == pytest.approx(np.mean(function(uniform)), abs=0.02)
    _, alike = move(sampler, lambda points: tf.ones_like(first_column(points)))
    np.testing.assert_allclose(alike.weights, 1, rtol=1e-12)
    assert move(RAD(LINE.interior(4)))[1].weights is None


def test_r3_keeps_what_is_above_the_mean():
    sampler = R3(LINE.interior(50))
    points, moved = move(sampler, peak)
    stay = peak(points) > np.mean(peak(points))
    fresh = sampler.sampler.draw(fold_in(SEED, 0), "float64")
    assert 0 < np.sum(stay) < 25
    np.testing.assert_array_equal(moved.points, np.where(stay[:, None], points, fresh))


def test_rar_puts_points_at_the_largest_of_the_candidates():
    sampler = RAR(LINE.interior(20), added=3, candidates=4)
    points, moved = move(sampler)
    drawn = [sampler.sampler.draw(fold_in(SEED, k), "float64").numpy() for k in range(4)]
    expected = points.numpy().copy()
    gone = np.argsort(expected[::2, 0])[:3] * 2
    expected[gone] = np.sort(np.concatenate(drawn), axis=0)[:-4:-1]
    np.testing.assert_array_equal(moved.points, expected)
    assert RAR(LINE.interior(500)).added == 5


def test_points_go_first_where_the_residual_is_not_finite():
    def size_at(points):
        x = first_column(points)
        return tf.where(x > 0.9, np.nan, x)

    assert np.min(move(RAD(LINE.interior(20)), size_at)[1].points) > 0.9
    assert np.sum(move(RAR(LINE.interior(20), added=4), size_at)[1].points > 0.9) >= 4


@pytest.mark.parametrize("sampler", [RAD(LINE.interior(20), c=0), R3(LINE.interior(20))])
def test_where_the_residual_is_zero_points_are_uniform(sampler):
    _, moved = move(sampler, lambda points: 0 * first_column(points))
    assert len(np.unique(moved.points)) == 20
    assert np.ptp(moved.points) > 0.5


KINDS = {
    "normals": Disk().boundary(30, normals=True),
    "pairs": Box(t=(0, 1), x=(-1, 1)).periodic("x", 30),
    "faces": Box(t=(0, 1), x=(-1, 1)).boundary(30, axes=["x"]),
    "through time": (Box(t=(0, 1)) * (Disk() - Disk(radius=0.5))).interior(30, "sobol"),
}


@pytest.mark.parametrize("wrapped", [RAD, R3, RAR])
@pytest.mark.parametrize("kind", KINDS)
def test_points_of_every_kind_move_row_by_row(kind, wrapped):
    sampler = wrapped(KINDS[kind])
    before, moved = move(sampler, steep)
    old, new = map(tf.nest.flatten, (before, moved.points))
    assert [x.shape for x in new] == [x.shape for x in old]
    assert not np.array_equal(old[0], new[0])
    assert np.mean(steep(moved.points)) > np.mean(steep(before))
    if kind == "normals":
        np.testing.assert_allclose(new[1], new[0], atol=1e-12)
    if kind == "pairs":
        np.testing.assert_array_equal(new[0][:, 0], new[1][:, 0])
        np.testing.assert_array_equal(new[1][:, 1], 1)
    if kind == "faces":
        assert set(new[0][:, 1].numpy()) == {-1, 1}
    if kind == "through time":
        assert sampler.axes == ("t", "x", "y")
        assert np.all(KINDS[kind].shape.contains(new[0]))


def test_they_move_within_any_graph(staged):
    line = LINE.interior(40)
    samplers = [RAD(line, candidates=3), R3(line), RAR(line, candidates=3)]
    to = staged(lambda seed: [move(sampler, peak, seed)[1].points for sampler in samplers])
    for moved, again, count in zip(to(SEED), to(SEED), (8, 3, 3), strict=True):
        assert moved.shape == (40, 1)
        assert np.sum(moved > 0.9) >= count
        np.testing.assert_array_equal(moved, again)


def test_without_a_model_they_draw_what_their_sampler_draws():
    sampler = RAD(LINE.interior(5))
    np.testing.assert_array_equal(sampler.draw(SEED), sampler.sampler.draw(SEED))
    np.testing.assert_array_equal(sampler.fixed(1), sampler.sampler.fixed(1))


@pytest.mark.parametrize(
    "sampler",
    [
        RAD(LINE.interior(8), every=3, k=2.0, c=0.5, candidates=4, importance_weights=True),
        R3(LINE.interior(8), every=2),
        RAR(LINE.interior(8), every=7, added=2, candidates=3),
    ],
)
def test_they_are_made_again_of_their_configuration(sampler):
    config = keras.saving.serialize_keras_object(sampler)
    assert repr(keras.saving.deserialize_keras_object(config)) == repr(sampler)


REFUSED = {
    "a shape": (lambda: RAD(LINE), TypeError, r"RAD takes a sampler, as box.interior\(1000\)"),
    "points": (lambda: R3(np.ones((4, 1))), TypeError, "R3 takes a sampler"),
    "twice": (lambda: RAR(R3(LINE.interior(9))), ValueError, "the points of R3 move by themselves"),
    "inside of others": (
        lambda: nk.domains.UnionSampler([LINE.interior(4), R3(LINE.interior(4))]),
        ValueError,
        r"all of them moved.*RAD\(UnionSampler",
    ),
    "no interval": (lambda: R3(LINE.interior(4), every=0), ValueError, "every must be an integer"),
    "no exponent": (lambda: RAD(LINE.interior(4), k=0), ValueError, "k must be positive"),
    "a negative part": (lambda: RAD(LINE.interior(4), c=-1), ValueError, "c must lie in"),
    "no choice": (
        lambda: RAD(LINE.interior(4), candidates=1),
        ValueError,
        "candidates must be an integer of at least 2",
    ),
    "a single point": (
        lambda: RAR(LINE.interior(1)),
        ValueError,
        "two points at least. Received a sampler of 1",
    ),
    "more than half": (
        lambda: RAR(LINE.interior(9), added=5),
        ValueError,
        "at most half of its 9 points.*Received added=5",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_move_is_refused(case):
    make, kind, message = REFUSED[case]
    with pytest.raises(kind, match=message):
        make()
