"""A user's first hour: likely mistakes, each met by an error that says the mend.

Every case must be refused before training starts. What its message has to say: what happened, what
was expected, what was received, and how to mend it.
"""

import keras
import numpy as np
import pytest
import tensorflow as tf

import ntk_keras as nk

BOX = nk.domains.Box(t=(0, 1), x=(0, 1))
INSIDE = BOX.interior(4)


def dense(outputs=1, inputs=2):
    return keras.Sequential([keras.Input((inputs,)), keras.layers.Dense(outputs, "tanh")])


def penalized(after=None, **kwargs):
    hidden = keras.layers.Dense(3, "tanh", **kwargs)
    added = [] if after is None else [after]
    return keras.Sequential([keras.Input((2,)), hidden, *added, keras.layers.Dense(1)])


def value(u, points):
    return u(points)[:, 0]


def equation(u, points):
    return nk.derivatives.second_order(u, points, [1, -1])[:, 0]


def build(residual=value, points=INSIDE, *, network=None, weighting="ntk", terms=None):
    terms = terms or [nk.Term("a", residual, points)]
    return nk.PINNModel(network or dense(), terms, weighting, seed=0)


def compiled(*args, **kwargs):
    model = build(*args, **kwargs)
    model.compile("adam")
    return model


def by_tape(u, points):
    with tf.GradientTape() as tape:
        values = u(points)
    return tape.gradient(values, points)[:, 0]


def by_callable():
    slope = tf.Variable([[1.0], [2.0]])
    return nk.networks.CallableNetwork(lambda points: points @ slope, [slope])


def unregistered(folder):
    compiled(lambda u, points: u(points)[:, 0]).save(folder / "model.keras")


def endless():
    return tf.data.Dataset.from_tensors({"a": np.ones((4, 2))}).repeat()


def of_unknown_rank():
    return tf.data.Dataset.from_generator(lambda: endless(), output_types={"a": tf.float32})


def raw_coefficient():
    speed = tf.Variable(2.0)
    build(lambda u, points: speed * u(points)[:, 0])


def recorded(change):
    """A balancer given residuals ``theta * [1, 1, 1]`` that were changed."""
    theta = tf.Variable(1.0)
    with tf.GradientTape(persistent=True) as tape:
        residual = change(theta * tf.ones(3))
    return nk.LossBalancer(["a"])({"a": residual}, tape, [theta])


# By mistake: what a user does, and pieces of the message that it must meet.
MISTAKES = {
    "residual reduced over points": (
        lambda: build(lambda u, p: tf.reduce_mean(u(p) ** 2)),
        ["Term 'a'", "[4] or [4, k]", "Received shape []", "Do not reduce over points"],
    ),
    "residual of rank three": (
        lambda: build(lambda u, p: nk.derivatives.gradient(u, p)),
        ["[4] or [4, k]", "Received shape [4, 1, 2]", "as in [:, 0, 1]"],
    ),
    "column of the output forgotten": (
        lambda: build(lambda u, p: u(p) - tf.sin(p[:, 1])),
        ["[4, 4]", "broadcast", "u(x)[:, 0]"],
    ),
    "residual that returns nothing": (
        lambda: build(lambda u, p: None),
        ["must return one tensor of real floats", "Received NoneType"],
    ),
    "residual that returns components by name": (
        lambda: build(lambda u, p: {"k": u(p)[:, 0]}),
        ["Term 'a'", "components by name, ['k']", "Return them as a tuple"],
    ),
    "residual without points": (
        lambda: build(lambda u: u),
        ["2 were given", "residual(u, points)"],
    ),
    "NumPy in a residual": (
        lambda: build(lambda u, p: u(p)[:, 0] - np.sin(p[:, 0])),
        ["to a numpy array", "tf.sin, not np.sin"],
    ),
    "output that the network has not": (
        lambda: build(lambda u, p: u(p)[:, 1]),
        ["out of bounds", "outputs have shape (None, 1)", "columns count from 0"],
    ),
    "derivative of values": (
        lambda: build(lambda u, p: nk.derivatives.gradient(u(p), p)[:, 0, 0]),
        ["not callable", "gradient(u, points)"],
    ),
    "tape that watches nothing": (
        lambda: build(by_tape),
        ["'NoneType' object", "watch the points before `u` is called", "derivatives.gradient"],
    ),
    "NaN in a residual": (
        lambda: compiled(lambda u, p: u(p)[:, 0] / 0).fit(),
        ["must be finite where training starts", "Received", "at the point [", "divides"],
    ),
    "NaN in points": (
        lambda: build(points=np.full((1, 2), np.nan)),
        ["points must be finite", "Row 0 holds [nan nan]", "Remove such rows"],
    ),
    "box in place of points": (
        lambda: build(points=BOX),
        ["Received Box(t=(0, 1), x=(0, 1))", "box.interior(100)"],
    ),
    "sampler of another dimension": (
        lambda: build(equation, nk.domains.Box(x=(0, 1)).interior(4)),
        ["(4, 1)", "(None, 2)", "a box needs as many axes"],
    ),
    "face outside the box": (
        lambda: BOX.face(x=2),
        ["'x' runs from 0 to 1", "Received x=2"],
    ),
    "name used twice": (
        lambda: build(terms=[nk.Term("a", value, INSIDE), nk.Term("a", equation, INSIDE)]),
        ["needs a name of its own", "more than once: ['a']", "one `group`"],
    ),
    "tuple in place of a term": (
        lambda: build(terms=[("a", value, INSIDE)]),
        ["must be an ntk_keras.Term", "Term(name, residual, points)", "Received ('a'"],
    ),
    "term left without points": (
        lambda: compiled(terms=[nk.Term("a", value, INSIDE), nk.Term("b", value)]).fit(),
        ["Terms without points: ['b']", "pass `fit` a dict"],
    ),
    "misspelled term in the data": (
        lambda: compiled(points=None).fit({"b": np.ones((4, 2))}),
        ["must be names of terms", "Unknown: ['b']", "Terms: ['a']"],
    ),
    "dataset of pairs": (
        lambda: compiled(points=None).fit(
            tf.data.Dataset.from_tensors((np.ones((4, 2)), np.ones((4, 1))))
        ),
        ["must yield dicts from term names to points", "Received elements of type tuple"],
    ),
    "endless dataset without steps": (
        lambda: compiled(points=None).fit(endless()),
        ["x is a dataset that never ends", "steps_per_epoch=100", "repeat()"],
    ),
    "endless dataset to evaluate": (
        lambda: compiled(points=None).evaluate(endless()),
        ["x is a dataset that never ends", "steps=100"],
    ),
    "endless dataset to validate with": (
        lambda: compiled().fit(
            validation_data=tf.data.Dataset.from_tensors((np.ones((4, 2)), np.ones(4))).repeat()
        ),
        ["validation_data is a dataset that never ends", "validation_steps=100"],
    ),
    "empty dataset": (
        lambda: compiled(points=None).fit(endless().take(0)),
        ["must yield points", "Received an empty one"],
    ),
    "dataset that does not know its axes": (
        lambda: compiled(points=None).fit(of_unknown_rank(), steps_per_epoch=1),
        ["how many axes", "Received {'a': TensorSpec(shape=<unknown>", "output_signature="],
    ),
    "generator": (
        lambda: compiled(points=None).fit(iter([{"a": np.ones((4, 2))}])),
        ["dataset of such dicts", "Received list_iterator", "Dataset.from_generator"],
    ),
    "sampler in the data": (
        lambda: compiled(points=None).fit({"a": INSIDE}),
        ["Term 'a': data holds points, not samplers", "box.interior(100).fixed(seed=0)"],
    ),
    "validation without values": (
        lambda: compiled().fit(validation_data=np.ones((4, 2))),
        ["validation_data must be (points, values)", "Received ndarray"],
    ),
    "fit with values": (
        lambda: compiled().fit(np.ones((4, 2)), np.ones((4, 1))),
        ["takes no `y`", "Add a Term whose points hold inputs and values"],
    ),
    "fit with a batch size": (
        lambda: compiled().fit(epochs=1, batch_size=2),
        ["takes no `batch_size`", "box.interior(100)"],
    ),
    "fit with weights of points": (
        lambda: compiled().fit(sample_weight=np.ones(4)),
        ["takes no `sample_weight`", "further arrays of its points", "their roots"],
    ),
    "fit with classes": (
        lambda: compiled().fit(class_weight={0: 1.0}),
        ["takes no `class_weight`", "There are no classes"],
    ),
    "validation split off": (
        lambda: compiled().fit(validation_split=0.2),
        ["takes no `validation_split`", "validation_data={'equation': points}"],
    ),
    "evaluation of points by term in batches": (
        lambda: compiled(points=None).evaluate({"a": np.ones((4, 2))}, batch_size=2),
        ["PINNModel.evaluate takes no `batch_size`", "a dataset of batches"],
    ),
    "misspelled term in a batch": (
        lambda: compiled().train_on_batch({"b": np.ones((4, 2))}),
        ["Unknown: ['b']", "Terms: ['a']"],
    ),
    "points without their term in a batch": (
        lambda: compiled().train_on_batch(np.ones((4, 2))),
        ["takes points by term, as in {'equation': points}", "Received"],
    ),
    "weights of points": (
        lambda: compiled(points=None).train_on_batch({"a": np.ones((4, 2))}, None, np.ones(4)),
        ["no `sample_weight`", "to a Term as further arrays of its points"],
    ),
    "penalty of a layer's outputs": (
        lambda: build(network=penalized(activity_regularizer="l2")),
        ["adds a loss that depends on its inputs", "Add a Term for it"],
    ),
    "loss that a layer adds": (
        lambda: build(network=penalized(after=keras.layers.ActivityRegularization(l2=1.0))),
        ["adds a loss that depends on its inputs", "Add a Term for it"],
    ),
    "fit without compile": (lambda: build().fit(), ["call `compile()` before"]),
    "compiled loss": (
        lambda: build().compile("adam", loss="mse"),
        ["takes no `loss`", "Add a Term for measured data"],
    ),
    "misspelled weighting": (
        lambda: build(weighting="nkt"),
        ["Unknown weighting 'nkt'", "Known names: [", "'ntk'"],
    ),
    "misspelled estimator": (
        lambda: nk.weighting.NTK("diagnal"),
        ["Unknown estimator 'diagnal'", "Known names: [", "'diagonal'"],
    ),
    "averaging rate above one": (
        lambda: nk.weighting.NTK(averaging_rate=2),
        ["must lie in (0, 1]", "Received averaging_rate=2"],
    ),
    "network without input shape": (
        lambda: build(points=None, network=keras.Sequential([keras.layers.Dense(1)])),
        ["The network is not built", "keras.Input((2,))"],
    ),
    "function in place of a network": (
        lambda: build(network=lambda points: points),
        ["must be a Keras model or layer", "CallableNetwork(function, ", "Received <function"],
    ),
    "function without its variables": (
        lambda: nk.networks.CallableNetwork(lambda points: points, []),
        ["variables of one dtype", "nothing to train", "Received 0 variables"],
    ),
    "values in place of variables": (
        lambda: nk.networks.CallableNetwork(lambda points: points, [np.ones(3)]),
        ["list of the tf.Variables that it reads", "[array([1., 1., 1.])]"],
    ),
    "saved function": (
        lambda: by_callable().get_config(),
        ["is a function with variables of its own", "save_weights", "Keras layer"],
    ),
    "Dropout under a kernel": (
        lambda: build(network=keras.Sequential([dense(4), keras.layers.Dropout(0.5)])),
        ["noise (Dropout", "remove those layers", 'weighting="constant"'],
    ),
    "frozen network": (
        lambda: build(network=keras.Sequential([keras.layers.Dense(1, trainable=False)])),
        ["does not depend on the network's trainable variables", "not frozen"],
    ),
    "raw variable as a coefficient": (
        raw_coefficient,
        ["stay as they are", "raw tf.Variable", "u.unknowns['speed']"],
    ),
    "coefficient that was not declared": (
        lambda: build(lambda u, p: u.unknowns["c"] * u(p)[:, 0]),
        ["no unknown 'c' was declared", "Declared: []", "unknowns={'c': 1.0}"],
    ),
    "saved lambda": (
        unregistered,
        ["a lambda has no name", "@keras.saving.register_keras_serializable"],
    ),
    "loss in place of a residual": (
        lambda: recorded(tf.reduce_sum),
        ["Residual 'a' must be a tensor [n] or [n, k]", "Received a scalar", "not the loss"],
    ),
    "residual that the tape has not seen": (
        lambda: recorded(tf.stop_gradient),
        ["recorded no way from ['a']", "inside `with tape:`"],
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_likely_mistake_is_refused_with_the_mend(mistake, tmp_path):
    make, pieces = MISTAKES[mistake]
    # A warning raises here, as all warnings do in the tests.
    with pytest.raises((ValueError, TypeError, UserWarning)) as caught:
        make(tmp_path) if make is unregistered else make()
    message = str(caught.value)
    assert [piece for piece in pieces if piece not in message] == [], message


def test_what_looks_like_a_mistake_but_is_none():
    """Float64 points, fixed points beside drawn ones, values [n] for [n, 1], no steps given."""
    fixed = np.random.default_rng(0).random((3, 2))
    terms = [nk.Term("drawn", value, INSIDE), nk.Term("fixed", value, fixed)]
    model = compiled(terms=terms)
    history = model.fit(verbose=0, validation_data=(fixed, np.ones(3)))
    assert np.isfinite(history.history["val_relative_l2"][0])
    assert int(model.optimizer.iterations) == 1


def test_a_squeeze_of_the_axis_of_points_is_refused():
    points = np.linspace(0, 1, 5)[:, np.newaxis]
    network = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    term = nk.Term("a", lambda u, x: tf.squeeze(u(x)), points)
    with pytest.raises(ValueError, match=r"'a'.*\[\] at the first point alone.*squeeze.*\[:, 0\]"):
        nk.PINNModel(network, [term])
