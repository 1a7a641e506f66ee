"""Shapes in training: normals reach residuals, which stay factored; one graph draws; saving."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import ntk_keras as nk
from ntk_keras.training.data import step_points

PLATE = nk.domains.Box(x=(-1, 1), y=(-1, 1)) - nk.domains.Disk(radius=0.5)
calls = []


@keras.saving.register_keras_serializable("test_shapes")
def equation(u, x):
    calls.append("equation")
    return nk.derivatives.laplacian(u, x)[:, 0] + 1


@keras.saving.register_keras_serializable("test_shapes")
def robin(u, points):
    x, normal = points
    slopes = [nk.derivatives.partial(u, x, axis) for axis in ("x", "y")]  # by name
    flux = tf.reduce_sum(tf.concat(slopes, axis=1) * normal, axis=1)
    return flux + u(x)[:, 0]


def terms():
    hole = PLATE.boundary(12, parts="circle", normals=True)
    return [nk.Term("equation", equation, PLATE.interior(24)), nk.Term("robin", robin, hole)]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A model after three steps, how often its residual was called in two of them, its file."""
    model = nk.PINNModel(nk.networks.feedforward(PLATE, width=8, depth=2, seed=0), terms(), seed=0)
    model.compile(keras.optimizers.Adam(1e-3), jit_compile=False)
    model.fit(epochs=1, steps_per_epoch=1, verbose=0)
    before = len(calls)
    model.fit(epochs=1, steps_per_epoch=2, verbose=0)
    path = tmp_path_factory.mktemp("saved") / "model.keras"
    model.save(path)
    return model, len(calls) - before, path


def test_residuals_with_normals_are_factored_and_differentiated_forward(trained):
    summary = trained[0].derivatives_summary()
    assert "not factored" not in summary
    assert "nested tapes" not in summary


def test_traces_of_a_residual_with_normals_are_exact(trained):
    model = trained[0]
    block = model.blocks()["robin"]
    variables = model.kernel_variables
    with tf.GradientTape(persistent=True) as tape:
        rows = tf.unstack(block())
    squares = 0.0
    for row in rows:
        gradients = tape.gradient(row, [v.value for v in variables])
        squares += sum(float(tf.reduce_sum(g**2)) for g in gradients if g is not None)
    assert float(nk.kernel.traces({"robin": block}, variables)["robin"]) == pytest.approx(
        squares, rel=1e-4
    )


def test_nothing_is_traced_again(trained):
    assert trained[1] == 0


def test_a_model_is_loaded_with_its_shapes_and_goes_on_alike(trained):
    model, _, path = trained
    loaded = keras.models.load_model(path)
    for one in (model, loaded):
        one.fit(epochs=1, steps_per_epoch=2, verbose=0)
    for a, b in zip(model.get_weights(), loaded.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_replicas_draw_points_of_their_own():
    strategy = tf.distribute.MirroredStrategy(
        ["CPU:0", "CPU:1"], cross_device_ops=tf.distribute.ReductionToOneDevice()
    )

    @tf.function
    def draw():
        seed = tf.constant([1, 2])
        return strategy.run(lambda: step_points(terms(), None, seed, "float32"))

    drawn = tf.nest.map_structure(strategy.experimental_local_results, draw())
    first, other = drawn["equation"]
    assert not np.any(first.numpy() == other.numpy())
    points, normals = drawn["robin"]
    for x, normal in zip(points, normals, strict=True):
        np.testing.assert_allclose(normal, -2 * x, atol=1e-6)


def test_a_shape_is_no_points():
    with pytest.raises(ValueError, match=r"Say how many to draw from it, as in box.interior"):
        nk.Term("equation", equation, PLATE)


def test_a_network_is_built_on_a_shape_and_drawn_on_its_grid():
    network = nk.networks.feedforward(PLATE, width=4, depth=1)
    images = nk.callbacks.SolutionImages(
        "unused", PLATE, lambda x: x[:, 0], (5, 5), network=network
    )
    np.testing.assert_array_equal(
        np.isnan(images._prediction()[..., 0]), np.isnan(images.truth[..., 0])
    )
    assert np.isnan(images.truth[2, 2, 0])
    assert not np.isnan(images.truth[0, 0, 0])
    assert len(images._figures(images._prediction())) == 1
