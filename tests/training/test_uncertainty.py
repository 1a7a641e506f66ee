"""Standard errors of unknown coefficients, against closed forms of least squares."""

import keras
import numpy as np
import pytest
import scipy
import tensorflow as tf

import ntk_keras as nk
from ntk_keras.training import uncertainty as uncertainty_module

RNG = np.random.default_rng(0)
X = RNG.uniform(0, 1, size=(25, 1))
EDGE = np.array([[0.0], [0.5], [1.0]])
NOISE = 0.1 * RNG.normal(size=25)
Y = 1 + X[:, 0] + 2 * np.sin(3 * X[:, 0]) + NOISE


def observed(u, points):
    """Linear in slope, offset and amplitude."""
    x, y = points
    return u(x)[:, 0] + u.unknowns["amplitude"] * tf.sin(3 * x[:, 0]) - y


def edge(u, x):
    return u(x)[:, 0] - 1 - x[:, 0]


def line(weights=(1.0, 1.0), unit=1.0, counts=(1, 1), **kwargs):
    """A model whose network is a straight line, at the minimum of its loss.

    Args:
        unit: of the observations' residual, which a weight makes up for.
        counts: of rows, likewise, where the loss is made of means.
    """
    network = keras.Sequential(
        [keras.Input((1,), dtype="float64"), keras.layers.Dense(1, dtype="float64")]
    )
    terms = [
        nk.Term("edge", edge, EDGE),
        nk.Term("data", lambda u, p: unit * observed(u, p), (X, Y)),
    ]
    by_group = {"edge": weights[0] * counts[0], "data": weights[1] * counts[1] / unit**2}
    model = nk.PINNModel(network, terms, by_group, unknowns={"amplitude": 0.0}, **kwargs)
    theta, _, _ = solution(weights)
    network.set_weights([np.reshape(theta[0], (1, 1)), theta[1:2]])
    model.unknowns["amplitude"] = theta[2]
    return model


def solution(weights):
    """Minimum, the inverse of X^T W X times X^T W, and what that leaves of the rows."""
    rows = np.zeros((28, 3))
    rows[:, 0] = np.concatenate([EDGE[:, 0], X[:, 0]])
    rows[:, 1] = 1
    rows[3:, 2] = np.sin(3 * X[:, 0])
    right = np.concatenate([1 + EDGE[:, 0], Y])
    w = np.repeat(weights, [3, 25])
    inverse = np.linalg.solve(rows.T @ (w[:, None] * rows), rows.T * w)
    return inverse @ right, inverse, np.eye(28) - rows @ inverse


def expected(weights):
    """Noise and standard error if the data alone are noisy."""
    _, inverse, left = solution(weights)
    residual = left @ np.concatenate([1 + EDGE[:, 0], Y])
    freedom = np.sum(left[3:, 3:] ** 2)
    noise = np.sqrt(np.sum(residual[3:] ** 2) / freedom)
    return noise, noise * np.linalg.norm(inverse[2, 3:]), freedom


@pytest.mark.parametrize("weights", [(1.0, 1.0), (1e6, 1.0), (1e-3, 4.0)])
def test_a_linear_problem_has_the_error_of_its_closed_form(weights):
    noise, error, freedom = expected(weights)
    found = line(weights).uncertainty("data")
    assert found.noise == {"data": pytest.approx(noise, rel=1e-8)}
    assert found.standard_errors == {"amplitude": pytest.approx(error, rel=1e-8)}
    assert found.degrees_of_freedom == {"data": pytest.approx(freedom, rel=1e-8)}
    assert found.covariance == pytest.approx(np.array([[error**2]]), rel=1e-8)
    assert abs(found.remaining["amplitude"]) < 1e-8


def test_without_other_terms_it_is_that_of_ordinary_least_squares():
    """sigma^2 (X^T X)^-1 with n - p degrees of freedom."""
    model = line((0.0, 1.0))
    rows = np.stack([X[:, 0], np.ones(25), np.sin(3 * X[:, 0])], axis=1)
    theta, squares, *_ = np.linalg.lstsq(rows, Y, rcond=None)
    model.network.set_weights([np.reshape(theta[0], (1, 1)), theta[1:2]])
    model.unknowns["amplitude"] = theta[2]
    error = np.sqrt(squares[0] / 22 * np.linalg.inv(rows.T @ rows)[2, 2])
    found = model.uncertainty()
    assert found.degrees_of_freedom == {"data": pytest.approx(22)}
    assert found.standard_errors["amplitude"] == pytest.approx(error, rel=1e-8)


def test_a_coefficient_that_is_off_is_told_how_far_it_is():
    model = line()
    model.unknowns["amplitude"] += 0.5
    with pytest.warns(UserWarning, match=r"not come to its end: \['amplitude'\].*NaturalGradient"):
        found = model.uncertainty("data")
    assert found.remaining["amplitude"] == pytest.approx(-0.5)
    error = found.standard_errors["amplitude"]
    assert str(found) == f"amplitude = {model.unknowns['amplitude']} ± {error}"


SAME = {
    "another unit of the residual": lambda: line(unit=1e3),
    "means": lambda: line(counts=(3, 25), reduction="mean"),
    "all rows twice": lambda: line(),
}


@pytest.mark.parametrize("case", SAME)
def test_what_leaves_the_loss_as_it_is_leaves_the_error_as_it_is(case):
    twice = {"edge": np.concatenate([EDGE, EDGE])} if case == "all rows twice" else None
    unit = 1e3 if case == "another unit of the residual" else 1
    noise, error, _ = expected((1.0, 1.0))
    found = SAME[case]().uncertainty("data", points=twice)
    assert found.standard_errors["amplitude"] == pytest.approx(error, rel=1e-8)
    assert found.noise["data"] == pytest.approx(unit * noise, rel=1e-8)


def test_rows_are_taken_a_few_at_a_time_and_reduced(monkeypatch):
    model = line((4.0, 1.0))
    whole = model.uncertainty()
    monkeypatch.setattr(uncertainty_module, "_CHUNK_BYTES", 8 * 3 * 9)  # nine rows
    pieces = model.uncertainty()
    for name in ("noise", "standard_errors", "degrees_of_freedom"):
        assert getattr(pieces, name) == pytest.approx(getattr(whole, name), rel=1e-8)


@pytest.mark.filterwarnings("ignore:Training has not come:UserWarning")
def test_the_noise_of_each_term_is_told_from_that_of_the_others():
    """Two sets of measurements, of noise 0.1 and 2, weighted alike, beside exact rows."""
    rng = np.random.default_rng(3)
    x = rng.uniform(0, 1, size=(400, 1))
    truth = 1 + x[:, 0] + 2 * np.sin(3 * x[:, 0])
    terms = [
        nk.Term("edge", edge, EDGE),
        nk.Term("fine", observed, (x, truth + 0.1 * rng.normal(size=400))),
        nk.Term("coarse", observed, (x, truth + 2 * rng.normal(size=400))),
    ]
    network = keras.Sequential(
        [keras.Input((1,), dtype="float64"), keras.layers.Dense(1, dtype="float64")]
    )
    model = nk.PINNModel(network, terms, "constant", unknowns={"amplitude": 1.0})
    named, found = model.uncertainty(["fine", "coarse"]), model.uncertainty()
    assert named.noise == pytest.approx({"fine": 0.1, "coarse": 2}, rel=0.2)
    assert found.noise["coarse"] == pytest.approx(named.noise["coarse"], rel=1e-3)
    errors = [each.standard_errors["amplitude"] for each in (named, found)]
    assert errors[0] == pytest.approx(errors[1], rel=0.2)


# A differential equation whose solution is known: u' = -k u, u(0) unknown.

T = np.sort(np.random.default_rng(1).uniform(0, 1, size=(30, 1)), axis=0)
GRID = np.linspace(0, 1, 40)[:, None]
UNITS = 3


def decay(u, t):
    return nk.derivatives.partial(u, t, 0)[:, 0] + u.unknowns["k"] * u(t)[:, 0]


def fitted(y, start):
    """Parameters of a network, and k, that minimise the loss."""

    def residuals(theta):
        w, b, v = np.split(theta[: 3 * UNITS], 3)
        hidden, at = np.tanh(GRID * w + b), np.tanh(T * w + b)
        slopes, values = (1 - hidden**2) * w @ v, hidden @ v + theta[-2]
        return np.concatenate([10 * (slopes + theta[-1] * values), at @ v + theta[-2] - y])

    return scipy.optimize.least_squares(residuals, start, method="lm", max_nfev=400).x


@pytest.fixture(scope="module")
def decaying():
    """Takes a model to the minimum of the loss for some data."""
    layers = [
        keras.layers.Dense(UNITS, "tanh", dtype="float64"),
        keras.layers.Dense(1, dtype="float64"),
    ]
    network = keras.Sequential([keras.Input((1,), dtype="float64"), *layers])
    data = tf.Variable(np.zeros(30))
    terms = [
        nk.Term("equation", decay, GRID),
        nk.Term("data", lambda u, p: u(p[0])[:, 0] - p[1], (T, data)),
    ]
    weights = {"equation": 100.0, "data": 1.0}
    model = nk.PINNModel(network, terms, weights, unknowns={"k": 1.0})
    start = fitted(np.exp(-2 * T[:, 0]), np.random.default_rng(0).normal(size=3 * UNITS + 2))

    def solved(y):
        theta = fitted(y, start)
        w, b, v = np.split(theta[: 3 * UNITS], 3)
        network.set_weights([w[None], b, v[:, None], theta[-2:-1]])
        model.unknowns["k"] = theta[-1]
        data.assign(y)
        return model

    return solved


def of_exponential(y):
    """k and its standard error by least squares of a exp(-k t), which knows the solution."""
    (_, k), covariance = scipy.optimize.curve_fit(
        lambda t, a, k: a * np.exp(-k * t), T[:, 0], y, [1.0, 2.0]
    )
    return k, np.sqrt(covariance[1, 1])


def test_the_error_is_that_of_a_fit_of_the_known_solution(decaying):
    y = np.exp(-2 * T[:, 0]) + 0.05 * np.random.default_rng(2).normal(size=30)
    k, error = of_exponential(y)
    for measured in ("data", None):
        model = decaying(y)
        found = model.uncertainty(measured)
        assert found.values["k"] == pytest.approx(k, abs=0.05 * error)
        assert found.standard_errors["k"] == pytest.approx(error, rel=0.02)
        assert found.degrees_of_freedom["data"] == pytest.approx(28, rel=0.01)


def test_it_covers_the_truth_as_often_as_it_says(decaying):
    covered = 0
    for seed in range(12):
        y = np.exp(-2 * T[:, 0]) + 0.05 * np.random.default_rng(100 + seed).normal(size=30)
        found = decaying(y).uncertainty("data")
        covered += abs(found.values["k"] - 2) <= 2.05 * found.standard_errors["k"]
    assert covered >= 10  # fewer than that have a chance of 2 %


def test_a_network_that_fits_all_noise_is_refused():
    box = nk.domains.Box(t=(0, 1))
    network = nk.networks.feedforward(box, width=40, depth=1, dtype="float64", seed=0)
    terms = [
        nk.Term("equation", decay, GRID[:2]),
        nk.Term("data", lambda u, t: u(t)[:, 0] - 1, T[:2]),
    ]
    model = nk.PINNModel(network, terms, "constant", unknowns={"k": 1.0})
    with pytest.raises(ValueError, match=r"fits the residuals of \['data'\] whatever the noise"):
        model.uncertainty("data")


@pytest.mark.filterwarnings("ignore:Training has not come:UserWarning")
def test_points_of_a_sampler_are_drawn_and_enough():
    box = nk.domains.Box(t=(0, 1))
    network = nk.networks.feedforward(box, width=5, depth=1, dtype="float64", seed=0)
    terms = [
        nk.Term("equation", decay, box.interior(4)),
        nk.Term("data", lambda u, t: u(t)[:, 0] - 1 - t[:, 0], T),
    ]
    model = nk.PINNModel(network, terms, "constant", unknowns={"k": 1.0}, seed=1)
    before = model.random_state.numpy().copy()
    first, second = model.uncertainty("data"), model.uncertainty("data")
    assert first.standard_errors == second.standard_errors
    assert first.degrees_of_freedom["data"] > 20
    np.testing.assert_array_equal(model.random_state.numpy(), before)


@pytest.mark.filterwarnings("ignore:Training has not come:UserWarning")
def test_what_the_terms_do_not_determine_has_no_finite_error():
    """Two coefficients of which only the product counts, beside an array that is determined."""

    def misfit(u, points):
        x, y = points
        amplitudes = u.unknowns["pair"]
        product = u.unknowns["a"] * u.unknowns["b"]
        waves = amplitudes[0] * tf.sin(3 * x[:, 0]) + amplitudes[1] * tf.cos(9 * x[:, 0])
        return u(x)[:, 0] + product * tf.sin(20 * x[:, 0]) + waves - y

    network = keras.Sequential(
        [keras.Input((1,), dtype="float64"), keras.layers.Dense(1, dtype="float64")]
    )
    unknowns = {"a": 1.0, "pair": [1.0, 0.0], "b": 2.0}
    model = nk.PINNModel(network, nk.Term("data", misfit, (X, Y)), "constant", unknowns=unknowns)
    found = model.uncertainty()
    assert found.standard_errors["a"] == found.standard_errors["b"] == np.inf
    assert found.standard_errors["pair"].shape == (2,)
    assert found.covariance.shape == (4, 4)
    np.testing.assert_allclose(
        found.standard_errors["pair"], np.sqrt(np.diag(found.covariance)[1:3])
    )
    assert np.all(np.isfinite(found.standard_errors["pair"]))


REFUSED = {
    "a name that is no term's": ("speed", None, r"measured must name.*\['edge', 'data'\]"),
    "no name": ([], None, "measured must name"),
    "points of another name": (None, {"speed": X}, "must be names of terms"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_names_no_term_is_refused(case):
    measured, points, message = REFUSED[case]
    with pytest.raises(ValueError, match=f"(?s){message}"):
        line().uncertainty(measured, points=points)


def test_a_model_without_unknowns_is_refused():
    network = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    with pytest.raises(ValueError, match="the model has none.*unknowns="):
        nk.PINNModel(network, nk.Term("edge", edge, EDGE)).uncertainty()
