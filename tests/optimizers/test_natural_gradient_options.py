"""Natural gradients under other options of a model, and with callbacks of Keras."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import ntk_keras as nk
from ntk_keras.optimizers import NaturalGradient
from tests.optimizers.test_natural_gradient import EDGE, POINTS, edge, equation, network

BATCHES = (POINTS[:8], POINTS[8:])


def terms(**edge_options):
    inner = nk.Term("equation", equation, POINTS)
    return [inner, nk.Term("edge", edge, EDGE, **edge_options)]


def batches():
    """Steps of 8 and of 4 points."""
    return tf.data.Dataset.from_generator(
        lambda: ({"equation": points} for points in BATCHES),
        output_signature={"equation": tf.TensorSpec([None, 2], tf.float64)},
    )


OPTIONS = {
    "a group": (lambda: terms(group="equation"), "exact-ntk", {}),
    "an importance": (terms, nk.weighting.NTK(importance={"edge": 7.0}), {}),
    "means": (terms, "exact-ntk", {"reduction": "mean"}),
    "bounds and a gate": (
        terms,
        nk.weighting.NTK(bounds=(0.5, 3.0), gate=nk.weighting.Gate()),
        {},
    ),
    "constant weights": (terms, {"equation": 2.0, "edge": 30.0}, {}),
    "weights of points": (terms, "self-adaptive", {}),
}


@pytest.mark.filterwarnings("ignore:The weight of group 'edge' is held")
@pytest.mark.parametrize("case", OPTIONS)
def test_options_count_in_the_direction(case):
    make, weighting, further = OPTIONS[case]
    model = nk.PINNModel(network(), make(), weighting, seed=0, **further)
    # So short a step is straight.
    model.compile(NaturalGradient(learning_rate=1e-4, damping=1e-3), run_eagerly=True)
    before = [v.numpy() for v in model.trainable_variables]
    blocks = model.blocks()
    rows = nk.kernel.jacobian(blocks, model.trainable_variables).numpy()
    residuals = {name: block() for name, block in blocks.items()}
    model.fit(verbose=0)
    weights = [
        np.broadcast_to(model.weighting.weight_of(name, r), r.shape)
        for name, r in residuals.items()
    ]
    scale = np.sqrt(np.concatenate(weights))
    rows, right = scale[:, None] * rows, scale * np.concatenate(list(residuals.values()))
    matrix = rows @ rows.T
    damped = matrix + 1e-3 * np.trace(matrix) / len(matrix) * np.eye(len(matrix))
    direction = rows.T @ np.linalg.solve(damped, right)
    change = [np.ravel(a - b) for a, b in zip(before, model.trainable_variables, strict=True)]
    taken = np.concatenate(change) / model.optimizer.step_length.numpy()
    np.testing.assert_allclose(taken, direction, atol=1e-3 * np.max(np.abs(direction)))


def test_batches_of_several_sizes_and_drawn_points_train():
    sampler = nk.domains.Box(t=(-1, 1), x=(-1, 1)).face(t=-1).sample(6)
    model = nk.PINNModel(
        network(), [nk.Term("equation", equation), nk.Term("edge", edge, sampler)], seed=0
    )
    model.compile(NaturalGradient())
    history = model.fit(batches().repeat(), epochs=30, steps_per_epoch=2, verbose=0).history
    assert history["loss/edge"][-1] < 1e-5 * history["loss/edge"][0]


def train(epochs, *callbacks):
    model = nk.PINNModel(network(), terms(), seed=0)
    model.compile(NaturalGradient(learning_rate=0.5))
    validation = {"equation": POINTS[:4], "edge": EDGE[:2]}
    return model.fit(
        epochs=epochs, validation_data=validation, callbacks=list(callbacks), verbose=0
    ).history


def test_callbacks_of_keras_see_losses_and_shorten_steps():
    history = train(
        6,
        keras.callbacks.ReduceLROnPlateau("val_loss", factor=0.5, min_delta=1e9, patience=1),
        keras.callbacks.EarlyStopping("loss/edge", min_delta=1e9, patience=3),
    )
    # The first epoch is the best one, and each that is no better halves the rate after it.
    np.testing.assert_allclose(history["learning_rate"], [0.5, 0.5, 0.25, 0.125])
    assert np.all(np.array(history["step_length"]) <= history["learning_rate"])


def test_a_killed_run_resumes_bit_for_bit(tmp_path):
    def backup():
        return keras.callbacks.BackupAndRestore(tmp_path, delete_checkpoint=False)

    whole, first = train(4), train(2, backup())
    rest = train(4, backup())
    for name, values in whole.items():
        assert first[name] + rest[name] == values
