"""A model saved whole goes on as if it had never stopped; what cannot be saved says the mend."""

import dataclasses
import functools
import json
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

import ntk_keras as nk
from ntk_keras.backend import saving
from tests.support import resumed

pytestmark = pytest.mark.filterwarnings("ignore:The kernel trace of:UserWarning")

ROOT = Path(__file__).parents[2]
X = np.array([[0.0], [0.5], [1.0]])


def config(model):
    """As a file holds it, where tuples are lists; that of the network is Keras' own business."""
    return json.loads(json.dumps({**model.get_config(), "network": None}))


ANOTHER_PROCESS = """
import gc, runpy, sys
gc.disable()  # a short life, which collections would take a third of
sys.modules["ntk_keras"] = None  # whoever imports it gets an error
import keras, numpy as np
folder = sys.argv[1]
network = keras.models.load_model(f"{folder}/leaf/network.keras")
np.save(f"{folder}/leaf/values.npy", network(np.load(f"{folder}/leaf/points.npy")))
del sys.modules["ntk_keras"]
runpy.run_module("tests.support.resumed", run_name="__main__")
"""


@pytest.fixture(scope="module")
def processes(request, tmp_path_factory):
    """States after two epochs without a break, and with one, in two processes, by name.

    Beside them the values of a network here, and where this package is not installed.
    """
    folder, whole = tmp_path_factory.mktemp("saved"), {}
    asked = {item.name for item in request.session.items}
    names = [name for name in resumed.NAMES if f"{_RESUMED}[{name}]" in asked]
    for name in names:
        model = resumed.build(name)
        save = keras.callbacks.ModelCheckpoint(folder / "{epoch}.keras")
        history = model.fit(epochs=2, steps_per_epoch=resumed.STEPS, callbacks=[save], verbose=0)
        whole[name] = resumed.state(model, history.history)
        (folder / "1.keras").rename(folder / f"{name}.keras")
        (folder / "2.keras").unlink()
    (leaf := folder / "leaf").mkdir()
    network, points = resumed.build("constant").network, resumed.BOX.grid(3, 3).astype("float32")
    network.save(leaf / "network.keras")
    np.save(leaf / "points.npy", points)
    subprocess.run([sys.executable, "-c", ANOTHER_PROCESS, folder], cwd=ROOT, check=True)
    states = {name: (whole[name], dict(np.load(folder / f"{name}.npz"))) for name in names}
    return states, (network(points), np.load(leaf / "values.npy"))


_RESUMED = "test_a_saved_model_goes_on_bit_for_bit_in_a_new_process"
# Others of the same kind: seconds each, twice.
_SLOW = {"block-predictor", "reverse", "perturbation", "uncertainty"}


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=pytest.mark.slow) if n in _SLOW else n for n in resumed.NAMES],
)
def test_a_saved_model_goes_on_bit_for_bit_in_a_new_process(processes, name):
    whole, cut = processes[0][name]
    assert whole.keys() == cut.keys()
    for part, value in whole.items():
        np.testing.assert_array_equal(cut[part], value, err_msg=part)


def test_a_loaded_model_is_the_model_that_was_saved(tmp_path):
    model = resumed.build("diagonal")
    resumed.train(model)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert config(loaded) == config(model)
    assert loaded.loss_weights == model.loss_weights
    assert loaded.kernel_traces == model.kernel_traces
    assert [repr(term) for term in loaded.terms] == [repr(term) for term in model.terms]
    points = resumed.BOX.grid(3, 3)
    np.testing.assert_array_equal(loaded.predict(points), model.predict(points))
    assert not keras.models.load_model(tmp_path / "model.keras", compile=False).compiled


def test_a_loaded_model_can_be_saved_again(tmp_path):
    resumed.build("rules").save(tmp_path / "first.keras")
    loaded = keras.models.load_model(tmp_path / "first.keras")
    loaded.save(tmp_path / "second.keras")
    assert config(keras.models.load_model(tmp_path / "second.keras")) == config(loaded)


# The paper's problems, and of the others one with parameters and one with a periodic network.
WHOLE = ["burgers", "convection", "liquid_crystal", "poisson", "quadratic", "wave"]


@pytest.mark.parametrize("name", WHOLE)
def test_problems_of_the_package_are_saved_whole(name, tmp_path):
    problem = nk.problems.get(name)
    model = nk.problems.build_model(problem, dataclasses.replace(problem.presets["quick"], depth=1))
    model.save(tmp_path / "model.keras")
    assert config(keras.models.load_model(tmp_path / "model.keras")) == config(model)


@pytest.mark.parametrize("name", sorted(set(nk.problems.PROBLEMS) - set(WHOLE)))
def test_residuals_of_the_other_problems_are_saved(name):
    problem = nk.problems.get(name)
    for term in problem.terms(problem.presets["quick"]):
        saved = json.loads(json.dumps(keras.saving.serialize_keras_object(term.residual)))
        assert keras.saving.deserialize_keras_object(saved) == term.residual


def test_the_network_alone_loads_where_this_package_is_not_installed(processes):
    here, there = processes[1]
    np.testing.assert_array_equal(there, here)


def test_the_network_alone_exports_as_a_saved_model(tmp_path):
    model = resumed.build("constant")
    points = resumed.BOX.grid(3, 3).astype("float32")
    model.export(tmp_path / "exported", verbose=False)
    exported = tf.saved_model.load(str(tmp_path / "exported"))
    np.testing.assert_allclose(exported.serve(points), model.network(points), atol=1e-6)


# Points of every kind.

NESTS = {
    "array": np.array([[0.1], [1 / 3]]),
    "single precision": np.array([[0.1], [1 / 3]], "float32"),
    "integers": np.arange(4, dtype="int64"),
    "tensor": tf.constant([[0.1], [1 / 3]], tf.float64),
    "pair": (np.zeros((2, 1)), np.ones((2, 1))),
    "nested": {"left": [np.zeros(2), np.ones(2)], "right": (np.zeros((2, 3)),)},
}


@pytest.mark.parametrize("name", list(NESTS))
def test_points_are_saved_exactly(name):
    again = saving.deserialize_points(saving.serialize_points("points", NESTS[name]))
    tf.nest.assert_same_structure(again, NESTS[name])
    for actual, desired in zip(tf.nest.flatten(again), tf.nest.flatten(NESTS[name]), strict=True):
        assert actual.dtype == desired.dtype
        np.testing.assert_array_equal(actual, desired)


@pytest.mark.parametrize("shape", [None, [None, 1]])
def test_points_in_a_variable_are_in_a_variable_again(shape, tmp_path):
    held = tf.Variable([[0.1], [1 / 3]], False, shape=shape)
    model = one_term(first_point, {"x": held})
    model.save(tmp_path / "model.keras")
    term = keras.models.load_model(tmp_path / "model.keras").terms[0]
    again = term.points["x"]
    assert isinstance(again, tf.Variable)
    assert (again.dtype, again.trainable) == (held.dtype, held.trainable)
    assert again.shape.as_list() == held.shape.as_list()
    np.testing.assert_array_equal(again, held)
    again.assign(again + 1)
    np.testing.assert_array_equal(term.points_at(None, "float32")["x"], held + 1)


def test_complex_points_in_a_variable_are_saved():
    again = saving.deserialize_points(saving.serialize_points("points", tf.Variable([1 + 2j])))
    assert again.dtype == tf.complex128
    np.testing.assert_array_equal(again, [1 + 2j])


def test_points_of_another_kind_are_named():
    points = tf.RaggedTensor.from_row_lengths([1.0, 2.0], [1, 1])
    with pytest.raises(ValueError, match="Term 'odd': its points cannot be saved.*RaggedTensor"):
        saving.serialize_points("Term 'odd': its points", points)


# What Keras could not find again.


def value(u, points):
    return u(points)[:, 0]


def weighted(u, points, factor):
    return factor * u(points)[:, 0]


@keras.saving.register_keras_serializable("test_saving")
def first_point(u, points):
    return u(points["x"])[:, 0]


class Residual:
    def __call__(self, u, points):
        return u(points)[:, 0]


class Bare(resumed.Halves):
    pass


REGISTER = r'@keras\.saving\.register_keras_serializable\("test_saving"\)\s+'
REFUSED = {
    "a function": (value, REGISTER + r"def value\(u, points\):"),
    "a lambda": (lambda u, x: u(x)[:, 0], r"a lambda has no name.*" + REGISTER + "def residual"),
    "a partial function": (
        functools.partial(weighted, factor=2.0),
        r"functools.partial.*register_keras_serializable\(.my_package.\)\s+def residual",
    ),
    "a decorated function": (
        tf.function(value),
        r"knows none for 'value'.*" + REGISTER + r"@tf.function\s+def value\(u, points\):",
    ),
    "a decorated lambda": (tf.function(lambda u, x: u(x)[:, 0]), "a lambda has no name"),
    "a decorated partial": (
        tf.function(functools.partial(weighted, factor=2.0)),
        "not functools.partial.*Define a function by itself",
    ),
    "an object": (Residual(), "`get_config` and the line.*" + REGISTER + "class Residual:"),
}


def one_term(residual, points=X, inputs=1):
    network = keras.Sequential([keras.Input((inputs,)), keras.layers.Dense(1)])
    return nk.PINNModel(network, [nk.Term("start", residual, points)], "constant")


@pytest.mark.parametrize("name", list(REFUSED))
def test_a_residual_that_is_not_registered_shows_the_line_to_add(name, tmp_path):
    residual, message = REFUSED[name]
    with pytest.raises(ValueError, match=f"(?s)Term 'start': its residual .*{message}"):
        one_term(residual).save(tmp_path / "model.keras")


def test_a_function_under_the_name_of_another_is_refused():
    model = one_term(keras.saving.register_keras_serializable("test_saving")(weighted_copy()))
    keras.saving.register_keras_serializable("test_saving")(weighted_copy())
    with pytest.raises(ValueError, match="'test_saving>copy', belongs to another function"):
        model.get_config()


def weighted_copy():
    def copy(u, points):
        return u(points)[:, 0]

    return copy


def test_a_sampler_that_is_not_registered_shows_the_line_to_add():
    with pytest.raises(ValueError, match=f"(?s)'start': its points.*{REGISTER}class Bare:"):
        one_term(value, Bare(3), inputs=2).terms[0].get_config()


def test_the_line_that_is_shown_is_enough(tmp_path):
    keras.saving.register_keras_serializable("line")(another := weighted_copy())
    model = one_term(another)
    model.save(tmp_path / "model.keras")
    assert keras.models.load_model(tmp_path / "model.keras").terms[0].residual is another


def test_a_residual_is_registered_over_tf_function(tmp_path):
    decorated = keras.saving.register_keras_serializable("over")(tf.function(weighted_copy()))
    model = one_term(decorated)
    model.save(tmp_path / "model.keras")
    assert keras.models.load_model(tmp_path / "model.keras").terms[0].residual is decorated
    columns = nk.Term.columns(["a"], decorated, X)
    assert nk.Term.from_config(columns[0].get_config()).residual.residual is decorated


def test_a_function_registered_below_tf_function_is_to_be_registered_over_it():
    """Without the decoration AutoGraph would not convert it."""
    below = tf.function(keras.saving.register_keras_serializable("below")(weighted_copy()))
    with pytest.raises(ValueError, match=f"(?s){REGISTER}@tf.function"):
        one_term(below).get_config()


@keras.saving.register_keras_serializable("test_saving")
class Scaled:
    def __init__(self, c=1.0, table=0.0, kept=True):
        self._c, self.table, self.kept, self.calls = c, np.asarray(table), kept, 0

    def __call__(self, u, points):
        self.calls += 1
        return self._c * u(points)[:, 0]

    def get_config(self):
        return {"c": self._c, "table": self.table.tolist()} if self.kept else {"kept": False}

    @classmethod
    def from_config(cls, config):
        return cls(**config)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"c": 3.0}, r"its c is 3.0 and would be loaded as 1.0.*Scaled.*\{'c': self._c\}"),
        ({"table": [1.0, 2.0]}, "its table is array.*self.table"),
    ],
)
def test_a_class_whose_configuration_leaves_out_an_argument_is_refused(given, message):
    with pytest.raises(ValueError, match=f"(?s)Term 'start': its residual cannot.*{message}"):
        one_term(Scaled(**given, kept=False)).get_config()


def test_what_an_object_has_come_to_is_no_argument():
    model = one_term(residual := Scaled(3.0, [1.0, np.nan]))
    assert residual.calls > 0
    again = nk.Term.from_config(model.terms[0].get_config()).residual
    assert again._c == 3.0
    one_term(Scaled(kept=False)).get_config()  # nothing but defaults


def test_custom_objects_serve_as_well(tmp_path):
    with keras.saving.custom_object_scope({"value": value}):
        one_term(value).save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras", custom_objects={"value": value})
    assert loaded.terms[0].residual is value


def test_a_name_that_is_unknown_where_it_is_loaded_tells_what_to_import(tmp_path):
    with keras.saving.custom_object_scope({"value": value}):
        one_term(value).save(tmp_path / "model.keras")
    # Keras would take this one, whose registered name ends in "value".
    keras.saving.register_keras_serializable("others", "another_value")(weighted_copy())
    with pytest.raises(ValueError, match=r"'start': its residual.*'value'.*Import .*test_saving"):
        keras.models.load_model(tmp_path / "model.keras")


def test_weights_alone_need_no_registration(tmp_path):
    model = one_term(value)
    model.save_weights(tmp_path / "model.weights.h5")
    other = one_term(value)
    other.load_weights(tmp_path / "model.weights.h5")
    np.testing.assert_array_equal(other.network(X), model.network(X))
