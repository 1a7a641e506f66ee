"""Models of problems: equations in other units, and points that stay the same."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

import ntk_keras as nk
from ntk_keras import problems
from ntk_keras.problems.models import ScaledResidual


def small(name, **changes):
    problem = problems.get(name)
    settings = problem.presets["quick"]
    few = dict.fromkeys(settings.points, 5)
    changes = {"points": few, "width": 4, "depth": 1, "redrawn": False, **changes}
    return problems.build_model(problem, dataclasses.replace(settings, **changes))


def test_the_scale_multiplies_the_residual_of_the_equation_alone():
    one, other = small("heat_1d"), small("heat_1d", equation_scale=1e-3)
    for name, block in one.blocks().items():
        factor = 1e-3 if name == "equation" else 1
        np.testing.assert_allclose(other.blocks()[name](), factor * block().numpy(), rtol=1e-6)


def test_terms_that_a_problem_gives_again_are_scaled_once():
    problem = problems.get("heat_1d")
    usual = problem.presets["quick"]
    few = dict.fromkeys(usual.points, 5)
    settings = dataclasses.replace(usual, points=few, width=4, depth=1, equation_scale=10.0)
    terms = problem.terms(settings)
    same = dataclasses.replace(problem, terms=lambda settings: terms)
    for _ in range(2):
        model = problems.build_model(same, settings)
        assert model.terms[0].residual == ScaledResidual(terms[0].residual, 10.0)
    assert terms[0].residual is problem.terms(settings)[0].residual


def test_a_scaled_model_is_saved_and_loaded(tmp_path):
    model = small("burgers", equation_scale=1e3)
    model.save(tmp_path / "scaled.keras")
    loaded = keras.models.load_model(tmp_path / "scaled.keras")
    assert isinstance(loaded.terms[0].residual, ScaledResidual)
    np.testing.assert_array_equal(loaded.blocks()["equation"](), model.blocks()["equation"]())


def test_all_components_are_scaled():
    residual = ScaledResidual(lambda u, points: (points, {"more": 2 * points}), 3.0)
    first, second = residual(None, tf.constant([1.0]))
    assert (float(first[0]), float(second["more"][0])) == (3, 6)


@pytest.mark.parametrize("value", [0.0, -1.0, np.inf])
def test_a_scale_is_positive(value):
    with pytest.raises(ValueError, match="equation_scale must be positive. Received"):
        small("heat_1d", equation_scale=value)


def test_fixed_points_keep_the_names_of_their_columns():
    assert {term.axes for term in small("heat_1d").terms} == {("t", "x")}
    assert nk.Term("a", small, np.zeros([1, 2])).axes is None
