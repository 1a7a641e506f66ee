"""Recordings with scaled rows, against residuals that are multiplied by the same constants."""

import numpy as np
import pytest
import tensorflow as tf

import ntk_keras as nk
from ntk_keras.estimators import BlockPredictor, Diagonal, Perturbation, Predictor, Product, Reverse
from ntk_keras.kernel.scaled_rows import ScaledRows
from tests.support.models import X, build, network, slope

FACTORS = {"equation": np.array([1.0, 0.8, 0.5, 0.1, 1e-3, 0.0])}
SUBSET = {"equation": tf.constant([4, 1])}
SEED = tf.constant([3, 4])
ESTIMATORS = [Diagonal(2), Reverse(), Product(), Predictor(), BlockPredictor()]


def scaled_slope(u, points):
    return slope(u, points[0]) * points[1]


@pytest.fixture(scope="module")
def blocks():
    """Of a residual, of the same with rows that it scales itself, and of another."""
    terms = [
        nk.Term("plain", slope, X),
        nk.Term("scaled", scaled_slope, (X, FACTORS["equation"])),
        nk.Term("start", lambda u, x: u(x)[:, 0], X[:2]),
        nk.Term("both", lambda u, x: tf.stack([u(x)[:, 0], x[:, 0] * u(x)[:, 0]], axis=1), X),
    ]
    model = build(terms, net=network(dtype="float64"))
    return model.blocks(), model.trainable_variables


@pytest.fixture(scope="module", params=[True, False], ids=["factored", "taped"])
def both(request, blocks):
    """Rows that are scaled here, and a residual that is."""
    known, variables = blocks
    recorded = {
        name: nk.Linearization(
            {"equation": known[name], "start": known["start"]}, variables, factored=request.param
        )
        for name in ("plain", "scaled")
    }
    assert all(r.is_factored("equation") == request.param for r in recorded.values())
    factors = {name: tf.constant(f) for name, f in FACTORS.items()}
    return ScaledRows(recorded["plain"], factors), recorded["scaled"]


def close(ours, theirs, **tolerance):
    tolerance = {"rtol": 1e-10, "atol": 1e-12} | tolerance
    tf.nest.map_structure(lambda a, b: np.testing.assert_allclose(a, b, **tolerance), ours, theirs)


def test_all_that_a_recording_gives_is_scaled(both):
    ours, theirs = both
    rng = np.random.default_rng(0)
    vector = {name: tf.constant(rng.normal(size=r.shape)) for name, r in theirs.residuals.items()}
    direction = [tf.constant(rng.normal(size=p.shape)) for p in theirs.parameters]
    moved = theirs.shifted(direction, tf.constant(0.1, tf.float64))
    close(ours.residuals, theirs.residuals)
    whole = [  # of tapes it is what the recording gives, row by row
        lambda x: x.rows("equation"),
        lambda x: x.rows("start"),
        lambda x: x.diagonal(),
        lambda x: x.gram(),
        lambda x: x.restricted("equation").diagonal(),
    ]
    for evaluate in (
        *(whole if ours.is_factored("equation") else []),
        lambda x: x.vjp(vector),
        lambda x: x.jvp(direction),
        lambda x: x.product(vector),
        lambda x: x.loss_gradient("equation", "start"),
        lambda x: x.rows("equation", SUBSET["equation"]),
        lambda x: x.diagonal(SUBSET),
        lambda x: x.in_double().residuals,
        lambda x: x.residuals_at(moved),
        lambda x: x.without(x.variables[-1].path).vjp(vector),
    ):
        close(evaluate(ours), evaluate(theirs))


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=repr)
def test_every_estimator_samples_traces_of_scaled_rows(both, estimator):
    ours, theirs = (estimator.traces(recorded, SEED) for recorded in both)
    if isinstance(estimator, Predictor):  # zeros of S have no inverse, and differences round
        close(ours, theirs, rtol=1e-4)
    else:
        close(ours, theirs)


def test_a_perturbation_sees_them_too(both):
    ours, theirs = (Perturbation(1e-6).traces(recorded, SEED) for recorded in both)
    close(ours, theirs, rtol=1e-4)


def test_entries_of_several_components_are_scaled_point_by_point(blocks):
    known, variables = blocks
    recorded = nk.Linearization({"both": known["both"]}, variables, factored=True)
    factors = np.arange(12.0)
    ours = ScaledRows(recorded, {"both": tf.constant(factors)}).diagonal({"both": [3, 0]})["both"]
    close(ours, (factors**2 * recorded.diagonal()["both"].numpy())[[6, 7, 0, 1]])


def test_coupled_entries_are_counted_in_a_graph_that_does_not_know_how_many():
    net = network(dtype="float64")

    def both(points):
        values = net(points)[:, 0]
        return tf.stack([values, values - tf.reduce_mean(values)], axis=1)

    def diagonal(points):
        blocks = {"both": nk.Block(both, points, coupled=True)}
        recorded = nk.Linearization(blocks, net.trainable_variables)
        factors = {"both": tf.range(tf.size(recorded.residuals["both"]))}
        return ScaledRows(recorded, factors).diagonal({"both": tf.constant([7, 0, 2])})["both"]

    unknown = tf.TensorSpec([None, 1], "float64")
    close(tf.function(diagonal, [unknown], autograph=False)(X), diagonal(tf.constant(X)))
