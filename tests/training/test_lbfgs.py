"""The loss as a function of one vector, and L-BFGS on it under the callbacks of `fit`."""

import keras
import numpy as np
import pytest
import scipy.optimize
import tensorflow as tf

import ntk_keras as nk
from examples import polish_wave

BOX = nk.domains.Box(x=(0, 1))
X = np.linspace(0, 1, 9)[:, None]


def curvature(u, points):
    return nk.derivatives.laplacian(u, points)[:, 0] + tf.sin(3 * points[:, 0])


def value(u, points):
    return u(points)[:, 0]


def build(dtype="float64", width=8, sampler=False, weighting="exact-ntk", **kwargs):
    terms = [
        nk.Term("equation", curvature, BOX.interior(9) if sampler else X),
        nk.Term("ends", value, np.array([[0.0], [1.0]])),
    ]
    network = nk.networks.feedforward(BOX, width=width, depth=1, dtype=dtype, seed=0)
    model = nk.PINNModel(network, terms, weighting, seed=1, **kwargs)
    model.compile(keras.optimizers.Adam(0.01), jit_compile=False)
    return model


def fit(model, steps=5, epochs=1, **kwargs):
    return model.fit(epochs=epochs, steps_per_epoch=steps, verbose=0, **kwargs).history


@pytest.fixture(scope="module")
def trained():
    model = build()
    fit(model)
    return model


# The objective.


@pytest.mark.parametrize("reduction", ["sum", "mean"])
def test_the_loss_is_that_of_the_model(reduction):
    model = build(sampler=True, reduction=reduction)
    fit(model)
    objective = nk.Objective(model)
    loss, _ = objective.loss_and_gradients(objective.theta)
    assert loss == pytest.approx(model.evaluate(verbose=0)[0], rel=1e-6)  # logged in float32
    assert objective.logs(objective.theta)["loss"] == loss


def test_the_gradient_is_that_of_the_loss(trained):
    objective = nk.Objective(trained)
    theta, direction = objective.theta, np.random.default_rng(0).standard_normal(25)
    assert theta.shape == (25,)
    assert theta.dtype == np.float64
    step = 1e-5
    ahead, behind = (
        objective.loss_and_gradients(theta + sign * step * direction)[0] for sign in (1, -1)
    )
    slope = objective.loss_and_gradients(theta)[1] @ direction
    assert slope == pytest.approx((ahead - behind) / (2 * step), rel=1e-7)


def test_other_parameters_leave_the_model_alone(trained):
    objective = nk.Objective(trained)
    theta = objective.theta
    objective.loss_and_gradients(theta + 1)
    np.testing.assert_array_equal(objective.theta, theta)


def test_parameters_are_assigned_in_their_places():
    objective = nk.Objective(build())
    theta = np.arange(25.0)
    objective.assign(theta)
    np.testing.assert_array_equal(objective.theta, theta)
    kernel, bias = objective.model.network.layers[1].get_weights()
    np.testing.assert_array_equal(np.concatenate([kernel.ravel(), bias]), np.arange(16))


def test_regularisers_count():
    def l2(weight):
        return weight**2

    terms = [nk.Term("ends", value, X)]
    dense = keras.layers.Dense(1, kernel_regularizer=keras.regularizers.L2(2.0), dtype="float64")
    model = nk.PINNModel(
        keras.Sequential([keras.Input((1,), dtype="float64"), dense]), terms, "constant"
    )
    objective = nk.Objective(model)  # not compiled
    loss, gradient = objective.loss_and_gradients(np.array([3.0, 0.0]))
    assert loss == pytest.approx(9 * np.sum(X**2) / 2 + 2 * l2(3.0))
    np.testing.assert_allclose(gradient, [3 * np.sum(X**2) + 4 * 3.0, 3 * np.sum(X)])


def test_points_and_weights_stay(trained):
    objective = nk.Objective(trained)
    first, again = (objective.loss_and_gradients(objective.theta) for _ in range(2))
    assert first[0] == again[0]
    np.testing.assert_array_equal(first[1], again[1])


def test_any_optimizer_of_scipy_takes_it():
    model = build()
    objective = nk.Objective(model)
    before = objective.logs(objective.theta)["loss"]
    result = scipy.optimize.minimize(
        objective.loss_and_gradients, objective.theta, jac=True, method="BFGS"
    )
    objective.assign(result.x)
    assert objective.logs(objective.theta)["loss"] == pytest.approx(result.fun, rel=1e-12)
    assert result.fun < 1e-2 * before


def test_data_takes_the_place_of_points():
    model = build()
    points = np.linspace(0, 1, 33)[:, None]
    assert nk.Objective(model, {"equation": points}).blocks["equation"]().shape == (33,)
    with pytest.raises(ValueError, match="Unknown: .'equatoin'"):
        nk.Objective(model, {"equatoin": points})


# Polishing.


def test_a_linear_problem_is_solved_exactly():
    """Least squares: two terms with weights one, against NumPy."""
    slope = keras.layers.Dense(1, dtype="float64")
    network = keras.Sequential([keras.Input((1,), dtype="float64"), slope])

    def misfit(u, points):
        return u(points)[:, 0] - tf.sin(points[:, 0])

    model = nk.PINNModel(network, [nk.Term("data", misfit, X)], "constant")
    nk.polish(model, epochs=2, verbose=0)
    matrix = np.column_stack([X[:, 0], np.ones(len(X))])
    expected, *_ = np.linalg.lstsq(matrix, np.sin(X[:, 0]))
    actual = [slope.kernel.numpy()[0, 0], slope.bias.numpy()[0]]
    np.testing.assert_allclose(actual, expected, rtol=1e-7)


@pytest.mark.parametrize("weighting", ["exact-ntk", "self-adaptive"])
def test_the_loss_falls_and_weights_stay(weighting):
    model = build(weighting=weighting)
    fit(model)
    weights, traces = model.loss_weights, model.kernel_traces
    before = model.evaluate(verbose=0)[0]
    history = nk.polish(model, epochs=2, iterations_per_epoch=20, verbose=0).history
    assert model.loss_weights == weights
    assert model.kernel_traces == traces
    assert history["loss"][1] < history["loss"][0] < before
    assert history["loss"][-1] < 0.05 * before
    assert history["loss"][-1] == pytest.approx(model.evaluate(verbose=0)[0], rel=1e-6)
    assert history["weights/ends"] == [pytest.approx(weights["ends"], rel=1e-6)] * 2


def test_single_precision_is_polished_until_it_rounds():
    model = build("float32")
    before = model.evaluate(verbose=0)[0]
    history = nk.polish(model, iterations_per_epoch=100, verbose=0).history
    assert history["loss"][-1] < 0.01 * before


def test_training_goes_on_after_polishing():
    model = build(sampler=True)
    fit(model)
    polished = nk.polish(model, iterations_per_epoch=20, verbose=0).history["loss"][-1]
    assert int(model.optimizer.iterations) == 25
    assert np.isfinite(fit(model)["loss"][-1])
    assert polished > 0


def test_the_next_call_draws_other_points():
    model = build(sampler=True)
    first = nk.Objective(model).blocks["equation"].points
    nk.polish(model, iterations_per_epoch=2, verbose=0)
    second = nk.Objective(model).blocks["equation"].points
    assert not np.any(np.isin(first, second))


def test_history_and_checkpoint_go_on_in_their_files(tmp_path):
    model = build()
    checkpoint = nk.callbacks.Checkpoint(tmp_path / "state.weights.h5")
    history = nk.callbacks.HistoryFile(tmp_path / "history.csv")
    callbacks = [nk.callbacks.Stopwatch(), nk.callbacks.NTKTensorBoard(tmp_path), history]
    validation = {"validation_data": (X, np.zeros_like(X)), "callbacks": [*callbacks, checkpoint]}
    fit(model, epochs=2, **validation)
    nk.polish(model, epochs=3, iterations_per_epoch=5, verbose=0, **validation)
    rows = nk.callbacks.read_history(history.path)
    assert [row["epoch"] for row in rows] == [0, 1, 2, 3, 4]
    assert [row["step"] for row in rows] == [5, 10, 15, 20, 25]
    assert set(rows[-1]) == set(rows[0])
    assert rows[-1]["loss"] < rows[2]["loss"] < rows[1]["loss"]

    resumed = build()
    assert checkpoint.restore(resumed) == 5
    np.testing.assert_array_equal(nk.Objective(resumed).theta, nk.Objective(model).theta)


def test_the_progress_bar_shows_losses(capsys):
    nk.polish(build(), epochs=2, iterations_per_epoch=5, verbose=1)
    shown = capsys.readouterr().out
    assert "Epoch 2/2" in shown
    assert "5/5" in shown
    assert "loss/ends" in shown


class StopAt(keras.callbacks.Callback):
    """Asks for an end, or fails, after an iteration."""

    def __init__(self, iteration, error=None):
        super().__init__()
        self.iteration, self.error = iteration, error

    def on_train_batch_end(self, batch, logs=None):
        if batch + 1 == self.iteration:
            self.logs = logs
            if self.error:
                raise self.error
            self.model.stop_training = True


def test_a_callback_can_stop_it():
    model = build()
    stop = StopAt(7)
    nk.polish(model, epochs=3, iterations_per_epoch=10, callbacks=[stop], verbose=0)
    assert int(model.optimizer.iterations) == 7
    assert model.evaluate(verbose=0)[0] == pytest.approx(stop.logs["loss"], rel=1e-6)


def test_an_interruption_leaves_the_last_iterate():
    model = build()
    stop = StopAt(7, KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        nk.polish(model, callbacks=[stop], verbose=0)
    assert model.evaluate(verbose=0)[0] == pytest.approx(stop.logs["loss"], rel=1e-6)


def falling(u, points):
    """At rest for a negative coefficient."""
    return u(points)[:, 0] + u.unknowns["rate"] + 1


def with_rate(constraint):
    network = keras.Sequential(
        [keras.Input((1,)), keras.layers.Dense(1, use_bias=False, dtype="float64")]
    )
    terms = [nk.Term("falling", falling, X)]
    unknowns = {"rate": nk.Unknown(0.5, constraint=constraint)}
    return nk.PINNModel(network, terms, "constant", unknowns=unknowns)


def test_a_coefficient_that_must_not_be_negative_is_bounded():
    for constraint, expected in {None: -1, "non_neg": 0}.items():
        model = with_rate(constraint)
        nk.polish(model, verbose=0)
        assert model.unknowns["rate"] == pytest.approx(expected, abs=1e-6)


def test_a_coefficient_is_told_at_every_iteration():
    model, stop = with_rate(None), StopAt(1)
    nk.polish(model, callbacks=[stop], verbose=0)
    assert stop.logs["unknowns/rate"] == pytest.approx(model.unknowns["rate"], rel=1e-6)
    assert model.unknowns["rate"] != 0.5


def test_other_constraints_are_refused():
    with pytest.raises(ValueError, match="'.*rate' has the constraint.*NonNeg"):
        nk.polish(with_rate("unit_norm"), verbose=0)


def test_a_start_that_is_not_finite_is_refused():
    model = build()
    objective = nk.Objective(model)
    objective.assign(np.full(25, np.nan))
    with pytest.raises(nk.TrainingDivergedError, match="present parameters.*'loss/ends': nan"):
        nk.polish(model, verbose=0)


def test_trial_steps_that_are_not_finite_are_survived():
    """The logarithm of what may become negative on the way."""

    def logarithm(u, points):
        return tf.math.log(u(points)[:, 0])

    dense = keras.layers.Dense(1, "linear", kernel_initializer="zeros", bias_initializer="ones")
    network = keras.Sequential([keras.Input((1,), dtype="float64"), dense])
    dense.bias.assign([50.0])
    model = nk.PINNModel(network, [nk.Term("log", logarithm, X)], "constant")
    nk.polish(model, verbose=0)
    assert np.all(np.isfinite(nk.Objective(model).theta))


@pytest.mark.slow
def test_the_example_goes_from_one_method_to_the_other(tmp_path, monkeypatch):
    monkeypatch.setattr(polish_wave, "POINTS", dict.fromkeys(polish_wave.POINTS, 64))
    arguments = {"epochs": 1, "polishing_epochs": 2, "steps": 60, "width": 8}
    _, trained, polished = polish_wave.main(**arguments, logdir=tmp_path, verbose=0)
    assert polished["loss"][-1] < polished["loss"][0]
    assert polished["val_relative_l2"][-1] < trained["val_relative_l2"][-1]
    assert len(nk.callbacks.read_history(tmp_path / "history.csv")) == 3


def test_points_are_those_of_the_next_step_under_xla_too():
    """Whose random numbers are others."""
    terms = [nk.Term("equation", curvature, BOX.interior(9))]
    model = nk.PINNModel(nk.networks.feedforward(BOX, width=4, seed=0), terms, "constant", seed=1)
    model.compile(keras.optimizers.SGD(0.0), jit_compile=True)
    objective = nk.Objective(model)
    seen = objective.logs(objective.theta)["loss/equation"]
    averages = nk.callbacks.TimeAverages()
    losses = model.fit(epochs=2, steps_per_epoch=1, callbacks=[averages], verbose=0).history[
        "loss/equation"
    ]
    assert losses[0] == pytest.approx(seen, rel=1e-5)
    assert losses[1] != pytest.approx(seen, rel=1e-2)
    assert losses == pytest.approx(averages.squares()[:-1, 0] / 2, rel=1e-5)
