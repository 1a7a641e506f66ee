import numpy as np
import pytest
import tensorflow as tf

from ntk_keras.estimators import probes

N = 100_000
KINDS = list(probes.PROBES)

every_kind = pytest.mark.parametrize("kind", KINDS)


def seed_of(number):
    return tf.constant([number, 3], tf.int32)


def draw(kind, n=N, seed=0, dtype="float64"):
    return probes.draw(kind, seed_of(seed), {"a": tf.zeros(n, dtype)})["a"].numpy()


# E[g^m], and the variance of g^m, for m = 1, ..., 4.
MOMENTS = {
    "gaussian": [(0, 1), (1, 2), (0, 15), (3, 96)],
    "rademacher": [(0, 1), (1, 0), (0, 1), (1, 0)],
}


@every_kind
def test_moments_are_within_five_standard_errors(kind, dtype):
    probe = draw(kind, dtype=dtype).astype("float64")
    for power, (mean, variance) in enumerate(MOMENTS[kind], start=1):
        assert abs(np.mean(probe**power) - mean) <= 5 * np.sqrt(variance / N)


@every_kind
def test_compiled_probes_have_mean_zero_and_variance_one(kind):
    compiled = tf.function(probes.PROBES[kind], jit_compile=True)
    probe = compiled(seed_of(0), [N], tf.float64).numpy()
    for power, (mean, variance) in enumerate(MOMENTS[kind][:2], start=1):
        assert abs(np.mean(probe**power) - mean) <= 5 * np.sqrt(variance / N)


def test_random_signs_are_signs(dtype):
    np.testing.assert_array_equal(np.unique(draw("rademacher", dtype=dtype)), [-1, 1])


@every_kind
def test_a_seed_decides_the_probe(kind, staged):
    drawn = staged(lambda seed: probes.draw(kind, seed, {"a": tf.zeros(64)})["a"])
    np.testing.assert_array_equal(drawn(seed_of(1)), drawn(seed_of(1)))
    assert not np.array_equal(drawn(seed_of(1)), drawn(seed_of(2)))


@every_kind
def test_a_probe_has_the_keys_shapes_and_dtypes_of_the_residuals(kind):
    like = {"b": tf.zeros(3), "a": tf.zeros([2, 4], tf.float64)}
    probe = probes.draw(kind, seed_of(0), like)
    assert list(probe) == ["b", "a"]
    for name, value in like.items():
        assert probe[name].shape == value.shape
        assert probe[name].dtype == value.dtype


@every_kind
def test_a_graph_draws_probes_of_any_length(kind):
    @tf.function(input_signature=[tf.TensorSpec([None], tf.float64)])
    def drawn(residual):
        return probes.draw(kind, seed_of(0), {"a": residual})["a"]

    for n in (2, 5):
        np.testing.assert_array_equal(drawn(tf.zeros(n, tf.float64)), draw(kind, n))


def assert_uncorrelated(a, b):
    """The mean of n products of independent entries has standard deviation 1 / sqrt(n)."""
    assert abs(np.mean(a * b)) <= 5 / np.sqrt(len(a))


@every_kind
def test_blocks_have_independent_probes(kind):
    like = {name: tf.zeros(N, tf.float64) for name in "abc"}
    a, b, c = (part.numpy() for part in probes.draw(kind, seed_of(0), like).values())
    assert_uncorrelated(a, b)
    assert_uncorrelated(b, c)
    assert_uncorrelated(a, c)


@every_kind
def test_entries_of_a_probe_are_independent(kind):
    probe = draw(kind)
    for lag in (1, 2, 4):
        assert_uncorrelated(probe[lag:], probe[:-lag])


@every_kind
@pytest.mark.parametrize("seeds", [([0, 1], [1, 0]), ([0, 1], [0, 2]), ([0, 1], [1, 1])])
def test_seeds_next_to_each_other_have_independent_probes(kind, seeds):
    like = {"a": tf.zeros(N, tf.float64)}
    a, b = (probes.draw(kind, tf.constant(seed), like)["a"].numpy() for seed in seeds)
    assert_uncorrelated(a, b)


@every_kind
def test_a_new_block_at_the_end_leaves_the_others_their_probes(kind):
    like = {"a": tf.zeros(16), "b": tf.zeros(16)}
    longer = probes.draw(kind, seed_of(0), {**like, "c": tf.zeros(16)})
    for name, part in probes.draw(kind, seed_of(0), like).items():
        np.testing.assert_array_equal(part, longer[name])


@pytest.mark.parametrize(
    ("kind", "variance_of"),
    [
        ("gaussian", lambda K: 2 * np.sum(K**2)),
        ("rademacher", lambda K: 2 * (np.sum(K**2) - np.sum(np.diag(K) ** 2))),
    ],
)
def test_quadratic_forms_have_the_mean_and_the_variance_documented(kind, variance_of):
    """Mean and variance of g^T K g; the standard error of a variance has the fourth moment."""
    factor = np.random.default_rng(0).normal(size=(4, 3))
    K = factor @ factor.T
    g = draw(kind).reshape(-1, 4)
    forms = np.einsum("si,ij,sj->s", g, K, g)
    variance, n = variance_of(K), len(forms)
    assert abs(forms.mean() - np.trace(K)) <= 5 * np.sqrt(variance / n)
    fourth = np.mean((forms - forms.mean()) ** 4)
    assert abs(forms.var() - variance) <= 5 * np.sqrt((fourth - variance**2) / n)
