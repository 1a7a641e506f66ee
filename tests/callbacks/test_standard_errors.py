"""Standard errors of coefficients in logs, history and TensorBoard."""

import keras
import pytest
import tensorflow as tf

import ntk_keras as nk
from tests.support.models import X, build, fit, still, value


def decay(u, x):
    slope = nk.derivatives.gradient(u, x)[:, 0, 0]
    pair = u.unknowns["pair"]
    return slope + u.unknowns["k"] * value(u, x) + pair[0] * x[:, 0] - pair[1] * x[:, 0] ** 2


def test_errors_are_logged_at_an_interval(tmp_path):
    network = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    terms = [nk.Term("equation", decay, X), nk.Term("start", value, X[:2])]
    unknowns = {"k": 1.0, "pair": [1.0, 2.0]}
    model = build(terms, net=network, optimizer=still(), unknowns=unknowns)
    errors = nk.callbacks.StandardErrors(2, "equation")
    writer = nk.callbacks.NTKTensorBoard(tmp_path, max_share=1)
    history = fit(model, epochs=3, callbacks=[errors, writer])
    found = errors.uncertainty.standard_errors
    assert history["unknowns_standard_error/k"] == [found["k"]] * 2
    names = {f"unknowns_standard_error/{name}" for name in ("k", "pair/0", "pair/1")}
    assert history["unknowns_standard_error/pair/1"] == [found["pair"][1]] * 2
    assert {name for name in history if name.startswith("unknowns_standard")} == names
    (path,) = tmp_path.glob("events*")
    tags = {v.tag for e in tf.compat.v1.train.summary_iterator(str(path)) for v in e.summary.value}
    assert names <= tags


@pytest.mark.parametrize(
    ("unknowns", "measured", "message"),
    [({}, None, "the model has none"), ({"k": 1.0}, "speed", "measured must name")],
)
def test_standard_errors_of_nothing_are_refused_before_training(unknowns, measured, message):
    def read(u, x):
        return value(u, x) + sum(u.unknowns[name] for name in unknowns)

    model = build([nk.Term("equation", read, X)], unknowns=unknowns)
    with pytest.raises(ValueError, match=message):
        fit(model, callbacks=[nk.callbacks.StandardErrors(measured=measured)])
