"""Natural gradient steps, against a literal transcription of damped least squares."""

import unittest.mock

import keras
import numpy as np
import pytest
import tensorflow as tf

import ntk_keras as nk
from ntk_keras.backend import lapack
from ntk_keras.optimizers import NaturalGradient, methods, normal_equations, step_lengths
from ntk_keras.optimizers import system as systems

Dense = keras.layers.Dense
POINTS = np.random.default_rng(0).uniform(-1, 1, size=(12, 2))
SEED = tf.constant([0, 7])
EDGE = np.array([[-1.0, 0.1], [-1.0, 0.6], [-1.0, -0.3], [-1.0, -0.9]])


@keras.saving.register_keras_serializable("test_natural_gradient")
def equation(u, p):
    return nk.derivatives.laplacian(u, p)[:, 0] + u(p)[:, 0] ** 2 - p[:, 0]


@keras.saving.register_keras_serializable("test_natural_gradient")
def edge(u, p):
    return u(p)[:, 0] - tf.sin(p[:, 1])


def pair(u, p):
    return tf.concat([u(p) - p[:, :1], nk.derivatives.partial(u, p, 0) * u.unknowns["k"]], axis=1)


def network(units=6, dtype="float64", hidden="tanh", depth=2):
    keras.utils.set_random_seed(1)
    layers = [Dense(units, hidden, dtype=dtype) for _ in range(depth)]
    return keras.Sequential(
        [
            keras.Input((2,), dtype=dtype.replace("mixed_float16", "float32")),
            *layers,
            Dense(1, dtype=dtype),
        ]
    )


def without_rules(**kwargs):
    """A network whose derivatives go by tapes, and its rows as well."""
    inner = network(**kwargs)
    return nk.networks.CallableNetwork(lambda x: inner(x) * 1.0, inner.trainable_variables)


def model(network, weighting="ntk", pairs=False, optimizer=None, **compiled):
    terms = [nk.Term("equation", equation, POINTS), nk.Term("edge", edge, EDGE)]
    unknowns = {}
    if pairs:
        terms[1] = nk.Term("edge", pair, EDGE)
        unknowns = {"k": 0.7}
    made = nk.PINNModel(network, terms, weighting, unknowns=unknowns, seed=0)
    made.compile(optimizer=optimizer or NaturalGradient(), **compiled)
    return made


def recorded(model):
    factored = nk.Linearization(model.blocks(), model.trainable_variables, factored=True)
    sizes = [r.shape[0] for r in factored.residuals.values()]
    scale = tf.repeat(tf.constant([1.5, 20.0], tf.float64), sizes)
    return factored, scale


def spread(u, p):
    """Mixes points."""
    return u(p)[:, 0] - tf.reduce_mean(u(p)[:, 0])


def mixed():
    made = nk.PINNModel(
        network(), [nk.Term("equation", equation, POINTS), nk.Term("edge", spread, EDGE)], seed=0
    )
    made.compile(NaturalGradient())
    return made


CASES = {
    "forward": lambda: model(network()),
    "mixed points": mixed,
    "vectors and a coefficient": lambda: model(network(), pairs=True),
    "tapes": lambda: model(without_rules()),
}


@pytest.mark.parametrize("method", ["dual", "primal"])
@pytest.mark.parametrize("case", CASES)
def test_the_direction_solves_damped_least_squares(case, method, monkeypatch):
    made = CASES[case]()
    linearization, scale = recorded(made)
    monkeypatch.setattr(systems, "_ROWS_BYTES", 8 * 3 * 100)  # pieces of a few rows
    system = methods.system_of(linearization, scale, method, SEED)
    solve, damping = system.solver(tf.constant(1e-3, "double"))
    residual = scale * tf.concat(list(linearization.residuals.values()), axis=0)
    solution = solve(residual)
    ours = np.concatenate([np.ravel(part) for part in system.direction(solution)])

    rows = nk.kernel.jacobian(made.blocks(), made.trainable_variables).numpy()
    rows = scale.numpy()[:, None] * rows
    size = {"dual": len(rows), "primal": rows.shape[1]}[method]
    mu = float(damping) * np.sum(rows**2) / size
    assert damping == 1e-3
    tall = np.concatenate([rows, np.sqrt(mu) * np.eye(rows.shape[1])])
    right = np.concatenate([residual, np.zeros(rows.shape[1])])
    theirs = np.linalg.lstsq(tall, right, rcond=None)[0]
    np.testing.assert_allclose(ours, theirs, rtol=1e-8, atol=1e-10 * np.max(np.abs(theirs)))
    np.testing.assert_allclose(system.pushed(solution), rows @ theirs, rtol=1e-7, atol=1e-9)


def test_the_smaller_equations_are_solved():
    linearization, scale = recorded(model(network()))
    chosen = methods.system_of(linearization, scale, "auto", SEED)
    assert isinstance(chosen, normal_equations.Dual)
    linearization, scale = recorded(model(network(units=1)))
    chosen = methods.system_of(linearization, scale, "auto", SEED)
    assert isinstance(chosen, normal_equations.Primal)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("method", ["dual", "primal"])
def test_a_loop_of_ones_own_gets_the_same_direction(method, dtype):
    made = model(network(dtype=dtype))
    variables = made.trainable_variables
    weights = {"equation": 2.25, "edge": np.full(4, 400.0)}
    with tf.GradientTape(persistent=True) as tape:
        residuals = {name: block() for name, block in made.blocks().items()}
    arguments = {"weights": weights, "damping": 1e-3, "method": method}
    by_tape = nk.optimizers.natural_gradient(residuals, variables, tape, **arguments)
    by_factors = nk.optimizers.natural_gradient(made.blocks(), variables, **arguments)
    linearization, scale = recorded(made)
    system = methods.system_of(linearization, scale, method, SEED)
    solve, _ = system.solver(tf.constant(1e-3, tf.float64))
    residual = [tf.cast(r, tf.float64) for r in linearization.residuals.values()]
    solution = solve(scale * tf.concat(residual, axis=0))
    expected = system.direction(solution)
    tolerance = {"float32": 2e-3, "float64": 1e-9}[dtype]
    for one in (by_tape, by_factors):
        for ours, theirs, variable in zip(one, expected, variables, strict=True):
            assert ours.dtype == variable.dtype
            np.testing.assert_allclose(ours, theirs, atol=tolerance * np.max(np.abs(theirs)))


@pytest.mark.parametrize("method", ["dual", "primal"])
def test_a_linear_problem_takes_one_step(method):
    linear = keras.Sequential([keras.Input((2,), dtype="float64"), Dense(1, dtype="float64")])
    term = nk.Term("data", lambda u, p: u(p)[:, 0] - 3 * p[:, 0] + 2, POINTS)
    made = nk.PINNModel(linear, [term], "constant", seed=0)
    made.compile(NaturalGradient(method=method, damping=1e-13))
    made.fit(verbose=0)
    np.testing.assert_allclose(linear.layers[-1].kernel, [[3], [0]], atol=1e-9)
    np.testing.assert_allclose(linear.layers[-1].bias, [-2], atol=1e-9)
    assert made.optimizer.step_length.numpy() == 1


@pytest.mark.parametrize("weighting", ["constant", "ntk"])
def test_no_step_raises_the_loss(weighting):
    made = model(network(), weighting)
    for _ in range(5):
        before = made.optimizer.iterations.numpy()
        made.fit(verbose=0)
        weights = made.weighting.effective_weights.numpy()
        old = made.history.history
        losses = [old[f"loss/{name}"][0] for name in ("equation", "edge")]
        now = [
            float(tf.reduce_sum(block() ** 2)) / 2 for block in made.blocks(training=True).values()
        ]
        assert weights @ now < weights @ losses
        assert made.optimizer.iterations.numpy() == before + 1


def test_it_converges_far_beyond_gradients():
    made = model(network(units=10))
    first = made.fit(verbose=0).history["loss/edge"][0]
    last = made.fit(epochs=40, verbose=0).history
    assert last["loss/edge"][-1] < 1e-12 * first
    assert set(last) >= {"damping", "step_length"}


@pytest.fixture(scope="module")
def trained():
    """The variables after four steps."""
    plain = model(network(depth=1), "exact-ntk")
    plain.fit(steps_per_epoch=4, verbose=0)
    return [variable.numpy() for variable in plain.trainable_variables]


@pytest.mark.parametrize("kind", ["eager", "xla", "steps_per_execution", "tapes"])
def test_ways_to_run_agree(kind, trained, monkeypatch):
    monkeypatch.setattr(lapack, "LEAST", 1)
    product = unittest.mock.Mock(wraps=lapack.symmetric_product)
    monkeypatch.setattr(lapack, "symmetric_product", product)
    options = {
        "eager": {"run_eagerly": True},
        "xla": {"jit_compile": True},
        "steps_per_execution": {"steps_per_execution": 2},
        "tapes": {},
    }
    made = without_rules(depth=1) if kind == "tapes" else network(depth=1)
    other = model(made, "exact-ntk", **options[kind])
    other.fit(steps_per_epoch=4, verbose=0)
    assert product.called == (kind != "xla")  # which cannot compile it
    for ours, theirs in zip(other.trainable_variables, trained, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-6)


def test_a_saved_model_goes_on_bit_for_bit(tmp_path):
    saved = model(network())
    saved.fit(epochs=3, verbose=0)
    saved.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    histories = [m.fit(epochs=2, verbose=0).history for m in (saved, loaded)]
    assert histories[0] == histories[1]
    assert isinstance(loaded.optimizer, NaturalGradient)


def test_nothing_is_traced_again():
    calls = []

    def counted(u, p):
        calls.append(1)
        return equation(u, p)

    made = nk.PINNModel(network(), [nk.Term("equation", counted, POINTS)], seed=0)
    made.compile(NaturalGradient())
    made.fit(epochs=1, verbose=0)
    count = len(calls)
    made.optimizer.learning_rate = 0.5
    made.optimizer.damping.assign(1e-3)
    made.fit(epochs=3, verbose=0)
    assert len(calls) == count
    assert made.optimizer.step_length.numpy() <= 0.5


def test_frozen_layers_stay():
    frozen = network()
    frozen.layers[0].trainable = False
    kept = frozen.layers[0].kernel.numpy()
    made = model(frozen)
    history = made.fit(epochs=3, verbose=0).history
    assert history["loss/edge"][-1] < history["loss/edge"][0]
    np.testing.assert_array_equal(frozen.layers[0].kernel, kept)


def test_single_precision_never_ends_in_nan():
    made = model(network(dtype="float32"))
    history = made.fit(epochs=40, verbose=0).history
    assert np.all(np.isfinite(history["loss"]))
    assert history["loss/edge"][-1] < 1e-6 * history["loss/edge"][0]
    assert min(history["damping"]) == np.finfo("float32").eps


def test_a_step_that_lowers_nothing_is_not_taken():
    made = model(network())
    made.fit(verbose=0)
    made.optimizer.learning_rate = 1e9
    kept = [v.numpy() for v in made.trainable_variables]
    damping = made.optimizer.damping.numpy()
    made.fit(verbose=0)
    for variable, value in zip(made.trainable_variables, kept, strict=True):
        np.testing.assert_array_equal(variable, value)
    assert made.optimizer.step_length.numpy() == 0
    np.testing.assert_allclose(made.optimizer.damping, 10 * damping)


def search(loss_at, last, loss=1.0, noise=0.0, longest=1.0):
    """Linear residuals would keep the noise as loss."""
    loss, longest, last = (tf.constant(x, tf.float64) for x in (loss, longest, last))

    def linear(length):
        return noise + (1 - noise) * (1 - length) ** 2

    return step_lengths.longest_fair(loss_at, linear, loss, longest, last)


@pytest.mark.parametrize("longest", [0.12, 1.0, 0.003])
@pytest.mark.parametrize("last", [0.0, 0.003, 0.04, 0.17, 1.0])
@pytest.mark.parametrize(("noise", "fair"), [(0.004, 0.15), (0.006, 0.5)])
def test_the_longest_fair_step_is_found_from_any_length(longest, last, noise, fair):
    """Longer ones have no number for their loss or lower it by less than is fair."""

    def loss_at(length, curved):
        gain = (1 - noise) * (1 - (1 - length) ** 2)
        worse = tf.where(length > 2 * longest, np.nan, 1 - (fair - 0.01) * gain)
        return tf.where(length > longest, worse, 1 - (fair + 0.01 * curved) * gain)

    choice = search(loss_at, last, noise=noise)
    np.testing.assert_allclose([choice.length, choice.curved], [longest, 1])
    np.testing.assert_allclose(choice.loss, loss_at(choice.length, choice.curved))


def test_a_step_that_raises_the_loss_is_not_fair_where_linear_residuals_raise_it_more():
    """Beyond twice the full step."""

    def loss_at(length, curved):
        return tf.where(length > 2, 1.1, 0.9 - 0.1 * curved)

    choice = search(loss_at, 1.0, longest=4.0)
    np.testing.assert_allclose([choice.length, choice.curved, choice.loss], [2, 1, 0.8])


@pytest.mark.parametrize("last", [0.003, 0.17, 1.0])
def test_the_least_loss_is_taken_where_no_step_is_fair(last):
    """From each length, of those that are shorter."""

    def loss_at(length, curved):
        return 1 - 1e-3 * length + 0.1 * length**2 + (1 - curved)

    choice = search(loss_at, last)
    np.testing.assert_allclose([choice.length, choice.curved], [0.003, 1])
    assert search(loss_at, last, loss=0.9).length == 0


@pytest.mark.parametrize(
    ("length", "factor"), [(1.0, 1 / 4), (0.2, 1 / 2), (0.06, 1), (0.02, 2), (0.0, 10)]
)
def test_the_damping_follows_the_length(length, factor):
    lengths = tf.constant(length, tf.float64), tf.constant(1e-3, tf.float64)
    np.testing.assert_allclose(step_lengths.next_damping(*reversed(lengths), 0.0), factor * 1e-3)


@pytest.mark.parametrize("allowed", [False, True])
def test_an_indefinite_matrix_gets_more_damping(allowed, monkeypatch):
    monkeypatch.setattr(lapack, "LEAST", 1)
    matrix = tf.constant([[1.0, 1.001], [1.001, 1.0]], tf.float64)
    with lapack.lapack_allowed(allowed):
        least = tf.constant(1e-6, tf.float64)
        factor, damping = normal_equations.cholesky_with_damping(matrix, least)
    np.testing.assert_allclose(damping, 1e-2)
    damped = matrix + damping * tf.eye(2, dtype="double")
    np.testing.assert_allclose(factor @ tf.transpose(factor), damped)


def regularized():
    made = network()
    made.layers[0].kernel_regularizer = keras.regularizers.L2(1e-3)
    made.layers[0].kernel.regularizer = made.layers[0].kernel_regularizer
    return made


def frozen():
    made = network()
    made.trainable = False
    return made


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: NaturalGradient(clipnorm=1.0), "takes no \\['clipnorm'\\]"),
        (lambda: NaturalGradient(use_ema=True), "takes no \\['use_ema'\\]"),
        (lambda: NaturalGradient(damping=0), "damping must be a positive number"),
        (lambda: NaturalGradient(method="cg"), "method must be"),
        (lambda: nk.optimizers.natural_gradient(lambda: 0, [], damping=-1.0), "damping must be"),
        (lambda: nk.optimizers.natural_gradient(lambda: 0, [], method="cg"), "method must be"),
        (lambda: model(regularized()), "regularizer"),
        (lambda: model(frozen()), "not frozen"),
        (lambda: model(network(dtype="mixed_float16")), "float64"),
    ],
)
def test_mistakes_are_told_before_training(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_equations_that_do_not_fit_into_memory_are_refused(monkeypatch):
    monkeypatch.setattr(methods, "physical_memory", lambda: 1000.0)
    with pytest.raises(ValueError, match=r"16 residuals by 67 parameters solves 16 equations"):
        model(network()).fit(verbose=0)
    # By tapes, all rows of J are held: 16 x 67 numbers and four matrices of 16 x 16.
    monkeypatch.setattr(methods, "physical_memory", lambda: 9000.0)
    linearization, scale = recorded(model(network()))
    methods.system_of(linearization, scale, "dual", SEED)
    linearization, scale = recorded(model(without_rules()))
    with pytest.raises(ValueError, match="matrix-free"):
        methods.system_of(linearization, scale, "dual", SEED)


def test_a_plain_model_is_refused():
    plain = network()
    plain.compile(NaturalGradient(), loss="mse")
    with pytest.raises(ValueError, match="PINNModel"):
        plain.fit(POINTS, EDGE[:1].repeat(12, 0)[:, :1], verbose=0)


def test_several_replicas_are_refused():
    with tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]).scope():
        layers = network(dtype="float32")
        with pytest.raises(ValueError, match="several replicas"):
            model(layers)
