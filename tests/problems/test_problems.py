"""The paper's problems: residuals against their exact solutions, settings as data."""

import dataclasses
import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from ntk_keras import kernel, problems
from ntk_keras.derivatives import NetworkView
from ntk_keras.experiments import runs
from ntk_keras.problems import PROBLEMS, Settings, liquid_crystal, quadratic

SOLUTIONS = {
    "wave": lambda p: (
        tf.sin(np.pi * p[:, 1:]) * tf.cos(2 * np.pi * p[:, :1])
        + 0.5 * tf.sin(4 * np.pi * p[:, 1:]) * tf.cos(8 * np.pi * p[:, :1])
    ),
    "poisson": lambda p: tf.sin(4 * np.pi * p),
    "quadratic": lambda x: np.pi * x**2 + np.e * x + 2**0.5,
}
WITHOUT_NOISE = {"quadratic": {"noise": 0.0}}


def solvable(name):
    """A problem whose residuals vanish at a function that is known."""
    return problems.get(name).with_parameters(WITHOUT_NOISE.get(name, {}))


def points_of(term, dtype="float64"):
    return term.points_at(tf.constant([1, 2]), dtype)


@pytest.mark.parametrize("name", SOLUTIONS)
def test_the_exact_solution_makes_every_residual_vanish(name):
    problem = solvable(name)
    for term in problem.terms(problem.presets["quick"]):
        residual = term.residual(SOLUTIONS[name], points_of(term))
        # Second derivatives reach 300; float64 rounds them to 1e-13.
        np.testing.assert_allclose(residual, 0, atol=1e-11)


@pytest.mark.parametrize("name", SOLUTIONS)
def test_another_function_makes_every_residual_large(name):
    problem = solvable(name)
    for term in problem.terms(problem.presets["quick"]):

        def wrong(p):
            return SOLUTIONS[name](p) + tf.exp(tf.reduce_sum(p, 1, keepdims=True))

        assert np.min(np.abs(term.residual(wrong, points_of(term)))) > 0.1


@pytest.mark.parametrize("name", SOLUTIONS)
def test_the_solution_in_numpy_is_the_one_in_tensorflow(name):
    problem = problems.get(name)
    points, values = problem.validation_data("float64")
    np.testing.assert_allclose(values, SOLUTIONS[name](tf.constant(points)), atol=1e-12)
    assert values.shape == (np.prod(problem.grid), 1)


# Functions that solve nothing, u = sin(w p_1 + 1) exp(p_0 / 2) for the wave, their derivatives by
# hand, and so the residual that the equation must show.
def wave_manufactured(p):
    return tf.sin(3 * p[:, 1:] + 1) * tf.exp(p[:, :1] / 2)


def wave_residual(p):
    t, x = p.T
    return (1 / 4 + 4 * 9) * np.sin(3 * x + 1) * np.exp(t / 2)


def poisson_manufactured(p):
    return tf.exp(p) * p**2


def poisson_residual(p):
    x = p[:, 0]
    return np.exp(x) * (x**2 + 4 * x + 2) + 16 * np.pi**2 * np.sin(4 * np.pi * x)


LIQUID = {"elasticity": 0.3, "a": -0.7, "c": 1.3, "lower": -2.0, "final_time": 1.5}


def liquid_manufactured(p):
    t, x, y = p[:, :1], p[:, 1:2], p[:, 2:]
    return tf.concat([tf.exp(-t) * tf.sin(2 * x) * y, tf.cos(t) * x**2 * tf.sin(y)], axis=1)


def liquid_residual(p):
    """Q_t - L Lap Q + a Q + c Tr(Q^2) Q with 2 x 2 matrices; its entries 11 and 12."""
    t, x, y = p.T

    def tensor(q1, q2):
        return np.array([[q1, q2], [q2, -q1]]).transpose(2, 0, 1)

    q1, q2 = np.exp(-t) * np.sin(2 * x) * y, np.cos(t) * x**2 * np.sin(y)
    Q, rate = tensor(q1, q2), tensor(-q1, -np.sin(t) * x**2 * np.sin(y))
    laplacian = tensor(-4 * q1, np.cos(t) * (2 - x**2) * np.sin(y))
    trace = np.trace(Q @ Q, axis1=1, axis2=2)[:, None, None]
    residual = rate - LIQUID["elasticity"] * laplacian + LIQUID["a"] * Q + LIQUID["c"] * trace * Q
    return residual[:, 0]


MANUFACTURED = {
    "wave": (wave_manufactured, wave_residual),
    "poisson": (poisson_manufactured, poisson_residual),
    "liquid_crystal": (liquid_manufactured, liquid_residual),
}


@pytest.mark.parametrize("name", MANUFACTURED)
def test_the_equation_of_a_manufactured_solution_is_that_by_hand(name):
    problem = problems.get(name).with_parameters(LIQUID if name == "liquid_crystal" else {})
    manufactured, residual = MANUFACTURED[name]
    term = problem.terms(problem.presets["quick"])[0]
    points = points_of(term)
    np.testing.assert_allclose(
        term.residual(manufactured, points), residual(points.numpy()), rtol=1e-11, atol=1e-11
    )


@pytest.mark.parametrize("name", MANUFACTURED)
def test_the_equation_is_carried_forward_to_the_same_numbers(name):
    """The network's view against nested tapes."""
    problem = problems.get(name)
    settings = dataclasses.replace(problem.presets["quick"], width=8, dtype="float64")
    model = problems.build_model(problem, settings)
    points = points_of(model.terms[0])
    forward = model.terms[0].residual(NetworkView(model.network), points)
    np.testing.assert_allclose(forward, model.terms[0].residual(model.network, points), rtol=1e-9)


def liquid_fields(initial):
    """q at the start, by the paper's formula and 2 x 2 matrices."""
    x, y = np.random.default_rng(0).uniform(0, 2, [2, 50])
    first, second = (2 - x) * (2 + x) * (2 - y) * (2 + y), np.sin(np.pi * x) * np.sin(np.pi * y)
    d = np.stack([first, second]) / np.sqrt(1 + first**2 + second**2)
    if initial == "sequential":
        d[1] = second / np.sqrt(1 + d[0] ** 2 + second**2)
    Q = np.einsum("im,jm->mij", d, d) - np.sum(d**2, 0)[:, None, None] / 2 * np.eye(2)
    return x, y, Q, d


@pytest.mark.parametrize("initial", liquid_crystal.INITIAL_FIELDS)
def test_the_liquid_crystal_starts_from_the_printed_field(initial):
    x, y, Q, _ = liquid_fields(initial)
    problem = problems.get("liquid_crystal").with_parameters({"initial": initial})
    (term,) = (t for t in problem.terms(problem.presets["quick"]) if t.name == "initial")
    points = tf.constant(np.stack([0 * x, x, y], axis=1))
    residual = term.residual(lambda p: tf.zeros([50, 2], tf.float64), points)
    np.testing.assert_allclose(residual, -Q[:, 0], atol=1e-14)


@pytest.mark.parametrize("initial", liquid_crystal.INITIAL_FIELDS)
def test_light_and_directors_are_those_of_the_eigenvectors(initial):
    _, _, Q, d = liquid_fields(initial)
    values, vectors = np.linalg.eigh(Q)
    q = Q[:, 0]
    np.testing.assert_allclose(
        liquid_crystal.transmitted_light(q), np.abs(values[:, 1] * vectors[:, 0, 1]), atol=1e-14
    )
    angles = liquid_crystal.director_angles(q)
    along = np.cos(angles) * vectors[:, 0, 1] + np.sin(angles) * vectors[:, 1, 1]
    np.testing.assert_allclose(np.abs(along), 1, atol=1e-14)
    np.testing.assert_allclose(np.tan(angles), d[1] / d[0], atol=1e-12)


def test_the_two_initial_fields_differ_as_their_text_says():
    at = tf.constant(0.5, tf.float64)
    for initial, degrees in (("printed", 4), ("sequential", 30)):
        q = liquid_crystal.initial_tensor(at, at, initial).numpy()
        assert np.degrees(liquid_crystal.director_angles(q)) == pytest.approx(degrees, abs=0.5)


def test_the_domains_agree_with_their_boundary_values_as_their_text_says():
    line = tf.constant(np.linspace(-2, 2, 41))
    for edge, zero in ((2.0, True), (-2.0, True), (0.0, False)):
        for initial in liquid_crystal.INITIAL_FIELDS:
            q = liquid_crystal.initial_tensor(edge + 0 * line, line, initial).numpy()
            assert (np.abs(q).max() < 1e-12) == zero


def test_the_liquid_crystal_has_the_points_and_groups_of_the_paper():
    problem = problems.get("liquid_crystal")
    terms = problem.terms(problem.presets["paper"])
    sides = ("left", "right", "bottom", "top")
    assert {term.name: (term.points.num_points, term.group) for term in terms} == {
        "equation": (300, "equation"),
        "initial": (300, "boundary"),
        **{name: (10, "boundary") for name in sides},
    }
    faces = {term.name: points_of(term).numpy() for term in terms}
    for name, column, value in zip(sides, (1, 1, 2, 2), (0, 2, 0, 2), strict=True):
        np.testing.assert_array_equal(faces[name][:, column], value)
        assert np.ptp(faces[name][:, 0]) > 0.5
    np.testing.assert_array_equal(faces["initial"][:, 0], 0)


def test_the_liquid_crystal_is_held_against_finite_elements():
    parameters = {"cells": 32, "time_steps": 80, "initial": "sequential"}
    problem = problems.get("liquid_crystal").with_parameters(parameters)
    points, values = problem.validation_data("float64")
    reference = liquid_crystal.reference(liquid_crystal.Parameters(**parameters))
    np.testing.assert_allclose(values.reshape(9, 33, 33, 2), reference.values, atol=1e-14)
    assert points[-1].tolist() == [2, 2, 2]
    start = values.reshape(9, 33, 33, 2)[0, 1:-1, 1:-1]
    x, y = (tf.constant(points.reshape(9, 33, 33, 3)[0, 1:-1, 1:-1, k]) for k in (1, 2))
    np.testing.assert_allclose(start, liquid_crystal.initial_tensor(x, y, "sequential"), atol=1e-14)


def test_errors_by_frame_are_relative():
    truth = np.random.default_rng(0).standard_normal([3, 4, 4, 2])
    prediction = truth * np.array([1.1, 1, 0])[:, None, None, None]
    errors = liquid_crystal.errors_at_frames(prediction, truth)
    np.testing.assert_allclose(errors, [0.1, 0, 1], atol=1e-12)


def test_the_quadratic_predictor_is_the_formula_and_its_kernel_too():
    problem = problems.get("quadratic")
    model = problems.build_model(problem, problem.presets["paper"])
    (theta,) = model.trainable_variables
    theta.assign([0.5, -1.0, 2.0])
    x, y = quadratic.data(50, quadratic.Parameters())
    np.testing.assert_allclose(model.network(x), 0.25 + x + 4 * x**2, atol=1e-14)
    np.testing.assert_allclose(model.blocks()["data"](), (0.25 + x + 4 * x**2 - y)[:, 0])
    K = kernel.matrix(model.blocks(), model.trainable_variables)
    np.testing.assert_allclose(quadratic.exact_kernel(x, theta.numpy()), K, atol=1e-12)


def test_the_samples_of_the_quadratic_problem_are_noisy_and_always_the_same():
    x, y = quadratic.data(50, quadratic.Parameters())
    noise = (y - quadratic.solution(x)) * 2**0.5
    assert np.std(noise) == pytest.approx(1, abs=0.3)  # three standard errors of 50 samples
    assert abs(np.mean(noise)) < 3 / 50**0.5
    np.testing.assert_array_equal(y, quadratic.data(50, quadratic.Parameters())[1])
    assert not np.array_equal(y, quadratic.data(50, quadratic.Parameters(data_seed=1))[1])


def test_the_kernel_of_the_quadratic_problem_starts_as_in_figure_5():
    x, _ = quadratic.data(50, quadratic.Parameters())
    K = quadratic.exact_kernel(x, np.full(3, quadratic.Parameters().start))
    assert K.min() == pytest.approx(0.66, abs=0.01)
    assert K.max() == pytest.approx(2.65, abs=0.01)


def test_the_quadratic_predictor_is_saved_and_loaded(tmp_path):
    problem = problems.get("quadratic")
    network = problems.build_model(problem, problem.presets["quick"]).network
    network.save(tmp_path / "network.keras")
    loaded = keras.models.load_model(tmp_path / "network.keras")
    x = np.linspace(-1, 1, 5)[:, None]
    np.testing.assert_array_equal(network(x), loaded(x))


def test_a_problem_has_variants_by_parameters():
    settings = dataclasses.replace(
        problems.get("liquid_crystal").presets["quick"], parameters={"lower": -2.0}
    )
    problem = problems.of(settings)
    assert problem.parameters == {
        **problems.get("liquid_crystal").parameters,
        "lower": -2.0,
    }
    assert problem.box.lower.tolist() == [0, -2, -2]
    assert problems.of(dataclasses.replace(settings, parameters={})).box.lower.tolist() == [0, 0, 0]


@pytest.mark.parametrize(
    ("name", "parameters", "words"),
    [
        ("wave", {"speed": 1.0}, r"'wave' has no parameters \['speed'\]. Its parameters: none"),
        ("quadratic", {"sigma": 1}, "Its parameters: .*'noise'"),
        ("quadratic", {"noise": -1.0}, "noise must not be negative"),
        ("quadratic", {"start": 0.0}, "start must not be zero"),
        ("liquid_crystal", {"initial": "other"}, "initial must be one of"),
        ("liquid_crystal", {"elasticity": -1.0}, "elasticity must be positive"),
    ],
)
def test_parameters_out_of_range_are_refused(name, parameters, words):
    with pytest.raises(ValueError, match=words):
        problems.get(name).with_parameters(parameters)


def test_the_wave_problem_has_the_points_and_groups_of_the_paper():
    terms = problems.get("wave").terms(problems.get("wave").presets["paper"])
    sizes = {term.name: (term.points.num_points, term.group) for term in terms}
    assert sizes == {
        "equation": (300, "equation"),
        "velocity": (300, "velocity"),
        "initial": (100, "boundary"),
        "left": (100, "boundary"),
        "right": (100, "boundary"),
    }


def test_the_paper_network_has_the_paper_size():
    settings = problems.get("wave").presets["paper"]
    model = problems.build_model(problems.get("wave"), settings)
    # 2 x 500 + 500, twice 500 x 500 + 500, 500 + 1.
    assert model.network.count_params() == 503_001
    assert all(v.dtype == "float32" for v in model.trainable_variables)


def test_inputs_are_standardised_over_the_box():
    box = problems.get("wave").box
    network = problems.build_model(
        problems.get("wave"), problems.get("wave").presets["quick"]
    ).network
    standardised = network.layers[0](box.grid(201, 201).astype("float32")).numpy()
    np.testing.assert_allclose(standardised.mean(axis=0), 0, atol=1e-4)
    # The grid includes the ends, which widens its spread by 1 part in 200.
    np.testing.assert_allclose(standardised.std(axis=0), 1, rtol=0.01)


@pytest.mark.parametrize("name", sorted(PROBLEMS))
def test_settings_survive_a_file(name, tmp_path):
    path = tmp_path / "settings.json"
    for settings in problems.get(name).presets.values():
        path.write_text(json.dumps(dataclasses.asdict(settings)))
        assert runs.load_settings(path) == settings


def test_fixed_points_stay_from_step_to_step():
    problem = problems.get("poisson")
    model = problems.build_model(problem, problem.presets["paper"])
    first = model.blocks()["equation"].points
    model.fit(epochs=1, steps_per_epoch=2, verbose=0)
    np.testing.assert_array_equal(first, model.blocks()["equation"].points)
    assert first.dtype == tf.float64


def test_the_convergence_test_of_the_paper_converges():
    """Figure 1: the loss of every term falls by orders of magnitude."""
    problem = problems.get("poisson")
    settings = dataclasses.replace(problem.presets["paper"], steps=1000, steps_per_epoch=100)
    model = problems.build_model(problem, settings)
    history = model.fit(epochs=10, steps_per_epoch=100, verbose=0).history
    losses = [history[f"loss/{name}"][-1] for name in ("equation", "left", "right")]
    assert max(losses) < 1e-6 * history["loss/equation"][0]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"steps": 7}, "multiple of steps_per_epoch"),
        ({"weighting": "other"}, "Unknown weighting 'other'"),
        ({"optimizer": "other"}, "Unknown optimizer 'other'"),
    ],
)
def test_settings_out_of_range_are_refused(change, words):
    problem = problems.get("wave")
    with pytest.raises(ValueError, match=words):
        problems.build_model(problem, dataclasses.replace(problem.presets["quick"], **change))


def test_an_unknown_problem_is_refused():
    with pytest.raises(ValueError, match="Unknown problem 'other'.*poisson.*wave"):
        problems.get("other")


def test_a_settings_object_cannot_change():
    settings = Settings("wave", "quick", {}, steps=500)
    with pytest.raises(dataclasses.FrozenInstanceError):
        settings.steps = 1
