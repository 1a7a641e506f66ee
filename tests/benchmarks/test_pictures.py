"""The picture of what weights and natural gradients gain."""

import numpy as np
import pytest

from benchmarks import pictures

X = np.linspace(0, 1, 4)
TRUTH = np.sin(3 * X[:, None] + X)


def test_the_picture_shows_each_solution_above_its_error():
    solved = {
        title: pictures.Solved([X, X], TRUTH * (1 + e), TRUTH, 10)
        for title, e in {"one": 0.5, "other": 1e-6}.items()
    }
    exact, one, other, words, *errors = pictures.figure(solved).axes[:6]
    assert [ax.get_title() for ax in (exact, one, other)] == [
        *("exact solution", "one\n10 steps", "other\n10 steps")
    ]
    assert [ax.get_title() for ax in errors] == [
        *("relative L2 error 0.5", "relative L2 error 1e-06")
    ]
    assert words.texts
    for row in ((exact, one, other), errors):
        assert len({ax.collections[0].norm.vmax for ax in row}) == 1


def test_a_missing_run_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="no runs of .*natural gradient.*compare wave"):
        pictures.read(tmp_path)
