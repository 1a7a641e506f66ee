"""Private names of Keras and TensorFlow: which are there, and what is done without each."""

import builtins

import keras
import numpy as np
import pytest
import tensorflow as tf

import ntk_keras as nk
from ntk_keras.backend import private_names

X = tf.constant([[0.0], [0.5], [1.0]])


def functional():
    points = keras.Input((1,))
    hidden = keras.layers.Dense(3, "tanh", name="hidden")(points)
    return keras.Model(points, keras.layers.Dense(1, name="last")(hidden + 2 * hidden))


def compiled(**options):
    network = functional()
    model = nk.PINNModel(network, [nk.Term("value", lambda u, x: u(x)[:, 0], X)], "constant")
    model.compile(keras.optimizers.SGD(0.125, **options), metrics=["mae"], jit_compile=False)
    return model


def test_every_private_name_is_there():
    """What fails here names what a new version has taken away; the package does without it."""
    from tensorflow.python.ops.control_flow_util import GraphOrParentsInXlaContext
    from tensorflow.python.ops.gradients_util import PossibleTapeGradientTypes

    model, network = compiled(), functional()
    model.fit(epochs=1, verbose=0)
    assert callable(PossibleTapeGradientTypes)
    assert tf.function(len)._autograph
    assert tf.__internal__.autograph.tf_convert
    assert tf.__internal__.autograph.control_status_ctx().status.name == "UNSPECIFIED"
    assert hasattr(tf.autograph.experimental.do_not_convert(functional), "autograph_info__")
    assert callable(GraphOrParentsInXlaContext)
    assert tf.GradientTape(persistent=True)._persistent
    assert network._flatten_layers
    assert network.outputs[0]._keras_history
    assert network.layers[1]._inbound_nodes[0].arguments
    assert network.layers[1]._inbound_nodes[0].output_tensors
    assert network._outputs_struct is not None
    assert network._inputs_struct is not None
    assert model.optimizer._iterations is not None
    assert model._loss_tracker.name == "loss"
    assert model._compile_metrics is not None
    assert keras.Model._maybe_symbolic_build
    assert keras.metrics.MeanSquaredError()._direction == "down"


def test_without_the_structure_of_outputs_several_are_a_list():
    class WithoutStructure:
        outputs = (1, 2)

    assert private_names.output_structure(WithoutStructure) == [1, 2]


def test_without_a_way_to_autograph_no_function_is_converted(monkeypatch):
    monkeypatch.setattr(private_names, "_AUTOGRAPH", None)
    assert private_names.autograph_in_force() is None


def test_without_autograph_a_decorated_function_runs_as_it_is(monkeypatch):
    function = tf.function(lambda x: x + 1)
    assert private_names.converted_by_autograph(function) is not function.python_function
    monkeypatch.setattr(private_names, "_UNDECIDED", None)
    assert private_names.converted_by_autograph(function) is function.python_function


def test_a_tape_that_watches_is_seen():
    with tf.GradientTape() as tape:
        assert not private_names.tape_watches(X)
        tape.watch(X)
        assert private_names.tape_watches(X)


def test_without_a_way_to_see_tapes_derivatives_are_right_all_the_same(monkeypatch):
    network = functional()
    view = nk.derivatives.NetworkView(network, reuse=True)
    expected = nk.derivatives.laplacian(view, X)
    importing = builtins.__import__

    def without(name, *args, **kwargs):
        if name == "tensorflow.python.ops.gradients_util":
            raise ImportError(name)
        return importing(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    assert private_names.tape_watches(X)
    again = nk.derivatives.laplacian(nk.derivatives.NetworkView(network, reuse=True), X)
    np.testing.assert_array_equal(again, expected)


def test_what_xla_compiles_is_known(monkeypatch):
    def known(**compiler):
        found = []
        tf.function(
            lambda: found.append(private_names.in_xla()), **compiler
        ).get_concrete_function()
        return found[0]

    assert (known(), known(jit_compile=True), private_names.in_xla()) == (False, True, False)
    from tensorflow.python.ops import control_flow_util

    monkeypatch.delattr(control_flow_util, "GraphOrParentsInXlaContext")
    assert (known(), private_names.in_xla()) == (True, False)


def test_layers_are_found_by_their_public_list(monkeypatch):
    nested = keras.Sequential([functional(), keras.layers.Dense(2, name="after")])
    nested.build((None, 1))
    whole = {layer.name for layer in private_names.sublayers(nested)}
    monkeypatch.delattr(keras.layers.Layer, "_flatten_layers")
    listed = {layer.name for layer in private_names.sublayers(nested)}
    assert all(name.startswith("input_layer") for name in whole - listed)  # which Keras lists not
    assert {"hidden", "last", "after", nested.name} <= listed <= whole


def test_a_model_that_does_not_show_its_graph_is_left_to_tapes(monkeypatch):
    network = functional()
    expected = nk.derivatives.laplacian(nk.derivatives.NetworkView(network), X)
    monkeypatch.setattr(private_names, "producer_of", lambda tensor: None)
    view = nk.derivatives.NetworkView(network)
    assert "does not show its graph" in view.unsupported
    # Forward and by tapes: sums of a few products in two orders.
    np.testing.assert_allclose(nk.derivatives.laplacian(view, X), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("accumulated", "private_steps"), [(None, 3), (2, 6)])
def test_steps_are_counted(accumulated, private_steps):
    model = compiled(gradient_accumulation_steps=accumulated)
    private_names.add_iterations(model.optimizer, 3)
    assert int(model.optimizer.iterations) == 3
    assert int(model.optimizer._iterations) == private_steps


def test_steps_are_counted_without_the_private_name():
    class Optimizer:
        iterations = tf.Variable(1)

    private_names.add_iterations(Optimizer, 2)
    assert int(Optimizer.iterations) == 3


def test_the_loss_has_a_mean_without_keras_own():
    model = compiled()
    model._loss_tracker = None
    history = model.fit(epochs=2, verbose=0).history
    assert history["loss"] == history["loss/value"]
    assert private_names.loss_tracker(model, "float32") is model._loss_tracker
