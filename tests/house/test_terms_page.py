"""What ``docs/how-to/terms.md`` says of its terms: values, gradients, traces, training."""

import re
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

import ntk_keras as nk
from tests.support.models import X, build, fit, still

PAGE = (Path(__file__).parents[2] / "docs" / "how-to" / "terms.md").read_text()
GRID = np.linspace(0, 1, 41)[:, None]
TRUTH = GRID * (1 - GRID) / 2


@pytest.fixture(scope="module")
def page():
    """The names of the page, with what was trained in it."""
    namespace = {}
    for code in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL):
        exec(compile(code, "terms.md", "exec"), namespace)
    return namespace


def values_and_slopes(residual, r):
    r = tf.constant(r, tf.float64)
    with tf.GradientTape() as tape:
        tape.watch(r)
        halves = residual(r) ** 2 / 2
    return halves.numpy(), tape.gradient(halves, r).numpy()


R = np.array([-5.0, -2.0, -0.3, 0.0, 1e-9, 0.5, 2.0, 7.0])


def test_half_the_square_of_a_huber_residual_is_hubers_loss(page):
    halves, slopes = values_and_slopes(lambda r: page["huber"](r, 2.0), R)
    size = np.abs(R)
    np.testing.assert_allclose(halves, np.where(size <= 2, R**2 / 2, 2 * (size - 1)), rtol=1e-12)
    np.testing.assert_allclose(slopes, np.clip(R, -2, 2), rtol=1e-12)


def test_half_the_square_of_an_absolute_residual_is_the_absolute_value(page):
    halves, slopes = values_and_slopes(page["absolute"], R)
    np.testing.assert_allclose(halves, np.abs(R), atol=1e-3)
    np.testing.assert_allclose(slopes, np.clip(R / 1e-3, -1, 1), rtol=1e-12)


def test_outliers_do_not_move_an_absolute_misfit(page):
    prediction = page["robust"].predict(page["x"])
    truth = page["x"] * (1 - page["x"]) / 2
    assert np.linalg.norm(prediction - truth) < 0.2 * np.linalg.norm(truth)


def test_an_integral_is_one_row_and_fixes_the_solution(page):
    model = page["constrained"]
    assert model.blocks()["mass"]().shape == (1,)
    traces = nk.kernel.traces(model.blocks(), model.kernel_variables)
    with tf.GradientTape() as tape:
        mass = page["mass"](
            model.network, [tf.constant(p, tf.float32) for p in model.terms[1].points]
        )
    gradients = tape.gradient(mass, [v.value for v in model.trainable_variables])
    squares = sum(float(tf.reduce_sum(g**2)) for g in gradients if g is not None)
    assert float(traces["mass"]) == pytest.approx(squares, rel=1e-4)
    assert np.linalg.norm(model.predict(GRID) - TRUTH) < 0.1 * np.linalg.norm(TRUTH)


def test_a_limit_is_kept(page):
    assert np.max(page["limited"].predict(GRID)) < 0.12 < np.max(TRUTH)


def test_causal_weights_are_those_of_earlier_points(page):
    r, t = np.array([1.0, 2.0, 3.0, 4.0]), np.array([0.7, 0.1, 0.9, 0.4])
    weights = [np.exp(-2.0 * sum(r[t < own] ** 2) / 4) for own in t]
    halves, slopes = values_and_slopes(lambda x: page["causal"](x, tf.constant(t), 2.0), r)
    np.testing.assert_allclose(halves, weights * r**2 / 2, rtol=1e-12)
    np.testing.assert_allclose(slopes, weights * r, rtol=1e-12)


def test_the_trace_of_causal_residuals_has_their_weights(page):
    def residual(u, x):
        return page["causal"](u(x)[:, 0] - 1, x[:, 0], 3.0)

    def plain(u, x):
        return u(x)[:, 0] - 1

    terms = [nk.Term("causal", residual, X), nk.Term("plain", plain, X)]
    model = build(terms, "ntk", optimizer=still())
    fit(model)
    r = model.blocks()["plain"]()
    weights = (model.blocks()["causal"]() / r).numpy() ** 2
    diagonal = nk.kernel.diagonal(model.blocks()["plain"], model.kernel_variables)
    diagonal = np.ravel(tf.nest.flatten(diagonal)[0])
    assert np.max(weights) > 2 * np.min(weights)
    assert model.kernel_traces["causal"] == pytest.approx(np.sum(weights * diagonal), rel=1e-4)


def test_an_energy_has_its_own_gradient_and_minimum(page):
    model = page["ritz"]
    x = tf.constant(GRID, tf.float32)

    def gradient(loss):
        with tf.GradientTape() as tape:
            value = loss()
        return np.concatenate(
            [
                np.ravel(g)
                for g in tape.gradient(value, [v.value for v in model.trainable_variables])
            ]
        )

    def energy():
        du = nk.derivatives.gradient(model.network, x)[:, 0, 0]
        return tf.reduce_mean(du**2 / 2 - model.network(x)[:, 0])

    ours = gradient(lambda: tf.reduce_sum(page["energy"](model.network, x) ** 2) / 2)
    theirs = gradient(energy)
    np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-4 * np.max(np.abs(theirs)))
    assert np.linalg.norm(model.predict(GRID) - TRUTH) < 0.3 * np.linalg.norm(TRUTH)


@pytest.mark.parametrize("reduce", [tf.reduce_mean, lambda r: tf.reduce_mean(r)[None]])
def test_a_residual_that_reduces_is_told_the_way_of_an_integral(reduce):
    term = nk.Term("mean", lambda u, x: reduce(u(x)[:, 0]), X)
    with pytest.raises(ValueError, match=r"Do not reduce.*a row of its own.*\[1, q, d\]"):
        build([term])
