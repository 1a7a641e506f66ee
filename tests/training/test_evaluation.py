"""Residual maps, fields and outputs of a trained model; batches by hand."""

import time

import keras
import numpy as np
import pytest
import tensorflow as tf

import ntk_keras as nk
from ntk_keras.training import values as values_module
from tests.support.models import START, X, build, fit, network, slope, still, value

GRID = np.linspace(-1, 1, 25)[:, None]


def scaled(u, x):
    return u.unknowns["k"] * nk.derivatives.laplacian(u, x)[:, 0]


def pair(u, points):
    x, y = points
    return u(x)[:, 0] - y, u(x)[:, 0] + y


def inverse(**kwargs):
    terms = [nk.Term("equation", scaled, X), nk.Term("data", pair, (X, X[:, 0]))]
    return build(terms, unknowns={"k": 3.0}, **kwargs)


@pytest.mark.parametrize("reduction", ["sum", "mean"])
def test_residuals_at_the_points_of_the_terms(reduction):
    model = inverse(reduction=reduction, net=network(dtype="float64"))
    found = model.residuals()
    assert list(found) == ["equation", "data"]
    x = tf.constant(X)
    u = model.network(x)[:, 0].numpy()
    second = nk.derivatives.laplacian(model.network, x)[:, 0]
    np.testing.assert_allclose(found["equation"], 3 * second, rtol=1e-10)
    np.testing.assert_allclose(found["data"], np.stack([u - X[:, 0], u + X[:, 0]], axis=1))
    assert all(isinstance(values, np.ndarray) for values in found.values())


def test_a_residual_map_of_one_term_in_batches():
    model = inverse(net=network(dtype="float64"))
    whole = model.residuals({"equation": GRID})
    assert list(whole) == ["equation"]
    second = nk.derivatives.laplacian(model.network, tf.constant(GRID))[:, 0]
    np.testing.assert_allclose(whole["equation"], 3 * second, rtol=1e-10)
    parts = model.residuals({"equation": GRID}, batch_size=10)  # 10, 10, 5
    np.testing.assert_allclose(parts["equation"], whole["equation"], rtol=1e-10)


def test_points_that_are_drawn_are_those_of_the_next_step():
    sampler = nk.domains.Box(x=(0, 1)).interior(5)
    model = build([nk.Term("equation", slope, sampler)], optimizer=still())
    found = model.residuals()["equation"]
    assert fit(model)["loss"][0] == pytest.approx(np.sum(found**2) / 2, rel=1e-5)


def test_a_function_of_the_solution():
    """With unknowns and derivatives, of points of several parts, into a nest of arrays."""
    model = inverse(net=network(dtype="float64"))

    def fields(u, points):
        gradient = nk.derivatives.gradient(u, points["x"])[:, 0]
        return {"flux": u.unknowns["k"] * gradient, "shifted": u(points["x"])[:, 0] + points["by"]}

    points = {"x": GRID, "by": np.arange(25.0)}
    found = model.evaluate_function(fields, points, batch_size=8)
    x = tf.constant(GRID)
    np.testing.assert_allclose(
        found["flux"], 3 * nk.derivatives.gradient(model.network, x)[:, 0], rtol=1e-10
    )
    np.testing.assert_allclose(found["shifted"], model.network(x)[:, 0] + points["by"], rtol=1e-10)
    assert found["flux"].shape == (25, 1)
    assert isinstance(found["flux"], np.ndarray)
    single = build().evaluate_function(lambda u, x: u(x), GRID)
    assert single.dtype == "float32"


def test_what_was_trained_is_what_is_evaluated():
    model = inverse()
    before = model.residuals()["equation"]
    fit(model, steps=2)
    after = model.residuals()["equation"]
    assert not np.allclose(before, after)
    assert model.unknowns["k"] != 3.0
    by_hand = model.unknowns["k"] * nk.derivatives.laplacian(
        model.network, tf.constant(X, "float32")
    )
    np.testing.assert_allclose(after, by_hand[:, 0], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("points", "message"),
    [
        ({"equation ": X}, "Unknown: .'equation '.*Terms"),
        (X, "a dict by term name"),
        ({"equation": X[:0]}, "Term 'equation': points must be one tensor"),
    ],
)
def test_points_that_do_not_fit_are_refused(points, message):
    with pytest.raises(ValueError, match=message):
        inverse().residuals(points)


def test_terms_without_points_need_some():
    model = build([nk.Term("equation", slope), nk.Term("start", value, START)])
    with pytest.raises(ValueError, match="Terms without points: .'equation'"):
        model.residuals()
    assert list(model.residuals({"equation": X})) == ["equation"]


# Outputs.


def test_predict_takes_many_points_at_a_time(monkeypatch):
    model, sizes = build(), []
    call = model.call
    monkeypatch.setattr(
        model, "call", lambda x, training=None: sizes.append(x.shape[0]) or call(x, training)
    )
    points = np.zeros((values_module.BATCH_SIZE + 1, 1), "float32")
    model.run_eagerly = True
    assert model.predict(points, verbose=0).shape == (len(points), 1)
    assert sizes[-2:] == [values_module.BATCH_SIZE, 1]
    model.predict(points[:40], batch_size=32, verbose=0)
    assert sizes[-2:] == [32, 8]


def test_many_points_take_seconds():
    model = build()
    points = np.random.default_rng(0).random((200_000, 1), "float32")
    model.predict(points, verbose=0)
    began = time.perf_counter()
    model.predict(points, verbose=0)
    assert time.perf_counter() - began < 4  # 0.2 s; 12 s in batches of 32


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_predict_and_evaluate_give_what_the_network_does(dtype):
    model = build(net=network(dtype=dtype))
    np.testing.assert_allclose(model.predict(GRID, verbose=0), model.network(GRID), rtol=1e-5)
    data = tf.data.Dataset.from_tensor_slices(GRID.astype(dtype)).batch(7)
    np.testing.assert_allclose(model.predict(data, verbose=0), model.network(GRID), rtol=1e-5)
    error = model.evaluate(GRID, GRID, verbose=0)
    expected = np.linalg.norm(model.network(GRID) - GRID) / np.linalg.norm(GRID)
    assert error == pytest.approx(expected, rel=1e-5)


# Batches by hand.


@pytest.mark.parametrize("compiled", [{}, {"run_eagerly": True}])
def test_batches_by_term_are_evaluated_and_trained_on(compiled):
    model = build(compiled=compiled, weighting="constant", optimizer=still())
    points = X[:3].astype("float32")
    logs = model.test_on_batch({"equation": points}, return_dict=True)
    residual = slope(model.network, tf.constant(points))
    assert logs["loss/equation"] == pytest.approx(np.sum(residual**2) / 2, rel=1e-5)
    total = logs["loss/equation"] + logs["loss/start"]
    assert logs["loss"] == pytest.approx(total, rel=1e-5)
    assert model.test_on_batch({"equation": points}) == list(logs.values())
    model.reset_metrics()
    trained = model.train_on_batch({"equation": points}, return_dict=True)
    assert trained["loss"] == pytest.approx(logs["loss"], rel=1e-5)
    np.testing.assert_allclose(model.predict_on_batch(points), model.network(points), rtol=1e-5)


def test_a_batch_of_nothing_is_the_terms_own_points():
    model = build(weighting="constant", optimizer=still())
    expected = model.evaluate(verbose=0, return_dict=True)
    model.reset_metrics()
    assert model.test_on_batch(None, return_dict=True) == pytest.approx(expected)
    model.reset_metrics()
    assert model.train_on_batch(None, return_dict=True)["loss"] == pytest.approx(expected["loss"])


def test_a_batch_of_points_and_values_is_the_error():
    model = build()
    expected = model.evaluate(GRID, GRID, verbose=0)
    assert model.test_on_batch(GRID, GRID) == pytest.approx(expected, rel=1e-5)
    weights = np.linspace(0, 1, 25)
    model.reset_metrics()
    weighted = model.test_on_batch(GRID, GRID, weights)
    assert weighted == pytest.approx(
        model.evaluate(GRID, GRID, sample_weight=weights, verbose=0), rel=1e-5
    )


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        (({"equation ": X},), "Unknown: .'equation '.*Terms"),
        ((X,), "Validation needs .points, values."),
        (({"equation": X}, None, np.ones(6)), "no `y` and no `sample_weight`"),
    ],
)
def test_a_batch_that_does_not_fit_is_refused(batch, message):
    with pytest.raises(ValueError, match=message):
        build().test_on_batch(*batch)


# What stops or saves by an error of ours.


@pytest.mark.parametrize("monitor", ["val_relative_l2", "val_loss/start", "loss/start"])
def test_losses_and_errors_fall_by_themselves(monitor, tmp_path):
    """``mode="auto"``: nothing improves here, so training stops when patience ends."""
    stop = keras.callbacks.EarlyStopping(monitor=monitor, patience=1)
    slower = keras.callbacks.ReduceLROnPlateau(monitor=monitor, patience=1, min_delta=0)
    path = tmp_path / "best.weights.h5"
    best = keras.callbacks.ModelCheckpoint(
        path, monitor=monitor, save_best_only=True, save_weights_only=True
    )
    model = build(weighting="constant", optimizer=still())
    data = {"start": X} if "start" in monitor else (X, X)
    history = fit(model, epochs=4, callbacks=[best, slower, stop], validation_data=data)
    assert len(history["loss"]) == 2
    assert path.exists()
    better = {**history, monitor: [2.0, 1.0]}
    assert stop.monitor_op(better[monitor][1], better[monitor][0])


# Shapes that a network does not take, which its first layer may broadcast.

WIDE = {
    "one column": np.ones((4, 1)),
    "three columns": np.ones((4, 3)),
    "one point": np.ones(2),
    "too deep": np.ones((2, 2, 2)),
}


@pytest.mark.parametrize("points", WIDE.values(), ids=WIDE)
def test_points_of_another_width_are_refused(points):
    box = nk.domains.Box(t=(0, 1), x=(0, 1))
    net = nk.networks.feedforward(box, width=4, depth=1)
    model = build([nk.Term("start", value, box.grid(2, 2))], "constant", net=net)
    ways = [model, model.predict, model.predict_on_batch]
    if points.ndim == 2:
        ways.append(lambda x: model.evaluate(x, np.ones((4, 1)), verbose=0))
        ways.append(lambda x: fit(model, validation_data=(x, np.ones((4, 1)))))
    for way in ways:
        with pytest.raises(ValueError, match=r"but the network takes \[n, 2\]"):
            way(points)


def test_variables_of_keras_are_points():
    model = build([nk.Term("start", value, X)], "constant")
    points = keras.Variable(X.astype("float32"))
    np.testing.assert_array_equal(model.predict(points, verbose=0), model.predict(X, verbose=0))
    found = model.residuals({"start": points})["start"]
    np.testing.assert_allclose(found, model.residuals({"start": X})["start"])


def test_residual_maps_are_traced_once():
    traces = []

    def counted(factor):
        def residual(u, x):
            traces.append(factor)
            return factor * value(u, x)

        return residual

    model = build([nk.Term("start", counted(1.0), X)], "constant")
    first = model.residuals({"start": GRID})["start"]
    seen = len(traces)
    fit(model, steps=2)
    trained = len(traces) - seen
    again = model.residuals({"start": GRID})["start"]
    assert len(traces) == seen + trained
    assert np.max(np.abs(again - first)) > 1e-5  # of the parameters that are now
    np.testing.assert_allclose(again, model.predict(GRID, verbose=0)[:, 0], rtol=1e-4, atol=1e-6)
    model.terms[0].residual = counted(2.0)
    np.testing.assert_allclose(model.residuals({"start": GRID})["start"], 2 * again, rtol=1e-5)
