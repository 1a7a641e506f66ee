"""What could not be loaded again is refused when it is saved, and before it is trained."""

import json
import random

import keras
import numpy as np
import pytest
import tensorflow as tf

import ntk_keras as nk

X = np.array([[0.0], [0.5], [1.0]])
REGISTER = keras.saving.register_keras_serializable("test_loadable")


@REGISTER
def value(u, points):
    return u(points)[:, 0]


@REGISTER
class WithoutFromConfig:
    def __call__(self, u, points):
        return u(points)[:, 0]

    def get_config(self):
        return {}


@REGISTER
class WithoutArguments(nk.domains.Sampler):
    """Its `get_config` leaves out what `__init__` wants."""

    num_points = 2

    def __init__(self, start):
        self.start = start

    def draw(self, seed, dtype="float32"):
        return tf.zeros([2, 1], dtype)

    def fixed(self, seed=None):
        return np.zeros((2, 1))

    def get_config(self):
        return {}


class Unregistered(nk.weighting.Constant):
    pass


class Doubled(keras.layers.Layer):
    def call(self, inputs):
        return 2 * inputs


class OwnSGD(keras.optimizers.SGD):
    pass


def tanh(x):
    """Another function than Keras' of this name."""
    return x * x


@REGISTER
def squared(x):
    return x * x


def ones(shape, dtype):
    return tf.ones(shape, dtype)


def dense(activation, **kwargs):
    hidden = keras.layers.Dense(2, activation, name="hidden", **kwargs)
    return keras.Sequential([keras.Input((1,)), hidden, keras.layers.Dense(1)])


def nested(activation):
    inputs = keras.Input((1,))
    return keras.Model(inputs, dense(activation)(inputs))


def build(residual=value, points=X, network=None, weighting="constant", optimizer="sgd"):
    network = network or dense("tanh")
    model = nk.PINNModel(network, [nk.Term("start", residual, points)], weighting, seed=0)
    model.compile(optimizer, jit_compile=False)
    return model


OF_A_FUNCTION = "a function that Keras does not know by name.*def my_activation"
REFUSED = {
    "residual without from_config": (
        lambda: build(WithoutFromConfig()),
        "Term 'start': its residual.*'WithoutFromConfig' needs a method.*def from_config",
    ),
    "sampler that leaves out an argument": (
        lambda: build(points=WithoutArguments(1)),
        "Term 'start': its points.*'start'.*what its `get_config` returns as arguments",
    ),
    "function of a library": (
        lambda: build(network=dense(keras.ops.sinh)),
        f"Layer 'hidden' cannot be saved.*its activation, sinh, is {OF_A_FUNCTION}",
    ),
    "lambda": (
        lambda: build(network=dense(lambda x: x * x)),
        f"Layer 'hidden' cannot be saved.*its activation, a lambda, is {OF_A_FUNCTION}",
    ),
    "function in a network within": (
        lambda: build(network=nested(keras.ops.sinh)),
        "Layer 'hidden' cannot be saved.*sinh",
    ),
    "function of the name of Keras' own": (
        lambda: build(network=dense(tanh)),
        "Layer 'hidden'.*its activation 'tanh' would be loaded as keras.*another function",
    ),
    "gelu that is not Keras' activation": (
        lambda: build(network=dense(keras.ops.gelu)),
        "Layer 'hidden'.*its activation 'gelu' would be loaded as keras.*another function",
    ),
    "initializer": (
        lambda: build(network=dense("tanh", kernel_initializer=ones)),
        "Layer 'hidden' cannot be saved.*its kernel_initializer, ones, is a function",
    ),
    "layer that is not registered": (
        lambda: build(network=keras.Sequential([dense("tanh"), Doubled(name="twice")])),
        "Layer 'twice' cannot be saved.*need the line.*register_keras_serializable",
    ),
    "weighting that is not registered": (
        lambda: build(weighting=Unregistered()),
        "The weighting of the model cannot be saved.*register_keras_serializable",
    ),
    "optimizer that is not registered": (
        lambda: build(optimizer=OwnSGD()),
        "The optimizer of the model cannot be saved.*register_keras_serializable",
    ),
}


@pytest.mark.filterwarnings("ignore:.*lambda:UserWarning")  # Keras' own
@pytest.mark.parametrize("name", REFUSED)
def test_saving_names_the_part_and_the_mend(name, tmp_path):
    make, message = REFUSED[name]
    with pytest.raises(ValueError, match=f"(?s){message}"):
        make().save(tmp_path / "model.keras")
    assert not list(tmp_path.iterdir())


def test_a_balancer_is_refused_with_a_weighting_that_is_not_registered():
    with pytest.raises(ValueError, match="The weighting of the balancer cannot be saved"):
        nk.LossBalancer(["a"], Unregistered()).get_config()


LOADED = {
    "sin": keras.ops.sin,
    "tf.sin": tf.sin,
    "exp": tf.exp,
    "tanh of keras.ops": keras.ops.tanh,
    "gelu of TensorFlow": tf.nn.gelu,
    "registered": squared,
    "object": keras.layers.LeakyReLU(0.1),
}


@pytest.mark.parametrize("name", LOADED)
def test_activations_that_are_known_are_loaded(name, tmp_path):
    model = build(network=dense(LOADED[name]))
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(loaded.network(X), model.network(X), atol=1e-6)
    assert loaded.network.layers[0].activation is LOADED[name] or name[0] in "tgo"


@pytest.mark.filterwarnings("ignore:.*lambda:UserWarning")  # Keras' own
def test_a_lambda_that_loads_in_unsafe_mode_is_left_to_keras(tmp_path):
    network = keras.Sequential([dense("tanh"), keras.layers.Lambda(lambda x: 2 * x, name="twice")])
    build(network=network).save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras", safe_mode=False)
    np.testing.assert_array_equal(loaded.network(X), network(X))


def test_looking_takes_no_random_numbers_and_makes_no_variables():
    model = build()
    random.seed(0)
    expected = random.random()
    random.seed(0)
    config = model.get_config()
    assert random.random() == expected
    json.dumps({**config, "terms": None})


class Steps(keras.callbacks.Callback):
    count = 0

    def on_train_batch_end(self, batch, logs=None):
        self.count += 1


@pytest.mark.parametrize("way", ["fit", "polish"])
def test_a_checkpoint_of_the_whole_model_is_refused_before_the_first_step(way, tmp_path):
    model = build(lambda u, points: u(points)[:, 0])
    steps = Steps()
    callbacks = [steps, keras.callbacks.ModelCheckpoint(tmp_path / "model.keras")]
    train = {"fit": model.fit, "polish": lambda **kwargs: nk.polish(model, **kwargs)}[way]
    with pytest.raises(ValueError, match="(?s)ModelCheckpoint saves the whole.*save_weights_only"):
        train(callbacks=callbacks, verbose=0)
    assert steps.count == 0


def test_checkpoints_of_weights_need_nothing(tmp_path):
    model = build(lambda u, points: u(points)[:, 0])
    path = tmp_path / "model.weights.h5"
    save = keras.callbacks.ModelCheckpoint(path, save_weights_only=True)
    back = keras.callbacks.BackupAndRestore(tmp_path / "backup")
    model.fit(callbacks=[save, back], verbose=0)
    assert path.exists()
