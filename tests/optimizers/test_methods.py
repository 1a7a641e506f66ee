"""Random sums of rows and conjugate gradients, against damped least squares by rows."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import ntk_keras as nk
from ntk_keras.optimizers import matrix_free, sketched_equations
from ntk_keras.optimizers import system as systems
from tests.optimizers import test_natural_gradient as plain

SEED = tf.constant([0, 7])


@pytest.fixture(scope="module", params=["forward", "tapes"])
def case(request):
    """A recording, its scale, S J and S R."""
    made = plain.CASES[request.param]()
    linearization, scale = plain.recorded(made)
    rows = nk.kernel.jacobian(made.blocks(), made.trainable_variables).numpy()
    residual = np.concatenate([np.asarray(r) for r in linearization.residuals.values()])
    return linearization, scale, scale.numpy()[:, None] * rows, scale.numpy() * residual


def flat(direction):
    return np.concatenate([np.ravel(part) for part in direction])


@pytest.mark.parametrize("size", [8, 300])
def test_random_sums_give_their_own_least_squares(case, size, monkeypatch):
    linearization, scale, rows, residual = case
    monkeypatch.setattr(systems, "_ROWS_BYTES", 8 * 3 * 100)  # pieces of a few rows
    system = sketched_equations.Sketched(linearization, scale, size, SEED)
    solve, _ = system.solver(tf.constant(1e-3, "double"))
    solution = solve(tf.constant(residual))
    places, signs = system._places.numpy(), system._signs.numpy()
    sums = np.zeros([size, len(rows)])
    for row in range(len(rows)):
        np.add.at(sums[:, row], places[row], signs[row])
    a, b = sums @ rows, sums @ residual
    damping = 1e-3 * np.sum(a**2) / min(a.shape)
    theirs = a.T @ np.linalg.solve(a @ a.T + damping * np.eye(size), b)
    ours = flat(system.direction(solution))
    np.testing.assert_allclose(ours, theirs, atol=1e-9 * np.max(np.abs(theirs)))
    np.testing.assert_allclose(system.pushed(solution), rows @ theirs, rtol=1e-6, atol=1e-8)


def test_random_sums_have_the_matrix_as_their_mean(case):
    linearization, scale, rows, _ = case
    size, count = 300, 40

    @tf.function
    def matrix(step):
        seed = tf.stack([0, step])
        return sketched_equations.Sketched(linearization, scale, size, seed).matrix

    exact = rows.T @ rows
    norm = np.linalg.norm(exact)
    errors = [matrix(tf.constant(step)).numpy() - exact for step in range(count)]
    single = np.mean([np.linalg.norm(error) for error in errors]) / norm
    assert 0.01 < single < 0.3
    # A mean of independent errors falls like their number's root.
    assert np.linalg.norm(np.mean(errors, axis=0)) / norm < 2 * single / count**0.5


@pytest.mark.parametrize("rank", [5, 60])
def test_conjugate_gradients_come_to_the_direction(case, rank, monkeypatch):
    linearization, scale, rows, residual = case
    monkeypatch.setattr(matrix_free, "_RANK", rank)
    monkeypatch.setattr(matrix_free, "_TOLERANCE", 1e-10)
    system = matrix_free.MatrixFree(linearization, scale, SEED)
    solve, damping = system.solver(tf.constant(1e-3, "double"))
    assert damping == 1e-3
    solution = solve(tf.constant(residual))
    matrix = rows.T @ rows
    mu = 1e-3 * np.trace(matrix) / len(matrix)
    theirs = np.linalg.solve(matrix + mu * np.eye(len(matrix)), rows.T @ residual)
    ours = flat(system.direction(solution))
    np.testing.assert_allclose(ours, theirs, atol=1e-6 * np.max(np.abs(theirs)))
    np.testing.assert_allclose(system.pushed(solution), rows @ theirs, rtol=1e-5, atol=1e-6)


def test_a_preconditioner_of_full_rank_is_the_inverse():
    rng = np.random.default_rng(0)
    root = rng.normal(size=(12, 12)) * 10.0 ** np.linspace(0, -3, 12)
    matrix = tf.constant(root @ root.T)
    test, _ = tf.linalg.qr(tf.constant(rng.normal(size=(12, 12))))
    nystrom = matrix_free.Nystrom.from_products(test, matrix @ test)
    found = nystrom.vectors @ tf.linalg.diag(nystrom.values) @ tf.transpose(nystrom.vectors)
    np.testing.assert_allclose(found, matrix, atol=1e-8 * np.max(matrix))
    vector = tf.constant(rng.normal(size=12))
    mu = tf.constant(1e-2, tf.float64)
    exact = np.linalg.solve(matrix + 1e-2 * np.eye(12), vector) * (nystrom.values[0] + mu)
    np.testing.assert_allclose(nystrom.solve(vector, mu), exact, rtol=1e-4)


def test_a_preconditioner_saves_iterations():
    rng = np.random.default_rng(1)
    vectors, _ = np.linalg.qr(rng.normal(size=(80, 80)))
    matrix = tf.constant(vectors * 10.0 ** -np.linspace(0, 8, 80) @ vectors.T)
    mu = tf.constant(1e-6, tf.float64)
    right_side = tf.constant(rng.normal(size=80))
    exact = np.linalg.solve(matrix + mu * np.eye(80), right_side)
    test, _ = tf.linalg.qr(tf.constant(rng.normal(size=(80, 60))))
    nystrom = matrix_free.Nystrom.from_products(test, matrix @ test)

    def error(precondition):
        found = matrix_free.conjugate_gradients(
            lambda x: tf.linalg.matvec(matrix, x) + mu * x, right_side, precondition, 1e-12, 15
        )
        return np.linalg.norm(found - exact) / np.linalg.norm(exact)

    assert error(lambda x: nystrom.solve(x, mu)) < 1e-6
    assert error(lambda x: x) > 1e-2


@pytest.mark.parametrize("method", ["sketched", "matrix-free"])
def test_training_converges_and_resumes_bit_for_bit(method, tmp_path):
    made = plain.model(plain.network(), optimizer=nk.optimizers.NaturalGradient(method=method))
    history = made.fit(epochs=20, verbose=0).history
    assert history["loss/edge"][-1] < 1e-5 * history["loss/edge"][0]
    made.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert loaded.optimizer.method == method
    assert made.fit(verbose=0).history == loaded.fit(verbose=0).history
