"""Losses that float32 does not hold: float64 does, and a model of float32 is told so."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import ntk_keras as nk
from tests.support.models import Disturbance, X, build, fit, network, still, value


def large(u, points):
    return 1e20 * value(u, points)


def test_the_loss_of_residuals_of_1e20_is_finite_in_float64():
    net = network(dtype="float64")
    model = build([nk.Term("eq", large, X)], net=net, optimizer=still())
    expected = 0.5 * np.sum((1e20 * net(X).numpy()) ** 2)
    assert expected > np.finfo("float32").max
    history = fit(model, steps=2, validation_data={"eq": X})
    evaluated = model.evaluate(return_dict=True, verbose=0)
    shown = [history["loss"][0], history["loss/eq"][0], history["val_loss"][0], evaluated["loss"]]
    shown.append(model.train_on_batch({"eq": X}, return_dict=True)["loss"])
    np.testing.assert_allclose(shown, expected, rtol=1e-12)


def test_a_model_compiled_again_or_on_a_device_keeps_the_precision_of_its_loss():
    with tf.distribute.OneDeviceStrategy("CPU:0").scope():
        model = build([nk.Term("eq", large, X)], net=network(dtype="float64"), optimizer=still())
        model.compile(still(), jit_compile=False)
    assert np.isfinite(fit(model)["loss"][0])
    assert [m.dtype for m in model.metrics if m.name == "loss"] == ["float64"]


def test_the_loss_of_a_float32_model_stays_what_keras_makes_it():
    model = build()
    assert [m.dtype for m in model.metrics if m.name == "loss"] == [keras.config.floatx()]


def shifted(by):
    return lambda u, points: value(u, points) + by


@pytest.mark.parametrize(
    ("by", "reduction", "dtype"),
    [
        (1e25, "sum", "float32"),
        (1e25, "mean", "float32"),
        (1.2e19, "sum", "float32"),
        (1e200, "sum", "float64"),
    ],
)
def test_squares_that_overflow_are_refused_before_training(by, reduction, dtype):
    terms = [nk.Term("eq", shifted(by), X)]
    model = build(terms, reduction=reduction, net=network(dtype=dtype))
    with pytest.raises(ValueError, match=f"'eq'.*are finite, but.*infinite in {dtype}.*Divide"):
        fit(model)


def test_a_mean_of_large_squares_may_be_finite():
    """1.2e19 squared is 1.44e38, six of which are beyond 3.4e38 and their mean is not."""
    model = build([nk.Term("eq", shifted(1.2e19), X)], reduction="mean", optimizer=still())
    assert fit(model)["loss"][0] == pytest.approx(0.72e38, rel=1e-5)


def test_squares_that_overflow_in_training_are_not_called_a_bad_residual():
    fault = Disturbance(1, residual=1e25, lasting=True)
    model = build([nk.Term("sound", value, X), nk.Term("large", fault.residual, X)])
    message = "1: the residual of term 'large' is finite, but its square became infinite.*Divide"
    with pytest.raises(nk.TrainingDivergedError, match=message):
        fit(model, steps=2, callbacks=[fault])
