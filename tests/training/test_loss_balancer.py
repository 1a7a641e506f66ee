"""Loss weights in training loops that are not ours, against functions and exact kernels."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import ntk_keras as nk
from ntk_keras.estimators import Diagonal
from ntk_keras.weighting import NTK, ExactNTK

POINTS = {
    name: np.random.default_rng(i).uniform(size=(n, 2))
    for i, (name, n) in enumerate({"equation": 7, "boundary": 3}.items())
}


@pytest.fixture
def network():
    return keras.Sequential(
        [
            keras.Input((2,), dtype="float64"),
            keras.layers.Dense(6, "tanh", dtype="float64"),
            keras.layers.Dense(2, dtype="float64"),
        ]
    )


def functions(network):
    """Two components for each point of the equation, one for each of the boundary."""
    return {
        "equation": lambda: nk.derivatives.laplacian(network, tf.constant(POINTS["equation"])),
        "boundary": lambda: network(tf.constant(POINTS["boundary"]))[:, 0] - 1,
    }


def recorded(network):
    with tf.GradientTape(persistent=True) as tape:
        residuals = {name: function() for name, function in functions(network).items()}
    return residuals, tape


def balancer(weighting=None, **kwargs):
    kwargs.setdefault("terms", ["equation", "boundary"])
    return nk.LossBalancer(weighting=weighting, seed=1, dtype="float64", **kwargs)


def exact_weights(network):
    traces = nk.kernel.traces(functions(network), network.trainable_variables)
    return {name: float(sum(traces.values()) / trace) for name, trace in traces.items()}


def test_a_balancer_is_made_again_from_its_configuration():
    again = nk.LossBalancer.from_config(balancer(NTK("reverse", averaging_rate=0.5)).get_config())
    assert (again.group_of, again.weighting.averaging_rate) == (balancer().group_of, 0.5)


# Values.


@pytest.mark.parametrize("estimator", ["reverse", "product"])
def test_a_tape_gives_the_weights_that_functions_give(network, staged, estimator):
    by_tape, by_functions = (
        balancer(NTK(estimator, averaging_rate=0.5, num_initial_probes=5)) for _ in range(2)
    )

    def step():
        variables = network.trainable_variables
        return by_tape(*recorded(network), variables), by_functions(
            functions(network), None, variables
        )

    step = staged(step)
    for _ in range(3):
        ours, theirs = step()
        assert ours.keys() == theirs.keys() == POINTS.keys()
        # The same passes over two recordings, which XLA may sum in another order.
        np.testing.assert_allclose(list(ours.values()), list(theirs.values()), rtol=1e-10)
    assert by_tape.loss_weights == pytest.approx({n: float(w) for n, w in ours.items()})


def test_many_probes_give_nearly_the_exact_weights(network):
    chosen = balancer(NTK("reverse", num_initial_probes=4000))
    weights = tf.function(lambda: chosen(*recorded(network), network.trainable_variables))()
    # One sample of a trace has a relative spread of at most 2^(1/2): 4000 of them 2.2 %.
    for name, weight in exact_weights(network).items():
        assert float(weights[name]) == pytest.approx(weight, rel=5 * 0.022)
        assert abs(weight / 2 - 1) > 0.3, "equal weights would pass"


def test_functions_serve_every_estimator(network):
    chosen = balancer("exact-ntk")
    weights = chosen(functions(network), None, network.trainable_variables)
    assert {n: float(w) for n, w in weights.items()} == pytest.approx(exact_weights(network))


def test_terms_of_one_group_share_a_weight(network):
    chosen = balancer(ExactNTK(), terms={"equation": "all", "boundary": "all"})
    weights = chosen(functions(network), None, network.trainable_variables)
    assert {n: float(w) for n, w in weights.items()} == {"equation": 1, "boundary": 1}
    assert chosen.loss_weights == {"all": 1}


@pytest.mark.parametrize("name", ["gradient-norm", "softadapt", "uncertainty", "constant"])
def test_other_weightings_balance_too(network, name):
    chosen = balancer(name)
    for _ in range(11):
        weights = chosen(*recorded(network), network.trainable_variables)
    assert all(np.isfinite(float(w)) for w in weights.values())
    assert (chosen.loss_weights != {"equation": 1, "boundary": 1}) == (name != "constant")


def test_the_first_call_takes_ten_probes():
    chosen = nk.LossBalancer(["a"])
    assert chosen.weighting.num_initial_probes == 10


def test_it_is_of_keras_own_dtype_and_warns_of_residuals_with_more_digits(network):
    ours = nk.LossBalancer(["equation", "boundary"], seed=1)
    assert ours.weighting.loss_weights.dtype == "float32"
    with pytest.warns(UserWarning, match=r"float64, .* float32, .*LossBalancer\(.*'float64'\)"):
        ours(*recorded(network), network.trainable_variables)
    keras.config.set_floatx("float64")
    try:
        ours = nk.LossBalancer(["equation", "boundary"], seed=1)
    finally:
        keras.config.set_floatx("float32")
    weights = ours(*recorded(network), network.trainable_variables)
    assert weights["equation"].dtype == ours.weighting.loss_weights.dtype == "float64"


# The loop.


def test_a_loop_trains_with_the_weights_and_never_retraces(network):
    chosen, optimizer, traced = balancer(), keras.optimizers.SGD(1e-3), []
    optimizer.build(network.trainable_variables)

    @tf.function(jit_compile=True)
    def train_step():
        traced.append(True)
        residuals, tape = recorded(network)
        weights = chosen(residuals, tape, network.trainable_variables)
        gradients = tape.gradient(
            list(residuals.values()),
            network.trainable_variables,
            [weights[name] * r for name, r in residuals.items()],
        )
        optimizer.apply(gradients, network.trainable_variables)
        losses = [w * tf.reduce_sum(residuals[n] ** 2) / 2 for n, w in weights.items()]
        return tf.add_n(losses), tf.stack(list(weights.values()))

    losses, weights = zip(*(train_step() for _ in range(50)), strict=True)
    assert len(traced) == 1
    assert float(losses[-1]) < 0.9 * float(losses[0])
    assert np.all(np.ptp(weights, axis=0) > 0)


def test_a_model_saves_the_balancer_with_itself(network, tmp_path):
    class Owner(keras.Model):
        def __init__(self):
            super().__init__()
            self.network, self.balancer = network, balancer()
            self.built = True

        def weigh(self):
            weights = self.balancer(*recorded(network), network.trainable_variables)
            return [float(w) for w in weights.values()]

    owner = Owner()
    owner.weigh()
    owner.save_weights(tmp_path / "owner.weights.h5")
    following = [owner.weigh() for _ in range(3)]
    again = Owner()
    again.load_weights(tmp_path / "owner.weights.h5")
    assert [again.weigh() for _ in range(3)] == following
    assert not again.balancer.trainable_variables


# Refusals.


@pytest.mark.parametrize("estimator", ["predictor", "block-predictor", "perturbation", "exact"])
def test_a_tape_cannot_serve_estimators_that_evaluate_anew(network, estimator):
    chosen = balancer(NTK(estimator))
    with pytest.raises(ValueError, match='present parameters and points only.*"reverse"'):
        chosen(*recorded(network), network.trainable_variables)


def test_a_tape_cannot_serve_the_diagonal(network):
    with pytest.raises(ValueError, match='present parameters and points only.*"reverse"'):
        balancer(NTK(Diagonal(2)))(*recorded(network), network.trainable_variables)


def test_a_tape_that_is_not_persistent_is_refused(network):
    with tf.GradientTape() as tape:
        residuals = {name: function() for name, function in functions(network).items()}
    with pytest.raises(ValueError, match=r"GradientTape\(persistent=True\)"):
        balancer()(residuals, tape, network.trainable_variables)


def test_residuals_that_the_tape_has_not_seen_are_refused(network):
    residuals, tape = recorded(network)
    residuals["boundary"] = 2 * residuals["boundary"]
    with pytest.raises(ValueError, match=r"no way from \['boundary'\]"):
        balancer()(residuals, tape, network.trainable_variables)


def test_other_names_are_refused(network):
    with pytest.raises(
        ValueError, match=r"terms \['a', 'b'\]. Received \['equation', 'boundary'\]"
    ):
        balancer(terms=["a", "b"])(*recorded(network), network.trainable_variables)


@pytest.mark.parametrize("terms", [[], "equation"])
def test_no_terms_or_a_bare_name_are_refused(terms):
    with pytest.raises(ValueError, match="term"):
        balancer(terms=terms)


@pytest.mark.parametrize(
    "weighting",
    ["relobralo", "softadapt", "uncertainty", nk.weighting.GradientNorm(update_every=1), None],
    ids=str,
)
def test_a_step_that_is_not_finite_leaves_the_weights_alone(network, weighting):
    disturbed = balancer(weighting)
    other = nk.LossBalancer.from_config(disturbed.get_config())

    @tf.function
    def step(balancer, scale):
        with tf.GradientTape(persistent=True) as tape:
            residuals = {n: scale * r() for n, r in functions(network).items()}
        return balancer(residuals, tape, network.trainable_variables)

    before: dict[str, float] = {}
    for scale in (1.0, np.nan, 2.0):
        step(disturbed, tf.constant(scale, tf.float64))
        assert all(np.isfinite(weight) for weight in disturbed.loss_weights.values())
        if np.isnan(scale):
            assert disturbed.loss_weights == before
        before = disturbed.loss_weights
    for scale in (1.0, 2.0):
        other.random_state.assign([1, 2 * int(scale > 1)])  # the probes of the same steps
        step(other, tf.constant(scale, tf.float64))
    assert disturbed.loss_weights == pytest.approx(other.loss_weights, rel=1e-12)


@pytest.mark.parametrize(
    "make",
    [
        lambda: "residual-attention",
        lambda: "self-adaptive",
        lambda: NTK("product", average="kernel"),
    ],
    ids=["attention", "self-adaptive", "kernel"],
)
def test_what_keeps_a_number_for_each_residual_is_told_how_many(network, make):
    with pytest.raises(ValueError, match="tell a LossBalancer their numbers, as in sizes="):
        balancer(make())
    sizes = {"equation": 14, "boundary": 3}
    sized = nk.LossBalancer.from_config(balancer(make(), sizes=sizes).get_config())
    before = sized.loss_weights
    sized(functions(network), None, network.trainable_variables)
    assert sized.loss_weights != before


def test_a_loss_in_place_of_residuals_is_refused_from_functions_too(network):
    losses = {n: lambda r=r: tf.reduce_sum(r() ** 2) for n, r in functions(network).items()}
    with pytest.raises(ValueError, match="Received a scalar. Give the residuals themselves"):
        balancer()(losses, None, network.trainable_variables)


def test_a_residual_that_is_not_finite_in_one_row_changes_nothing(network):
    """Though the default's reverse passes from the other rows are finite."""
    ours, row = balancer(), tf.constant([0.0, np.nan, 0.0], tf.float64)
    with tf.GradientTape(persistent=True) as tape:
        residuals = {name: function() for name, function in functions(network).items()}
        residuals["boundary"] += row
    ours(residuals, tape, network.trainable_variables)
    assert ours.loss_weights == {"equation": 1.0, "boundary": 1.0}
    assert set(ours.kernel_traces.values()) == {0.0}


def test_weights_come_in_the_order_of_the_residuals(network):
    residuals, tape = recorded(network)
    turned = dict(reversed(residuals.items()))
    ours = balancer()
    weights = ours(turned, tape, network.trainable_variables)
    assert list(weights) == ["boundary", "equation"]
    assert {n: float(w) for n, w in weights.items()} == pytest.approx(ours.loss_weights)
