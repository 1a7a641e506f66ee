"""The paper's problems: residuals against their exact solutions, settings as data."""

import dataclasses
import json

import numpy as np
import pytest
import tensorflow as tf

from ntk_keras import problems, runs
from ntk_keras.problems import PROBLEMS, Settings

SOLUTIONS = {
    "wave": lambda p: (
        tf.sin(np.pi * p[:, 1:]) * tf.cos(2 * np.pi * p[:, :1])
        + 0.5 * tf.sin(4 * np.pi * p[:, 1:]) * tf.cos(8 * np.pi * p[:, :1])
    ),
    "poisson": lambda p: tf.sin(4 * np.pi * p),
}


def points_of(term, dtype="float64"):
    return term.points_at(tf.constant([1, 2]), dtype)


@pytest.mark.parametrize("name", sorted(PROBLEMS))
def test_the_exact_solution_makes_every_residual_vanish(name):
    problem = problems.get(name)
    for term in problem.terms(problem.presets["quick"]):
        residual = term.residual(SOLUTIONS[name], points_of(term))
        # Second derivatives reach 300; float64 rounds them to 1e-13.
        np.testing.assert_allclose(residual, 0, atol=1e-11)


@pytest.mark.parametrize("name", sorted(PROBLEMS))
def test_another_function_makes_every_residual_large(name):
    problem = problems.get(name)
    for term in problem.terms(problem.presets["quick"]):

        def wrong(p):
            return SOLUTIONS[name](p) + tf.exp(tf.reduce_sum(p, 1, keepdims=True))

        assert np.min(np.abs(term.residual(wrong, points_of(term)))) > 0.1


@pytest.mark.parametrize("name", sorted(PROBLEMS))
def test_the_solution_in_numpy_is_the_one_in_tensorflow(name):
    problem = problems.get(name)
    points, values = problem.validation_data("float64")
    np.testing.assert_allclose(values, SOLUTIONS[name](tf.constant(points)), atol=1e-12)
    assert values.shape == (np.prod(problem.grid), 1)


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
@pytest.mark.parametrize("preset", ["quick", "paper"])
def test_settings_survive_a_file(name, preset, tmp_path):
    settings = problems.get(name).presets[preset]
    path = tmp_path / "settings.json"
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
    with pytest.raises(ValueError, match="Unknown problem 'heat'.*poisson.*wave"):
        problems.get("heat")


def test_a_settings_object_cannot_change():
    settings = Settings("wave", "quick", {}, steps=500)
    with pytest.raises(dataclasses.FrozenInstanceError):
        settings.steps = 1
