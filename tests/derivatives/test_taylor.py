"""Forward derivatives against nested tapes, to rounding, for everything that has a rule."""

import functools
import itertools
import logging

import hypothesis
import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import strategies

from ntk_keras import (
    Linearization,
    PINNModel,
    Term,
    derivatives,
    domains,
    estimators,
    kernel,
    networks,
)
from ntk_keras.backend.variables import parameters_at
from ntk_keras.derivatives import VALUE, NetworkView, RequestedDerivatives, activations, layer_rules
from ntk_keras.derivatives.channels import SecondOrder, closure, partitions, splits, stacks
from ntk_keras.weighting import NTK, Constant, ExactNTK

BOX = domains.Box(t=(0, 1), x=(-1, 1), y=(0, 2))
WIDTH = 3

# What is compared, by name: every public function, and partial derivatives up to order 4.
FUNCTIONS = {
    "value": lambda u, p: u(p),
    "gradient": derivatives.gradient,
    "hessian_diagonal": derivatives.hessian_diagonal,
    "laplacian": derivatives.laplacian,
    "laplacian_of_two": lambda u, p: derivatives.laplacian(u, p, axes=[0, 2]),
    "second_order": lambda u, p: derivatives.second_order(u, p, [1, 0, -4]),
    "second_order_by_point": lambda u, p: derivatives.second_order(u, p, 1 + p * p),
    "divergence": lambda u, p: derivatives.divergence(u, p, axes=[2, 0]),
    "biharmonic_of_two": lambda u, p: derivatives.biharmonic(u, p, axes=[2, 0]),
}
FUNCTIONS |= {
    f"partial{axes}": lambda u, p, axes=axes: derivatives.partial(u, p, *axes)
    for axes in [(1,), (0, 1), (2, 2), (2, 0, 1), (0, 1, 1), (0, 1, 1, 0), (2,) * 4, (0, 1, 2, 1)]
}


def dense(units, activation=None, dtype="float64", **kwargs):
    return keras.layers.Dense(
        units, activation, dtype=dtype, bias_initializer="glorot_normal", **kwargs
    )


def sequential(*layers, dtype="float64", inputs=WIDTH):
    return keras.Sequential([keras.Input((inputs,), dtype=dtype), *layers])


def points_of(dtype="float64", n=5, d=WIDTH):
    return tf.constant(np.random.default_rng(1).uniform(0, 1, (n, d)), dtype)


def assert_same(actual, desired, dtype="float64"):
    """Equal to 1e-12 of the largest entry in double precision, and as many roundings in single."""
    assert actual.dtype == desired.dtype == dtype
    assert actual.shape == desired.shape
    tolerance = 1e-12 / np.finfo("float64").eps * np.finfo(dtype).eps
    np.testing.assert_allclose(actual, desired, rtol=0, atol=tolerance * np.abs(desired).max())


def assert_served(network, dtype="float64", functions=FUNCTIONS):
    """All derivatives are what nested tapes say, and tapes had no part in them."""
    view, points = NetworkView(network), points_of(dtype)
    assert view.unsupported is None
    for function in functions.values():
        assert_same(function(view, points), function(network, points), dtype)
    assert view.fallbacks == []


# Activations and layers.

ACTIVATIONS = {
    "linear": None,
    "identity": "linear",
    "tanh": "tanh",
    "sin": keras.ops.sin,
    "tf.sin": tf.sin,
    "cos": tf.cos,
    "sigmoid": "sigmoid",
    "swish": "swish",
    "gelu": "gelu",
    "gelu_approximate": functools.partial(keras.activations.gelu, approximate=True),
    "keras.ops.gelu": keras.ops.gelu,
    "softplus": "softplus",
    "exp": "exponential",
    "sin_tanh": networks.sin_tanh,
}


@pytest.mark.parametrize("name", list(ACTIVATIONS))
def test_every_activation_agrees_with_tapes(name):
    activation = ACTIVATIONS[name]
    network = sequential(dense(6, activation), dense(5, activation), dense(2))
    names = [
        "value",
        "hessian_diagonal",
        "laplacian",
        "biharmonic_of_two",
        "partial(2, 0, 1)",
        "partial(0, 1, 1, 0)",
    ]
    assert_served(network, functions={name: FUNCTIONS[name] for name in names})


def functional(build, dtype="float64"):
    points = keras.Input((WIDTH,), dtype=dtype)
    return keras.Model(points, build(points, dtype))


def merged(layer):
    """Two branches, one of which lacks second derivatives, through a merging layer."""

    def build(x, dtype):
        branches = [dense(4, "tanh", dtype)(x), dense(4, None, dtype)(x)]
        return dense(2, None, dtype)(layer(dtype=dtype)(branches))

    return functional(build)


def with_operators(x, dtype):
    gate, value = dense(4, "tanh", dtype)(x), dense(4, keras.ops.sin, dtype)(x)
    blend = (1 - gate) * value + 2 * gate - keras.ops.tanh(value) * 0.5
    return dense(2, None, dtype)(-keras.ops.concatenate([blend, x], axis=-1))


def hard_constraint(x, dtype):
    """Columns t and x, y of the points: t (t + 1) N and sin(x) y."""
    t, rest = x[:, :1], x[..., 1:]
    inner = dense(1, None, dtype)(dense(4, "tanh", dtype)(x))
    start = keras.ops.sin(rest[:, 0:1]) * rest[:, -1:]
    return keras.ops.concatenate([t * (t + 1) * inner, start], axis=-1)


def distances(x, dtype):
    """A column times and plus two: t^2 (1 - y / 2)^3 N - y^2, and a plane."""
    t, y = x[:, :1], x[:, 1:2]
    inner = dense(2, None, dtype)(dense(4, "tanh", dtype)(x))
    held = t**2 * (1 - y / 2) ** 3.0 * inner - keras.ops.square(y)
    return keras.layers.Average(dtype=dtype)([held, keras.ops.true_divide(t, 3), x[:, 1:]])


def shared_twice(x, dtype):
    inner = keras.Sequential([dense(3, "tanh", dtype), dense(3, "tanh", dtype)])
    outer = functional(lambda y, dtype: keras.layers.Add(dtype=dtype)([y, inner(y)]))
    return dense(2, None, dtype)(outer(outer(x)))


def normalized(**kwargs):
    return keras.layers.Normalization(
        mean=[0.5, 20.0, -1.0], variance=[0.1, 4.0, 1.0], dtype="float64", **kwargs
    )


NETWORKS = {
    "normalization": lambda: sequential(normalized(), dense(4, "tanh"), dense(2)),
    "inverse normalization": lambda: sequential(
        normalized(invert=True), dense(4, tf.sin), dense(2)
    ),
    "rescaling": lambda: sequential(
        keras.layers.Rescaling([2.0, 3.0, 0.5], offset=-1.0, dtype="float64"),
        dense(4, "tanh"),
        keras.layers.Rescaling(7.0, dtype="float64"),
        dense(2),
    ),
    "activation layers": lambda: sequential(
        dense(4),
        keras.layers.Activation("tanh", dtype="float64"),
        keras.layers.Identity(dtype="float64"),
        dense(2, use_bias=False),
    ),
    "concatenate": lambda: merged(keras.layers.Concatenate),
    "add": lambda: merged(keras.layers.Add),
    "subtract": lambda: merged(keras.layers.Subtract),
    "multiply": lambda: merged(keras.layers.Multiply),
    "average": lambda: merged(keras.layers.Average),
    "operators": lambda: functional(with_operators),
    "hard constraint": lambda: functional(hard_constraint),
    "distances": lambda: functional(distances),
    "models within models": lambda: functional(shared_twice),
    "fourier features": lambda: sequential(
        networks.FourierFeatures(4, 2.0, seed=1, dtype="float64"), dense(4, "tanh"), dense(2)
    ),
    "periodic embedding": lambda: sequential(
        networks.PeriodicEmbedding([None, 2.0, 1.0], 2, dtype="float64"), dense(4, "tanh"), dense(2)
    ),
    "feedforward": lambda: networks.feedforward(BOX, 2, width=5, depth=2, dtype="float64"),
    "residual": lambda: networks.residual(BOX, 2, width=5, depth=2, dtype="float64"),
    "gated": lambda: networks.gated(BOX, 2, width=5, depth=2, dtype="float64"),
    "linear only": lambda: sequential(dense(2)),
}


@pytest.mark.parametrize("name", list(NETWORKS))
def test_every_layer_agrees_with_tapes(name):
    assert_served(NETWORKS[name]())


@pytest.mark.parametrize("name", ["hard constraint", "distances"])
def test_a_loaded_network_is_served_as_before(name, tmp_path):
    network = NETWORKS[name]()
    network.save(tmp_path / "network.keras")
    assert_served(keras.models.load_model(tmp_path / "network.keras"))


def test_a_layer_alone_is_a_network():
    network = dense(2, "tanh")
    network.build((None, WIDTH))
    assert_served(network)


def test_single_precision_agrees_with_tapes():
    assert_served(networks.gated(BOX, 2, width=8, depth=2, dtype="float32"), "float32")


# Stages of a network: a dense layer, a residual block, a product, or a widening.
STAGES = strategies.tuples(
    strategies.sampled_from(["dense", "add", "multiply", "concatenate"]),
    strategies.integers(1, 5),
    strategies.sampled_from(["tanh", "swish", "gelu", "softplus", "sigmoid", "sin"]),
)


def network_of(stages):
    points = x = keras.Input((WIDTH,), dtype="float64")
    for kind, width, name in stages:
        units = x.shape[-1] if kind in ("add", "multiply") else width
        layer = dense(units, keras.ops.sin if name == "sin" else name)(x)
        x = layer if kind == "dense" else getattr(keras.layers, kind)([x, layer], dtype="float64")
    return keras.Model(points, dense(2)(x))


@hypothesis.settings(max_examples=12, derandomize=True, deadline=None, database=None)
@hypothesis.given(stages=strategies.lists(STAGES, min_size=1, max_size=4))
def test_generated_networks_agree_with_tapes(stages):
    keras.utils.set_random_seed(0)
    names = ["value", "gradient", "hessian_diagonal", "second_order_by_point", "partial(0, 1, 1)"]
    assert_served(network_of(stages), functions={name: FUNCTIONS[name] for name in names})


def test_channels_take_the_ways_to_split_an_index():
    assert sum(splits((0, 0, 1)).values()) == 8  # subsets of three positions
    assert splits((0, 0, 1))[(0,), (0, 1)] == 2
    counts = {m: sum(ways.values()) for m, ways in partitions((0, 0, 0, 0)).items()}
    assert counts == {1: 1, 2: 7, 3: 6, 4: 1}  # Stirling's numbers of the second kind
    assert partitions((0, 0, 1))[2] == {((0,), (0, 1)): 2, ((0, 0), (1,)): 1}
    channels = closure([(0, 0, 0, 0), (0, 0, 1, 1), (1, 1, 1, 1)])
    assert len(channels) == 13
    assert stacks(channels)[1:4] == [((0,), (1,)), ((0, 0), (1, 1)), ((0, 1),)]
    assert closure([SecondOrder((1.0, 0.0, -4.0))]) == [
        VALUE,
        SecondOrder((1.0, 0.0, -4.0)),
        (0,),
        (2,),
    ]


# Parameters, graphs, tapes of one's own.


def operator(u, points):
    """Something of everything, at one set of points."""
    slope = derivatives.gradient(u, points)
    second = derivatives.second_order(u, points, [1, 0, -4])
    mixed = derivatives.partial(u, points, 0, 1, 1)
    return second[:, 0] * u(points)[:, 1] + slope[:, 1, 2] ** 2 - mixed[:, 0]


def test_gradients_of_a_loss_agree_with_tapes(staged, dtype):
    network, points = networks.feedforward(BOX, 2, width=6, depth=2, dtype=dtype), points_of(dtype)
    theta = [v.value for v in network.trainable_variables]

    @staged
    def gradients(mode):
        u = NetworkView(network, mode, reuse=True)
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(operator(u, points) ** 2)
        return tape.gradient(loss, theta, unconnected_gradients="zero")

    desired = gradients("tapes")
    scale = max(np.abs(g).max() for g in desired)
    for actual, expected in zip(gradients("taylor"), desired, strict=True):
        tolerance = (1e-12 if dtype == "float64" else 1e-4) * scale
        np.testing.assert_allclose(actual, expected, rtol=0, atol=tolerance)


def test_a_graph_takes_batches_of_any_length():
    network = sequential(dense(4, "tanh"), dense(2))

    @tf.function(input_signature=[tf.TensorSpec([None, WIDTH], tf.float64)])
    def evaluate(points):
        return operator(NetworkView(network, reuse=True), points)

    for n in (1, 4):
        points = points_of(n=n)
        assert_same(evaluate(points), operator(network, points))
    assert evaluate(points_of(n=0)).shape == (0,)


def test_rows_may_be_evaluated_by_a_vectorised_map():
    network, points = sequential(dense(4, "tanh"), dense(2)), points_of()
    rows = tf.vectorized_map(
        lambda point: operator(NetworkView(network, reuse=True), point[tf.newaxis])[0], points
    )
    assert_same(rows, operator(network, points))


def test_a_function_of_the_view_is_differentiated_by_tapes(staged):
    network, points = sequential(dense(4, "tanh"), dense(2)), points_of()
    column = lambda u: staged(lambda p: derivatives.laplacian(lambda x: u(x)[:, :1], p))  # noqa: E731
    view = NetworkView(network, reuse=True)
    assert_same(column(view)(points), column(network)(points))
    nested = lambda u: derivatives.laplacian(lambda x: derivatives.laplacian(u, x), points)  # noqa: E731
    assert_same(nested(view), nested(network))
    assert view.fallbacks == ["a gradient tape watches its points"]


def test_a_tape_of_ones_own_sees_the_points_however_often_they_were_used():
    network, points = sequential(dense(4, "tanh"), dense(2)), points_of()

    def residual(u):
        value = u(points)
        with tf.GradientTape(persistent=True) as tape:
            tape.watch(points)
            again, slope = u(points)[:, 0], derivatives.gradient(u, points)[:, 1, 2]
        return value[:, :1] + tape.gradient(again, points) + tape.gradient(slope, points)

    assert_same(residual(NetworkView(network, reuse=True)), residual(network))


def test_forward_accumulators_see_the_points_too():
    network, points = sequential(dense(4, "tanh"), dense(2)), points_of()

    def directional(u):
        u(points)
        with tf.autodiff.ForwardAccumulator(points, tf.ones_like(points)) as accumulator:
            value = u(points)
        return accumulator.jvp(value)

    assert_same(directional(NetworkView(network, reuse=True)), directional(network))


# Sharing.


class Rows:
    """Counts the rows that pass each layer."""

    def __init__(self):
        self.by_layer = {}

    def __call__(self, layer, inputs, products, bias):
        channels = [c for block in inputs for c in block]
        self.by_layer.setdefault(layer.name, []).extend(channels)


def test_what_is_asked_at_the_same_points_is_computed_once():
    network, points, rows = sequential(dense(4, "tanh"), dense(2)), points_of(), Rows()
    view = NetworkView(network, reuse=True, hook=rows)
    for _ in range(2):
        view(points)
        derivatives.gradient(view, points)
        derivatives.hessian_diagonal(view, points)
        derivatives.partial(view, points, 0)
    seconds = [(k, k) for k in range(WIDTH)]
    firsts = [(k,) for k in range(WIDTH)]
    hidden, output = network.layers
    assert sorted(rows.by_layer[hidden.name]) == sorted([VALUE, *firsts])  # no second derivatives
    assert sorted(rows.by_layer[output.name]) == sorted([VALUE, *firsts, *seconds])
    view(tf.identity(points))
    assert rows.by_layer[output.name].count(VALUE) == 2


def test_a_layer_carries_only_what_the_next_ones_need():
    network, points, rows = sequential(dense(4, "tanh"), dense(2)), points_of(), Rows()
    derivatives.second_order(NetworkView(network, hook=rows), points, [0, 1, -4])
    hidden, output = network.layers
    assert set(rows.by_layer[hidden.name]) == {VALUE, (1,), (2,)}
    assert rows.by_layer[output.name] == [SecondOrder((0.0, 1.0, -4.0))]


def test_a_later_view_expects_what_earlier_ones_were_asked():
    network, points, requested = (
        sequential(dense(4, "tanh"), dense(2)),
        points_of(),
        RequestedDerivatives(),
    )
    passes = []

    def evaluate():
        calls = []
        view = NetworkView(
            network, reuse=True, requested=requested, hook=lambda *call: calls.append(call)
        )
        value, second = view(points), derivatives.laplacian(view, points)
        passes.append(len(calls))
        return value, second

    first, again = evaluate(), evaluate()
    assert passes == [4, 2]  # a pass through two layers for each request, then one for both
    for a, b in zip(first, again, strict=True):
        assert_same(a, b)
    assert str(requested) == "u, second_order(1, 1, 1)"


def test_a_view_that_does_not_share_sees_the_parameters_of_the_moment():
    network, points = sequential(dense(4, "tanh"), dense(2)), points_of()
    view = NetworkView(network)
    before = derivatives.gradient(view, points)
    network.set_weights([2 * w for w in network.get_weights()])
    assert_same(derivatives.gradient(view, points), derivatives.gradient(network, points))
    assert not np.allclose(before, derivatives.gradient(view, points))


def test_values_do_not_leave_the_graph_they_were_computed_in():
    network, points = sequential(dense(4, "tanh"), dense(2)), points_of()

    @tf.function
    def evaluate(points):
        view = NetworkView(network, reuse=True)
        inner = tf.cond(points[0, 0] < 2, lambda: view(points), lambda: 2 * view(points))
        return inner + view(points)

    assert_same(evaluate(points), 2 * network(points))


# The seam for cotangents: what the hook is told suffices for the gradient.


@pytest.mark.parametrize("build", [NETWORKS["gated"], NETWORKS["models within models"]])
def test_the_cotangents_of_hooked_products_make_the_gradient(build):
    network, points, calls = build(), points_of(), []
    cotangent = tf.constant(np.random.default_rng(2).normal(size=5))
    with tf.GradientTape(persistent=True) as tape:

        def hook(layer, inputs, products, bias):
            tape.watch(list(products.values()))
            calls.append((layer, inputs, products))

        view = NetworkView(network, reuse=True, hook=hook)
        residual = operator(view, points)
    desired = tape.gradient(
        residual, [v.value for v in network.trainable_variables], cotangent, "zero"
    )
    assert view.fallbacks == []
    gradients = {v.path: np.zeros(v.shape) for v in network.trainable_variables}
    for layer, inputs, products in calls:
        for stack, cotangents in tape.gradient(residual, products, cotangent, "zero").items():
            assert inputs[stack].shape[:2] == (len(stack), 5)  # of every point, constants too
            gradients[layer.kernel.path] += np.einsum("kni,knj->ij", inputs[stack], cotangents)
            if stack == (VALUE,):
                gradients[layer.bias.path] += np.sum(cotangents, axis=(0, 1))
    for variable, expected in zip(network.trainable_variables, desired, strict=True):
        np.testing.assert_allclose(gradients[variable.path], expected, rtol=1e-10, atol=1e-12)


# What cannot be served.


class Twice(keras.layers.Layer):
    def call(self, inputs):
        return 2 * inputs


class OddDense(keras.layers.Dense):
    def call(self, inputs):
        return super().call(inputs) ** 3


class OddModel(keras.Sequential):
    def call(self, inputs, training=None, mask=None):
        return super().call(inputs) ** 2


def two_widths(x, dtype):
    shared = keras.layers.Multiply(dtype=dtype)
    column = dense(1)(x)
    return dense(1)(shared([column, dense(2)(x)])) + dense(1)(shared([column, dense(3)(x)]))


UNSERVED = {
    "custom layer": (lambda: sequential(Twice(name="odd"), dense(1)), "layer 'odd' (Twice)"),
    "overridden layer": (lambda: sequential(OddDense(1, name="odd")), "layer 'odd' (OddDense)"),
    "overridden model": (
        lambda: OddModel([keras.Input((WIDTH,)), keras.layers.Dense(1)], name="odd"),
        "model 'odd' has a call of its own",
    ),
    "dropout": (lambda: sequential(keras.layers.Dropout(0.5, name="odd")), "'odd' (Dropout)"),
    "unknown activation": (
        lambda: sequential(dense(3, "elu", name="odd"), dense(1)),
        "layer 'odd' (Dense): its activation elu has no derivatives registered",
    ),
    "precision": (
        lambda: sequential(dense(2, dtype="mixed_bfloat16", name="odd"), dtype="float32"),
        "layer 'odd' (Dense): it computes in bfloat16 and float32, the points are float32",
    ),
    "lambda": (
        lambda: sequential(keras.layers.Lambda(tf.identity, name="odd")),
        "layer 'odd' (Lambda)",
    ),
    "a column shared by widths": (
        lambda: functional(two_widths),
        "its inputs have different widths: [1, 2, 3]",
    ),
    "root": (
        lambda: functional(lambda x, dtype: dense(1, "sigmoid")(x) ** 0.5),
        "its exponent is no positive integer",
    ),
    "quotient": (
        lambda: functional(lambda x, dtype: 1 / dense(1, "sigmoid")(x)),
        "it divides by what is no number",
    ),
    "index": (
        lambda: functional(lambda x, dtype: dense(1)(x[::2, :])),
        "it is no slice of columns",
    ),
    "array": (
        lambda: functional(lambda x, dtype: dense(3)(x) * np.arange(3.0)),
        "holds an argument that is no number",
    ),
}


@pytest.mark.parametrize("name", list(UNSERVED))
def test_a_network_without_a_rule_is_left_to_tapes(name):
    build, reason = UNSERVED[name]
    network = build()
    view = NetworkView(network)
    assert reason in view.unsupported
    with pytest.raises(ValueError, match='derivatives="taylor" demands'):
        NetworkView(network, "taylor")


def test_an_unserved_network_gives_the_same_through_its_view():
    network, points = sequential(Twice(), dense(4, "tanh"), dense(2)), points_of()
    view = NetworkView(network)
    for function in FUNCTIONS.values():
        assert_same(function(view, points), function(network, points))
    assert view.fallbacks == [view.unsupported]


def test_points_of_another_dtype_are_left_to_tapes():
    network, points = sequential(dense(2, "tanh", dtype="float32"), dtype="float32"), points_of()
    view = NetworkView(network)
    np.testing.assert_array_equal(
        derivatives.gradient(view, points), derivatives.gradient(network, points)
    )
    assert view.fallbacks == ["its points are float64, the network takes float32"]


def test_whatever_else_the_network_takes_reaches_it():
    plain = sequential(dense(2, "tanh"), dense(2))
    np.testing.assert_array_equal(NetworkView(plain)(points_of().numpy()), plain(points_of()))
    np.testing.assert_array_equal(
        NetworkView(plain)(points_of(), training=False), plain(points_of())
    )


def test_points_of_the_wrong_width_are_refused():
    view = NetworkView(sequential(dense(2)))
    with pytest.raises(ValueError, match="points of width 2, but the network takes 3"):
        derivatives.gradient(view, points_of(d=2))


def test_an_unknown_mode_is_refused():
    with pytest.raises(ValueError, match=r"must be one of .*'tapes'.*Received 'reverse'"):
        NetworkView(sequential(dense(2)), "reverse")


@pytest.mark.parametrize("coefficients", [[1, 2], [[1, 2, 3]], 1.0, np.ones((4, 3))])
def test_coefficients_of_another_shape_are_refused(coefficients):
    with pytest.raises(ValueError, match=r"shape \[d\] or \[n, d\] for points of shape \(5, 3\)"):
        derivatives.second_order(sequential(dense(2)), points_of(), coefficients)


def test_an_operator_without_coefficients_is_refused():
    with pytest.raises(ValueError, match="at least one coefficient that is not zero"):
        derivatives.second_order(sequential(dense(2)), points_of(), [0, 0, 0])


@pytest.mark.parametrize("mode", ["tapes", "taylor"])
def test_coefficients_may_be_trained(mode):
    network, points = sequential(dense(4, "tanh"), dense(2)), points_of()
    speed = tf.Variable([1.0, -2.0, 0.5], dtype="float64")
    with tf.GradientTape() as tape:
        total = tf.reduce_sum(derivatives.second_order(NetworkView(network, mode), points, speed))
    desired = tf.reduce_sum(derivatives.hessian_diagonal(network, points), axis=[0, 1])
    assert_same(tf.convert_to_tensor(tape.gradient(total, speed)), desired)


@pytest.mark.parametrize("mode", ["tapes", "taylor"])
def test_numbers_and_unknown_coefficients_may_be_mixed(mode):
    network, points = sequential(dense(4, "tanh"), dense(2)), points_of()
    speed, field = tf.Variable(2.0, dtype="float64"), tf.sin(points[:, 0])
    with tf.GradientTape() as tape:
        coefficients = [1, -(speed**2), field]
        values = derivatives.second_order(NetworkView(network, mode), points, coefficients)
        total = tf.reduce_sum(values)
    second = derivatives.hessian_diagonal(network, points)
    assert_same(values, second[..., 0] - 4 * second[..., 1] + field[:, None] * second[..., 2])
    assert_same(tape.gradient(total, speed), -4 * tf.reduce_sum(second[..., 1]))
    view = NetworkView(network, mode)
    assert_same(derivatives.second_order(view, points, [0, speed, 0]), 2 * second[..., 1])
    with pytest.raises(ValueError, match="one for each input"):
        derivatives.second_order(view, points, [1, speed])


def test_all_derivatives_of_an_order_agree_in_a_graph(staged):
    """Of one request, where channels are cut from blocks and stacked anew."""
    network, points = sequential(dense(4, "tanh"), dense(4, "swish"), dense(2)), points_of()
    for order in (2, 3, 4):
        indices = list(itertools.combinations_with_replacement(range(WIDTH), order))

        @staged
        def forward(indices=indices):
            return NetworkView(network).derivative_channels(points, indices)

        for index, channel in zip(indices, forward(), strict=True):
            assert_same(channel, derivatives.partial(network, points, *index))


# What users add.


def test_an_activation_may_be_registered(monkeypatch):
    def cube(z):
        return z * z * z

    monkeypatch.setattr(activations, "_REGISTRY", dict(activations._REGISTRY))
    network = sequential(dense(4, cube), dense(2))
    assert "cube has no derivatives registered" in NetworkView(network).unsupported
    derivatives.register_activation(cube, lambda z: (z**3, 3 * z**2, 6 * z))
    high = ("partial(2, 0, 1)", "partial(0, 1", "partial(2, 2, 2", "biharmonic")
    low = [n for n in FUNCTIONS if not n.startswith(high) or n == "partial(0, 1)"]
    assert_served(network, functions={name: FUNCTIONS[name] for name in low})
    with pytest.raises(ValueError, match="order 3 of an activation is asked for, but 2 are"):
        derivatives.partial(NetworkView(network), points_of(), 0, 0, 0)


class OwnCall(keras.Sequential):
    def call(self, x):
        return super().call(x) ** 2


def test_a_model_with_its_own_call_may_be_registered(monkeypatch):
    monkeypatch.setattr(layer_rules, "_RULES", dict(layer_rules._RULES))
    network = OwnCall([keras.Input((WIDTH,), dtype="float64"), dense(4, "tanh"), dense(2)])
    network.dtype_policy = keras.DTypePolicy("float64")
    assert "has a call of its own" in NetworkView(network).unsupported

    def squared(model, inputs, hook):
        jet = inputs[0]
        for layer in model.layers:
            jet = layer_rules.rule_of(layer).apply(layer, [jet], hook)
        return derivatives.taylor.multiply(jet, jet)

    derivatives.register_layer(OwnCall, squared)
    assert_served(network)


def test_a_layer_may_be_registered(monkeypatch):
    monkeypatch.setattr(layer_rules, "_RULES", dict(layer_rules._RULES))
    derivatives.register_layer(
        Twice, lambda layer, inputs, hook: derivatives.taylor.scale(inputs[0], 2)
    )
    assert_served(sequential(dense(4, "tanh"), Twice(dtype="float64"), dense(2)))


# In a model.


def equation(u, points):
    return derivatives.second_order(u, points, [1, 0, -4])[:, 0] + u(points)[:, 0] ** 3


def velocity(u, points):
    return derivatives.gradient(u, points)[:, 0, :2]


TERMS = {"equation": equation, "velocity": velocity}


def model(network, mode="auto", weighting="constant", **kwargs):
    dtype = network.trainable_variables[0].dtype
    points = points_of(dtype, n=7)
    terms = [Term(name, residual, points) for name, residual in TERMS.items()]
    return PINNModel(network, terms, weighting, derivatives=mode, seed=1, **kwargs)


def trained(mode, jit_compile, weighting):
    keras.utils.set_random_seed(0)
    network = networks.feedforward(BOX, 1, width=6, depth=1, dtype="float64", seed=3)
    pinn = model(network, mode, weighting)
    pinn.compile(keras.optimizers.Adam(1e-2), jit_compile=jit_compile)
    history = pinn.fit(epochs=2, steps_per_epoch=10, verbose=0)
    return history.history["loss"], network.get_weights()


@pytest.mark.parametrize(
    ("weighting", "jit_compile"),
    [(Constant, True), (ExactNTK, False), (lambda: NTK("block-predictor"), False)],
    ids=["constant", "exact", "block-predictor"],
)
def test_training_gives_the_numbers_of_tapes(weighting, jit_compile):
    forward, tapes = (trained(mode, jit_compile, weighting()) for mode in ("taylor", "tapes"))
    # Rounding grows over 20 steps, and the predictor divides it by its small step.
    rtol = 1e-9 if weighting in (Constant, ExactNTK) else 1e-5
    for a, b in zip(tf.nest.flatten(forward), tf.nest.flatten(tapes), strict=True):
        np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol)


@pytest.mark.parametrize(
    "layer",
    [
        lambda: Twice(),
        lambda: keras.layers.Dropout(0.2),
        lambda: keras.Sequential(
            [
                keras.layers.Reshape((WIDTH, 1)),
                keras.layers.Conv1D(2, 2, activation="tanh"),
                keras.layers.Flatten(),
            ],
        ),
    ],
    ids=["custom", "dropout", "convolution"],
)
def test_a_network_that_cannot_be_served_trains_all_the_same(layer):
    network = keras.Sequential(
        [keras.Input((WIDTH,)), layer(), keras.layers.Dense(4, "tanh"), keras.layers.Dense(1)]
    )
    pinn = model(network)
    pinn.compile("adam")
    assert np.isfinite(pinn.fit(epochs=1, steps_per_epoch=2, verbose=0).history["loss"][0])
    assert "by nested tapes, because layer" in pinn.derivatives_summary()


def test_taylor_refuses_a_network_it_cannot_serve():
    network = keras.Sequential([keras.Input((WIDTH,)), keras.layers.Dense(1, "elu", name="odd")])
    with pytest.raises(ValueError, match=r"layer 'odd' \(Dense\): its activation elu"):
        model(network, "taylor")
    unbuilt = keras.Sequential([keras.layers.Dense(4, "elu", name="odd"), keras.layers.Dense(1)])
    unbuilt.build = lambda *args: keras.Sequential.build(unbuilt, *args)
    with pytest.raises(ValueError, match=r"layer 'odd' \(Dense\): its activation elu"):
        PINNModel(unbuilt, Term("one", velocity, tf.ones((3, WIDTH))), derivatives="taylor")


def test_the_summary_says_which_term_went_which_way_and_is_logged(caplog):
    def by_column(u, points):
        return derivatives.gradient(lambda p: u(p)[:, :1], points)[:, 0, 0]

    def pair(u, points):
        return u(points["left"])[:, 0] - u(points["right"])[:, 0]

    points = points_of("float32")
    terms = [
        Term("equation", equation, points),
        Term("by column", by_column, points),
        Term("periodic", pair, {"left": points, "right": points + 1}),
    ]
    network = sequential(dense(4, "tanh", "float32"), dense(1, None, "float32"), dtype="float32")
    with caplog.at_level(logging.DEBUG, "ntk_keras"):
        pinn = PINNModel(network, terms, "constant")
    assert pinn.derivatives_summary() in caplog.text
    lines = pinn.derivatives_summary().splitlines()
    assert lines[0].endswith(": forward.")
    assert lines[1:] == [
        "  equation: second_order(1, 0, -4), u",
        "  by column: nested tapes, because a gradient tape watches its points",
        "  periodic: u | u",
    ]
    tapes = PINNModel(network, terms, "constant", derivatives="tapes")
    assert 'by nested tapes, because derivatives="tapes"' in tapes.derivatives_summary()


def test_a_network_built_by_its_first_call_is_served():
    network = keras.Sequential([keras.layers.Dense(4, "tanh"), keras.layers.Dense(1)])
    pinn = PINNModel(network, Term("one", velocity, tf.ones((3, WIDTH))), derivatives="taylor")
    assert pinn.derivatives_summary().splitlines()[1] == "  one: u_0, u_1, u_2"


def test_residuals_are_evaluated_at_other_parameters():
    network = networks.feedforward(BOX, 1, width=5, depth=2, dtype="float64")
    pinn, tapes = model(network), model(network, "tapes")
    variables = network.trainable_variables
    shifted = [v.value + 0.1 for v in variables]
    for name, block in pinn.blocks().items():
        with parameters_at(variables, shifted):
            actual, desired = block(), tapes.blocks()[name]()
        assert_same(actual, desired)
        assert not np.allclose(actual, block())


def test_the_block_predictor_agrees_with_exact_products():
    """Its finite difference evaluates residuals in a stateless scope: equal only if honoured."""
    pinn = model(networks.feedforward(BOX, 1, width=5, depth=2, dtype="float64"))
    linearization = Linearization(pinn.blocks(), pinn.trainable_variables)
    probe = {name: tf.ones_like(residual) for name, residual in linearization.residuals.items()}
    for name in TERMS:
        alone, own = linearization.restricted(name), {name: probe[name]}
        predicted = estimators.BlockPredictor().product(alone, own)[name]
        exact = estimators.Product().product(alone, own)[name]
        np.testing.assert_allclose(predicted, exact, rtol=1e-4, atol=1e-4 * np.abs(exact).max())


def test_the_kernels_rows_are_those_of_tapes():
    network = networks.feedforward(BOX, 1, width=5, depth=2, dtype="float64")
    diagonals = [
        kernel.diagonal(model(network, mode).blocks(), network.trainable_variables)
        for mode in ("taylor", "tapes")
    ]
    for name in TERMS:
        np.testing.assert_allclose(diagonals[0][name], diagonals[1][name], rtol=1e-10)
