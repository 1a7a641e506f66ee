"""What existing code asks of a package that weighs its loss terms, a test for each requirement.

Programs are written here as they are found, with tapes of their own, raw variables and Keras models
with their own steps. Each is held against a number found without this package: NumPy by hand, a
plain loop with one tape, or ``tape.jacobian``.
"""

import keras
import numpy as np
import pytest
import scipy.optimize
import tensorflow as tf

import ntk_keras as nk

RATE = 0.125  # of gradient descent; Keras keeps it in float32, where a power of two is exact
DOUBLE = 1e-10  # sums of a step in another order, over numbers that may cancel
SINGLE = 1e-5  # Keras averages what it logs in float32
X = np.linspace(0.1, 0.9, 7)[:, None]
T = X[::-1] ** 2
EAGER = {"run_eagerly": True}


def network(inputs=1, outputs=1):
    """One hidden layer of five neurons in double precision, the same at every call."""
    keras.utils.set_random_seed(3)
    dense = [
        keras.layers.Dense(5, "tanh", bias_initializer="normal", dtype="float64"),
        keras.layers.Dense(outputs, dtype="float64"),
    ]
    return keras.Sequential([keras.Input((inputs,), dtype="float64"), *dense])


class Linear(keras.Model):
    """u = a t + b x + c, from whatever holds t and x."""

    def __init__(self, pick):
        super().__init__(dtype="float64")
        self.pick = pick
        self.theta = self.add_weight(
            shape=(3,), initializer=lambda shape, dtype: tf.constant([0.5, -2.0, 0.25], dtype)
        )
        self.built = True

    def call(self, *inputs):
        t, x = self.pick(*inputs)
        a, b, c = tf.unstack(tf.convert_to_tensor(self.theta))
        return a * t + b * x + c


def build(net, terms, weighting="constant", compiled=EAGER, **kwargs):
    model = nk.PINNModel(net, terms, weighting, seed=0, **kwargs)
    model.compile(keras.optimizers.SGD(RATE), **compiled, jit_compile=False)
    return model


def fit(model, x=None, steps=1, **kwargs):
    return model.fit(x, steps_per_epoch=steps, verbose=0, **kwargs).history


def descend(variables, loss):
    """A step of the loop that everybody writes: the parameters after it, which are not assigned."""
    with tf.GradientTape() as tape:
        value = loss()
    variables = [v.value if isinstance(v, keras.Variable) else v for v in variables]
    gradients = tape.gradient(value, variables, unconnected_gradients="zero")
    return [(v - RATE * g).numpy() for v, g in zip(variables, gradients, strict=True)]


def half_square(residual):
    return tf.reduce_sum(residual**2) / 2


def trace(residual, variables):
    """Tr J J^T of a function of nothing, by TensorFlow's own Jacobian."""
    variables = [v.value for v in variables]
    with tf.GradientTape(persistent=True) as tape:
        values = residual()
    # One reverse pass a row: nothing to compile.
    parts = tape.jacobian(
        values, variables, unconnected_gradients="zero", experimental_use_pfor=False
    )
    return sum(float(tf.reduce_sum(part**2)) for part in parts)


def assert_all_close(variables, expected):
    for variable, value in zip(variables, expected, strict=True):
        np.testing.assert_allclose(variable.numpy(), value, rtol=DOUBLE, atol=DOUBLE)


def value(u, points):
    return u(points)[:, 0]


# A callable of pointwise residuals, with tapes of its own.


def nested(u, x):
    with tf.GradientTape() as outer:
        outer.watch(x)
        with tf.GradientTape() as inner:
            inner.watch(x)
            values = u(x)
        slope = inner.gradient(values, x)
    return outer.gradient(slope, x) + values


def persistent(u, x):
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(x)
        values = u(x)
        slope = tape.gradient(values, x)
    curvature = tape.gradient(slope, x)
    del tape
    return curvature + values


def by_batch_jacobian(u, x):
    with tf.GradientTape() as outer:
        outer.watch(x)
        with tf.GradientTape() as inner:
            inner.watch(x)
            values = u(x)
        jacobian = inner.batch_jacobian(values, x)
    return outer.batch_jacobian(jacobian, x)[:, :, 0, 0] + values


def by_gradients(u, x):
    values = u(x)
    return tf.gradients(tf.gradients(values, x)[0], x)[0] + values


@pytest.mark.parametrize("residual", [nested, persistent, by_batch_jacobian, by_gradients])
def test_a_term_is_a_callable_of_pointwise_residuals_with_tapes_of_its_own(residual):
    net = network()
    w, b, v, c = net.get_weights()
    squash = np.tanh(X @ w + b)
    by_hand = (-2 * squash * (1 - squash**2) * w**2) @ v + squash @ v + c  # u'' + u
    weighting = "exact-ntk" if residual is persistent else "constant"  # compiling it takes long
    model = build(net, [nk.Term("equation", residual, X)], weighting, compiled={})
    block = model.blocks()["equation"]
    np.testing.assert_allclose(tf.function(lambda: block())(), by_hand[:, 0], rtol=DOUBLE)
    loss = np.sum(by_hand**2) / 2
    assert fit(model)["loss/equation"] == pytest.approx([loss], rel=SINGLE)
    if residual is persistent:
        same = network()
        exact = trace(lambda: persistent(same, tf.constant(X)), same.weights)
        assert model.kernel_traces == {"equation": pytest.approx(exact, rel=DOUBLE)}


# Sets of points and terms.


def test_full_batch_sets_of_unequal_size():
    net, sets = network(), {"inside": X, "left": X[:1], "data": (T[:4], np.cos(T[:4]))}

    def misfit(u, data):
        return u(data[0]) - data[1]

    expected = descend(
        net.trainable_variables,
        lambda: (
            half_square(net(X)) + half_square(net(X[:1])) + half_square(misfit(net, sets["data"]))
        ),
    )
    residuals = {"inside": value, "left": value, "data": misfit}
    fit(build(net, [nk.Term(*item) for item in residuals.items()]), sets)
    assert_all_close(net.trainable_variables, expected)


def test_three_or_more_named_terms_freely_grouped():
    net, points = network(outputs=2), tf.constant(X)
    residuals = {
        "mass": lambda u, x: u(x)[:, 0] - 1,
        "momentum": lambda u, x: u(x)[:, 1] * u(x)[:, 0],
        "wall": lambda u, x: 3 * u(x),
        "start": lambda u, x: u(x)[:, 1] - x[:, 0],
    }
    group = {"mass": "equations", "momentum": "equations"}
    terms = [nk.Term(n, r, X, group=group.get(n)) for n, r in residuals.items()]
    traces = {n: trace(lambda r=r: r(net, points), net.weights) for n, r in residuals.items()}
    traces = {"equations": traces.pop("mass") + traces.pop("momentum"), **traces}
    model = build(net, terms, "exact-ntk")
    fit(model)
    expected = {name: sum(traces.values()) / part for name, part in traces.items()}
    assert model.loss_weights == pytest.approx(expected, rel=DOUBLE)


def test_vector_residuals():
    """Columns and tuples, summed in one term or each a term of its own, as losses and traces."""

    def columns(u, x):
        return tf.stack([u(x)[:, 0] - 1, 2 * u(x)[:, 1]], axis=1)

    def components(u, x):
        return u(x)[:, 0] - 1, 2 * u(x)[:, 1:]

    net = network(outputs=2)
    first, second = net.predict(X, verbose=0).T
    squares = [np.sum((first - 1) ** 2) / 2, np.sum((2 * second) ** 2) / 2]
    terms = [
        nk.Term("summed", columns, X),
        nk.Term("tuple", components, X),
        *nk.Term.columns(["mass", "momentum"], components, X),
    ]
    model = build(net, terms, "exact-ntk")
    history = fit(model)
    losses = [history[f"loss/{n}"][0] for n in ("summed", "tuple", "mass", "momentum")]
    assert losses == pytest.approx([sum(squares), sum(squares), *squares], rel=SINGLE)
    traces = model.kernel_traces
    assert traces["summed"] == pytest.approx(traces["mass"] + traces["momentum"], rel=DOUBLE)


def test_derivative_conditions():
    """A Neumann condition and u_t(0) = 1 of u = a t + b x + c, where they are b = 0 and a = 1."""

    def neumann(u, points):
        return nk.derivatives.partial(u, points, 1)[:, 0]

    def speed(u, points):
        with tf.GradientTape() as tape:
            tape.watch(points)
            values = u(points)
        return tape.gradient(values, points)[:, 0] - 1

    net = Linear(lambda points: (points[:, :1], points[:, 1:]))
    points = np.concatenate([T, X], axis=1)
    terms = [nk.Term("wall", neumann, points), nk.Term("speed", speed, points[:3])]
    history = fit(build(net, terms))
    losses = [history["loss/wall"][0], history["loss/speed"][0]]
    assert losses == pytest.approx([7 * 2.0**2 / 2, 3 * 0.5**2 / 2], rel=SINGLE)
    assert_all_close([net.theta], [[0.5 + RATE * 3 * 0.5, -2.0 + RATE * 7 * 2.0, 0.25]])


# Weights.


def test_an_existing_weighting_is_replaced():
    """Read, assigned, averaged, renewed every second step, begun at a value, without one term."""
    net, rate = network(), 0.25  # of a step, and so 1 - 0.75^2 of two
    inside, wall = tf.constant(X), tf.constant(T[:2])
    residuals = {
        "equation": lambda: nested(net, inside),
        "wall": lambda: net(wall),
        "data": lambda: net(inside) - 1,
    }
    balancer = nk.LossBalancer(
        list(residuals),
        nk.weighting.ExactNTK(
            update_every=2,
            averaging_rate=rate,
            initial_weights={"data": 10.0},
            exclude=["data"],
        ),
        dtype="float64",
    )
    average = None
    for step in range(4):
        if step % 2 == 0:
            now = np.array([trace(residuals[n], net.weights) for n in ("equation", "wall")])
            average = now if average is None else 0.75**2 * average + (1 - 0.75**2) * now
        weights = balancer(residuals, None, net.trainable_variables)
        expected = [*(average.sum() / average), 10.0]
        np.testing.assert_allclose(list(weights.values()), expected, rtol=1e-7)
        assert list(balancer.loss_weights.values()) == pytest.approx(expected, rel=1e-7)
        theta = descend(
            net.trainable_variables,
            lambda w=weights: sum(w[n] * half_square(r()) for n, r in residuals.items()) * 1e-3,
        )
        net.set_weights(theta)

    balancer.weighting.loss_weights.assign([1.0, 2.0, 3.0])
    assert balancer.loss_weights == {"equation": 1.0, "wall": 2.0, "data": 3.0}


def test_hand_off_to_lbfgs():
    """SciPy's L-BFGS on the flat vector, with the last weights frozen."""
    net, points = network(), tf.constant(X)
    terms = [nk.Term("equation", nested, X), nk.Term("wall", lambda u, x: u(x) - 1, X[:2])]
    model = build(net, terms, "exact-ntk")
    fit(model)
    weights = model.loss_weights

    def loss():
        equation, wall = half_square(nested(net, points)), half_square(net(points[:2]) - 1)
        return weights["equation"] * equation + weights["wall"] * wall

    objective = nk.Objective(model)
    at_start, gradient = objective.loss_and_gradients(objective.theta)
    steps = [
        v.numpy() - new for v, new in zip(net.weights, descend(net.weights, loss), strict=True)
    ]
    by_hand = np.concatenate([step.ravel() for step in steps]) / RATE
    assert at_start == pytest.approx(float(loss()), rel=DOUBLE)
    np.testing.assert_allclose(gradient, by_hand, rtol=1e-8, atol=1e-8)

    result = scipy.optimize.minimize(
        objective.loss_and_gradients, objective.theta, jac=True, method="L-BFGS-B"
    )
    objective.assign(result.x)
    assert float(loss()) == pytest.approx(result.fun, rel=1e-8)
    assert result.fun < 0.1 * at_start
    assert model.loss_weights == weights


# What goes into a network and comes out of it.


def column(points, index):
    return points[:, index : index + 1]


# What the network makes of its inputs, how a residual calls it, its points, its t and its x.
INPUTS = {
    "a matrix": (
        lambda p: (column(p, 0), column(p, 1)),
        lambda u, p: u(p),
        np.concatenate([T, X], axis=1),
        lambda p: column(p, 0),
    ),
    "a tuple": (lambda p: p, lambda u, p: u(p), (T, X), lambda p: p[0]),
    "a dict": (lambda p: (p["t"], p["x"]), lambda u, p: u(p), {"t": T, "x": X}, lambda p: p["t"]),
    "separate columns": (lambda t, x: (t, x), lambda u, p: u(*p), (T, X), lambda p: p[0]),
    "columns of rank one": (
        lambda t, x: (t, x),
        lambda u, p: u(*p),
        (T[:, 0], X[:, 0]),
        lambda p: p[0],
    ),
}


@pytest.mark.parametrize("case", INPUTS.values(), ids=INPUTS)
def test_tuple_dict_and_separate_column_inputs(case):
    """u_t + u = 1 of u = a t + b x + c, with a tape of the program's own."""
    pick, call, points, time_of = case

    def residual(u, points):
        with tf.GradientTape() as tape:
            tape.watch(points)
            values = call(u, points)
        slopes = tape.gradient(values, points, unconnected_gradients="zero")
        return time_of(slopes) + values - 1

    net = Linear(pick)
    fit(build(net, [nk.Term("equation", residual, points)]))
    start, rows = np.array([0.5, -2.0, 0.25]), np.concatenate([T + 1, X, np.ones_like(X)], axis=1)
    assert_all_close([net.theta], [start - RATE * rows.T @ (rows @ start - 1)])


@pytest.mark.parametrize("form", [list, dict])
def test_list_or_dict_outputs(form):
    keras.utils.set_random_seed(0)
    x = keras.Input((1,), dtype="float64")
    layers = [keras.layers.Dense(k, dtype="float64") for k in (1, 2)]
    outputs = [layer(x) for layer in layers]
    net = keras.Model(x, outputs if form is list else {"u": outputs[0], "v": outputs[1]})
    truth = [np.sin(X), np.cos(X * [1, 2])]

    def residual(u, points):
        return tf.concat(tf.nest.flatten(u(points)), axis=1) - 1

    values = np.concatenate([layer(X).numpy() for layer in layers], axis=1)
    model = build(net, [nk.Term("both", residual, X)])
    given = truth if form is list else {"u": truth[0], "v": truth[1]}
    error = np.linalg.norm(values - np.hstack(truth)) / np.linalg.norm(np.hstack(truth))
    assert model.evaluate(X, given, verbose=0) == pytest.approx(error, rel=SINGLE)
    moved = [
        np.concatenate([layer.kernel.numpy() for layer in layers], axis=1)
        - RATE * X.T @ (values - 1),
        np.concatenate([layer.bias.numpy() for layer in layers]) - RATE * (values - 1).sum(axis=0),
    ]
    fit(model)
    for name, expected in zip(("kernel", "bias"), moved, strict=True):
        parts = [getattr(layer, name).numpy() for layer in layers]
        np.testing.assert_allclose(np.concatenate(parts, axis=-1), expected, rtol=DOUBLE)


def test_scaling_inside_the_model_or_the_residual():
    """x in metres, the network on [-1, 1]: derivatives are per metre either way."""
    metres, half = 20 + 100 * X, 50.0

    def rescaled(x):
        return (x - 70) / half

    inner, x = network(), keras.Input((1,), dtype="float64")
    outer = keras.Model(x, inner(rescaled(x)))

    def in_the_model(u, x):
        return nk.derivatives.partial(u, x, 0)[:, 0] * 50

    def in_the_residual(u, x):
        scaled = rescaled(x)
        with tf.GradientTape() as tape:
            tape.watch(scaled)
            values = u(scaled)
        return tape.gradient(values, scaled) / half * 50

    w, b, v, _ = inner.get_weights()
    by_hand = ((1 - np.tanh(rescaled(metres) @ w + b) ** 2) * w / half) @ v * 50
    for net, residual in ((outer, in_the_model), (inner, in_the_residual)):
        model = build(net, [nk.Term("slope", residual, metres)])
        np.testing.assert_allclose(model.blocks()["slope"](), by_hand[:, 0], rtol=DOUBLE)


def test_output_transforms():
    """u = x (1 - x) N + x, as a functional model and as one with a call of its own."""

    class Hard(keras.Model):
        def __init__(self, inner):
            super().__init__(dtype="float64")
            self.inner = inner

        def call(self, x):
            return x * (1 - x) * self.inner(x) + x

    def slope(u, x):
        return nk.derivatives.partial(u, x, 0)[:, 0]

    inner, x = network(), keras.Input((1,), dtype="float64")
    w, b, v, c = inner.get_weights()
    squash = np.tanh(X @ w + b)
    by_hand = (1 - 2 * X) * (squash @ v + c) + X * (1 - X) * (((1 - squash**2) * w) @ v) + 1
    for net in (keras.Model(x, x * (1 - x) * inner(x) + x), Hard(inner)):
        ends = np.array([[0.0], [1.0]])
        model = build(net, [nk.Term("slope", slope, X)])
        np.testing.assert_allclose(model.blocks()["slope"](), by_hand[:, 0], rtol=DOUBLE)
        np.testing.assert_array_equal(model.predict(ends, verbose=0), ends)


# The program around.


class Ported(keras.Model):
    """A program's own compile, train_step, test_step and metrics, and names that invite clashes."""

    def __init__(self, net):
        super().__init__(dtype="float64")
        self.network, self.terms, self.unknowns = net, ["equation", "wall"], {}
        self.loss_weights, self.weighting, self.seed = {"equation": 1.0}, "adaptive", 7
        self.balancer = nk.LossBalancer(
            self.terms, nk.weighting.Constant({"equation": 2.0, "wall": 3.0}), dtype="float64"
        )
        self.tracker = keras.metrics.Mean(name="residual")

    def compile(self, optimizer, scale):
        super().compile(optimizer, run_eagerly=True)
        self.scale = scale

    @property
    def metrics(self):
        return [self.tracker]

    def call(self, x):
        return self.network(x)

    def train_step(self, data):
        with tf.GradientTape(persistent=True) as tape:
            residuals = {"equation": nested(self, data["x"]), "wall": self(data["x"][:1])}
            losses = [self.scale * half_square(r) for r in residuals.values()]
        weights = self.balancer(residuals, tape, self.trainable_variables)
        gradients = tape.gradient(losses, self.trainable_variables, list(weights.values()))
        self.optimizer.apply(gradients, self.trainable_variables)
        self.tracker.update_state(losses[0])
        return {"residual": self.tracker.result()}

    def test_step(self, data):
        self.tracker.update_state(tf.reduce_max(abs(self(data["x"]))))
        return {"residual": self.tracker.result()}


def test_own_compile_fit_callbacks_metrics_test_step_survive_and_names_do_not_collide():
    net, seen, points = network(), [], tf.constant(X)
    model = Ported(net)
    model(points)
    model.compile(keras.optimizers.SGD(RATE), scale=0.5)
    at_start = 0.5 * float(half_square(nested(net, points)))
    expected = descend(
        net.trainable_variables,
        lambda: half_square(nested(net, points)) + 1.5 * half_square(net(points[:1])),
    )
    data = tf.data.Dataset.from_tensors({"x": X})
    note = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: seen.append(dict(logs)))
    history = model.fit(
        data, validation_data=data, callbacks=[note], shuffle=False, verbose=0
    ).history
    assert_all_close(net.trainable_variables, expected)
    largest = np.max(np.abs(net.predict(X, verbose=0)))
    logs = {"residual": at_start, "val_residual": largest}
    assert {name: values[0] for name, values in history.items()} == pytest.approx(logs, rel=SINGLE)
    assert seen == [{name: values[0] for name, values in history.items()}]
    assert (model.seed, model.weighting, model.loss_weights) == (7, "adaptive", {"equation": 1.0})
    assert model.trainable_variables == net.trainable_variables


@pytest.mark.parametrize("in_kernel", [True, False])
def test_trainable_pde_parameters(in_kernel, tmp_path):
    """u' + k u, whose derivative by k is u: optimised, logged, saved, in the kernel or not."""

    def decay(u, x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            values = u(x)
        return tape.gradient(values, x) + u.unknowns["k"] * values

    net, points = network(), tf.constant(X)
    w, b, v, c = net.get_weights()
    squash = np.tanh(X @ w + b)
    values, slope = squash @ v + c, ((1 - squash**2) * w) @ v
    declared = {"k": nk.Unknown(0.5, in_kernel=in_kernel)}

    def make(net):
        terms = [nk.Term("decay", decay, X), nk.Term("start", value, X[:1])]
        return build(net, terms, "exact-ntk", unknowns=declared)

    model = make(net)
    without = trace(
        lambda: decay(nk.derivatives.NetworkView(net, unknowns={"k": 0.5}), points), net.weights
    )
    history = fit(model)
    expected = without + in_kernel * np.sum(values**2)
    assert model.kernel_traces["decay"] == pytest.approx(expected, rel=DOUBLE)
    gradient = model.loss_weights["decay"] * np.sum((slope + 0.5 * values) * values)
    assert model.unknowns["k"] == pytest.approx(0.5 - RATE * gradient, rel=DOUBLE)
    assert history["unknowns/k"] == pytest.approx([model.unknowns["k"]], rel=SINGLE)
    model.save_weights(tmp_path / "model.weights.h5")
    again = make(network())
    again.load_weights(tmp_path / "model.weights.h5")
    assert again.unknowns == model.unknowns


# Data.


def test_mini_batches():
    """An epoch of batches of 3, 3 and 1 points, as a loop over them goes."""
    net, other = network(), network()
    for batch in (X[:3], X[3:6], X[6:]):
        other.set_weights(
            descend(
                other.weights, lambda x=batch: half_square(other(x) - 1) + half_square(other(T))
            )
        )
    terms = [nk.Term("data", lambda u, x: u(x) - 1), nk.Term("wall", value, T)]
    batches = tf.data.Dataset.from_tensor_slices({"data": X}).batch(3)
    fit(build(net, terms), batches, steps=None)
    assert_all_close(net.weights, [w.numpy() for w in other.weights])


def test_periodic_pairs():
    """u(left) - u(right) of u = a t + b x + c: its gradient is left - right, zero for c."""

    def jump(u, points):
        left, right = points
        return u(left) - u(right)

    net = Linear(lambda points: (points[:, :1], points[:, 1:]))
    left, right = (np.concatenate([T, np.full_like(T, end)], axis=1) for end in (-1.0, 2.0))
    model = build(net, [nk.Term("period", jump, (left, right))], "exact-ntk")
    assert fit(model)["loss/period"] == pytest.approx([7 * (2.0 * 3) ** 2 / 2], rel=SINGLE)
    assert model.kernel_traces == {"period": pytest.approx(7 * 3.0**2, rel=DOUBLE)}
    assert_all_close([net.theta], [[0.5, -2.0 + RATE * 7 * 6 * 3, 0.25]])


def test_float64_end_to_end_without_a_global_switch():
    """One third and a residual of 1e-12, which single precision would lose, in every part."""
    net = Linear(lambda points: (points, points))
    third = np.full((4, 1), 1 / 3)
    u = (0.5 - 2.0) / 3 + 0.25  # -0.25
    model = build(net, [nk.Term("data", lambda u, x: u(x) + 0.25 + 1e-12, third)], "exact-ntk")
    assert keras.config.floatx() == "float32"
    residual = u + 0.25 + 1e-12
    np.testing.assert_allclose(model.blocks()["data"](), np.full(4, residual), rtol=1e-3)
    fit(model)
    expected = -2.0 - RATE * 4 * residual / 3  # the weight of a single term is one
    assert float(net.theta[1]) == pytest.approx(expected, rel=1e-15)
    assert model.kernel_traces["data"] == pytest.approx(4 * (2 / 9 + 1), rel=1e-14)
    assert model.predict(third, verbose=0).dtype == np.float64


def test_points_redrawn():
    """At every step in the graph, or at every epoch by the program itself."""
    terms = [nk.Term("drawn", value, nk.domains.Box(x=(0, 1)).interior(5))]
    net = network()
    model = build(net, terms)
    drawn = []
    for _ in range(3):
        points = model.blocks()["drawn"].points.numpy()  # of the next step
        drawn.append(points)
        expected = descend(net.weights, lambda x=points: half_square(net(x)))
        fit(model)
        assert_all_close(net.weights, expected)
    assert len(np.unique(np.concatenate(drawn))) == 15

    rng = np.random.default_rng(0)
    for _ in range(2):
        points = rng.uniform(size=(4, 1))
        expected = descend(net.weights, lambda x=points: half_square(net(x)))
        fit(model, {"drawn": points})
        assert_all_close(net.weights, expected)


# Networks that are no Keras models.


class Module(tf.Module):
    """The same numbers as ``network()``, in raw variables."""

    def __init__(self):
        super().__init__(name="net")
        self.theta = [tf.Variable(v, name=f"v{i}") for i, v in enumerate(network().get_weights())]

    def __call__(self, x):
        w, b, v, c = self.theta
        return tf.tanh(x @ w + b) @ v + c


@pytest.mark.parametrize("kind", ["module", "function", "model with raw variables"])
def test_a_network_that_is_no_keras_model(kind):
    """Its own variables are trained, to what the same layers of Keras come to."""
    module, net = Module(), network()
    variables = module.theta

    def function(x):
        return tf.tanh(x @ variables[0] + variables[1]) @ variables[2] + variables[3]

    class Hiding(keras.Model):
        def __init__(self):
            super().__init__(dtype="float64")
            self.theta = variables

        def call(self, x):
            return function(x)

    call = {"module": module, "function": function}.get(kind) or Hiding()
    # A sketch evaluates at other parameters, which raw variables have to be assigned.
    estimator, compiled = ("exact", {}) if kind == "function" else ("predictor", EAGER)
    terms = [nk.Term("equation", nested, X), nk.Term("wall", lambda u, x: u(x) - 1, X[:2])]
    models = [
        build(each, terms, nk.weighting.NTK(estimator, num_initial_probes=2), compiled)
        for each in (nk.networks.CallableNetwork(call, variables), net)
    ]
    points = tf.constant(X)
    exact = {
        "equation": trace(lambda: nested(net, points), net.weights),
        "wall": trace(lambda: net(points[:2]), net.weights),
    }
    for model in models:
        fit(model)
    if estimator == "exact":
        assert models[0].kernel_traces == pytest.approx(exact, rel=DOUBLE)
    # A sketch is a difference over 1e-8 of the parameters, which magnifies rounding of 1e-16.
    for raw, own, before in zip(variables, net.weights, network().get_weights(), strict=True):
        np.testing.assert_allclose(raw.numpy(), own.numpy(), rtol=1e-6)
        assert not np.allclose(raw.numpy(), before, rtol=1e-3)

    objectives = [nk.Objective(model) for model in models]
    before = objectives[0].theta
    sides = [objective.loss_and_gradients(before + 0.1) for objective in objectives]
    assert sides[0][0] == pytest.approx(sides[1][0], rel=1e-6)
    np.testing.assert_allclose(sides[0][1], sides[1][1], rtol=1e-6)
    np.testing.assert_array_equal(objectives[0].theta, before)
