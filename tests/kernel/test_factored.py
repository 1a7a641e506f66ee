"""Jacobians in factored form, against those of gradient tapes."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

import ntk_keras as nk
from ntk_keras import derivatives
from ntk_keras.derivatives import taylor
from ntk_keras.estimators import Diagonal, Exact, is_exact
from ntk_keras.kernel import gram
from ntk_keras.kernel.factored import FactoredJacobian
from ntk_keras.kernel.linearization import Linearization
from ntk_keras.weighting import ExactNTK

POINTS = np.random.default_rng(0).uniform(-1, 1, size=(6, 2))
Dense = keras.layers.Dense


def sequential(dtype):
    layers = [Dense(7, "tanh"), Dense(5, "swish"), Dense(1)]
    return built(keras.Sequential, [keras.Input((2,), dtype=dtype), *layers], dtype)


def two_outputs(dtype):
    layers = [Dense(7, "sigmoid"), Dense(4, "tanh", use_bias=False), Dense(2)]
    return built(keras.Sequential, [keras.Input((2,), dtype=dtype), *layers], dtype)


def shared_layer_and_gate(dtype):
    """One layer applied twice, a product and a concatenation on the way."""
    x = keras.Input((2,), dtype=dtype)
    hidden = Dense(5, "tanh", dtype=dtype)
    first = Dense(5, "tanh", dtype=dtype)(x)
    gate = keras.layers.Multiply(dtype=dtype)([hidden(first), hidden(hidden(first))])
    joined = keras.layers.Concatenate(dtype=dtype)([gate, x])
    return keras.Model(x, Dense(1, dtype=dtype)(joined))


def hard_constraint(dtype):
    """Columns of the points times what the layers make of them."""
    x = keras.Input((2,), dtype=dtype)
    inner = Dense(1, dtype=dtype)(Dense(5, "tanh", dtype=dtype)(x))
    return keras.Model(x, x[:, :1] * inner + keras.ops.sin(x[:, 1:]))


def built(kind, layers, dtype):
    for layer in layers[1:]:
        layer.dtype_policy = keras.DTypePolicy(dtype)
    return kind(layers)


def wave(u, x):
    return derivatives.second_order(u, x, [1.0, -4.0])[:, 0]


def plate(u, x):
    return derivatives.biharmonic(u, x)[:, 0] + u(x)[:, 0]


def everything(u, x):
    """Value, gradient and second derivatives in one residual that is not linear in them."""
    value, slope = u(x)[:, 0], derivatives.gradient(u, x)[:, 0]
    second = derivatives.hessian_diagonal(u, x)[:, 0]
    return value * slope[:, 0] + second[:, 1] ** 2 - derivatives.partial(u, x, 0, 1)[:, 0]


def components(u, x):
    return derivatives.laplacian(u, x) - u(x) ** 3


def periodic(u, pair):
    """Two evaluations make one row."""
    left, right = pair
    return u(left)[:, 0] - u(right)[:, 0] + derivatives.partial(u, left, 0)[:, 0]


def periodic_value(u, x):
    return u(x)[:, 0] - u(-x)[:, 0]


CASES = {
    "an operator of second order": (sequential, wave, POINTS),
    "all kinds of derivatives": (sequential, everything, POINTS),
    "a biharmonic operator": (sequential, plate, POINTS),
    "two components": (two_outputs, components, POINTS),
    "pairs of points": (sequential, periodic, (POINTS, -POINTS)),
    "a shared layer": (shared_layer_and_gate, wave, POINTS),
    "a hard constraint": (hard_constraint, wave, POINTS),
}
cases = pytest.mark.parametrize("case", CASES.values(), ids=CASES)
in_graphs = pytest.mark.parametrize("staged", ["graph", "xla"], indirect=True)


def model_of(network, *residuals, points=POINTS, weighting="exact-ntk", **kwargs):
    terms = [nk.Term(f"term_{i}", r, points) for i, r in enumerate(residuals)]
    model = nk.PINNModel(network, terms, weighting, seed=0, **kwargs)
    model.compile(keras.optimizers.SGD(1e-3), jit_compile=False)
    return model


def both_ways(model):
    """The model's linearization in factored form, and by tapes."""
    blocks = model.blocks()
    assert all(block.with_hook is not None for block in blocks.values()), (
        model._residuals.not_factored
    )
    plain = {name: dataclasses.replace(b, with_hook=None) for name, b in blocks.items()}
    variables = model.trainable_variables
    return Linearization(blocks, variables, factored=True), Linearization(plain, variables)


def vector_of(linearization):
    return {
        name: tf.sin(tf.cast(tf.range(1, 1 + r.shape[0]), r.dtype))
        for name, r in linearization.residuals.items()
    }


def compared(linearization, subset=None):
    """Everything that estimators ask for."""
    vector = vector_of(linearization)
    return {
        "residuals": linearization.residuals,
        "vjp": linearization.vjp(vector),
        "product": linearization.product(vector),
        "diagonal": linearization.diagonal(subset),
        "rows": [linearization.rows(name) for name in linearization.blocks],
        "some rows": [linearization.rows(n, tf.constant([4, 1])) for n in linearization.blocks],
    }


def by_rows(linearization, subset=None):
    """The same, made of the rows of J alone: each kind of a tape's products takes its own trace."""
    vector, theta = vector_of(linearization), linearization.variables
    rows = {name: linearization.rows(name) for name in linearization.blocks}
    pulled = tf.add_n([tf.linalg.matvec(j, vector[n], transpose_a=True) for n, j in rows.items()])
    parts = tf.split(pulled, [int(tf.size(v)) for v in theta])

    def at(jacobian, points):
        by_point = tf.reshape(jacobian, [len(POINTS), -1, jacobian.shape[1]])
        return tf.reshape(tf.gather(by_point, points), [-1, jacobian.shape[1]])

    every = tf.range(len(POINTS))
    return {
        "residuals": linearization.residuals,
        "vjp": [tf.reshape(part, v.shape) for part, v in zip(parts, theta, strict=True)],
        "product": {name: tf.linalg.matvec(j, pulled) for name, j in rows.items()},
        "diagonal": {
            name: tf.reduce_sum(at(j, (subset or {}).get(name, every)) ** 2, axis=1)
            for name, j in rows.items()
        },
        "rows": list(rows.values()),
        "some rows": [at(j, tf.constant([4, 1])) for j in rows.values()],
    }


def assert_equal(ours, theirs, dtype):
    """Up to sums of a few dozen products in another order."""
    for name, expected in theirs.items():
        for a, b in zip(tf.nest.flatten(ours[name]), tf.nest.flatten(expected), strict=True):
            scale = max(1.0, float(np.max(np.abs(b))))
            tolerance = 300 * np.finfo(dtype).eps * scale
            np.testing.assert_allclose(a, b, rtol=0, atol=tolerance, err_msg=name)


@cases
def test_rows_and_products_are_those_of_tapes(case, dtype):
    make, residual, points = case
    model = model_of(make(dtype), residual, points=points)
    subset = {"term_0": tf.constant([4, 1])}
    # Eagerly: to trace and to optimize a graph for one run would take twice as long.
    ours, theirs = both_ways(model)
    assert_equal(compared(ours, subset), by_rows(theirs, subset), dtype)


@pytest.mark.parametrize("case", ["two components", "pairs of points", "a shared layer"])
def test_the_whole_kernel_is_that_of_tapes(case, monkeypatch):
    make, residual, points = CASES[case]
    terms = residual, lambda u, x: u(tf.nest.flatten(x)[0]) ** 2
    model = model_of(make("float64"), *terms, points=points)
    blocks, variables = model.blocks(), model.trainable_variables
    assert all(block.can_factor(variables) for block in blocks.values())
    jacobians = [FactoredJacobian(block, variables) for block in blocks.values()]
    rows = nk.kernel.jacobian(blocks, variables)
    assert_equal(
        {"K": nk.kernel.matrix(blocks, variables)}, {"K": rows @ tf.transpose(rows)}, "float64"
    )
    some = [0, 3]
    sizes = [int(tf.size(v)) for v in variables]
    part = tf.concat([tf.split(rows, sizes, axis=1)[i] for i in some], axis=1)
    for written, bytes_of_rows in ((-1000, 0), (10**9, 2**20), (10**9, 1)):
        monkeypatch.setattr(gram, "_WRITTEN", written)  # by factors, or by rows
        monkeypatch.setattr(gram, "_ROWS_BYTES", bytes_of_rows)  # of all inputs, or one at a time
        ours = gram.gram(jacobians, some)
        assert_equal({"K": ours}, {"K": part @ tf.transpose(part)}, "float64")


@in_graphs
def test_several_blocks_compile(staged):
    model = model_of(two_outputs("float64"), components, lambda u, x: 3 * wave(u, x))
    ours = staged(lambda: compared(both_ways(model)[0]))()
    assert_equal(ours, by_rows(both_ways(model)[1]), "float64")


@pytest.mark.parametrize("reduction", ["sum", "mean"])
def test_the_public_kernel_takes_this_way_too(reduction):
    model = model_of(two_outputs("float64"), components, reduction=reduction)
    plain = {n: dataclasses.replace(b, with_hook=None) for n, b in model.blocks().items()}
    variables = model.trainable_variables
    subset = {"term_0": tf.constant([5, 2])}
    for function, kwargs in (
        (nk.kernel.traces, {}),
        (nk.kernel.diagonal, {"subset": subset}),
        (nk.kernel.diagonal, {"chunk_size": 4}),
    ):
        ours = function(model.blocks(), variables, **kwargs)
        assert_equal(ours, function(plain, variables, **kwargs), "float64")


def test_frozen_layers_are_no_parameters(dtype):
    network = sequential(dtype)
    network.layers[1].trainable = False
    model = model_of(network, everything)
    assert len(model.trainable_variables) == 4
    ours, theirs = both_ways(model)
    assert_equal(compared(ours), by_rows(theirs), dtype)


class WithCoefficients(keras.Sequential):
    """A network with a pair of numbers of its own that no layer uses."""

    def __init__(self, layers):
        super().__init__(layers)
        self.c = self.add_weight(shape=(2,), initializer="ones", dtype="float64", name="c")


def with_coefficients():
    layers = [keras.Input((2,), dtype="float64"), Dense(5, "tanh"), Dense(2)]
    network = built(WithCoefficients, layers, "float64")

    def equation(u, x):
        c = network.c.value
        return derivatives.laplacian(u, x) * c[0] - tf.sin(c[1] * u(x))

    model = model_of(network, equation)
    assert any(v is network.c for v in model.trainable_variables)
    return model


@in_graphs
def test_coefficients_are_parameters_too(staged):
    model = with_coefficients()
    ours = staged(lambda: compared(both_ways(model)[0]))()
    assert_equal(ours, by_rows(both_ways(model)[1]), "float64")


def test_coefficients_are_left_out_where_they_are_no_parameters():
    model = with_coefficients()
    ours, theirs = both_ways(model)
    assert_equal(compared(ours), by_rows(theirs), "float64")
    blocks, variables = model.blocks(), model.trainable_variables
    rows = nk.kernel.matrix(blocks, variables, chunk_size=2)
    assert_equal({"K": nk.kernel.matrix(blocks, variables)}, {"K": rows}, "float64")
    without = [one.without("c").diagonal() for one in (ours, theirs)]
    assert_equal({"d": without[0]}, {"d": without[1]}, "float64")
    assert np.all(without[0]["term_0"] < ours.diagonal()["term_0"])


SUBSET = {"name": "diagonal", "num_points": 2}


@pytest.mark.parametrize("estimator", ["exact", SUBSET, "product", "block-predictor"], ids=str)
def test_training_is_the_same_either_way(estimator):
    histories = []
    for mode in ("auto", "tapes"):
        keras.utils.set_random_seed(3)
        chosen = nk.weighting.NTK(estimator, num_initial_probes=3, averaging_rate=0.5)
        network = sequential("float64")
        model = model_of(network, wave, periodic_value, weighting=chosen, derivatives=mode)
        fitted = model.fit(epochs=2, steps_per_epoch=2, verbose=0)
        histories.append(fitted.history | {"theta": network.get_weights()})
    ours, theirs = histories
    # A finite difference of step 1e-8 loses half the digits, wherever they come from.
    rtol = 1e-5 if estimator in ("predictor", "block-predictor", "perturbation") else 1e-9
    for name in theirs:
        for a, b in zip(ours[name], theirs[name], strict=True):
            np.testing.assert_allclose(a, b, rtol=rtol, atol=1e-9, err_msg=name)


# What cannot be factored.


class Shifted(keras.layers.Layer):
    """A layer without a rule."""

    def build(self, shape):
        self.shift = self.add_weight(shape=(shape[-1],), dtype="float64", initializer="ones")

    def call(self, x):
        return tf.sin(x + self.shift)


def custom(dtype):
    layers = [Dense(5, "tanh"), Shifted(), Dense(1)]
    return built(keras.Sequential, [keras.Input((2,), dtype=dtype), *layers], dtype)


def by_its_kernel(network):
    return lambda u, x: u(x)[:, 0] * tf.reduce_sum(network.layers[0].kernel.value ** 2)


def by_its_bias(network):
    return lambda u, x: u(x)[:, 0] + tf.reduce_sum(network.layers[0].bias.value)


def by_the_network_itself(network):
    return lambda u, x: u(x)[:, 0] - network(2 * x)[:, 0]


def at_other_points(network):
    return lambda u, x: u(x)[:, 0] - tf.reduce_mean(u(tf.ones([9, 2], "float64")))


class Scaled(keras.layers.Layer):
    """A layer with a rule, and with more parameters than take reverse passes of their own."""

    def build(self, shape):
        self.factor = self.add_weight(shape=(shape[-1],), initializer="ones", name="factor")

    def call(self, x):
        return x * self.factor


derivatives.register_layer(
    Scaled, lambda layer, inputs, hook: taylor.scale(inputs[0], layer.factor.value)
)


class Normed(Dense):
    """A kernel that is computed from the variable that is trained."""

    @property
    def kernel(self):
        return self._kernel / keras.ops.norm(self._kernel, axis=0)


def scaled(dtype):
    layers = [Dense(20, "tanh"), Scaled(), Dense(1)]
    return built(keras.Sequential, [keras.Input((2,), dtype=dtype), *layers], dtype)


def normed(dtype):
    layers = [Dense(9, "tanh"), Normed(9, "tanh"), Dense(1)]
    return built(keras.Sequential, [keras.Input((2,), dtype=dtype), *layers], dtype)


def tied(dtype):
    """Two layers of one kernel."""
    x = keras.Input((2,), dtype=dtype)
    first, second = (Dense(5, "tanh", dtype=dtype) for _ in range(2))
    network = keras.Model(x, Dense(1, dtype=dtype)(second(first(Dense(5, dtype=dtype)(x)))))
    second._tracker.unlock()
    second._kernel = first._kernel
    return network


def through_a_tape(network):
    def residual(u, x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            value = u(x)
        return tape.gradient(value, x)[:, 0]

    return residual


OBSTACLES = {
    "a layer without a rule": (custom, lambda network: wave, "Shifted"),
    "a kernel read directly": (sequential, by_its_kernel, "other ways than by products"),
    "a bias read directly": (sequential, by_its_bias, "other ways than by products"),
    "the network itself": (sequential, by_the_network_itself, "other ways than by products"),
    "other points": (sequential, at_other_points, "at 9 points for 6 rows"),
    "parameters between products": (scaled, lambda network: wave, "['factor'] in other ways"),
    "a computed kernel": (normed, lambda network: wave, "['kernel'] in other ways"),
    "a kernel of two layers": (tied, lambda network: wave, "share a parameter"),
    "a tape of one's own": (sequential, through_a_tape, "a gradient tape watches"),
}


@pytest.mark.parametrize("case", OBSTACLES.values(), ids=OBSTACLES)
def test_what_cannot_be_factored_trains_all_the_same(case):
    make, residual_of, reason = case
    network = make("float64")
    model = model_of(network, wave, residual_of(network))
    assert reason in model._residuals.not_factored["term_1"]
    assert model.blocks()["term_1"].with_hook is None
    traces = nk.kernel.traces(
        {n: dataclasses.replace(b, with_hook=None) for n, b in model.blocks().items()},
        model.trainable_variables,
    )
    model.fit(verbose=0)
    expected = {name: float(trace) for name, trace in traces.items()}
    assert model.kernel_traces == pytest.approx(expected, rel=1e-10)


def test_an_update_of_low_rank_trains():
    network = keras.Sequential([keras.Input((2,)), Dense(9, "tanh"), Dense(9, "tanh"), Dense(1)])
    network.layers[1].enable_lora(3)
    model = model_of(network, wave, points=POINTS.astype("float32"))
    assert "lora_kernel" in model._residuals.not_factored["term_0"]
    before = [v.numpy() for v in network.trainable_variables]
    model.fit(epochs=2, verbose=0)  # at first one factor is zero, and so is the other's gradient
    moved = [
        np.any(v.numpy() != b) for v, b in zip(network.trainable_variables, before, strict=True)
    ]
    assert moved == [True] * len(before[:-1]) + [False]  # all but the last bias, of a derivative


def less_the_mean(u, x):
    return u(x)[:, 0] - tf.reduce_mean(u(x)[:, 0])


def running_sum(u, x):
    """The first row is the same without the others."""
    return tf.cumsum(u(x)[:, 0])


def causal(u, x):
    """Rows weighted by the residuals before them."""
    rows = derivatives.laplacian(u, x)[:, 0]
    return tf.exp(-tf.cumsum(rows**2, exclusive=True)) * rows


def smoothed(u, x):
    """The outer rows are the same without the others, and in reversed order all are."""
    rows = u(x)[:, 0]
    inner = (rows[:-2] + rows[1:-1] + rows[2:]) / 3
    return tf.concat([rows[:1], inner, rows[-1:]], axis=0) if rows.shape[0] > 2 else rows


@pytest.mark.parametrize("residual", [less_the_mean, running_sum, causal, smoothed])
@pytest.mark.parametrize("mode", ["taylor", "tapes"])
def test_coupled_points_are_not_factored(residual, mode):
    model = model_of(sequential("float64"), residual, derivatives=mode)
    assert model._residuals.not_factored == {"term_0": "its rows depend on other points"}
    assert model.derivatives_summary().endswith("; not factored, its rows depend on other points")


def test_small_residuals_of_a_network_that_is_nearly_right_are_factored():
    """Differences of large numbers: rounding is no dependence on other points."""
    network = sequential("float32")
    points = POINTS.astype("float32")
    values = network(points).numpy() + 1e-6
    terms = [nk.Term("data", lambda u, at: u(at[0]) - at[1], (points, values))]
    model = nk.PINNModel(network, terms, seed=0)
    assert model._residuals.not_factored == {"data": None}


def test_traces_whose_squares_overflow_give_weights_all_the_same():
    def strong(u, x):
        return 1e9 * u(x)[:, 0]

    model = model_of(sequential("float32"), wave, strong, points=POINTS.astype("float32"))
    expected = {
        n: float(t) for n, t in nk.kernel.traces(model.blocks(), model.trainable_variables).items()
    }
    model.fit(verbose=0)
    assert expected["term_1"] ** 2 > float(np.finfo("float32").max)
    assert model.kernel_traces == pytest.approx(expected, rel=1e-4)


def test_a_layer_unfrozen_later_trains():
    network = scaled("float64")
    network.layers[1].trainable = False
    model = model_of(network, wave)
    assert model._residuals.not_factored == {"term_0": None}
    network.layers[1].trainable = True
    model.compile(keras.optimizers.SGD(1e-3))
    before = network.layers[1].factor.numpy()
    model.fit(verbose=0)
    assert "['factor']" in model._residuals.not_factored["term_0"]
    assert np.abs(network.layers[1].factor.numpy() - before).min() > 0


def test_traces_by_variables_that_are_not_trained_are_those_of_the_kernel():
    network = scaled("float64")
    network.layers[1].trainable = False
    blocks, variables = model_of(network, wave).blocks(), network.variables
    assert blocks["term_0"].can_factor(network.trainable_variables)
    matrix = nk.kernel.matrix(blocks, variables)
    by_factors = nk.kernel.traces(blocks, network.trainable_variables)["term_0"]
    assert float(by_factors) < 0.999 * float(tf.linalg.trace(matrix))
    assert float(nk.kernel.traces(blocks, variables)["term_0"]) == pytest.approx(
        float(tf.linalg.trace(matrix)), rel=1e-10
    )


def test_mixed_blocks_add_up():
    network = sequential("float64")
    model = model_of(network, wave, by_the_network_itself(network))
    blocks, variables = model.blocks(), model.trainable_variables
    mixed = Linearization(blocks, variables, factored=True)
    plain = {name: dataclasses.replace(b, with_hook=None) for name, b in blocks.items()}
    assert_equal(compared(mixed), by_rows(Linearization(plain, variables)), "float64")


def test_a_model_of_exact_weights_uses_it():
    model = model_of(sequential("float64"), wave, weighting=ExactNTK())
    assert model.weighting.differentiates
    assert not model_of(sequential("float64"), wave, weighting="constant").weighting.differentiates


def test_the_diagonal_takes_all_points_where_that_is_cheap_and_three_elsewhere():
    model = model_of(sequential("float64"), wave)
    factored, taped = both_ways(model)
    seed, diagonal = tf.constant([0, 1]), Diagonal()
    assert is_exact(diagonal, factored)
    assert not is_exact(diagonal, taped)
    assert not is_exact(Diagonal(3), factored)
    assert is_exact(Diagonal(len(POINTS)), taped)
    exact = Exact().estimate(taped, seed)
    assert_equal(diagonal.estimate(factored, seed)._asdict(), exact._asdict(), "float64")
    assert_equal(diagonal.traces(taped, seed), Diagonal(3).traces(taped, seed), "float64")
