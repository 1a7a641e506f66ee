"""Functions that a user has decorated by `tf.function`: as undecorated, and unharmed afterwards."""

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf

import ntk_keras as nk
from ntk_keras import estimators
from ntk_keras.weighting import NTK
from tests.support import models

X = tf.constant(models.X, tf.float32)
SIGNATURE = [tf.TensorSpec([None, 1], tf.float32)]
undecorated = functools.partial(lambda function: function)


def slope_of(network, decorate=undecorated):
    """A function of one's own around `u`."""

    @decorate
    def slope(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            values = network(x)
        return tape.gradient(values, x)[:, 0] - 1

    return slope


def around(network, decorate):
    function = slope_of(network, decorate)
    return (lambda u, x: function(x)), function


def traced_before(network, decorate):
    residual, function = around(network, decorate)
    function(X)
    return residual, function


def a_method(network, decorate):
    """As in most existing code; forward derivatives inside."""

    class Solver:
        def __init__(self):
            self.network = network

        @decorate
        def net_f(self, u, x, shift=1.0):
            return nk.derivatives.gradient(u, x)[:, 0, 0] - shift

    solver = Solver()
    return solver.net_f, lambda x: solver.net_f(network, x)


def a_layer(network, decorate):
    """A decorated `call`, which nested tapes differentiate."""

    class Doubled(keras.layers.Layer):
        @decorate
        def call(self, x):
            return 2 * network(x) / 2

    layer = Doubled()
    return (lambda u, x: slope_of(layer)(x)), lambda x: layer(x)[:, 0]


def branches(network, decorate):
    """Python's `if` and `for` on tensors, which AutoGraph converts."""

    @decorate
    def twice(u, x):
        if tf.reduce_sum(x) > 1e6:
            x = x + 1
        values = u(x)[:, 0]
        for _ in tf.range(2):
            values = values * 2
        return values

    return twice, lambda x: twice(network, x)


def branches_undecorated(network, decorate):
    return (lambda u, x: 4 * u(x)[:, 0]), lambda x: 4 * network(x)[:, 0]


def nested(network, decorate):
    inner = slope_of(network, decorate)
    outer = decorate(lambda u, x: inner(x) + u(x)[:, 0])
    return outer, lambda x: outer(network, x)


CASES = {
    "traced here first": (around, tf.function),
    "traced before": (traced_before, tf.function),
    "compiled": (traced_before, tf.function(jit_compile=True)),
    "with a signature": (traced_before, tf.function(input_signature=SIGNATURE)),
    "a method": (a_method, tf.function),
    "a layer's call": (a_layer, tf.function),
    "one in another": (nested, tf.function),
    "branches": (branches, tf.function),
    "branches, traced before": (
        lambda network, decorate: (r := branches(network, decorate), r[1](X))[0],
        tf.function,
    ),
}


def trained(makes, decorations, epochs=2, **compiled):
    """What training leaves, by term: how it is differentiated, its numbers; and the parameters."""
    network = models.network()
    made = {name: make(network, decorations[name]) for name, make in makes.items()}
    terms = [nk.Term(name, residual, models.X) for name, (residual, _) in made.items()]
    terms.append(nk.Term("start", models.value, models.START))
    weighting = NTK("block-predictor", num_initial_probes=3)
    slow = keras.optimizers.SGD(2.0**-16)  # for weights of thousands
    model = models.build(terms, weighting, net=network, optimizer=slow, compiled=compiled)
    history = models.fit(model, epochs=epochs)
    summary = model.derivatives_summary().splitlines()[1:]
    found = {
        name: {
            "losses": history[f"loss/{name}"],
            "trace": model.kernel_traces[name],
            "weight": model.loss_weights[name],
            "values": function(X).numpy(),
            "derivatives": [line for line in summary if line.startswith(f"  {name}:")],
        }
        for name, (_, function) in made.items()
    }
    return found, np.concatenate([np.ravel(v) for v in models.numbers(network.variables)])


def undecorated_of(make):
    of_branches = (branches, CASES["branches, traced before"][0])
    return branches_undecorated if make in of_branches else make


def assert_alike(found, expected):
    assert found.pop("derivatives") == (lines := expected.pop("derivatives"))
    assert len(lines) == 1
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, rtol=1e-4, atol=1e-6, err_msg=name)


@pytest.fixture(scope="module")
def both():
    """Every case as a term of one model, as decorated and as not."""
    makes = {name: make for name, (make, _) in CASES.items()}
    decorated = trained(makes, {name: decorate for name, (_, decorate) in CASES.items()})
    plain = {name: undecorated_of(make) for name, make in makes.items()}
    return decorated, trained(plain, dict.fromkeys(CASES, undecorated))


@pytest.mark.parametrize("name", CASES)
def test_training_is_the_same_and_the_function_unharmed(both, name):
    """The predictor looks at other parameters; the values are those after training."""
    (found, _), (expected, _) = both
    assert_alike(found[name], expected[name])


def test_training_leaves_the_same_parameters(both):
    (_, found), (_, expected) = both
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    "compiled",
    [{"steps_per_execution": 2}, {"run_eagerly": True}, {"jit_compile": True}],
    ids=lambda compiled: next(iter(compiled)),
)
def test_however_a_step_is_run(compiled):
    makes = {"traced before": traced_before}
    found, parameters = trained(makes, {"traced before": tf.function}, **compiled)
    expected, others = trained(makes, {"traced before": undecorated}, **compiled)
    assert_alike(found["traced before"], expected["traced before"])
    np.testing.assert_allclose(parameters, others, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", estimators.ESTIMATORS)
def test_every_estimator_samples_the_same_traces(name):
    network = models.network()

    def traces(decorate):
        function = slope_of(network, decorate)
        if decorate is tf.function:
            function(X)
        blocks = {
            "equation": nk.Block(function, X),
            "again": decorate(lambda: function(X)),
            "start": lambda: network(X[:2]),
        }
        variables = network.trainable_variables
        estimate = estimators.estimate(name, blocks, variables, num_probes=2)
        found = {name: float(trace) for name, trace in estimate.traces.items()}
        assert decorate is undecorated or function.experimental_get_tracing_count() == 1
        return found

    assert traces(tf.function) == pytest.approx(traces(undecorated), rel=1e-4)


def test_the_blocks_of_a_model_the_kernel_and_polishing_see_the_present_parameters():
    def seen(decorate):
        network = models.network()
        residual, function = traced_before(network, decorate)
        model = models.build([nk.Term("equation", residual, models.X)], "exact-ntk", net=network)
        for variable in network.trainable_variables:
            variable.assign(variable * 1.5)
        blocks = model.blocks()
        found = [blocks["equation"](), nk.kernel.diagonal(blocks, network.trainable_variables)]
        nk.polish(model, iterations_per_epoch=2, verbose=0)
        return tf.nest.flatten([*found, function(X), models.numbers(network.variables)])

    for ours, theirs in zip(seen(tf.function), seen(undecorated), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(("estimator", "by_tape"), [("predictor", False), ("reverse", True)])
def test_a_balancer_weights_alike(estimator, by_tape):
    def weights(decorate):
        network = models.network()
        functions = {"equation": slope_of(network, decorate), "start": network}
        functions["equation"](X)
        balancer = nk.LossBalancer(list(functions), NTK(estimator, num_initial_probes=3), seed=0)

        @tf.function
        def step():
            variables = network.trainable_variables
            if not by_tape:
                blocks = {name: functools.partial(f, X) for name, f in functions.items()}
                return balancer(blocks, None, variables)
            with tf.GradientTape(persistent=True) as tape:
                residuals = {name: function(X) for name, function in functions.items()}
            return balancer(residuals, tape, variables)

        return {name: float(weight) for name, weight in step().items()}

    assert weights(tf.function) == pytest.approx(weights(undecorated), rel=1e-4)


def test_a_callback_weights_alike():
    def weights(decorate):
        network = models.network()
        functions = {"equation": slope_of(network, decorate), "start": decorate(network.__call__)}
        weighting = nk.callbacks.NTKWeighting(
            {name: nk.Block(function, X) for name, function in functions.items()}, lambda _: None
        )
        network.compile("sgd", "mse")
        network.fit(X, X, verbose=0, callbacks=[weighting])
        return weighting.weights

    assert weights(tf.function) == pytest.approx(weights(undecorated), rel=1e-4)


def test_a_network_that_is_a_decorated_function():
    def traces(decorate):
        kernel = tf.Variable([[0.3, -0.2]])

        @decorate
        def function(x):
            return tf.tanh(x @ kernel)[:, :1]

        function(X)
        network = nk.networks.CallableNetwork(function, [kernel])
        model = models.build([nk.Term("a", models.slope, models.X)], NTK("predictor"), net=network)
        models.fit(model)
        return [*model.kernel_traces.values(), *function(X).numpy()[:, 0]]

    np.testing.assert_allclose(traces(tf.function), traces(undecorated), rtol=1e-4)


def test_what_was_traced_and_cannot_be_shown_other_parameters_is_refused():
    network = models.network()
    function = slope_of(network, tf.function).get_concrete_function(SIGNATURE[0])
    with pytest.raises(ValueError, match=r"Term 'a'.*traced before.*first/kernel'.*tf\.function"):
        nk.PINNModel(network, [nk.Term("a", lambda u, x: function(x), models.X)])
    with pytest.raises(ValueError, match="traced before"):
        estimators.estimate(
            "predictor", {"a": lambda: function(X)}, network.trainable_variables, num_probes=2
        )
    blocks = {"a": lambda: function(X)}
    assert float(nk.kernel.traces(blocks, network.trainable_variables)["a"]) > 0


@pytest.mark.parametrize("graph_of", [tf.function, lambda n: tf.function(n.call)])
def test_a_network_itself_may_be_decorated(graph_of):
    traces = []
    for decorate in (lambda n: n, graph_of):
        network = models.network()
        function = decorate(network)
        terms = [
            nk.Term("a", lambda u, x, f=function: f(x)[:, 0] - 1, models.X),
            models.two_terms()[1],
        ]
        model = models.build(terms, NTK("perturbation", num_initial_probes=2), net=network)
        models.fit(model)
        traces.append(model.kernel_traces["a"])
    assert traces[0] == pytest.approx(traces[1], rel=1e-5)


def test_arguments_are_tensors_where_a_signature_says_so():
    @tf.function(input_signature=[*SIGNATURE, tf.TensorSpec([], tf.float32)])
    def scaled(x, c):
        return tf.cast(x, c.dtype) * c

    model = models.build([nk.Term("a", lambda u, x: u(scaled(x, 2.0))[:, 0], models.X)])
    expected = models.network()(2 * X)[:, 0]
    np.testing.assert_allclose(model.blocks()["a"](), expected, rtol=1e-5)
