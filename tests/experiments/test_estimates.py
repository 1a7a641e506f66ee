"""Unknown coefficients in runs: estimates, standard errors, intervals and true values."""

import dataclasses
import json
import types

import numpy as np
import pytest

from ntk_keras import cli, problems
from ntk_keras.experiments import comparison, estimates, runs
from ntk_keras.experiments.estimates import Estimate
from ntk_keras.problems import heat_inverse

SMALL = ["--steps", "4", "--steps-per-epoch", "2", "--width", "4", "--depth", "1"]
SMALL += [f"--points={name}=20" for name in ("equation", "initial", "left", "right", "measured")]
CUSTOM = """
import numpy as np, tensorflow as tf, ntk_keras as nk
from ntk_keras.problems import Problem, Settings

BOX = nk.domains.Box(t=(0, 1))
VALUES = (BOX.grid(40), np.linspace(1, 0, 40))


def decay(u, t):
    return nk.derivatives.partial(u, t, 0)[:, 0] + tf.reduce_prod(u.unknowns["k"]) * u(t)[:, 0]


def misfit(u, points):
    return u(points[0])[:, 0] - points[1]


def terms(settings):
    number = settings.points["equation"]
    return [nk.Term("equation", decay, BOX.grid(number)), nk.Term("data", misfit, VALUES)]


PROBLEM = Problem(
    "decay", "", BOX, terms, None, grid=(9,), reference="",
    presets={"quick": Settings("decay", "quick", {"equation": 60}, steps=2, steps_per_epoch=1,
                               width=4, depth=1, dtype="float64")},
    unknowns={"k": [1.0, 2.0]}, measured=MEASURED, truth=TRUTH,
)
"""


@pytest.fixture(autouse=True)
def no_events(monkeypatch):
    """Runs without TensorBoard's events and pictures, which take half of a short run's time."""
    monkeypatch.setattr(runs, "writers", lambda *arguments: [])


@pytest.mark.filterwarnings("ignore:Training has not come to its end")
@pytest.mark.parametrize("optimizer", ["adam", "natural-gradient"])
def test_a_run_writes_the_interval_of_its_unknown(optimizer, tmp_path, capsys):
    flags = [*SMALL, "--optimizer", optimizer, "--logdir", str(tmp_path), "--verbose", "0"]
    assert cli.main(["run", "heat_inverse", *flags]) == 0
    (folder,) = tmp_path.iterdir()
    written = json.loads((folder / "result.json").read_text())["unknowns"]["diffusivity"]
    settings = runs.load_settings(folder / "settings.json")
    model = problems.build_model(problems.of(settings), settings)
    model.optimizer.build(model.trainable_variables)
    model.load_weights(folder / runs.CHECKPOINT)
    value = model.unknowns["diffusivity"]
    error = model.uncertainty("measured").standard_errors["diffusivity"]
    assert written["value"] == value != heat_inverse.START
    assert error > 0
    ends = [written["standard_error"], *written["interval"]]
    np.testing.assert_allclose(ends, [error, value - 1.96 * error, value + 1.96 * error])
    assert written["truth"] == 0.25
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["unknown,", "diffusivity", *str(Estimate(**written)).split()] in lines
    assert ["truth,", "diffusivity", "0.25"] in lines


def custom(tmp_path, measured="()", truth="{}"):
    path = tmp_path / "decay.py"
    path.write_text(CUSTOM.replace("MEASURED", measured).replace("TRUTH", truth))
    return problems.get(str(path))


@pytest.mark.filterwarnings("ignore:Training has not come to its end")
def test_what_the_terms_do_not_determine_has_no_interval(tmp_path):
    problem = custom(tmp_path, '("data",)', '{"k": [1, 3]}')
    result = runs.run(problem.presets["quick"], tmp_path / "run", verbose=0)
    assert [estimate.truth for estimate in result.unknowns.values()] == [1, 3]
    for name, estimate in result.unknowns.items():
        assert estimate.standard_error is estimate.interval is None
        assert f"unknown, {name}" in runs.result_table(result)
        assert str(estimate).endswith(" ± unknown")
    written = json.loads((tmp_path / "run" / "result.json").read_text())["unknowns"]
    assert written["k/1"]["standard_error"] is None


@pytest.mark.parametrize(
    ("measured", "truth", "message"),
    [
        ('("other",)', "{}", r"measured must name the terms .* Received \('other',\)"),
        (
            "()",
            '{"k": [1, 2], "c": 1}',
            r"true values of \['c'\], which are not among its unknowns",
        ),
    ],
)
def test_mistakes_are_found_before_training(measured, truth, message, tmp_path):
    problem = custom(tmp_path, measured, truth)
    with pytest.raises(ValueError, match=message):
        runs.run(problem.presets["quick"], tmp_path / "run", verbose=0)
    assert not (tmp_path / "run").exists()


def test_a_run_is_kept_if_its_network_can_fit_all_noise():
    def uncertainty(measured, *, points):
        raise ValueError("The network fits the residuals")

    network = types.SimpleNamespace(count_params=lambda: 10)
    model = types.SimpleNamespace(unknowns={"k": 2.0}, uncertainty=uncertainty, network=network)
    problem = dataclasses.replace(problems.get("heat_inverse"), unknowns={"k": 1.0}, truth={})
    with pytest.warns(UserWarning, match="No standard errors of the unknowns: The network fits"):
        assert estimates.estimates(problem, model) == {"k": Estimate(2.0, None, None, None)}


def test_terms_of_a_large_network_have_the_points_of_a_step(monkeypatch):
    problem = problems.get("heat_inverse")
    settings = dataclasses.replace(problem.presets["quick"], width=4, depth=1)
    model = problems.build_model(problem, settings)
    assert estimates._points(model) == {}
    monkeypatch.setattr(estimates, "MOST_PARAMETERS", 10)
    sizes = {name: len(points) for name, points in estimates._points(model).items()}
    assert sizes == {"equation": 500, "initial": 100, "left": 100, "right": 100}


def test_estimates_have_the_digits_of_their_errors():
    estimate = Estimate(0.250313, 0.000412, (0.249505, 0.251121), 0.25)
    assert estimates.table_rows({"k": estimate}) == [
        ("unknown, k", "0.25031 ± 0.00041"),
        ("95 % interval, k", "0.24951 to 0.25112"),
        ("truth, k", "0.25"),
    ]
    assert str(Estimate(0.3, 12.0, (-23.2, 23.8), None)) == "0 ± 12"
    assert str(Estimate(9.9996, 0.01, (9.98, 10.02), None)) == "10.000 ± 0.01"


def test_a_comparison_shows_the_estimates_beside_each_other():
    settings = problems.get("heat_inverse").presets["quick"]
    made = []
    for weighting in ("constant", "ntk"):
        variant = dataclasses.replace(settings, weighting=weighting)
        known = {"diffusivity": Estimate(0.2512, 0.0011, (0.249, 0.2534), 0.25)}
        made.append([runs.Result(variant, "", 0.1, {}, {}, 1.0, 2.0, known)])
    lines = comparison.table(made).splitlines()
    (head,) = (number for number, line in enumerate(lines) if line.startswith("Estimates of"))
    assert lines[head] == "Estimates of diffusivity with standard errors, truth 0.25"
    assert lines[-1].strip("| ").split("|")[1].strip() == "0.2512 ± 0.0011"
