"""The progress of a run in one line: text, length, time left."""

import types

import numpy as np
import pytest

from ntk_keras import problems
from ntk_keras.experiments import labels, progress


def test_a_progress_line_names_run_step_error_and_time_left():
    settings = problems.get("wave").presets["quick"]
    name = labels.title(settings, place="2 of 3")
    line = progress.progress_line(name, 600, 12_000, "L2 error 0.132", "0:35 left")
    assert line == (
        "wave, ntk, diagonal, seed 0 (2 of 3)  step   600 of 12000  L2 error 0.132  0:35 left"
    )


@pytest.mark.parametrize("width", [100, 79, 40])
def test_a_progress_line_fits(width):
    name = (
        "liquid_crystal, natural-gradient, ntk, block-predictor, fixed points, seed 10 (10 of 10)"
    )
    more = ("L2 error 1.23e-05", "10:00:00 left")
    line = progress.progress_line(name, 99_500, 100_000, *more, width=width)
    assert len(line) == width
    if width == 100:
        assert line.startswith("liquid_crystal, natu..., seed 10 (10 of 10)  step  99500 ")
        assert line.endswith("left")


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0:00"), (65, "1:05"), (599.6, "10:00"), (3723, "1:02:03")]
)
def test_durations_are_short(seconds, text):
    assert progress.duration(seconds) == text


def trained(line, monkeypatch, failing=False):
    """A run of ten steps in each epoch, 100 s long, in time of its own."""
    clock = iter(range(0, 10_000, 50))
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    steps = np.array(0)
    iterations = types.SimpleNamespace(numpy=lambda: steps)
    line.set_model(types.SimpleNamespace(optimizer=types.SimpleNamespace(iterations=iterations)))
    line.on_train_begin()
    for epoch in range(2):
        for _ in range(2):
            steps += 5
            line.on_train_batch_end(0, {"loss": np.float32(2)})
        line.on_epoch_end(epoch, {"loss": 2.0, "val_relative_l2": 0.1234 / (epoch + 1)})
        if failing:
            raise ValueError("diverged")


def test_a_run_leaves_a_line_for_each_epoch(capsys, monkeypatch):
    with progress.shown("wave", 20, 2) as callbacks:
        trained(callbacks[0], monkeypatch)
    assert capsys.readouterr().out.splitlines() == [
        "wave  step 10 of 20  L2 error 0.123     3:20 left",
        "wave  step 20 of 20  L2 error 0.0617    took 5:00",
    ]


def test_the_line_of_a_terminal_renews_itself_and_ends(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(ValueError, match="diverged"), progress.shown("wave", 20, 1) as callbacks:
        trained(callbacks[0], monkeypatch, failing=True)
    text = capsys.readouterr().out
    assert text.count("\n") == 1
    assert text.endswith("left\n")
    lines = text.rstrip("\n").split("\r")[1:]
    assert lines[0] == "wave  step  0 of 20  compiling"
    assert "loss 2" in lines[1]
    assert "L2 error 0.123" in lines[-1]


def test_silence_has_no_callback(capsys):
    with progress.shown("wave", 20, 0) as callbacks:
        assert callbacks == []
