"""The examples run, and give the numbers their texts and the README speak of."""

import numpy as np
import pytest

from benchmarks import step_time
from examples import wave, weighting_callback, weights_follow


def test_the_wave_script_trains_and_logs(tmp_path):
    model, history = wave.main(epochs=3, steps_per_epoch=50, width=16, logdir=tmp_path, verbose=0)
    losses = history.history["loss"]
    assert losses[-1] < 0.9 * losses[0]
    assert sum(1 / weight for weight in model.loss_weights.values()) == pytest.approx(1, rel=1e-5)
    assert list(tmp_path.glob("events*"))


def test_the_wave_script_solves_the_problem_of_the_package():
    points = wave.BOX.grid(7, 9)
    np.testing.assert_allclose(wave.exact(points), wave.nk.problems.get("wave").solution(points))


def test_the_callback_example_solves_its_equation():
    _, weighting, error = weighting_callback.main()
    assert error < 1e-2  # 1.7e-3 when it was written
    assert sum(1 / weight for weight in weighting.weights.values()) == pytest.approx(1)


def test_sketched_weights_follow_the_exact_ones():
    """Algorithm 3 beside Algorithm 1 at every epoch, on a small wave problem."""
    _, exact, estimated, groups = weights_follow.main(
        epochs=20, steps_per_epoch=50, width=20, figure=None, verbose=0
    )
    assert groups == ("equation", "velocity", "boundary")
    deviation = np.median(np.abs(estimated / exact - 1), axis=0)
    # A sample has a spread of at most 2^(1/2), so the mean of the first 100 is 14 % off; points
    # that are redrawn and the lag of the average add theirs. Equal weights are far further off.
    assert deviation.max() < 0.3
    assert np.median(np.abs(3 / exact - 1), axis=0).max() > 0.6


def test_the_step_time_benchmark_sets_weightings_side_by_side(tmp_path):
    names = ["constant", "block-predictor", "diagonal, every 10th step"]
    arguments = ["--width", "8", "--rounds", "3", "--weightings", *names]
    rows = step_time.main([*arguments, "--csv", str(tmp_path / "rows.csv")])
    assert [(row["xla"], row["weighting"]) for row in rows] == [
        (xla, weighting) for xla in ("yes", "no") for weighting in names
    ]
    assert all(row["ms"] > 0 for row in rows)
    assert all(row["ratio"] == 1 for row in rows if row["weighting"] == "constant")
    assert len((tmp_path / "rows.csv").read_text().splitlines()) == 7
