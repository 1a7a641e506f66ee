"""Several replicas under tf.distribute: a step of theirs is a step on all their points."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import ntk_keras as nk
from ntk_keras.backend import replicas
from ntk_keras.weighting import NTK, ExactNTK

# Without collective operations, of which TensorFlow lets those of two strategies in a process meet.
STRATEGY = tf.distribute.MirroredStrategy(
    ["CPU:0", "CPU:1"], cross_device_ops=tf.distribute.ReductionToOneDevice()
)
BOX = nk.domains.Box(x=(0, 1))
POINTS = np.random.default_rng(0).random((21, 1)).astype("float32")  # 11 for one, 10 for the other
ENDS = np.array([[0.0], [1.0]], "float32")
CASES = {
    "ntk": ("mean", lambda: "ntk"),
    "exact, every third step, gated": (
        "sum",
        lambda: ExactNTK(update_every=3, gate=nk.weighting.Gate()),
    ),
    "gradient norm": ("mean", lambda: nk.weighting.GradientNorm(update_every=1)),
}


def on_replicas(function):
    """What a function returns on each replica, as a list of nests."""
    results = tf.function(lambda: STRATEGY.run(function), autograph=False)()
    local = tf.nest.map_structure(STRATEGY.experimental_local_results, results)
    return [tf.nest.map_structure(lambda _, i=i: _, pick(local, i)) for i in range(2)]


def pick(local, index):
    if isinstance(local, dict):
        return {key: pick(value, index) for key, value in local.items()}
    return local[index].numpy()


def build(weighting, *, points=POINTS, reduction="sum", regularizer=None):
    keras.utils.set_random_seed(1)
    network = keras.Sequential(
        [
            keras.Input((1,)),
            keras.layers.Dense(12, "tanh", kernel_regularizer=regularizer),
            keras.layers.Dense(1),
        ]
    )
    terms = [
        nk.Term("equation", lambda u, x: nk.derivatives.laplacian(u, x)[:, 0] + 9.0, points),
        nk.Term("ends", lambda u, x: u(x)[:, 0], ENDS),
    ]
    model = nk.PINNModel(network, terms, weighting, reduction=reduction, seed=3)
    model.compile(keras.optimizers.Adam(1e-2))
    return model


def alone_and_shared(weighting, **options):
    """The same model for one replica and for two."""
    alone = build(weighting(), **options)
    with STRATEGY.scope():
        shared = build(weighting(), **options)
    return alone, shared


def values(model):
    return [v.numpy() for v in [*model.trainable_variables, *model.weighting.state]]


@pytest.mark.parametrize("name", CASES)
def test_two_replicas_train_as_one_with_all_their_points(name):
    reduction, weighting = CASES[name]
    alone, shared = alone_and_shared(weighting, reduction=reduction, regularizer="l2")
    one = alone.fit(epochs=4, steps_per_epoch=2, verbose=0).history
    two = shared.fit(epochs=4, steps_per_epoch=2, verbose=0).history
    assert set(one) == set(two)
    for key, expected in one.items():
        np.testing.assert_allclose(two[key], expected, rtol=2e-4, err_msg=key)
    for a, b in zip(values(shared), values(alone), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5)


def test_replicas_draw_points_of_their_own_and_stay_the_same():
    with STRATEGY.scope():
        model = build("ntk", points=BOX.interior(8))
    points = []
    residual = model.terms[0].residual

    def noted(u, x):
        points.append(x)
        return residual(u, x)

    model.terms[0].residual = noted
    model.fit(epochs=1, steps_per_epoch=3, verbose=0)
    assert points  # the step drew, and did not take what the model was checked with
    seed = tf.constant([3, 0])
    one, two = on_replicas(lambda: BOX.interior(8).draw(replicas.replica_seed(seed), "float32"))
    assert np.all(np.abs(one - two) > 0)
    for variable in model.variables + model.weighting.state:
        first, second = STRATEGY.experimental_local_results(variable.value)
        np.testing.assert_array_equal(first.numpy(), second.numpy())
    assert np.all(np.isfinite(list(model.loss_weights.values())))


def test_sampled_traces_of_replicas_add_up_and_so_do_their_variances():
    alone, shared = alone_and_shared(lambda: NTK("block-predictor", num_initial_probes=400))
    exact = nk.kernel.traces(alone.blocks(), alone.network.trainable_variables)
    for model in (alone, shared):
        model.fit(epochs=1, steps_per_epoch=1, verbose=0)
        for name, trace in model.kernel_traces.items():
            error = model.trace_standard_errors[name]
            assert 0 < error < 0.5 * trace
            assert abs(trace - float(exact[name])) < 5 * error


def test_a_residual_that_fails_on_one_replica_stops_all(tmp_path):
    with STRATEGY.scope():
        model = build("ntk", points=None)
    batches = np.stack([POINTS[:20]] * 4)
    batches[2, -1] = np.nan  # of the second replica
    data = tf.data.Dataset.from_tensor_slices({"equation": batches[:2].reshape(-1, 1)}).batch(20)
    model.fit(data, epochs=1, verbose=0)
    before = values(model)
    steps = int(model.optimizer.iterations.numpy())
    data = tf.data.Dataset.from_tensor_slices({"equation": batches[2:].reshape(-1, 1)}).batch(20)
    with pytest.raises(nk.TrainingDivergedError, match="Step 2: the residual of term 'equation'"):
        model.fit(data, epochs=1, verbose=0)
    assert steps == 2 == int(model.optimizer.iterations.numpy())
    for a, b in zip(values(model), before, strict=True):
        np.testing.assert_array_equal(a, b)


def test_gradients_that_overflow_on_one_replica_are_skipped_on_all():
    """What the second replica descends, 1000 times the scale, leaves float16 down to scale 128."""
    with STRATEGY.scope():
        network = nk.networks.feedforward(BOX, width=4, depth=1, dtype="mixed_float16")
        term = nk.Term("ends", lambda u, x: u(x)[:, 0] - 1000 * x[:, 0], ENDS)
        model = nk.PINNModel(network, [term], "constant")
        model.compile("adam")
    model.fit(epochs=1, steps_per_epoch=12, verbose=0)
    assert float(model.optimizer.dynamic_scale.numpy()) < 2.0**7
    assert 0 < int(model.optimizer.iterations.numpy()) <= 12 - 9
    assert np.all(np.isfinite(np.concatenate([v.ravel() for v in values(model)])))


def test_data_of_a_dict_and_of_validation_is_divided_among_replicas():
    alone, shared = alone_and_shared(lambda: "ntk", points=None)
    data = (POINTS, 4.5 * POINTS * (1 - POINTS))
    one = alone.fit({"equation": POINTS}, epochs=2, validation_data=data, verbose=0).history
    two = shared.fit({"equation": POINTS}, epochs=2, validation_data=data, verbose=0).history
    for key, expected in one.items():
        np.testing.assert_allclose(two[key], expected, rtol=1e-4, err_msg=key)
    np.testing.assert_allclose(
        shared.evaluate({"equation": POINTS}, verbose=0),
        alone.evaluate({"equation": POINTS}, verbose=0),
        rtol=1e-4,
    )


def test_a_run_goes_on_from_a_checkpoint_bit_for_bit(tmp_path):
    with STRATEGY.scope():
        whole, resumed = (build("ntk", points=BOX.interior(8)) for _ in range(2))
    whole.fit(epochs=1, steps_per_epoch=3, verbose=0)
    whole.save_weights(tmp_path / "state.weights.h5")
    resumed.load_weights(tmp_path / "state.weights.h5")
    for model in (whole, resumed):
        model.fit(epochs=1, steps_per_epoch=3, verbose=0)
    for a, b in zip(values(resumed), values(whole), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    "weighting",
    [
        nk.weighting.Uncertainty,
        nk.weighting.SelfAdaptive,
        nk.weighting.ResidualAttention,
        lambda: NTK("exact", average="kernel"),
    ],
)
def test_weightings_that_replicas_cannot_share_are_refused(weighting):
    with STRATEGY.scope(), pytest.raises(ValueError, match="shared by several replicas"):
        build(weighting())


@pytest.mark.parametrize("argument", [{"jit_compile": True}, {"metrics": ["mae"]}])
def test_what_replicas_cannot_do_is_refused(argument):
    with STRATEGY.scope():
        model = build("ntk")
        with pytest.raises(
            ValueError, match=f"no {list(argument)} for several".replace("[", r"\[")
        ):
            model.compile("adam", **argument)


def test_sums_keep_their_dtypes_and_shares_leave_nothing_out():
    ones = {"float": tf.ones([2]), "integer": tf.constant(3, tf.int64)}
    for result in on_replicas(lambda: replicas.all_reduce_sum(ones)):
        np.testing.assert_array_equal(result["float"], [2, 2])
        assert result["integer"] == 6
        assert result["integer"].dtype == np.int64
    parts = on_replicas(lambda: replicas.replica_shard(tf.range(5)))
    np.testing.assert_array_equal(np.sort(np.concatenate(parts)), np.arange(5))
    assert replicas.all_reduce_sum(ones) is ones  # alone
