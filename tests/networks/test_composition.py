"""Networks joined, used twice, of several inputs and outputs: by rules, to the numbers of tapes."""

import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf

import ntk_keras as nk
from ntk_keras.derivatives import NetworkView

BOX = nk.domains.Box(t=(0, 1), x=(-1, 1))
TIME, SPACE = nk.domains.Box(t=(0, 1)), nk.domains.Box(x=(-1, 1))
X = np.random.default_rng(0).uniform(size=(6, 2))
POINTS = tf.constant(X)


def part(name, box=BOX, outputs=1, make=nk.networks.feedforward):
    seed = sum(map(ord, name))
    return make(box, outputs, width=4, depth=1, dtype="float64", seed=seed, name=name)


def columns():
    return [keras.Input((1,), dtype="float64") for _ in range(2)]


def points():
    return keras.Input((2,), dtype="float64")


def dense(units=1):
    return keras.layers.Dense(units, "tanh", dtype="float64")


def side_by_side():
    x = points()
    parts = [part("first"), part("second", make=nk.networks.gated)]
    parts.append(part("third", make=nk.networks.residual))
    return keras.Model(x, keras.layers.Concatenate(dtype="float64")([p(x) for p in parts]))


def used_twice():
    x, network = points(), part("shared", outputs=2)
    return keras.Model(x, network(x) + network(-x))


def in_a_row():
    inner = part("inner", outputs=2)
    return keras.Sequential([points(), inner, part("outer"), dense()])


def branch_and_trunk(join):
    def build():
        x = points()
        t, space = x[:, :1], x[:, 1:]
        return keras.Model(x, join([part("b", TIME, 3)(t), part("k", SPACE, 3)(space)]))

    return build


def by_sum(parts):
    return keras.ops.sum(parts[0] * parts[1], axis=-1, keepdims=True)


def by_lambda():
    x = points()
    t = keras.layers.Lambda(lambda x: x[:, :1], dtype="float64")(x)
    add = keras.layers.Lambda(lambda both: both[0] * both[1] + both[0], dtype="float64")
    return keras.Model(x, add([part("slow", TIME)(t), part("whole")(x)]))


def by_split():
    x = points()
    t, space = keras.ops.split(x, 2, axis=1)
    return keras.Model(x, part("b", TIME)(t) * part("k", SPACE)(space))


def separate_inputs():
    t, x = columns()
    product = keras.layers.Multiply(dtype="float64")(
        [part("b", TIME, 3)(t), part("k", SPACE, 3)(x)]
    )
    return keras.Model([t, x], dense(2)(product))


def several_outputs_within():
    x = points()
    inner = keras.Model(x, [part("a")(x), part("b")(x)])
    y = points()
    first, second = inner(y)
    return keras.Model(y, first * second)


COMPOSED = {
    "side by side": side_by_side,
    "used twice": used_twice,
    "in a row": in_a_row,
    "branch and trunk, Dot": branch_and_trunk(keras.layers.Dot(axes=1, dtype="float64")),
    "branch and trunk, sum": branch_and_trunk(by_sum),
    "Lambda": by_lambda,
    "split": by_split,
    "separate inputs": separate_inputs,
    "several outputs within": several_outputs_within,
}


def channels(u, x):
    both = nk.derivatives.partial(u, x, 0, 1), nk.derivatives.second_order(u, x, [1, -2])
    return tf.concat([u(x), nk.derivatives.partial(u, x, 1), *both], axis=1)


def by_tapes(network):
    """The network with separate inputs as a function of points, which tapes can differentiate."""
    if len(network.inputs) == 1:
        return network
    return lambda x: network([x[:, :1], x[:, 1:]])


@pytest.mark.parametrize("name", list(COMPOSED))
def test_a_composed_network_is_differentiated_by_rules(name):
    network = COMPOSED[name]()
    view = NetworkView(network, "taylor")
    actual = channels(view, POINTS)
    np.testing.assert_allclose(actual, channels(by_tapes(network), POINTS), rtol=0, atol=1e-12)
    assert view.fallbacks == []


def bent(u, x):
    return nk.derivatives.second_order(u, x, [1, -2]) - u(x)


def exact_traces(network, residual, derivatives, rate=0.0):
    """Of a model, after it was found whether its Jacobian is factored."""
    model = nk.PINNModel(
        network, [nk.Term("a", residual, X)], "exact-ntk", derivatives=derivatives, seed=0
    )
    model.compile(keras.optimizers.SGD(rate))
    model.fit(steps_per_epoch=1, verbose=0)
    return model._residuals.not_factored["a"] is None, model.kernel_traces["a"]


@pytest.mark.parametrize("name", ["used twice", "several outputs within"])
def test_its_weights_are_exact(name):
    network = COMPOSED[name]()
    factored, trace = exact_traces(network, bent, "taylor")
    assert factored
    np.testing.assert_allclose(trace, exact_traces(network, bent, "tapes")[1], rtol=1e-9)


@pytest.mark.parametrize("call", ["u(t, x)", "u([t, x])", "u((t, x))", "u(points)", "[n]"])
def test_a_network_of_separate_inputs_is_called_as_one_likes(call):
    network = separate_inputs()
    t, x = POINTS[:, :1], POINTS[:, 1:]
    given = {
        "u(t, x)": [t, x],
        "u([t, x])": [[t, x]],
        "u((t, x))": [(t, x)],
        "u(points)": [POINTS],
        "[n]": [POINTS[:, 0], POINTS[:, 1]],
    }[call]
    desired = network([t, x])
    for mode in ("taylor", "tapes"):
        np.testing.assert_allclose(NetworkView(network, mode)(*given), desired, rtol=1e-12)


def test_separate_columns_keep_exact_weights():
    def value(u, x):
        return u(x[:, :1], x[:, 1:])

    network = separate_inputs()
    factored, trace = exact_traces(network, value, "taylor")
    assert factored
    np.testing.assert_allclose(trace, exact_traces(network, value, "tapes")[1], rtol=1e-9)


def fields(kind):
    """A temperature and a conductivity, by a network each."""
    x = points()
    outputs = [part("temperature")(x), part("conductivity", outputs=2)(x)]
    if kind is dict:  # not in the order of the alphabet
        outputs = dict(zip(["u", "k"], outputs, strict=True))
    return keras.Model(x, outputs)


def conduction(first, second):
    def residual(u, x):
        slopes = nk.derivatives.gradient(u[first], x)[:, 0]
        return (
            u[second](x)[:, 0] * nk.derivatives.laplacian(u[first], x)[:, 0]
            + tf.reduce_sum(nk.derivatives.gradient(u[second], x)[:, 1] * slopes, axis=1)
            + u(x)[second][:, 1]
        )

    return residual


@pytest.mark.parametrize(("kind", "keys"), [(dict, ("u", "k")), (list, (0, 1))])
def test_outputs_are_chosen_by_key(kind, keys):
    network = fields(kind)
    forward, tapes = NetworkView(network, "taylor", reuse=True), NetworkView(network, "tapes")
    residual = conduction(*keys)
    np.testing.assert_allclose(residual(forward, POINTS), residual(tapes, POINTS), rtol=1e-10)
    assert forward.fallbacks == []
    for key in keys:
        actual = nk.derivatives.gradient(forward[key], POINTS)
        desired = nk.derivatives.gradient(lambda x, key=key: network(x)[key], POINTS)
        np.testing.assert_allclose(actual, desired, rtol=0, atol=1e-12)
    assert {*keys} == {*network(X)} if kind is dict else len(forward(POINTS)) == 2


def test_a_model_of_two_networks_has_exact_weights():
    network = fields(dict)
    factored, trace = exact_traces(network, conduction("u", "k"), "taylor")
    assert factored
    _, desired = exact_traces(network, conduction("u", "k"), "tapes")
    np.testing.assert_allclose(trace, desired, rtol=1e-9)


def test_a_second_request_is_served_in_one_pass():
    """What one output was asked for is not carried for the other."""
    view = NetworkView(fields(dict), reuse=True)
    conduction("u", "k")(view, POINTS)
    assert str(view.requested) == "u_0, u_1, second_order(1, 1), u | u, u_0, u_1"


@pytest.mark.parametrize("mode", ["auto", "tapes"])
def test_a_choice_has_to_be_made(mode):
    view = NetworkView(fields(dict), mode)
    with pytest.raises(ValueError, match=r"several outputs\. Choose one.*gradient\(u\['u'\], po"):
        nk.derivatives.gradient(view, POINTS)
    with pytest.raises(ValueError, match=r"no output 'v'\. Its outputs are \['u', 'k'\]"):
        nk.derivatives.gradient(view["v"], POINTS)
    with pytest.raises(ValueError, match="Derivatives are taken of one output.*lambda x"):
        nk.derivatives.gradient(view.network, POINTS)


def freeze_model(network):
    network.trainable = False


def freeze_layers(network):
    for layer in network.layers:
        layer.trainable = False


def freeze_weights(network):
    for variable in network.weights:
        variable.trainable = False


FREEZE = {"model": freeze_model, "layers": freeze_layers, "weights": freeze_weights}


def test_a_pretrained_part_stays_and_weights_are_exact():
    known, trained = part("known"), part("trained")
    freeze_layers(known)
    x = points()
    network = keras.Model(x, known(x) * trained(x))
    before = [v.numpy() for v in known.weights]
    factored, trace = exact_traces(network, bent, "taylor", rate=1e-3)
    assert factored
    for old, new in zip(before, known.weights, strict=True):
        np.testing.assert_array_equal(old, new)
    trained.set_weights(part("trained").get_weights())
    np.testing.assert_allclose(trace, exact_traces(network, bent, "tapes")[1], rtol=1e-9)


@pytest.mark.parametrize("way", list(FREEZE))
def test_a_fixed_network_in_a_residual_is_no_mistake(way):
    other, network = part("other"), part("network")
    FREEZE[way](other)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        nk.PINNModel(network, [nk.Term("a", lambda u, x: u(x) - other(x), X)], "constant")


def test_another_network_that_should_be_trained_is_named_with_the_way():
    other, network = part("other"), part("network")
    with pytest.warns(UserWarning, match="variables that are not the network's") as found:
        nk.PINNModel(network, [nk.Term("a", lambda u, x: u(x) - other(x), X)], "constant")
    (message,) = [str(w.message) for w in found]
    assert "other/hidden_1/kernel" in message
    assert "keras.Model(x, {'u': network(x), 'k': other(x)})" in message
    assert "`other.trainable = False`" in message
    assert "raw tf.Variable" not in message


@pytest.mark.skipif(not hasattr(keras.optimizers, "OptimizerMap"), reason="Keras has none")
def test_parts_have_learning_rates_of_their_own():
    x, parts = points(), [part("fast"), part("slow")]
    rates = keras.optimizers.OptimizerMap(keras.optimizers.SGD(1e-2))
    rates["slow/.*"] = keras.optimizers.SGD(0.0)
    network = keras.Model(x, parts[0](x) * parts[1](x))
    model = nk.PINNModel(network, [nk.Term("a", lambda u, x: u(x) - 1, X)], seed=0)
    model.compile(keras.optimizers.MultiOptimizer(rates))
    before = [p.layers[-1].kernel.numpy() for p in parts]
    model.fit(steps_per_epoch=1, verbose=0)
    moved = [np.any(p.layers[-1].kernel != k) for p, k in zip(parts, before, strict=True)]
    assert moved == [True, False]


def test_columns_by_name_are_not_guessed_from_points():
    t, x = keras.Input((1,), name="time"), keras.Input((1,), name="space")
    joined = keras.layers.Dense(1)(keras.layers.Concatenate()([t, x]))
    view = NetworkView(keras.Model({"time": t, "space": x}, joined))
    points = tf.constant([[0.1, 0.2]])
    for inputs in ([points], [points[:, :1], points[:, 1:]]):
        with pytest.raises(ValueError, match=r"takes its columns by name.*u\(\{"):
            view(*inputs)
    named = {"time": points[:, :1], "space": points[:, 1:]}
    np.testing.assert_array_equal(view(named), view.network(named))
