"""Parts of a step that XLA compiles by itself: when it does, and that numbers stay."""

import dataclasses
import functools

import keras
import numpy as np
import pytest
import tensorflow as tf

import ntk_keras as nk
from ntk_keras import Linearization, PINNModel, problems
from ntk_keras.backend import graphs
from ntk_keras.backend.graphs import run_with_xla
from ntk_keras.weighting import NTK


def compiled_parts(function: tf.types.experimental.ConcreteFunction) -> int:
    """Functions within a graph that XLA must compile."""
    library = function.graph.as_graph_def().library
    return sum(part.attr["_XlaMustCompile"].b for part in library.function)


def doubled_by(x):
    return run_with_xla(lambda: {"twice": 2 * x})["twice"]


def test_a_part_of_a_graph_is_compiled():
    graph = tf.function(doubled_by).get_concrete_function(tf.TensorSpec([3]))
    assert compiled_parts(graph) == 1
    np.testing.assert_array_equal(graph(tf.constant([1.0, 2, 3])), [2, 4, 6])


def test_eager_code_runs_as_it_is():
    np.testing.assert_array_equal(doubled_by(tf.constant([1.0, 2])), [2, 4])


def test_tensors_of_unknown_shapes_are_left_to_the_graph():
    """XLA would compile again for every number of points."""
    graph = tf.function(doubled_by).get_concrete_function(tf.TensorSpec([None]))
    assert compiled_parts(graph) == 0
    np.testing.assert_array_equal(graph(tf.constant([1.0, 2])), [2, 4])


def test_other_devices_and_several_replicas_are_left_to_the_graph(monkeypatch):
    cpu, gpu = tf.config.list_physical_devices("CPU")[0], tf.config.PhysicalDevice("/g", "GPU")
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda *_: [cpu, gpu])
    graph = tf.function(doubled_by).get_concrete_function(tf.TensorSpec([3]))
    assert compiled_parts(graph) == 0
    monkeypatch.undo()
    monkeypatch.setattr(tf.distribute.Strategy, "num_replicas_in_sync", 2)
    graph = tf.function(doubled_by).get_concrete_function(tf.TensorSpec([3]))
    assert compiled_parts(graph) == 0


@pytest.mark.parametrize("estimator", ["exact", "diagonal"])
def test_a_training_step_has_one_part_for_all_blocks(estimator):
    problem = problems.get("wave")
    settings = dataclasses.replace(problem.presets["quick"], depth=1)
    network = problems.build_model(problem, settings).network
    model = PINNModel(network, problem.terms(settings), NTK(estimator), seed=0)
    model.compile("adam")
    step = tf.function(lambda: model.train_step(None), autograph=False)
    assert compiled_parts(step.get_concrete_function()) == 1


def saved_and_loaded(model, folder):
    model.save(folder / "model.keras")
    return keras.models.load_model(folder / "model.keras")


@pytest.mark.parametrize("given", ["auto", False, True])
def test_xla_is_where_it_was_asked_for_and_so_after_loading(given, tmp_path):
    model = problems.build_model(problem := problems.get("poisson"), problem.presets["quick"])
    model.compile("adam", jit_compile=given)
    for trained in (model, saved_and_loaded(model, tmp_path)):
        step = tf.function(functools.partial(trained.train_step, None), autograph=False)
        # Within a step that is compiled as a whole the diagonal is a part of its own still.
        assert compiled_parts(step.get_concrete_function()) == (given is not False)
        assert bool(trained.jit_compile) == (given is True)


@pytest.mark.parametrize("given", ["auto", False])
def test_points_of_shapes_are_placed_by_one_part_each(given):
    disk = nk.domains.Disk()
    points = {"drawn": disk.boundary(3), "moving": nk.domains.R3(disk.interior(4))}
    terms = [nk.Term(name, lambda u, p: u(p)[:, 0], sampler) for name, sampler in points.items()]
    model = PINNModel(nk.networks.feedforward(disk, width=4), terms, "constant")
    model.compile("adam", jit_compile=given)
    step = tf.function(functools.partial(model.train_step, None), autograph=False)
    assert compiled_parts(step.get_concrete_function()) == (0 if given is False else 2)


def test_no_step_of_fit_is_compiled_where_xla_is_refused(monkeypatch):
    def refuse(*_, **options):
        assert not options.get("jit_compile")
        return graph_of(*_, **options)

    graph_of = tf.function
    monkeypatch.setattr(tf, "function", refuse)
    model = problems.build_model(problem := problems.get("poisson"), problem.presets["quick"])
    model.compile("adam", jit_compile=False)
    model.fit(epochs=1, steps_per_epoch=2, verbose=0)
    model.compile("adam", run_eagerly=True)
    model.fit(epochs=1, steps_per_epoch=1, verbose=0)
    nk.polish(model, iterations_per_epoch=1, verbose=0)
    model.blocks()


def test_the_diagonal_is_that_of_the_graph(monkeypatch):
    problem = problems.get("wave")
    model = problems.build_model(problem, dataclasses.replace(problem.presets["quick"], depth=2))
    blocks, variables = model.blocks(), model.trainable_variables

    def diagonal():
        return Linearization(blocks, variables, factored=True).diagonal()

    compiled = tf.function(diagonal, autograph=False)()
    monkeypatch.setattr(graphs, "on_one_cpu", lambda: False)
    plain = tf.function(diagonal, autograph=False)()
    assert compiled.keys() == plain.keys() == blocks.keys()
    for name, values in plain.items():
        np.testing.assert_allclose(compiled[name], values, rtol=2e-5)


def test_an_error_within_a_loop_leaves_no_caching_device_behind():
    def fails(element):
        raise ArithmeticError

    def mapped():
        return graphs.map_one_by_one(fails, tf.range(3), tf.int32)

    with pytest.raises(ArithmeticError):
        tf.function(mapped, autograph=False)()
    assert tf.compat.v1.get_variable_scope().caching_device is None  # else this fails:
    with tf.distribute.MirroredStrategy(["CPU:0"]).scope():
        pass
