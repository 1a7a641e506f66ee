"""AutoGraph in a user's ``tf.function``: it converts the user's functions, and none of ours."""

import keras
import pytest
import tensorflow as tf
from tensorflow.python.autograph.impl import api

import ntk_keras as nk

X = tf.constant([[0.25], [0.5], [1.0]])


@pytest.fixture
def converted(monkeypatch):
    """The modules whose functions AutoGraph converts."""
    modules, convert = [], api._convert_actual

    def noted(entity, context):
        modules.append(entity.__module__)
        return convert(entity, context)

    monkeypatch.setattr(api, "_convert_actual", noted)
    return modules


def network():
    layers = [keras.layers.Dense(4, "tanh"), keras.layers.Dense(1)]
    return keras.Sequential([keras.Input((1,)), *layers])


def signed(x):
    """Python on the value of a tensor, which AutoGraph has to convert."""
    return x**2 if tf.reduce_sum(x) > 0 else x


def test_no_function_of_the_package_is_converted(converted, capfd):
    net, sampler = network(), nk.domains.Box(x=(0, 1)).interior(4)
    balancer, view = nk.LossBalancer(["a"]), nk.derivatives.NetworkView(net)

    @tf.function
    def step(seed):
        x = sampler.draw(seed)
        with tf.GradientTape(persistent=True) as tape:
            residuals = {"a": nk.derivatives.laplacian(net, x)[:, 0] + view(x)[:, 0]}
        weights = balancer(residuals, tape, net.trainable_variables)
        traces = nk.kernel.traces(lambda: net(x), net.trainable_variables)
        return weights, nk.weighting.weights_from_traces(tf.stack(list(traces.values())))

    step.get_concrete_function(tf.constant([0, 1]))
    ours = {name for name in converted if name.startswith("ntk_keras")}
    # Of an object that is called, the few lines before its own.
    assert ours <= {"ntk_keras.training.loss_balancer", "ntk_keras.derivatives.network_view"}
    assert "AutoGraph could not transform" not in capfd.readouterr().err


@pytest.mark.parametrize(
    "compute",
    [
        lambda: nk.derivatives.gradient(signed, X)[:, 0, 0],
        lambda: nk.derivatives.partial(u=signed, points=X)[:, 0] * 2 / X[:, 0],
    ],
)
def test_functions_that_users_give_are_converted(compute):
    tf.debugging.assert_near(tf.function(compute)(), 2 * X[:, 0])


theta = tf.Variable(2.0)


def of_theta(points):
    return theta * points[:, 0] if theta > 0 else points[:, 0]


def by_length(points):
    return theta * points[:, 0] * len(points)  # a single point at a time


BLOCKS = {
    "function": lambda: of_theta(X),
    "dict": {"residual": lambda: of_theta(X)},
    "block": nk.kernel.Block(by_length, X),
}


@pytest.mark.parametrize("kind", list(BLOCKS))
def test_residuals_that_users_give_are_converted(kind):
    traces = tf.function(lambda: nk.kernel.traces(BLOCKS[kind], [theta]))
    tf.debugging.assert_near(traces()["residual"], tf.reduce_sum(X**2))


def test_functions_are_left_alone_where_autograph_is_off():
    compute = tf.function(lambda: nk.derivatives.gradient(signed, X), autograph=False)
    with pytest.raises(TypeError, match="symbolic"):
        compute()


def test_a_balancer_on_replicas_is_converted_without_a_warning(monkeypatch):
    failed = []
    monkeypatch.setattr(api.logging, "warning", lambda *message: failed.append(message))
    strategy = tf.distribute.MirroredStrategy(["cpu:0"])
    with strategy.scope():
        net = network()
        weighting = nk.weighting.NTK("reverse", num_initial_probes=2, update_every=2)
        balancer = nk.LossBalancer(["a", "b"], weighting)

    @tf.function
    def step():
        def replica():
            with tf.GradientTape(persistent=True) as tape:
                residuals = {"a": net(X)[:, 0] - 1, "b": net(X[:2])[:, 0]}
            return balancer(residuals, tape, net.trainable_variables)

        return strategy.run(replica)

    step()
    assert not failed
