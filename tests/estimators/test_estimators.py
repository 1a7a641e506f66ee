"""The estimators of kernel traces: first without noise, then against the theory of their noise."""

import functools
import itertools
from typing import NamedTuple

import keras
import numpy as np
import pytest
import scipy.linalg
import tensorflow as tf

from ntk_keras import derivatives, estimators, kernel
from ntk_keras.backend import seeds
from ntk_keras.estimators import (
    BlockPredictor,
    Diagonal,
    Exact,
    Perturbation,
    Predictor,
    Product,
    Reverse,
    probes,
)
from ntk_keras.kernel.block import Block
from ntk_keras.kernel.linearization import Linearization
from tests.support import transcription

SEEDS = [1, 2, 3]
THETA = [0.47, 0.52, 0.41]
MODES = {
    "eager": lambda function: function,
    "graph": functools.partial(tf.function, autograph=False),
    "xla": functools.partial(tf.function, autograph=False, jit_compile=True),
}
# Steps and rates are powers of two, which a conversion through float32 leaves as they are.
STEP = 2.0**-10
# Rounding of difference quotients: residuals of size 10 are right to 1e-15, the step divides that
# by 1e-3, the entries compared with are of size one, and traces are sums of twenty of either sign.
QUOTIENT_ROUNDING = 1e-11


class Problem(NamedTuple):
    """Residual blocks and the parameters they depend on."""

    blocks: dict[str, Block]
    variables: list


def quadratic(dtype="float64", sizes=(20, 18, 12)):
    """The quadratic predictor of Section 5.2.1 with a bare variable, its points cut into blocks."""
    x, y = transcription.quadratic_data(sum(sizes))
    theta = tf.Variable(THETA, dtype=dtype)
    points = [tf.split(tf.constant(part, dtype), sizes) for part in (x, y)]

    def residual(points):
        x, y = points
        return tf.linalg.matvec(tf.stack([x**0, x, x**2], axis=1), theta**2) - y

    return Problem(
        {name: Block(residual, pair) for name, *pair in zip("abcd", *points, strict=False)},
        [theta],
    )


def wave(dtype="float64", counts=(12, 8, 6, 4), width=20):
    """A wave equation with c = 2 on a small Keras network."""
    network = tanh_network(dtype, width)
    rng = np.random.default_rng(0)
    equation, velocity, initial, boundary = (rng.uniform(size=(n, 2)) for n in counts)
    velocity[:, 0] = initial[:, 0] = 0
    boundary[:, 1] = np.arange(len(boundary)) % 2

    def wave_equation(points):
        second = derivatives.hessian_diagonal(network, points)[:, 0]
        return second[:, 0] - 4 * second[:, 1]

    def initial_velocity(points):
        return derivatives.gradient(network, points)[:, 0, 0]

    def initial_value(points):
        x = np.pi * points[:, 1]
        return network(points)[:, 0] - tf.sin(x) - tf.sin(4 * x) / 2

    def boundary_value(points):
        return network(points)[:, 0]

    blocks = {
        "equation": Block(wave_equation, tf.constant(equation, dtype)),
        "velocity": Block(initial_velocity, tf.constant(velocity, dtype)),
        "initial": Block(initial_value, tf.constant(initial, dtype)),
        "boundary": Block(boundary_value, tf.constant(boundary, dtype), scale=0.5),
    }
    return Problem(blocks, network.trainable_variables)


def system(dtype="float64", counts=(9, 5), width=16):
    """Two equations for two functions, u' = v and v' = -u, and their values at other points."""
    network = tanh_network(dtype, width, outputs=2)
    rng = np.random.default_rng(1)
    equations, values = (tf.constant(rng.uniform(size=(n, 2)), dtype) for n in counts)

    def oscillator(points):
        u_t, v_t = tf.unstack(derivatives.gradient(network, points)[..., 0], axis=1)
        u, v = tf.unstack(network(points), axis=1)
        return tf.stack([u_t - v, v_t + u], axis=1)

    def misfit(points):
        return network(points)[:, 0] - tf.cos(points[:, 0])

    blocks = {"equations": Block(oscillator, equations), "values": Block(misfit, values, scale=2.0)}
    return Problem(blocks, network.trainable_variables)


def tanh_network(dtype, width, outputs=1):
    """Two hidden layers; drawn in NumPy, so that it is the same network in every dtype."""
    network = keras.Sequential(
        [
            keras.Input((2,), dtype=dtype),
            keras.layers.Dense(width, "tanh", dtype=dtype),
            keras.layers.Dense(width, "tanh", dtype=dtype),
            keras.layers.Dense(outputs, dtype=dtype),
        ]
    )
    rng = np.random.default_rng(0)
    for layer in network.layers:
        fan_in, fan_out = layer.kernel.shape
        layer.kernel.assign(rng.normal(0, np.sqrt(2 / (fan_in + fan_out)), (fan_in, fan_out)))
    return network


PROBLEMS = {"quadratic": quadratic, "wave": wave, "system": system}
problems = pytest.mark.parametrize("problem", PROBLEMS.values(), ids=PROBLEMS)
modes = pytest.mark.parametrize("mode", MODES.values(), ids=MODES)


def linearize(problem):
    return Linearization(problem.blocks, problem.variables)


def drawing(estimator, problem):
    """Traces by seed, from one graph: eagerly each call would find its gradients anew."""

    @functools.partial(tf.function, autograph=False)
    def draw(seed):
        return estimator.traces(linearize(problem), seed)

    return draw


def stacked(by_block):
    return np.concatenate([np.array(value) for value in by_block.values()])


def sizes(problem):
    return [len(block()) for block in problem.blocks.values()]


def indices(problem):
    """The indices of every block within the stacked residual."""
    return np.split(np.arange(sum(sizes(problem))), np.cumsum(sizes(problem))[:-1])


def diagonal_by_point(problem):
    """Sums of the kernel's diagonal over the components of every point, by block."""
    diagonal = np.split(np.diag(paper_kernel(problem)), np.cumsum(sizes(problem))[:-1])
    return {
        name: entries.reshape(len(tf.nest.flatten(block.points)[0]), -1).sum(axis=1)
        for (name, block), entries in zip(problem.blocks.items(), diagonal, strict=True)
    }


# 1. Without noise: the same probes give what the paper's listing gives.


# The gradients of the networks, which are the same in every test.
GRADIENTS = {}


def paper_functions(problem):
    """theta, R and grad_R of a problem: NumPy outside, TensorFlow's own Jacobian inside."""
    if len(problem.variables) == 1:
        return problem.variables[0].numpy(), *transcription.quadratic_predictor(
            *transcription.quadratic_data(sum(sizes(problem)))
        )
    shapes = [tuple(v.shape) for v in problem.variables]
    ends = np.cumsum([np.prod(shape, dtype=int) for shape in shapes])

    def residual(theta):
        for v, part, shape in zip(
            problem.variables, np.split(theta, ends[:-1]), shapes, strict=True
        ):
            v.assign(part.reshape(shape))
        blocks = problem.blocks.values()
        parts = [b.scale * tf.reshape(b.residual(b.points), [-1]) for b in blocks]
        return tf.concat(parts, axis=0)

    def gradient(theta):
        key = (tuple(problem.blocks), theta.dtype, theta.tobytes())
        if key not in GRADIENTS:
            GRADIENTS[key] = computed(theta)
        return GRADIENTS[key]

    def computed(theta):
        with tf.GradientTape(persistent=True) as tape:
            value = residual(theta)
        # One reverse pass a row: slow to run, but nothing to compile.
        rows = tape.jacobian(
            value,
            [v.value for v in problem.variables],
            unconnected_gradients=tf.UnconnectedGradients.ZERO,
            experimental_use_pfor=False,
        )
        return np.concatenate([np.reshape(part, (len(value), -1)) for part in rows], axis=1).T

    theta = np.concatenate([np.ravel(v.numpy()) for v in problem.variables])
    return theta, lambda theta: residual(theta).numpy(), gradient


def paper_kernel(problem):
    """K = grad_R^T grad_R."""
    theta, _, grad_R = paper_functions(problem)
    return grad_R(theta).T @ grad_R(theta)


def assert_equal_to_rounding(actual, desired, tolerance=QUOTIENT_ROUNDING, scale=None):
    """Equal up to ``tolerance`` times the largest entry of ``desired``, or of ``scale``."""
    largest = np.max(np.abs(desired if scale is None else scale))
    np.testing.assert_allclose(actual, desired, rtol=0, atol=tolerance * largest)


@problems
@pytest.mark.parametrize("probe", ["gaussian", "rademacher"])
@pytest.mark.parametrize("seed", SEEDS)
def test_predictor_is_algorithm_2(problem, probe, seed):
    problem, seed = problem(), tf.constant([seed, 0])
    estimator = Predictor(difference_step=STEP, probe=probe)
    linearization = linearize(problem)
    g = probes.draw(probe, seed, linearization.residuals)
    product = estimator.product(linearization, g)
    sketch = estimator.kernel(linearization, seed)
    traces = estimator.traces(linearization, seed)

    theta, R, grad_R = paper_functions(problem)
    quotient = transcription.difference_quotient(R, grad_R, theta, stacked(g), STEP)
    K = transcription.algorithm_2(R, grad_R, theta, stacked(g), STEP)

    assert_equal_to_rounding(stacked(product), quotient)
    assert_equal_to_rounding(sketch, K)
    assert list(traces) == list(problem.blocks)
    expected = transcription.block_traces(K, indices(problem))
    assert_equal_to_rounding(list(traces.values()), expected, scale=K)


@problems
def test_block_predictor_is_algorithm_2_on_each_block_by_itself(problem):
    problem, seed = problem(), tf.constant([1, 0])
    linearization = linearize(problem)
    g = probes.draw("gaussian", seed, linearization.residuals)
    traces = BlockPredictor(STEP).traces(linearization, seed)

    theta, R, grad_R = paper_functions(problem)
    for name, block in zip(problem.blocks, indices(problem), strict=True):
        K = transcription.algorithm_2(
            lambda theta, block=block: R(theta)[block],
            lambda theta, block=block: grad_R(theta)[:, block],
            theta,
            g[name].numpy(),
            STEP,
        )
        assert_equal_to_rounding(traces[name], np.trace(K), scale=K)


def test_exact_estimator_is_the_kernel_of_the_paper():
    problem = quadratic()
    linearization, seed = linearize(problem), tf.constant([0, 0])
    traces = Exact(chunk_size=7).traces(linearization, seed)
    matrix = Exact().kernel(linearization, seed)
    K = paper_kernel(problem)

    # The same float64 sums of three products in another order.
    assert_equal_to_rounding(matrix, K, 1e-14)
    expected = transcription.block_traces(K, indices(problem))
    assert_equal_to_rounding(list(traces.values()), expected, 1e-14)


@problems
def test_block_traces_add_up_to_the_trace_of_the_sketch(problem):
    linearization, seed = linearize(problem()), tf.constant([7, 7])
    traces = Predictor(STEP).traces(linearization, seed)
    K = Predictor(STEP).kernel(linearization, seed)
    # The same numbers summed in another order.
    assert_equal_to_rounding(tf.add_n(list(traces.values())), tf.linalg.trace(K), 1e-14, scale=K)


def jacobian_of(problem):
    """J ``[n, p]``, TensorFlow's own."""
    theta, _, grad_R = paper_functions(problem)
    return grad_R(theta).T


@problems
def test_exact_products_are_the_kernel_times_the_probe(problem):
    problem, seed = problem(), tf.constant([1, 0])
    linearization, K = linearize(problem), paper_kernel(problem)
    g = probes.draw("gaussian", seed, linearization.residuals)
    assert_equal_to_rounding(stacked(Product().product(linearization, g)), K @ stacked(g), 1e-12)
    traces = list(Product().traces(linearization, seed).values())
    outer = np.outer(K @ stacked(g), stacked(g))
    expected = transcription.block_traces(outer, indices(problem))
    assert_equal_to_rounding(traces, expected, 1e-12, scale=outer)


@problems
@pytest.mark.parametrize("probe", ["gaussian", "rademacher"])
def test_reverse_is_the_squared_norm_of_pulled_back_probes(problem, probe):
    problem, seed = problem(), tf.constant([1, 0])
    linearization, J = linearize(problem), jacobian_of(problem)
    g = stacked(probes.draw(probe, seed, linearization.residuals))
    traces = Reverse(probe).traces(linearization, seed)
    expected = [np.sum((J[block].T @ g[block]) ** 2) for block in indices(problem)]
    assert_equal_to_rounding(list(traces.values()), expected, 1e-12)


@problems
def test_perturbation_is_equation_14(problem):
    problem, seed = problem(), tf.constant([1, 0])
    traces = Perturbation(STEP).traces(linearize(problem), seed)
    theta, R, _ = paper_functions(problem)
    shapes = [tuple(v.shape) for v in problem.variables]
    g = [
        np.ravel(probes.gaussian(seeds.fold_in(seed, index), shape, tf.float64))
        for index, shape in enumerate(shapes)
    ]
    moved = (R(theta + STEP * np.concatenate(g)) - R(theta)) / STEP
    expected = [np.sum(moved[block] ** 2) for block in indices(problem)]
    assert_equal_to_rounding(list(traces.values()), expected)


@problems
def test_error_of_the_perturbation_is_of_first_order(problem):
    linearization, seed = linearize(problem()), tf.constant([2, 0])
    steps = 2.0 ** -np.arange(14, 24, 3)
    by_step = [
        np.array(list(Perturbation(step).traces(linearization, seed).values())) for step in steps
    ]
    finest = np.array(list(Perturbation(2.0**-26).traces(linearization, seed).values()))
    errors = [np.linalg.norm(traces - finest) for traces in by_step]
    assert slope(steps, errors) == pytest.approx(1, abs=0.1)


@problems
def test_diagonal_of_all_points_is_exact(problem):
    problem, seed = problem(), tf.constant([1, 0])
    counts = {name: len(points) for name, points in diagonal_by_point(problem).items()}
    traces = Diagonal(counts).traces(linearize(problem), seed)
    expected = transcription.block_traces(paper_kernel(problem), indices(problem))
    assert_equal_to_rounding(list(traces.values()), expected, 1e-13)


@problems
def test_diagonal_scales_the_entries_of_different_points(problem):
    problem = problem()
    draw, by_point = drawing(Diagonal(3), problem), diagonal_by_point(problem)
    for seed in SEEDS:
        for name, trace in draw(tf.constant([seed, 0])).items():
            triples = itertools.combinations(by_point[name], 3)
            possible = np.array([sum(triple) for triple in triples]) * len(by_point[name]) / 3
            assert np.min(np.abs(possible / trace - 1)) < 1e-12


def test_diagonal_takes_all_components_of_a_point():
    points = tf.constant([1.0, 2.0, 3.0, 4.0], "float64")
    theta = tf.Variable([1.0, 2.0], dtype="float64")
    block = Block(lambda x: tf.stack([theta[0] * x, 3 * theta[1] * x], axis=1), points)
    draw = drawing(Diagonal(1), Problem({"pair": block}, [theta]))
    drawn = {float(draw(tf.constant([seed, 0]))["pair"]) for seed in range(40)}
    assert drawn == {4 * 10 * float(x) ** 2 for x in points}  # 4 points, x^2 + (3 x)^2 each


def test_diagonal_takes_entries_of_a_block_without_points():
    theta = tf.Variable([1.0, 2.0, 3.0], dtype="float64")
    draw = drawing(Diagonal(1), Problem({"bare": lambda: theta**2}, [theta]))
    drawn = {float(draw(tf.constant([seed, 0]))["bare"]) for seed in range(40)}
    assert drawn == {12.0, 48.0, 108.0}  # 3 (2 theta)^2


def test_more_points_than_there_are_cannot_be_drawn():
    linearization = linearize(quadratic())
    with pytest.raises(ValueError, match="Term 'c' has 12 points, of which 15"):
        Diagonal(15).traces(linearization, tf.constant([0, 0]))
    with pytest.raises(ValueError, match="num_points must be an integer of at least 1"):
        Diagonal({"a": 0})


# 2. The random weights of the predictor.


def awkward_residuals(dtype):
    """Zeros, denormals, the smallest and largest numbers, and ordinary ones."""
    tiny = np.finfo(dtype).tiny
    small = [0.0, -0.0, tiny / 1024, -tiny / 3, tiny, -15 * tiny, 17 * tiny, -100 * tiny]
    return np.array([*small, 3e-20, -1e-3, 1.0, -7e10, 0.01 / tiny], dtype)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
# A Gaussian probe beyond 60 standard deviations has probability 1e-784.
@pytest.mark.parametrize("probe", [1.0, -1.0, 0.0, 0.25, 6.0, -60.0])
def test_predictor_weights_turn_every_residual_into_minus_the_probe_or_zero(dtype, probe):
    R = awkward_residuals(dtype)
    weights = estimators.lambda_pred(tf.constant(R), tf.fill([len(R)], tf.constant(probe, dtype)))
    product = (weights * R).numpy()

    assert np.all(np.isfinite(weights))
    expected = np.where(np.abs(R) > 16 * np.finfo(dtype).tiny, -probe, 0)
    # One division and one multiplication.
    np.testing.assert_allclose(product, expected, rtol=2 * np.finfo(dtype).eps)


@modes
def test_a_zero_residual_drops_its_entry_of_the_probe_as_the_pseudoinverse_does(mode):
    # Dyadic numbers: the zeros among these residuals are exact in any order of summation.
    x, theta = np.array([-1, -0.5, 0, 0.5, 1]), np.array([0.5, 1, 0.25])
    y = np.array([-0.6875, 3, 0.25, 2, 5])
    R, grad_R = transcription.quadratic_predictor(x, y)
    assert list(R(theta) == 0) == [True, False, True, False, False]
    variable, u = tf.Variable(theta), np.stack([x**0, x, x**2], axis=1)

    def residual():
        return tf.linalg.matvec(u, variable**2) - y

    def sample(seed):
        linearization = Linearization({"only": residual}, [variable])
        g = probes.draw("gaussian", seed, linearization.residuals)
        return g["only"], Predictor(STEP).product(linearization, g)["only"]

    g, product = mode(sample)(tf.constant([1, 0]))
    expected = transcription.difference_quotient(R, grad_R, theta, g.numpy(), STEP)
    assert_equal_to_rounding(product, expected)


# 3. The finite difference.


def relative_distance(actual, desired):
    actual, desired = stacked(actual).astype(float), stacked(desired).astype(float)
    return np.linalg.norm(actual - desired) / np.linalg.norm(desired)


def difference_errors(problem, steps, seed):
    """Relative errors of the predictor's K g by difference step, against the exact product."""
    linearization = linearize(problem)
    g = probes.draw("gaussian", tf.constant([seed, 0]), linearization.residuals)
    exact = kernel.product(*problem, g)
    return [relative_distance(Predictor(step).product(linearization, g), exact) for step in steps]


def slope(x, y):
    return np.polyfit(np.log(x), np.log(y), 1)[0]


@problems
@pytest.mark.parametrize("seed", SEEDS)
def test_error_of_the_finite_difference_is_of_first_order(problem, seed):
    problem = problem()
    # Short enough for the first order to lead, long enough for rounding to be far below it.
    steps = 2.0 ** -np.arange(14, 24, 3)
    errors = difference_errors(problem, steps, seed)
    assert slope(steps, errors) == pytest.approx(1, abs=0.1)


def train(problem, num_steps):
    """Plain Adam on the sum of squares, without the package."""
    optimizer = keras.optimizers.Adam(1e-3)

    @tf.function
    def step():
        with tf.GradientTape() as tape:
            loss = tf.add_n([tf.reduce_mean(block() ** 2) for block in problem.blocks.values()])
        optimizer.apply(tape.gradient(loss, problem.variables), problem.variables)

    optimizer.build(problem.variables)
    for _ in range(num_steps):
        step()


# Design values, the accuracy that the choice of step promises on a network. In float32 the
# difference keeps 2 to 3 of 7 digits; the noise of a sample is of order one.
DEFAULT_STEP_ERROR = {"float32": 5e-3, "float64": 1e-6}


@pytest.mark.parametrize("num_steps", [0, 50])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_default_step_gives_an_accurate_product(dtype, num_steps):
    problem = wave(dtype)
    train(problem, num_steps)
    errors = [difference_errors(problem, [None], seed) for seed in SEEDS]
    assert np.max(errors) < DEFAULT_STEP_ERROR[dtype]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_default_step_of_every_block_gives_an_accurate_product(dtype):
    linearization = linearize(wave(dtype))
    for name in linearization.blocks:
        block = linearization.restricted(name)
        for seed in SEEDS:
            g = probes.draw("gaussian", tf.constant([seed, 0]), block.residuals)
            exact = kernel.product(block.blocks, block.variables, g)
            error = relative_distance(BlockPredictor().product(block, g), exact)
            assert error < DEFAULT_STEP_ERROR[dtype], name


def test_parameters_of_double_precision_do_not_shorten_the_step_of_single_residuals():
    problem = wave("float64")
    single = {
        name: Block(lambda x, block=block: tf.cast(block.residual(x), "float32"), block.points)
        for name, block in problem.blocks.items()
    }
    rounded = problem._replace(blocks=single)
    assert difference_errors(rounded, [None], 1)[0] < DEFAULT_STEP_ERROR["float32"]


@modes
def test_block_predictor_counts_residuals_that_are_zero(mode):
    points = tf.constant([0.0, 1.0, 2.0], "float64")
    theta = tf.Variable(tf.zeros([], "float64"))
    block = Block(lambda x: theta * (1 + x), points)  # all zero; K_ii = (1 + x_i)^2

    def sample(seed):
        linearization = Linearization({"zero": block}, [theta])
        g = probes.draw("gaussian", seed, linearization.residuals)
        return g["zero"], BlockPredictor().traces(linearization, seed)["zero"]

    g, trace = mode(sample)(tf.constant([1, 0]))
    assert float(trace) == pytest.approx(float(np.dot(g, 1 + points)) ** 2, rel=1e-6)


# 4. The noise has the mean and variance that theory gives it, and no other.


def block_variances(K, blocks, probe):
    """Variance of one sample of every block's trace.

    For Gaussian probes 2 ||K_bb||_F^2 + sum_{c != b} ||K_bc||_F^2; random signs have no variance
    from the diagonal.
    """
    K = K - np.diag(np.diag(K)) if probe == "rademacher" else K
    squared = np.array([[np.sum(K[np.ix_(b, c)] ** 2) for c in blocks] for b in blocks])
    return np.sum(squared, axis=1) + np.diag(squared)


NUM_SAMPLES = {"quadratic": 20_000, "wave": 12_000, "system": 12_000}


class Samples(NamedTuple):
    """Block traces ``[N, blocks]`` for every seed, with the kernel they are samples of."""

    by_seed: dict[int, np.ndarray]
    K: np.ndarray  # whose blocks lie behind the noise of block traces
    blocks: list
    probe: str
    K_of_total: np.ndarray  # behind that of their sum

    def deviations(self, error=lambda samples: samples):
        """Means minus exact traces in theoretical standard errors, ``[seeds, blocks + 1]``.

        The last column is that of the total. ``error`` is done to the samples first.
        """
        exact = np.append(transcription.block_traces(self.K, self.blocks), np.trace(self.K))
        means = []
        for samples in map(error, self.by_seed.values()):
            means.append(np.append(np.mean(samples, axis=0), np.mean(np.sum(samples, axis=1))))
        return (np.array(means) - exact) / np.sqrt(self.variances() / len(samples))

    def variances(self):
        """Of one sample of every block's trace, and of the total, from theory."""
        total = block_variances(self.K_of_total, [np.arange(len(self.K))], self.probe)
        return np.append(block_variances(self.K, self.blocks, self.probe), total)


@functools.cache
def sampled(name, dtype, estimator):
    """Many samples of an estimator, drawn in one compiled loop."""
    problem = PROBLEMS[name](dtype)

    @tf.function(autograph=False, jit_compile=True)
    def draw(seed):
        linearization = linearize(problem)

        def one(index):
            sample_seed = seeds.fold_in(seed, index)
            return tf.stack(list(estimator.traces(linearization, sample_seed).values()))

        return tf.map_fn(one, tf.range(NUM_SAMPLES[name]), fn_output_signature=dtype)

    by_seed = {seed: draw(tf.constant([seed, 0])).numpy().astype(float) for seed in SEEDS}
    whole, blocks = paper_kernel(problem).astype(float), indices(problem)
    K = whole
    if not isinstance(estimator, Predictor | Product) or isinstance(estimator, BlockPredictor):
        # Sees the blocks of the diagonal only.
        K = scipy.linalg.block_diag(*[K[np.ix_(block, block)] for block in blocks])
    one_probe = isinstance(estimator, Perturbation)  # of all blocks, in parameter space
    return Samples(by_seed, K, blocks, estimator.probe, whole if one_probe else K)


kinds = pytest.mark.parametrize(
    ("name", "dtype", "estimator"),
    [
        ("quadratic", "float32", Predictor()),
        ("quadratic", "float64", Predictor()),
        ("quadratic", "float32", Predictor(probe="rademacher")),
        ("quadratic", "float32", BlockPredictor()),
        ("wave", "float32", Predictor()),
        pytest.param("wave", "float32", BlockPredictor(), marks=pytest.mark.slow),
        ("quadratic", "float64", Product()),
        ("quadratic", "float32", Reverse()),
        ("quadratic", "float64", Reverse("gaussian")),
        pytest.param("wave", "float32", Reverse(), marks=pytest.mark.slow),
        ("quadratic", "float64", Perturbation()),
        ("quadratic", "float32", Perturbation()),
        pytest.param("wave", "float32", Perturbation(), marks=pytest.mark.slow),
        ("system", "float64", Predictor()),
        ("system", "float32", BlockPredictor()),
        ("system", "float32", Product()),
        ("system", "float64", Reverse()),
        ("system", "float32", Perturbation()),
    ],
    ids=lambda value: f"{type(value).__name__}-{value.probe}" if hasattr(value, "probe") else value,
)


@kinds
def test_block_traces_are_unbiased(name, dtype, estimator):
    # The bias of the finite difference is of second order in the step for probes as symmetric as
    # these, and measured below 2e-4 of the trace even in float32: a thirtieth of a standard error.
    assert np.max(np.abs(sampled(name, dtype, estimator).deviations())) < 5


@kinds
def test_block_traces_have_the_variance_of_theory(name, dtype, estimator):
    samples = sampled(name, dtype, estimator)
    drawn = np.concatenate(list(samples.by_seed.values()))
    drawn = np.column_stack([drawn, np.sum(drawn, axis=1)])
    # The square of a normal variable has kurtosis 15, the trace of a kernel of low rank hardly
    # less: the variance of 36 000 samples is right to sqrt(14 / 36 000), five of which are 10 %.
    np.testing.assert_allclose(np.var(drawn, axis=0), samples.variances(), rtol=0.1)


def with_first_sign_flipped(samples):
    return samples * np.where(np.arange(samples.shape[1]) == 0, -1, 1)


def with_a_leak_between_blocks(samples):
    return samples + 0.1 * np.roll(samples, 1, axis=1)


ERRORS = {
    "5 % too large": lambda samples: 1.05 * samples,
    "5 % too small": lambda samples: 0.95 * samples,
    "sign": lambda samples: -samples,
    "sign of one block": with_first_sign_flipped,
    "leak": with_a_leak_between_blocks,
    "clipped at zero": lambda samples: np.maximum(samples, 0),
}


@pytest.mark.parametrize(
    ("name", "error"),
    # Hardly a sample of the system's traces is negative, so nobody could notice the clipping.
    [pair for pair in itertools.product(PROBLEMS, ERRORS) if pair != ("system", "clipped at zero")],
)
def test_these_samples_are_enough_to_notice_an_error_in_the_estimate(name, error):
    dtype = "float32" if name == "wave" else "float64"  # as drawn above
    noticed = np.abs(sampled(name, dtype, Predictor()).deviations(ERRORS[error]))
    assert np.all(np.max(noticed, axis=1) > 5)


@problems
def test_diagonal_is_unbiased_with_the_variance_of_a_sample_without_replacement(problem):
    problem, num_points, num_samples = problem(), 3, 20_000

    @functools.partial(tf.function, autograph=False, jit_compile=True)
    def draw():
        linearization = linearize(problem)

        def one(index):
            sample_seed = seeds.fold_in(tf.constant([1, 0]), index)
            estimate = Diagonal(num_points).estimate(linearization, sample_seed)
            return [tf.stack(list(part.values())) for part in estimate]

        dtypes = [tf.float64, tf.float64]
        return tf.map_fn(one, tf.range(num_samples), fn_output_signature=dtypes)

    drawn, errors = (part.numpy() for part in draw())
    by_point = diagonal_by_point(problem).values()
    n = np.array([len(values) for values in by_point])
    spread = np.array([np.var(values, ddof=1) for values in by_point])
    variance = n**2 * (1 - num_points / n) * spread / num_points
    deviation = np.mean(drawn, axis=0) - [np.sum(values) for values in by_point]
    assert np.max(np.abs(deviation) / np.sqrt(variance / num_samples)) < 5
    # The mean of three is nearer to normal than its terms: kurtosis below 6.
    np.testing.assert_allclose(np.var(drawn, axis=0), variance, rtol=0.08)
    # A variance of three is a mean of squares, of kurtosis below 6 again.
    np.testing.assert_allclose(np.mean(errors**2, axis=0), variance, rtol=0.08)


# Means of samples, with their standard errors.


@pytest.mark.parametrize("estimator", [Reverse(), Perturbation(), Diagonal(2)])
def test_the_average_and_its_standard_error_are_those_of_the_samples(estimator):
    problem, seed = system(), tf.constant([4, 0])
    average = estimators.average(estimator, linearize(problem), seed, num_probes=5)
    draw = drawing(estimator, problem)
    samples = np.array([list(draw(seeds.fold_in(seed, index)).values()) for index in range(5)])
    error = np.std(samples, axis=0, ddof=1) / np.sqrt(5)
    np.testing.assert_allclose(list(average.traces.values()), samples.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(list(average.standard_errors.values()), error, rtol=1e-10)


def test_a_single_sample_of_the_diagonal_knows_its_error():
    problem, seed = system(), tf.constant([4, 0])
    alone = estimators.average(Diagonal(4), linearize(problem), seed, num_probes=1)
    assert alone == Diagonal(4).estimate(linearize(problem), seed)
    of_all = Diagonal({"equations": 9, "values": 5}).estimate(linearize(problem), seed)
    assert [float(error) for error in of_all.standard_errors.values()] == [0, 0]
    of_one = Diagonal(1).estimate(linearize(problem), seed)
    assert np.all(np.isnan(list(of_one.standard_errors.values())))
    assert np.all(np.isfinite(list(of_one.traces.values())))
    exact = Exact().estimate(linearize(problem), seed)
    assert [float(error) for error in exact.standard_errors.values()] == [0, 0]


def test_a_single_sample_of_a_probe_does_not_know_its_error():
    with pytest.raises(ValueError, match="no known standard error.*num_probes=1"):
        estimators.average(Reverse(), linearize(system()), tf.constant([4, 0]), num_probes=1)


@modes
@pytest.mark.parametrize("name", estimators.ESTIMATORS)
def test_an_estimate_needs_a_function_and_its_variables_only(name, mode):
    theta = tf.Variable([1.0, -2.0, 0.5], dtype="float64")
    residuals = {"a": lambda: theta[:2] ** 2, "b": lambda: tf.stack([3 * theta, theta + 1])}
    estimate = mode(lambda: estimators.estimate(name, residuals, [theta], num_probes=64, seed=2))
    traces, errors = estimate()
    # The gradients of theta^2 are 2 theta; those of 3 theta and theta + 1 are 3 and 1.
    for block, exact in {"a": 4 * (1 + 4), "b": 3 * 9 + 3 * 1}.items():
        assert abs(float(traces[block]) - exact) <= 5 * float(errors[block]) + 1e-6


# How estimators are named.


@pytest.mark.parametrize(
    ("estimator", "data"),
    [
        (Reverse(), "reverse"),
        (Diagonal(30), {"name": "diagonal", "num_points": 30}),
        (Diagonal({"equation": 9}), {"name": "diagonal", "num_points": {"equation": 9}}),
        (Predictor(probe="rademacher"), {"name": "predictor", "probe": "rademacher"}),
    ],
)
def test_plain_data_stand_for_an_estimator(estimator, data):
    assert estimators.serialize(estimator) == data
    assert estimators.get(data) == estimator


def test_an_unknown_name_in_plain_data_is_named_with_the_known_ones():
    with pytest.raises(ValueError, match="Unknown estimator 'magic'.*'reverse'"):
        estimators.get({"name": "magic"})


# 5. The kernel itself: Theorem 4.


@functools.cache
def sampled_kernels(num_samples=20_000):
    """Sketches ``[num_samples, 12, 12]`` of a small kernel for every seed, and that kernel."""
    problem = quadratic(sizes=(7, 5))

    @tf.function(autograph=False, jit_compile=True)
    def draw(seed):
        linearization = linearize(problem)

        def one(index):
            sample_seed = seeds.fold_in(seed, index)
            return Predictor().kernel(linearization, sample_seed)

        return tf.map_fn(one, tf.range(num_samples), fn_output_signature=tf.float64)

    return {seed: draw(tf.constant([seed, 0])).numpy() for seed in SEEDS}, paper_kernel(problem)


def mean_squared_error(samples, K, num_averaged):
    """E ||K^ - K||_F^2 for means of ``num_averaged`` samples, over independent means."""
    means = np.mean(samples.reshape(-1, num_averaged, *K.shape), axis=1)
    return np.mean(np.sum((means - K) ** 2, axis=(1, 2)))


@pytest.mark.parametrize("seed", SEEDS)
def test_squared_error_of_one_sketch_is_that_of_theory(seed):
    by_seed, K = sampled_kernels()
    expected = ((len(K) + 2) * np.sum(K**2) + np.trace(K) ** 2) / 2
    # The squared error of a sample has about twice its mean as standard deviation: 1.5 % of the
    # mean for 20 000 samples, five of which are 7 %.
    assert mean_squared_error(by_seed[seed], K, 1) == pytest.approx(expected, rel=0.1)


@pytest.mark.parametrize("seed", SEEDS)
def test_squared_error_falls_as_one_over_the_number_of_samples(seed):
    by_seed, K = sampled_kernels()
    counts = np.array([1, 4, 16, 50, 200, 500])
    errors = [mean_squared_error(by_seed[seed], K, count) for count in counts]
    assert slope(counts, errors) == pytest.approx(-1, abs=0.1)


# 6. and 8. Every way of running gives the same numbers and leaves the network alone.


@modes
@problems
def test_predictor_leaves_every_parameter_untouched_bit_for_bit(mode, problem):
    problem, estimator = problem("float32"), Predictor(difference_step=0.7)

    def sample(seed):
        return estimator.traces(linearize(problem), seed)

    before = [v.numpy().tobytes() for v in problem.variables]
    mode(sample)(tf.constant([1, 0]))
    assert [v.numpy().tobytes() for v in problem.variables] == before


@problems
def test_graph_and_xla_give_the_traces_of_eager_execution(problem):
    problem, estimator = problem(), Predictor(STEP, probe="rademacher")

    def sample(seed):
        return tf.stack(list(estimator.traces(linearize(problem), seed).values()))

    eager, graph, xla = (mode(sample)(tf.constant([3, 0])) for mode in MODES.values())
    scale = paper_kernel(problem)
    assert_equal_to_rounding(graph, eager, scale=scale)
    assert_equal_to_rounding(xla, eager, scale=scale)


@pytest.mark.parametrize(
    ("probe", "mode", "seed"),
    [
        ("gaussian", "graph", [3, 0]),
        ("gaussian", "graph", [-3, 0]),
        ("rademacher", "graph", [-3, 0]),
        ("rademacher", "xla", [3, 0]),
        ("rademacher", "xla", [-3, 0]),
    ],
)
def test_equal_seeds_give_equal_probes_however_they_are_drawn(probe, mode, seed, dtype):
    def draw(seed):
        return probes.draw(probe, seed, {"a": tf.zeros(50, dtype), "b": tf.zeros(3, dtype)})

    seed = tf.constant(seed)
    # XLA has logarithms and square roots of its own.
    np.testing.assert_allclose(
        stacked(MODES[mode](draw)(seed)), stacked(draw(seed)), rtol=100 * np.finfo(dtype).eps
    )


def test_equal_seeds_give_equal_traces_and_other_seeds_others():
    linearization = linearize(quadratic())
    first, again, other = (
        stacked_traces(Predictor(), linearization, seed) for seed in ([1, 0], [1, 0], [1, 1])
    )
    assert np.all(first == again)
    assert np.all(first != other)


def stacked_traces(estimator, linearization, seed):
    return np.array(list(estimator.traces(linearization, tf.constant(seed)).values()))


# Arguments.


@pytest.mark.parametrize("step", [0, -1e-3, float("nan")])
def test_a_difference_step_must_be_positive(step):
    with pytest.raises(ValueError, match="difference_step must be positive"):
        Predictor(difference_step=step)


def test_an_unknown_probe_is_named_together_with_the_known_ones():
    with pytest.raises(ValueError, match=r"gaussian.*rademacher.*'cauchy'"):
        Predictor(probe="cauchy")
