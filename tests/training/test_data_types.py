"""Points, values and constants of every dtype: taken for what they are, or refused."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import ntk_keras as nk
from tests.support.models import X, build, fit, network, still, value

WHOLE = np.arange(6)[:, None]  # as a CSV file has it


class Frame:
    """As much of a pandas frame as is needed: neither array nor tensor, nor a nest."""

    def __init__(self, values):
        self.values = values

    def __array__(self, dtype=None, copy=None):
        return np.array(self.values, dtype)

    def __len__(self):
        return len(self.values)


def slope(u, x):
    return nk.derivatives.gradient(u, x)[:, 0, 0]


def misfit(u, data):
    x, y = data
    return u(x)[:, 0] - tf.reshape(y, [-1])


def loss(residual, points, data=None, dtype="float32"):
    model = build([nk.Term("a", residual, points)], net=network(dtype=dtype), optimizer=still())
    return fit(model, data)["loss"]


COORDINATES = {
    "array": WHOLE,
    "unsigned": WHOLE.astype("uint8"),
    "tensor": tf.constant(WHOLE),
    "frame": Frame(WHOLE),
    "variable": tf.Variable(WHOLE),
    "half precision": WHOLE.astype("float16"),
    "long double": WHOLE.astype(np.longdouble),
}


@pytest.fixture(scope="module")
def of_floats():
    return loss(slope, WHOLE.astype("float32"))


@pytest.mark.parametrize("kind", COORDINATES)
def test_whole_numbers_are_coordinates(of_floats, kind):
    assert loss(slope, COORDINATES[kind]) == of_floats


def test_whole_numbers_in_data_are_coordinates():
    expected = loss(slope, WHOLE.astype("float64"), dtype="float64")
    batches = tf.data.Dataset.from_tensors({"a": WHOLE})
    assert loss(slope, None, {"a": WHOLE}, dtype="float64") == expected
    assert loss(slope, None, batches.repeat(), dtype="float64") == expected
    model = build([nk.Term("a", slope)], net=network(dtype="float64"))
    block = nk.Objective(model, {"a": WHOLE}).blocks["a"]
    assert block.points.dtype == tf.float64


def test_columns_of_whole_numbers_are_measured_values():
    expected = loss(misfit, (X, WHOLE.astype("float32")))
    assert loss(misfit, (X, WHOLE)) == expected
    assert loss(misfit, (Frame(X), Frame(WHOLE))) == expected
    # Numbers [n] may as well count something: tests/training/test_model.py.
    with pytest.raises(ValueError, match=r"hold integers \[n\].*np.asarray\(x, float\)"):
        loss(misfit, (X, WHOLE[:, 0]))


@pytest.mark.parametrize("in_a_graph", [False, True])
def test_constants_of_another_dtype_say_the_mend(in_a_graph):
    def residual(u, x):
        if in_a_graph:
            tf.gradients(u(x), x)  # refuses to be evaluated eagerly
        return u(x)[:, 0] - tf.constant(2.0, tf.float64)

    with pytest.raises(ValueError, match=r"are float32. Make constants.*tf.constant\(c, x.dtype\)"):
        loss(residual, X)


NO_NUMBERS = {
    "text": (X.astype(str), "must be numbers. Received array.*Leave out columns of text"),
    "objects": (X.astype(object), r"must be numbers.*dtype object.*frame.astype\(float\)"),
    "bytes": (tf.constant([["a"]]), "must be numbers.*dtype object"),
    "dates": (np.array([["2020-01-01"]], "datetime64[D]"), "must be numbers.*count dates in days"),
    "masked": (np.ma.masked_greater(X, 0.7), "must have a value everywhere. 2 are masked"),
    "ragged": (tf.ragged.constant([[1.0], [2.0, 3.0]]), "must be dense. Received a RaggedTensor"),
    "sparse": (tf.sparse.from_dense(X), "must be dense. Received a SparseTensor"),
}


@pytest.mark.parametrize("kind", NO_NUMBERS)
def test_what_is_no_number_is_refused(kind):
    points, message = NO_NUMBERS[kind]
    for given in (points, (points, points)):
        with pytest.raises(ValueError, match=f"(?s)Term 'a': points {message}"):
            nk.Term("a", value, given)
    model = build([nk.Term("a", value)])
    with pytest.raises(ValueError, match=f"(?s)Term 'a': points {message}"):
        model.fit({"a": points}, verbose=0)


def test_what_is_no_number_is_refused_in_datasets_and_values():
    model = build([nk.Term("a", value)])
    text = X.astype(str)
    for refused in (
        lambda: model.fit(tf.data.Dataset.from_tensors({"a": text}), verbose=0),
        lambda: model.fit({"a": X}, validation_data=(X, text), verbose=0),
        lambda: model.evaluate(X, text, verbose=0),
        lambda: model.predict(text, verbose=0),
        lambda: nk.polish(model, {"a": text}, verbose=0),
    ):
        with pytest.raises(ValueError, match="must be numbers"):
            refused()
    with pytest.raises(ValueError, match="x must be real. Received complex128"):
        model.predict(X + 1j, verbose=0)


def test_lists_of_numbers_are_refused():
    model = build()
    for refused in (
        lambda: model.fit(validation_data=(X.tolist(), X.tolist()), verbose=0),
        lambda: model.evaluate(X.tolist(), X.tolist(), verbose=0),
        lambda: model.predict(X.tolist(), verbose=0),
    ):
        with pytest.raises(
            ValueError, match="x must be an array.*lists of numbers.*as in np.array"
        ):
            refused()


def test_frames_are_inputs_and_values():
    model = build(net=network(dtype="float64"))
    expected = model.evaluate(X, X + 1, verbose=0)
    assert model.evaluate(Frame(X), Frame(X + 1), verbose=0) == expected
    assert model.predict(Frame(X), verbose=0).dtype == "float64"
    logs = fit(model, validation_data=(Frame(X), Frame(X + 1)))
    assert "val_relative_l2" in logs


class Extended(Frame):
    """Of a dtype that only pandas has, as Int64: Keras asks it for its own and fails."""

    dtype = "Int64"
    shape = (6,)


def test_series_of_dtypes_of_pandas_are_columns():
    model, whole = build(), WHOLE.astype("float32")
    series = Extended(WHOLE[:, 0])
    for predict in (model.predict, model.predict_on_batch):
        np.testing.assert_array_equal(predict(series), predict(whole))
    expected = model.evaluate(whole, whole, sample_weight=whole[:, 0], verbose=0)
    assert model.evaluate(series, series, sample_weight=series, verbose=0) == expected
    assert "val_relative_l2" in fit(model, validation_data=(series, series))


def test_batches_of_predict_are_checked_as_all_points_are():
    model = build()
    for refused, message in {
        "complex": (X + 1j, "x must be real. Received complex128"),
        "masked": NO_NUMBERS["masked"],
        "text": NO_NUMBERS["text"],
        "list": (X.tolist(), "x must be an array"),
    }.values():
        with pytest.raises(ValueError, match=f"(?s){message}"):
            model.predict_on_batch(refused)


def test_batches_by_hand_are_checked_before_tensors_are_made_of_them():
    model, masked = build([nk.Term("a", value)]), NO_NUMBERS["masked"][0]
    for refused, message in (
        (lambda: model.train_on_batch({"a": masked}), "Term 'a': points must have a value"),
        (lambda: model.test_on_batch({"a": masked}), "Term 'a': points must have a value"),
        (lambda: model.test_on_batch(masked, X), "x must have a value"),
        (lambda: model.test_on_batch(X, masked), "y must have a value"),
        (lambda: model.test_on_batch(X + 1j, X), "x must be real"),
        (lambda: model.test_on_batch(X, X.astype(str)), "y must be numbers"),
    ):
        with pytest.raises(ValueError, match=message):
            refused()


@pytest.mark.parametrize("make", [np.zeros, tf.zeros])
def test_no_points_have_no_outputs(make):
    model = build(net=network(outputs=2))
    for predict in (model.predict, model.predict_on_batch):
        outputs = predict(make((0, 1)))
        assert outputs.shape == (0, 2)
        assert outputs.dtype == "float32"


def test_a_dataset_of_no_points_is_refused():
    nothing = tf.data.Dataset.from_tensor_slices(X[:0]).batch(2)
    with pytest.raises(ValueError, match="x must yield points. Received a dataset of none"):
        build().predict(nothing)


@pytest.mark.parametrize("kind", ["complex", "text"])
def test_unknowns_are_real_numbers(kind):
    initial = {"complex": np.complex64(1 + 2j), "text": "one"}[kind]
    with pytest.raises(ValueError, match="Unknown 'k' must be"):
        build(unknowns={"k": initial})


@pytest.mark.parametrize(
    "data", [tf.data.Dataset.from_tensors({"a": X}), tf.data.Dataset.range(2).repeat(), X, [X]]
)
@pytest.mark.parametrize("way", [nk.polish, nk.Objective])
def test_polishing_takes_points_by_term(way, data):
    with pytest.raises(ValueError, match=r"a dict by term name.*next\(iter\(dataset\)\)"):
        way(build([nk.Term("a", value)]), data)


def test_a_network_of_whole_numbers_takes_them():
    """Of classes, each with a vector of its own: floats are counted as exactly."""
    layers = [keras.layers.Embedding(6, 3), keras.layers.Flatten(), keras.layers.Dense(1)]
    net = keras.Sequential([keras.Input((1,)), *layers])
    model = build([nk.Term("a", value, WHOLE)], net=net, optimizer=still())
    expected = np.sum(net(WHOLE).numpy()[:, 0] ** 2) / 2
    assert fit(model)["loss"][0] == pytest.approx(expected, rel=1e-5)
