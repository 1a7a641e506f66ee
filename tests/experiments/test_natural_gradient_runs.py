"""Runs and comparisons of natural gradients from the command line."""

import csv
import dataclasses
import json
import shutil

import keras
import numpy as np
import pytest
import tensorflow as tf
from matplotlib.figure import Figure
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import ntk_keras_cli
from ntk_keras import cli, plots, problems
from ntk_keras.experiments import comparison, runs
from ntk_keras.optimizers import NaturalGradient

NATURAL = "natural-gradient"
SMALL = {"steps": 6, "steps_per_epoch": 2, "width": 4, "depth": 1, "points": {"equation": 8}}


@pytest.fixture(scope="module", autouse=True)
def presets():
    """Those of the Poisson problem, at tiny sizes."""
    presets = problems.get("poisson").presets
    with pytest.MonkeyPatch.context() as patch:
        for name in ("quick", NATURAL):
            patch.setitem(presets, name, dataclasses.replace(presets[name], **SMALL))
        yield presets


class Copy(keras.callbacks.Callback):
    """Keeps the folder as it is in the second epoch, where a run that is killed would leave it."""

    def __init__(self, folder):
        super().__init__()
        self.folder = folder

    def on_train_batch_end(self, batch, logs=None):
        copy = self.folder.parent / "killed"
        if self.model.optimizer.iterations.numpy() > 2 and not copy.exists():
            shutil.copytree(self.folder, copy)


@pytest.fixture(scope="module")
def finished(presets, tmp_path_factory):
    """The folder of a finished run, beside one that was killed."""
    folder = tmp_path_factory.mktemp("logs") / "finished"
    runs.run(presets[NATURAL], folder, verbose=0, callbacks=[Copy(folder)])
    return folder


def run(logdir, *arguments):
    return cli.main([*arguments, "--verbose", "0", "--logdir", str(logdir)])


def history_of(folder):
    with open(folder / "history.csv", newline="") as file:
        return [{k: v for k, v in row.items() if k != "seconds"} for row in csv.DictReader(file)]


@pytest.mark.parametrize("name", problems.PROBLEMS)
def test_every_problem_has_settings_for_natural_gradients(name):
    settings = problems.get(name).presets[NATURAL]
    assert settings.optimizer == NATURAL
    assert settings.dtype == "float64"
    assert settings.epochs > 1


# The paper's problems, and one of those that share their settings.
@pytest.mark.parametrize("name", ["helmholtz", "liquid_crystal", "poisson", "quadratic", "wave"])
def test_models_of_these_settings_are_trained_by_natural_gradients(name):
    settings = problems.get(name).presets[NATURAL]
    model = problems.build_model(problems.of(settings), settings)
    assert isinstance(model.optimizer, NaturalGradient)
    assert model.optimizer.learning_rate.numpy() == 1  # whatever the rate of gradients
    assert model.parameter_dtype == "float64"


def test_the_wave_is_trained_by_a_narrow_sine_network():
    problem = problems.get("wave")
    settings = problem.presets[NATURAL]
    network = problems.build_model(problem, settings).network
    hidden = [layer for layer in network.layers if getattr(layer, "units", 1) > 1]
    assert [(layer.units, layer.activation) for layer in hidden] == 3 * [(30, keras.ops.sin)]
    edges = network.get_layer("standardise")(np.array([[0.0, 0.0], [1.0, 1.0]]))
    np.testing.assert_allclose(edges, [[-3, -3], [3, 3]], rtol=0.02)


def test_the_optimizer_chooses_the_preset(presets):
    def settings(*arguments):
        options = ntk_keras_cli.parser().parse_args(["run", "poisson", *arguments])
        return cli._settings(options, seed=0)

    chosen = settings("--optimizer", NATURAL)
    assert chosen == presets[NATURAL]
    assert runs.run_name(chosen) == "poisson-natural-gradient-ntk-seed0"
    other = settings("--optimizer", NATURAL, "--preset", "quick")
    assert other == dataclasses.replace(presets["quick"], optimizer=NATURAL)
    assert runs.run_name(other) == "poisson-quick-optimizer=natural-gradient-ntk-seed0"
    assert settings() == settings("--optimizer", "adam") == presets["quick"]


def test_a_run_lowers_the_error_and_leaves_its_history(finished):
    rows = history_of(finished)
    assert [float(row["step"]) for row in rows] == [2, 4, 6]
    errors = [float(row["val_relative_l2"]) for row in rows]
    assert errors[-1] < errors[0]
    assert (finished / "history.png").stat().st_size > 10_000


def test_tensorboard_has_damping_and_step_length(finished):
    (file,) = finished.glob("*tfevents*")
    events = EventAccumulator(str(file), {"tensors": 0}).Reload()
    last = history_of(finished)[-1]
    for name in ("damping", "step_length"):
        event = events.Tensors(name)[-1]
        assert event.step == 6
        assert tf.make_ndarray(event.tensor_proto) == pytest.approx(float(last[name]))


def test_a_killed_run_resumes_to_the_same_result(finished, presets):
    killed = finished.parent / "killed"
    assert len(history_of(killed)) == 1
    runs.run(presets[NATURAL], killed, resume=True, verbose=0)
    assert history_of(killed) == history_of(finished)
    networks = [keras.models.load_model(f / "network.keras") for f in (killed, finished)]
    for ours, theirs in zip(*(network.get_weights() for network in networks), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_adam_may_train_at_the_same_sizes(presets):
    settings = dataclasses.replace(presets[NATURAL], optimizer="adam")
    assert runs.run_name(settings) == "poisson-natural-gradient-optimizer=adam-ntk-seed0"
    model = problems.build_model(problems.of(settings), settings)
    assert isinstance(model.optimizer, keras.optimizers.Adam)
    assert float(model.optimizer.learning_rate) == pytest.approx(1e-3)


def test_settings_of_earlier_versions_load(tmp_path):
    settings = problems.get("wave").presets["quick"]
    stored = dataclasses.asdict(settings)
    for later in ("activation", "input_scale"):
        del stored[later]
    (tmp_path / "settings.json").write_text(json.dumps(stored))
    assert runs.load_settings(tmp_path / "settings.json") == settings


def test_rates_have_no_effect_on_natural_gradients():
    settings = problems.get("wave").presets[NATURAL]
    other = dataclasses.replace(settings, learning_rate=0.5, decay_rate=1.0, decay_steps=7)
    assert runs.run_name(other) == runs.run_name(settings) == "wave-natural-gradient-ntk-seed0"


def test_an_unknown_optimizer_is_refused():
    settings = problems.get("wave").presets["quick"]
    with pytest.raises(ValueError, match=r"Unknown optimizer 'adma'. Known: \['adam', "):
        dataclasses.replace(settings, optimizer="adma")


FOUR = {
    "adam, constant": ("quick-constant", 0.5, "1.0"),
    "adam, ntk, diagonal": ("quick-ntk", 0.25, "2.0"),
    "natural-gradient, constant": ("natural-gradient-constant", 0.125, "4.0"),
    "natural-gradient, ntk, diagonal": ("natural-gradient-ntk", 2.5e-7, "2.0e+06"),
}


def test_compare_sets_gradients_beside_natural_ones(tmp_path, capsys, monkeypatch):
    """With runs that take no time."""
    errors = {f"poisson-{name}-seed0": error for name, error, _ in FOUR.values()}

    def run_at_once(settings, folder, **kwargs):
        folder.mkdir(parents=True)
        error = errors[folder.name]
        rows = f"2,1.5,{error}\n4,0.5,{error}\n"
        (folder / "history.csv").write_text(f"step,seconds,val_relative_l2\n{rows}")
        return runs.Result(settings, folder, error, {}, {}, 1.0, 2.0)

    drawn = []
    monkeypatch.setattr(comparison, "run", run_at_once)
    monkeypatch.setattr(plots, "comparison", lambda h: drawn.append(h) or Figure())
    assert run(tmp_path, "compare", "poisson", "--optimizer", NATURAL) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("|")]
    table = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]
    expected = [[name, f"{error:.3g}", gain] for name, (_, error, gain) in FOUR.items()]
    assert [[row[0], row[1], row[3]] for row in table] == expected
    assert (tmp_path / "compare-poisson-quick-and-poisson-natural-gradient.png").exists()
    assert list(drawn[0]) == list(FOUR)
    for (rows,) in drawn[0].values():
        assert [row["seconds in training"] for row in rows] == [1.5, 2.0]


def test_compare_takes_all_from_a_preset_that_is_named(monkeypatch):
    compared = []
    monkeypatch.setattr(comparison, "compare", lambda variants, *_, **__: compared.extend(variants))
    monkeypatch.setattr(comparison, "table", lambda results: "")
    for preset in ("quick", NATURAL):
        run("logs", "compare", "poisson", "--optimizer", NATURAL, "--preset", preset)
    run("logs", "compare", "poisson", "--preset", NATURAL)
    run("logs", "compare", "poisson")
    shown = [(s.preset, s.optimizer) for s in compared[::2]]
    assert {s.weighting for s in compared[::2]} == {"constant"}
    assert {s.weighting for s in compared[1::2]} == {"ntk"}
    assert shown == [
        ("quick", "adam"),
        ("quick", NATURAL),
        (NATURAL, "adam"),
        (NATURAL, NATURAL),
        (NATURAL, NATURAL),
        ("quick", "adam"),
    ]
