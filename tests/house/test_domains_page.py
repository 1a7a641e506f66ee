"""What ``docs/how-to/domains.md`` says of its conditions: its solutions fulfil them, its errors."""

import re
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

import ntk_keras as nk

PAGE = (Path(__file__).parents[2] / "docs" / "how-to" / "domains.md").read_text()
CODE = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


def square(x):
    return tf.reduce_sum(x**2, axis=1, keepdims=True)


def repeated(x):
    y = 2 * np.pi * x
    return tf.sin(y[:, :1]) * tf.sinh(y[:, 1:]) / np.sinh(np.pi)


SOLUTIONS = {
    "dirichlet": lambda x: 1 - square(x),
    "by_slopes": lambda x: tf.math.log(square(x)) / 2,
    "cooled": lambda x: 3 - square(x),
    "periodic": repeated,
    "materials": {"core": lambda x: 0.775 - square(x) / 10, "shell": lambda x: 1 - square(x)},
    "exact_on_circle": lambda x: (1 - square(x)) * tf.exp(x[:, :1]),
    "conduction": lambda x: tf.atan2(x[:, 1:], x[:, :1]) / 1.5,
}


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """The names of the page, with models that are made and not trained."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("page"))
        namespace = {}
        for code in CODE:
            untrained = re.sub(r"    model\.(compile|fit)\(.*\n", "", code)
            exec(compile(untrained, "domains.md", "exec"), namespace)
    return namespace


@pytest.mark.parametrize("name", list(SOLUTIONS))
def test_the_solution_of_a_snippet_fulfils_its_terms(page, name):
    for term in page[name].terms:
        points = term.points_at(tf.constant([1, 2]), "float64")
        residual = np.array(term.evaluate(SOLUTIONS[name], points))
        np.testing.assert_allclose(residual, np.zeros_like(residual), atol=1e-9)


def test_all_derivatives_of_the_page_go_forward(page):
    for name in SOLUTIONS:
        summary = page[name].derivatives_summary()
        assert "nested tapes" not in summary
        assert "not factored" not in summary


@pytest.mark.slow
def test_the_errors_of_the_page_are_reached(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    printed = []
    namespace = {"print": lambda *values: printed.append(values)}
    for code in CODE:
        exec(compile(code, "domains.md", "exec"), namespace)
    errors = [float(value[0]) for value in printed[-len(SOLUTIONS) :]]
    promised = re.findall(r"^print\(error[^#]*# (\S+)$", PAGE, re.MULTILINE)
    assert len(promised) == len(SOLUTIONS)
    assert all(e < 10 * float(p) for e, p in zip(errors, promised, strict=True))
    assert isinstance(namespace["cooling"], nk.PINNModel)
