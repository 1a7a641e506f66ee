"""The loss of a float64 model is a float64 wherever it is shown."""

import keras
import numpy as np
import tensorflow as tf

import ntk_keras as nk
from tests.support.models import X, build, fit, network, still, value


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
