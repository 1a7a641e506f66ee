"""Loss weights: the formula, Algorithms 1 and 3 step by step, and what guards them."""

import functools
import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf

import ntk_keras as nk
from ntk_keras import weighting
from ntk_keras.backend import seeds
from ntk_keras.estimators import ESTIMATORS, Predictor, probes
from ntk_keras.kernel.linearization import Linearization
from ntk_keras.weighting import NTK, Constant, ExactNTK, weights_from_traces
from tests.support import transcription
from tests.support.quadratic import (
    AVERAGING_RATE,
    HALVES,
    LEARNING_RATE,
    ROUNDING,
    SEED,
    STEP,
    THETA,
    THIRDS,
    SquaredParameters,
    indices,
    misfit,
    quadratic_model,
    trained,
)

# From traces to weights.


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("traces", [[1, 3], [5], [2, 2, 2, 2], [1e-3, 1, 1e3], [7, 1e5, 1e-5]])
def test_weights_are_the_total_trace_over_each_trace(traces, dtype):
    weights = weights_from_traces(tf.constant(traces, dtype))
    # A sum and a division.
    rounding = 4 * float(np.finfo(dtype).eps)
    np.testing.assert_allclose(weights, np.sum(traces) / np.array(traces), rtol=rounding)
    assert np.sum(1 / weights.numpy()) == pytest.approx(1, rel=rounding)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("floor", [1e-6, 1e-3, 0.25])
@pytest.mark.parametrize(
    "traces",
    [[1, 0], [0, 3, 0], [5, -2], [-1, 4, -1e6], [1, 1e-9], [1e20, 1e-20], [1e-20, -1e20]],
)
def test_a_trace_below_the_floor_is_raised_to_its_share_of_the_positive_ones(traces, floor, dtype):
    weights = weights_from_traces(tf.constant(traces, dtype), floor).numpy()
    positive = np.maximum(traces, 0)
    raised = np.maximum(positive, floor * np.sum(positive))
    assert np.all(np.isfinite(weights))
    # The floor itself passes through float32.
    np.testing.assert_allclose(weights, np.sum(raised) / raised, rtol=1e-6)
    assert np.max(weights) <= (1 / floor + len(traces)) * (1 + 1e-6)
    assert np.sum(1 / weights) == pytest.approx(1, rel=4 * float(np.finfo(dtype).eps))


@pytest.mark.parametrize("floor", [0.0, 1e-6])
@pytest.mark.parametrize("traces", [[0, 0, 0], [-1, -2, -3], [-1, 0, -1e30]])
def test_weights_are_equal_where_no_trace_is_positive(traces, floor):
    weights = weights_from_traces(tf.constant(traces, "float32"), floor)
    np.testing.assert_array_equal(weights, [3, 3, 3])


# Whole runs of training, against the transcription.


@functools.cache
def prepared_draw(num_samples, lengths, jit_compile):
    """A function from a step's seed to probes ``[num_samples, n]``, folding as the model does.

    The model folds one seed for its weighting, and from that one for each sample. XLA draws other
    numbers than TensorFlow does, so the function is compiled if the model is.
    """
    fold_in = seeds.fold_in
    like = {index: tf.zeros(length, tf.float64) for index, length in enumerate(lengths)}

    @tf.function(jit_compile=jit_compile)
    def draw(seed):
        seed = fold_in(seed, 0)

        def one(index):
            g = probes.draw("gaussian", fold_in(seed, index), like)
            return tf.concat(list(g.values()), axis=0)

        return tf.map_fn(one, tf.range(num_samples), fn_output_signature=tf.float64)

    return draw


def probes_of_step(step, num_samples, parts, jit_compile):
    lengths = tuple(len(indices(part)) for part in parts)
    return prepared_draw(num_samples, lengths, jit_compile)(tf.constant([SEED, step])).numpy()


def paper_algorithm_3(parts, blocks, num_initial_probes, num_steps, jit_compile=False):
    return transcription.algorithm_3(
        *transcription.quadratic_predictor(*transcription.quadratic_data()),
        THETA,
        blocks,
        eta=LEARNING_RATE,
        alpha=AVERAGING_RATE,
        dt=STEP,
        initial_probes=probes_of_step(0, num_initial_probes, parts, jit_compile),
        probes=[probes_of_step(step, 1, parts, jit_compile)[0] for step in range(1, num_steps)],
    )


def assert_same_steps(records, steps, tolerance):
    assert len(records) == len(steps)
    for record, step in zip(records, steps, strict=True):
        scale = np.max(np.abs(step.traces))
        np.testing.assert_allclose(record.traces, step.traces, rtol=0, atol=tolerance * scale)
        np.testing.assert_allclose(record.weights, step.weights, rtol=10 * tolerance)
        np.testing.assert_allclose(record.theta_next, step.theta_next, rtol=tolerance)


@pytest.mark.parametrize("average", ["traces", "kernel"])
@pytest.mark.parametrize(
    ("parts", "groups", "blocks"),
    [
        (HALVES, None, [indices(p) for p in HALVES]),
        (THIRDS, None, [indices(p) for p in THIRDS]),
        (THIRDS, ["D", "B", "D"], [indices(THIRDS[0], THIRDS[2]), indices(THIRDS[1])]),
    ],
    ids=["two terms", "three terms", "two terms in one group"],
)
def test_training_is_algorithm_3_step_by_step(average, parts, groups, blocks):
    chosen = NTK(
        Predictor(difference_step=STEP),
        averaging_rate=AVERAGING_RATE,
        num_initial_probes=20,
        average=average,
    )
    records = trained(quadratic_model(chosen, parts, groups), 6)
    steps = paper_algorithm_3(parts, blocks, num_initial_probes=20, num_steps=6)

    assert all(np.all(step.traces > 0) for step in steps), "the floor must stay out of this"
    assert_same_steps(records, steps, ROUNDING)
    if average == "kernel":
        for record, step in zip(records, steps, strict=True):
            np.testing.assert_allclose(record.K, step.K, rtol=0, atol=ROUNDING * np.max(step.K))


def test_training_compiled_by_xla_is_algorithm_3_step_by_step():
    chosen = NTK(Predictor(STEP), averaging_rate=AVERAGING_RATE, num_initial_probes=20)
    records = trained(quadratic_model(chosen, HALVES, jit_compile=True), 6)
    blocks = [indices(part) for part in HALVES]
    steps = paper_algorithm_3(HALVES, blocks, 20, 6, jit_compile=True)
    assert all(np.all(step.traces > 0) for step in steps), "the floor must stay out of this"
    assert_same_steps(records, steps, ROUNDING)


@pytest.mark.parametrize("update_every", [1, 3])
def test_training_with_exact_weights_is_algorithm_1_step_by_step(update_every):
    records = trained(quadratic_model(ExactNTK(update_every), THIRDS), 8)
    steps = transcription.algorithm_1(
        *transcription.quadratic_predictor(*transcription.quadratic_data()),
        THETA,
        [indices(part) for part in THIRDS],
        eta=LEARNING_RATE,
        n=update_every,
        T=8,
    )
    # No difference quotient here, only sums over at most 50 entries.
    assert_same_steps(records, steps, 1e-13)


def test_training_with_constant_weights_is_weighted_gradient_descent():
    model = quadratic_model(Constant({"a": 3.0, "b": 0.25}), HALVES)
    records = trained(model, 5)
    theta = THETA
    for record in records:
        theta = transcription.gradient_descent(
            *transcription.quadratic_predictor(*transcription.quadratic_data()),
            theta,
            [3, 0.25],
            [indices(part) for part in HALVES],
            LEARNING_RATE,
        )
        np.testing.assert_allclose(record.theta_next, theta, rtol=1e-13)
        np.testing.assert_array_equal(record.weights, [3, 0.25])
    assert model.kernel_traces == {}


def test_exact_weights_come_from_the_kernel_of_the_step():
    model = quadratic_model("exact-ntk", THIRDS, ["D", "B", "D"])
    for _ in range(3):
        traces = nk.kernel.traces(model.blocks(), model.trainable_variables)
        by_group = {"D": traces["a"] + traces["c"], "B": traces["b"]}
        total = sum(traces.values())
        trained(model, 1)
        # The same sums in another order.
        assert model.kernel_traces == pytest.approx(by_group, rel=1e-13)
        expected = {group: float(total / trace) for group, trace in by_group.items()}
        assert model.loss_weights == pytest.approx(expected, rel=1e-13)


@pytest.mark.parametrize("chosen", [NTK, ExactNTK])
def test_weights_and_traces_stay_the_same_between_updates(chosen):
    records = trained(quadratic_model(chosen(update_every=3), HALVES), 8)
    for attribute in ("traces", "weights"):
        values = [getattr(record, attribute) for record in records]
        changed = [bool(np.any(a != b)) for a, b in itertools.pairwise(values)]
        assert changed == [False, False, True, False, False, True, False]


# The moving average by itself.


def prepared(chosen, num_entries=5, dtype="float64"):
    """A weighting for one term, and that term's linearization."""
    variable = tf.Variable(np.linspace(0.5, 1, num_entries), dtype=dtype)
    chosen.prepare({"only": "only"}, dtype, {"only": num_entries})
    return chosen, nk.Linearization({"only": lambda: variable**3 - 1}, [variable])


def updated(chosen, linearization, num_steps):
    """The trace after each update."""
    traces = []
    for step in range(num_steps):
        chosen.update(linearization, tf.constant([SEED, step]))
        traces.append(float(chosen.traces[0]))
    return traces


class Scripted:
    """An estimator whose i-th sample in a step is the i-th of these values."""

    def __init__(self, *values):
        self.values = tf.constant(values, tf.float64)

    def traces(self, linearization, seed):
        return {name: self.values[seed[1]] for name in linearization.residuals}


def test_an_averaging_rate_of_one_keeps_no_memory():
    estimator = Predictor(STEP)
    chosen, linearization = prepared(NTK(estimator, averaging_rate=1.0, num_initial_probes=1))
    fold_in = seeds.fold_in
    samples = [
        estimator.traces(linearization, fold_in(tf.constant([SEED, step]), 0))["only"]
        for step in range(4)
    ]
    assert updated(chosen, linearization, 4) == [float(sample) for sample in samples]
    assert len(set(map(float, samples))) == 4


def test_the_first_average_is_a_mean_and_the_later_ones_move_towards_single_samples():
    estimator = Scripted(2.0, 4.0, 9.0)
    chosen, linearization = prepared(NTK(estimator, averaging_rate=0.25, num_initial_probes=3))
    # The mean of all three; then three quarters of the last average and a quarter of 2.
    assert updated(chosen, linearization, 3) == [5.0, 4.25, 3.6875]


NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("values", "traces", "num_rejected"),
    [
        ((2.0, NAN, 4.0, INF), [3.0, 2.5], 2),
        ((NAN, 2.0, -INF, 4.0), [3.0, 3.0], 3),
        ((2.0, 2.0, 2.0, 2.0), [2.0, 2.0], 0),
    ],
)
def test_samples_that_are_not_finite_are_left_out_and_counted(values, traces, num_rejected):
    chosen, linearization = prepared(
        NTK(Scripted(*values), averaging_rate=0.5, num_initial_probes=4)
    )
    assert updated(chosen, linearization, 2) == traces
    assert int(chosen.num_rejected) == num_rejected


@pytest.mark.parametrize(("clip", "mean"), [(False, -1 / 3), (True, 1.0)])
def test_clipped_samples_are_never_negative_and_their_mean_is_too_large(clip, mean):
    estimator = Scripted(-4.0, 2.0, 1.0)
    chosen, linearization = prepared(NTK(estimator, num_initial_probes=3, clip=clip))
    assert updated(chosen, linearization, 1) == pytest.approx([mean], rel=1e-15)


def test_clipping_a_kernel_leaves_its_entries_off_the_diagonal():
    class Estimator(Scripted):
        def kernel(self, linearization, seed):
            return tf.constant([[-1.0, -2.0], [-2.0, 3.0]], tf.float64)

    weighting = NTK(Estimator(), num_initial_probes=1, average="kernel", clip=True)
    chosen, linearization = prepared(weighting, num_entries=2)
    updated(chosen, linearization, 1)
    np.testing.assert_array_equal(chosen.kernel, [[0, -2], [-2, 3]])
    assert chosen.traces.numpy().tolist() == [3]


def test_a_residual_that_is_not_finite_moves_neither_traces_nor_weights():
    variable, broken = tf.Variable([1.0, 2.0]), tf.Variable(0.0)
    chosen = NTK("block-predictor", averaging_rate=0.5)
    chosen.prepare({"a": "a", "b": "b"}, "float32", {"a": 2, "b": 2})

    def update(step):
        blocks = {"a": lambda: variable**2, "b": lambda: variable / (1 - broken)}
        chosen.update(nk.Linearization(blocks, [variable]), tf.constant([SEED, step]))
        return chosen.traces.numpy().tolist(), chosen.loss_weights.numpy().tolist()

    before = update(0)
    broken.assign(1.0)
    assert update(1) == before
    assert int(chosen.num_rejected) == 1
    broken.assign(0.0)
    assert update(2) != before
    assert int(chosen.num_rejected) == 1


def test_a_negative_average_leaves_the_weights_finite():
    chosen = NTK(Scripted(-1.0), num_initial_probes=1, trace_floor=1e-3)
    chosen, linearization = prepared(chosen)
    assert updated(chosen, linearization, 1) == [-1.0]
    np.testing.assert_array_equal(chosen.loss_weights, [1.0])


# What belongs to whom.


def test_terms_of_one_group_share_the_sum_of_their_traces():
    model = quadratic_model("exact-ntk", THIRDS, ["D", "B", "D"])
    apart = quadratic_model("exact-ntk", THIRDS)
    trained(model, 1)
    trained(apart, 1)
    a, b, c = apart.kernel_traces.values()
    assert model.kernel_traces == pytest.approx({"D": a + c, "B": b}, rel=1e-14)
    weights = {
        name: float(model.weighting.weight_of(name, block()))
        for name, block in model.blocks().items()
    }
    D, B = model.loss_weights.values()
    assert weights == {"a": D, "b": B, "c": D}


def test_the_average_of_the_kernel_requires_fixed_points():
    sampler = nk.domains.Box(x=(-1, 1)).interior(5)
    x, y = transcription.quadratic_data()
    terms = [
        nk.Term("fixed", misfit, (x, y)),
        nk.Term("drawn", lambda u, x: u(x[:, 0])[:, 0], sampler),
    ]
    network = SquaredParameters(dtype="float64")
    with pytest.raises(ValueError, match=r"\['drawn'\] are redrawn.*sampler\.fixed"):
        nk.PINNModel(network, terms, NTK("predictor", average="kernel"))


def test_one_weighting_cannot_serve_two_models():
    chosen = NTK()
    quadratic_model(chosen, HALVES)
    with pytest.raises(ValueError, match="cannot serve two"):
        quadratic_model(chosen, HALVES)


# Which variables the kernel includes.


def with_a_coefficient(chosen):
    """u'' + c u on one group and u on another, c a variable of the network's."""

    class Network(keras.Model):
        def __init__(self):
            super().__init__(dtype="float64")
            self.c = self.add_weight(initializer="ones", name="coefficient", dtype="float64")
            initializer = keras.initializers.GlorotNormal(seed=3)
            self.hidden = keras.layers.Dense(
                5, "tanh", kernel_initializer=initializer, dtype="float64"
            )
            self.outer = keras.layers.Dense(1, kernel_initializer=initializer, dtype="float64")

        def call(self, points):
            return self.outer(self.hidden(points))

    network, points = Network(), np.linspace(0.1, 1, 8)[:, np.newaxis]
    terms = [
        nk.Term(
            "equation",
            lambda u, x: nk.derivatives.laplacian(u, x)[:, 0] + network.c * u(x)[:, 0],
            points,
        ),
        nk.Term("value", lambda u, x: u(x)[:, 0] - 1, points[:3]),
    ]
    model = nk.PINNModel(network, terms, chosen, seed=SEED)
    model.compile(keras.optimizers.SGD(0.0), jit_compile=False)
    return model, network


@pytest.fixture(scope="module")
def exact_traces():
    """The exact traces with the coefficient and without it."""
    model, network = with_a_coefficient("constant")
    variables = model.trainable_variables
    others = [variable for variable in variables if variable is not network.c]
    assert [len(variables), len(others)] == [5, 4]
    exact = [nk.kernel.traces(model.blocks(), chosen) for chosen in (variables, others)]
    return [{name: float(trace) for name, trace in traces.items()} for traces in exact]


def test_a_coefficient_adds_to_the_exact_trace_of_its_term_alone(exact_traces):
    # What it adds, sum_i u(x_i)^2, is far beyond the errors that the next test allows.
    inside, outside = exact_traces
    assert inside["equation"] > 1.05 * outside["equation"]
    assert inside["value"] == pytest.approx(outside["value"], rel=1e-12)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_a_coefficient_may_be_left_out_of_the_kernel(estimator, exact_traces):
    chosen = NTK(estimator, num_initial_probes=400, exclude_variables="coefficient")
    model, _ = with_a_coefficient(chosen)
    trained(model, 1)
    for name, trace in model.kernel_traces.items():
        tolerance = max(1e-9 * trace, 5 * model.trace_standard_errors[name])
        assert trace == pytest.approx(exact_traces[1][name], abs=tolerance)


@pytest.mark.parametrize(
    ("names", "trouble"),
    [
        ("speed", r"\['speed'\] are not variables.*coefficient"),
        (["coefficient", "kernel", "bias"], "no variable would be left"),
    ],
)
def test_variables_that_cannot_be_left_out_are_refused(names, trouble):
    model, _ = with_a_coefficient(NTK(exclude_variables=names))
    with pytest.raises(ValueError, match=trouble):
        model.fit(verbose=0)


# Arguments and names.


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"averaging_rate": 0}, "averaging_rate must lie in"),
        ({"averaging_rate": -0.5}, "averaging_rate must lie in"),
        ({"averaging_rate": 1.5}, "averaging_rate=1.5"),
        ({"averaging_rate": NAN}, "averaging_rate=nan"),
        ({"num_initial_probes": 0}, "num_initial_probes must be an integer of at least 1"),
        ({"num_initial_probes": 2.5}, "num_initial_probes .* Received 2.5"),
        ({"update_every": 0}, "update_every must be an integer of at least 1"),
        ({"trace_floor": -1e-3}, "trace_floor must lie in"),
        ({"trace_floor": 0.0}, "trace_floor=0.0"),
        ({"trace_floor": 1.0}, "trace_floor=1.0"),
        ({"average": "matrix"}, "average must be .* Received average='matrix'"),
        ({"estimator": "foo"}, "Unknown estimator 'foo'. Known names: .*'predictor'"),
    ],
)
@pytest.mark.parametrize("chosen", [NTK, ExactNTK])
def test_an_argument_out_of_range_is_named_with_its_value(chosen, arguments, message):
    with pytest.raises(ValueError, match=message):
        chosen(**arguments)


@pytest.mark.parametrize("weight", [-1.0, NAN, INF])
def test_a_constant_weight_must_be_finite_and_not_negative(weight):
    with pytest.raises(ValueError, match=f"Received {weight} for group 'a'"):
        Constant({"a": weight})


def test_constant_weights_name_groups_that_exist():
    with pytest.raises(ValueError, match=r"no term belongs to: \['c'\].*\['a', 'b'\]"):
        quadratic_model(Constant({"a": 1.0, "c": 2.0}), HALVES)


def test_a_group_without_a_constant_weight_has_weight_one():
    assert quadratic_model("constant", HALVES).loss_weights == {"a": 1.0, "b": 1.0}
    given = quadratic_model(Constant({"b": 4.0}), HALVES)
    assert given.loss_weights == {"a": 1.0, "b": 4.0}


@pytest.mark.parametrize(
    ("name", "expected"), [("ntk", NTK), ("exact-ntk", ExactNTK), ("constant", Constant)]
)
def test_a_name_gives_a_new_weighting_of_its_kind(name, expected):
    first, second = weighting.get(name), weighting.get(name)
    assert type(first) is type(second) is expected
    assert first is not second


def test_a_weighting_object_is_taken_as_it_is():
    chosen = NTK()
    assert weighting.get(chosen) is chosen


def test_anything_else_is_no_weighting():
    with pytest.raises(ValueError, match="Unknown weighting 'softmax'. Known names: .*'ntk'"):
        weighting.get("softmax")
    with pytest.raises(TypeError, match="Received 3.0 of type float"):
        weighting.get(3.0)


@pytest.mark.parametrize("chosen", [NTK, ExactNTK])
def test_a_configuration_gives_the_same_weighting(chosen):
    arguments = {"averaging_rate": 0.5, "num_initial_probes": 3, "update_every": 4}
    arguments |= {"estimator": "product"}
    config = chosen(**arguments, trace_floor=1e-4, average="kernel").get_config()
    assert chosen.from_config(config).get_config() == config
    assert config | arguments == config


# Algorithm 3 follows the exact weights.


def wave_terms():
    """The wave equation of Section 5.2.2 at a few fixed points."""
    rng = np.random.default_rng(0)
    equation, velocity, initial, boundary = (rng.uniform(size=(n, 2)) for n in (20, 15, 10, 10))
    velocity[:, 0] = initial[:, 0] = 0
    boundary[:, 1] = np.arange(10) % 2

    def wave_equation(u, points):
        second = nk.derivatives.hessian_diagonal(u, points)[:, 0]
        return second[:, 0] - 4 * second[:, 1]

    def initial_velocity(u, points):
        return nk.derivatives.gradient(u, points)[:, 0, 0]

    def initial_value(u, points):
        x = np.pi * points[:, 1]
        return u(points)[:, 0] - tf.sin(x) - tf.sin(4 * x) / 2

    def boundary_value(u, points):
        return u(points)[:, 0]

    return [
        nk.Term("equation", wave_equation, equation),
        nk.Term("velocity", initial_velocity, velocity),
        nk.Term("initial", initial_value, initial, group="values"),
        nk.Term("boundary", boundary_value, boundary, group="values"),
    ]


class WeightsBesideExactOnes(keras.callbacks.Callback):
    """Every ``interval`` steps, the logarithms of the weights and of those of the exact kernel.

    Both belong to the same parameters: the weights are those of the next step, read after it, and
    the kernel is computed before it.
    """

    def __init__(self, interval):
        super().__init__()
        self.interval = interval
        self.weights, self.exact = [], []

    def on_train_begin(self, logs=None):
        model = self.model

        @tf.function
        def traces():
            by_term = nk.kernel.traces(model.blocks(), model.trainable_variables)
            return model.weighting.pool(by_term)

        self.traces = traces

    def on_train_batch_begin(self, batch, logs=None):
        if batch % self.interval == 0:
            traces = self.traces().numpy()
            self.exact.append(np.log(np.sum(traces) / traces))

    def on_train_batch_end(self, batch, logs=None):
        if batch % self.interval == 0:
            self.weights.append(np.log(list(self.model.loss_weights.values())))


def median_distance(logarithms, others):
    return np.median(np.abs(np.array(logarithms) - np.array(others)))


def test_the_moving_average_follows_the_exact_weights():
    keras.utils.set_random_seed(1)
    dense = [keras.layers.Dense(20, "tanh"), keras.layers.Dense(20, "tanh"), keras.layers.Dense(1)]
    model = nk.PINNModel(
        keras.Sequential([keras.Input((2,)), *dense]),
        wave_terms(),
        NTK("predictor", averaging_rate=0.02, num_initial_probes=400),
        seed=SEED,
    )
    model.compile(keras.optimizers.Adam(1e-3), jit_compile=False)
    both = WeightsBesideExactOnes(interval=20)
    model.fit(steps_per_epoch=400, callbacks=[both], verbose=0)
    # A sample of a trace has a relative standard deviation of about 2, the average of the last
    # 2 / 0.02 of them 0.2, whose median is 0.13; the weights themselves move by 0.1 in 50 steps.
    assert median_distance(both.weights, both.exact) < 0.2
    # So near, no other choice comes: neither the first weights kept, nor equal ones.
    late = slice(-5, None)
    assert median_distance(both.weights[late], both.exact[late]) < 0.2
    assert median_distance(both.exact[0], both.exact[late]) > 0.3
    assert median_distance(np.log(3), both.exact[late]) > 0.3


@pytest.mark.parametrize("estimator", [None, Predictor, 3])
def test_an_estimator_is_a_name_or_an_object(estimator):
    with pytest.raises(
        TypeError, match="An estimator must be a name, .* object of ntk_keras.estimators.Estimator"
    ):
        NTK(estimator)


def test_the_averaging_rate_suits_the_estimator():
    assert NTK().averaging_rate == NTK("exact").averaging_rate == 1e-2
    assert NTK("predictor").averaging_rate == NTK(Predictor()).averaging_rate == 1e-3
    assert NTK("predictor", averaging_rate=0.5).averaging_rate == 0.5
    assert ExactNTK().averaging_rate == 1


class Counting:
    """An estimator that counts its samples."""

    def __init__(self, exact):
        self.exact, self.count = exact, tf.Variable(0)

    def traces(self, linearization, seed):
        self.count.assign_add(1)
        return {name: tf.reduce_sum(r**2) for name, r in linearization.residuals.items()}

    def is_exact(self, linearization):
        return self.exact


@pytest.mark.parametrize("exact", [True, False])
def test_of_an_exact_estimator_one_sample_is_taken(exact):
    chosen, linearization = prepared(NTK(Counting(exact), num_initial_probes=5, num_probes=3))
    updated(chosen, linearization, 2)
    assert int(chosen.estimator.count) == (2 if exact else 5 + 3)


# Several samples, updates between pauses, and the standard error of the average.


def linear_blocks():
    """R = A theta in two blocks, whose kernel A A^T never changes."""
    theta = tf.Variable([1.0, -1.0, 0.5], dtype="float64")
    A = np.random.default_rng(0).normal(size=(9, 3))
    parts = {"a": A[:6], "b": A[6:]}
    blocks = {name: lambda part=part: tf.linalg.matvec(part, theta) for name, part in parts.items()}
    return blocks, [theta], {name: part @ part.T for name, part in parts.items()}


def updates(chosen, num_steps):
    """Traces and standard errors ``[num_steps, 2]`` of a weighting at fixed parameters."""
    blocks, variables, _ = linear_blocks()
    chosen.prepare({"a": "a", "b": "b"}, "float64", {"a": 6, "b": 3})

    @tf.function(autograph=False)
    def all_steps():
        def step(index, rows):
            seed = seeds.fold_in(tf.constant([3, 0]), index)
            chosen.update(Linearization(blocks, variables), seed)
            row = tf.stack([chosen.traces, chosen.standard_errors])
            return index + 1, rows.write(index, row)

        rows = tf.TensorArray("float64", num_steps)
        return tf.while_loop(lambda index, _: index < num_steps, step, (0, rows))[1].stack()

    return np.moveaxis(all_steps().numpy(), 1, 0)


@pytest.mark.parametrize("num_probes", [1, 4])
@pytest.mark.parametrize("update_every", [1, 3])
def test_the_standard_error_is_the_spread_of_the_average(num_probes, update_every):
    rate = 0.25
    chosen = NTK("reverse", averaging_rate=rate, num_probes=num_probes, update_every=update_every)
    traces, errors = (
        values[200 * update_every :: update_every]
        for values in updates(chosen, 4000 * update_every)
    )
    kernels = linear_blocks()[2].values()
    sample = np.array([2 * (np.sum(K**2) - np.sum(np.diag(K) ** 2)) for K in kernels])
    alpha = 1 - (1 - rate) ** update_every  # of an update
    expected = sample / num_probes * alpha / (2 - alpha)
    # Some 500 independent values, each with a spread of twice its mean at most.
    np.testing.assert_allclose(np.mean(errors**2, axis=0), expected, rtol=0.2)
    np.testing.assert_allclose(np.var(traces, axis=0), expected, rtol=0.2)


def test_the_first_standard_error_is_that_of_the_initial_samples():
    traces, errors = updates(NTK("reverse", num_initial_probes=2000), 1)
    kernels = list(linear_blocks()[2].values())
    sample = np.array([2 * (np.sum(K**2) - np.sum(np.diag(K) ** 2)) for K in kernels])
    np.testing.assert_allclose(errors[0] ** 2, sample / 2000, rtol=0.2)
    deviation = (traces[0] - [np.trace(K) for K in kernels]) / errors[0]
    assert np.max(np.abs(deviation)) < 5


def test_an_exact_estimator_has_no_standard_error_at_rest():
    _, errors = updates(ExactNTK(), 3)
    np.testing.assert_allclose(errors, 0, atol=1e-12)


@pytest.mark.parametrize("name", ["reverse", "diagonal", "perturbation"])
def test_a_kernel_is_averaged_by_estimators_of_kernels_only(name):
    with pytest.raises(ValueError, match=r"one of \['predictor', .*'exact'\].*traces only"):
        NTK(name, average="kernel")
