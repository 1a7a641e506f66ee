"""All ten figures at a smaller cut: what they show, and the numbers beside them."""

import dataclasses
import json
import math

import numpy as np
import pytest

from ntk_keras import cli, problems
from ntk_keras.experiments import reproduction, runs
from ntk_keras.experiments.reproduction import figures_8_and_9 as wave

SMALL = {"width": 8, "depth": 1, "num_initial_probes": 20}


def cut():
    """The quick preset with little training of small networks."""
    sizes = reproduction.sizes("quick")
    change = dataclasses.replace
    return change(
        sizes,
        convergence=change(sizes.convergence, steps=250),
        admissible=change(sizes.admissible, steps=20),
        quadratic=change(sizes.quadratic, steps=2000, averaging_rate=1e-2),
        samples=(1, 100, 2000),
        monte_carlo=(10, 30, 100, 300),
        repeats=40,
        wave=change(sizes.wave, steps=400, steps_per_epoch=20, **SMALL),
        liquid_crystal=change(
            sizes.liquid_crystal,
            **{"steps": 40, "steps_per_epoch": 20, **SMALL},
            parameters={"cells": 16, "time_steps": 16},
        ),
    )


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Every figure, and the folder they were written to."""
    folder = tmp_path_factory.mktemp("reproduction")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runs, "writers", lambda *arguments: [])  # events are for test_runs.py
        return dict(reproduction.reproduce(cut(), folder, verbose=0)), folder


def test_every_figure_is_written_with_its_numbers(made):
    figures, folder = made
    assert list(figures) == list(range(1, 11))
    for number, figure in figures.items():
        path = folder / f"figure{number:02d}.png"
        assert path.stat().st_size > 10_000
        written = json.loads(path.with_suffix(".json").read_text(), parse_constant=pytest.fail)
        assert written == json.loads(json.dumps(figure.numbers))
    assert (folder / "figure10-readings.png").stat().st_size > 10_000


def test_every_panel_has_labels(made):
    for figure in made[0].values():
        for ax in figure.figure.axes:
            place = ax.get_subplotspec()
            # A colour bar's panel says what it measures, and panels inside share their labels.
            if ax.get_label() != "<colorbar>" and (place.is_first_col() or place.is_last_row()):
                assert ax.get_xlabel() or ax.get_ylabel() or ax.get_title()


def test_the_loss_passes_the_goal_of_figure_1(made):
    numbers = made[0][1].numbers
    assert numbers["first epoch below 1e-09"] < 1000
    assert numbers["loss at the first epoch"] > 1e3


def test_weights_and_eigenvalues_stay_bounded(made):
    numbers = made[0][2].numbers
    shares = [1 / weight for weight in numbers["weights at the end"].values()]
    assert sum(shares) == pytest.approx(1, rel=1e-6)
    assert numbers["smallest and largest eigenvalue"][0] > 0
    assert numbers["modes at the start"] == sorted(numbers["modes at the start"])


def test_time_averages_have_the_slope_of_the_theorems_and_stay_below_their_bounds(made):
    numbers = made[0][3].numbers
    for slope in numbers["slopes over the last decade"].values():
        assert slope == pytest.approx(-1, abs=0.1)
    for run in ("of the run", "with an admissible step"):
        assert numbers[run]["average of the residual over Theorem 1's bound, at most"] <= 1
        assert numbers[run]["average of the gradient over inequality (10), at most"] <= 1
    # The theorem promises nothing at the step that the figure needs, and something at the other.
    assert numbers["of the run"]["factor of Theorem 1"] < 0
    assert numbers["with an admissible step"]["factor of Theorem 1"] > 0


def test_the_fit_is_that_of_least_squares(made):
    assert made[0][4].numbers["distance from least squares, relative"] < 1e-3


def test_more_samples_come_closer_to_the_kernel(made):
    numbers = made[0][5].numbers
    found, expected = numbers["relative error in the Frobenius norm"], numbers["expected"]
    for count in ("100", "2000"):
        assert found[count] == pytest.approx(expected[count], rel=0.6)


def test_monte_carlo_errors_are_those_of_theory(made):
    numbers = made[0][6].numbers
    counts = np.log(numbers["N"])
    for name, spread in (("kernel", 0.4), ("trace", math.sqrt(2))):
        # Of 40 means at each of 4 sizes, in standard errors of slope and constant.
        error = spread / math.sqrt(40)
        slope_error = error / np.linalg.norm(counts - counts.mean())
        assert numbers[name]["slope"] == pytest.approx(-1, abs=5 * slope_error)
        measured = numbers[name]["constant measured over it"]
        assert measured == pytest.approx(1, abs=5 * error / 2)


def test_the_moving_average_has_followed_the_kernel(made):
    numbers = made[0][7].numbers
    ends = [numbers[time]["smallest and largest entry of the kernel"][1] for time in numbers]
    assert ends[1] > 5 * ends[0]
    # The average at rate 1e-2 is as noisy as a mean of 200 samples, about 0.37.
    assert numbers["end"]["relative error in the Frobenius norm"] < 1


def test_estimated_weights_stand_beside_exact_ones(made):
    figure, numbers = made[0][8].figure, made[0][8].numbers
    assert numbers["moments compared"] == 20
    assert set(numbers["relative deviation"]) == {"equation", "velocity", "boundary"}
    for group in numbers["weights at the end"].values():
        assert group["exact"] >= 1
    assert numbers["relative deviation"]["equation"]["median"] < 0.5
    assert [len(line.get_xdata()) for line in figure.axes[0].lines] == 6 * [20]


def test_deviations_are_relative_to_the_exact_weights():
    exact = {"a": np.array([1.0, 2.0, 4.0, 10.0])}
    found = wave.deviations(exact, {"a": np.array([2.0, 2.0, 3.0, 11.0])})["a"]
    assert found == pytest.approx(
        {
            "median": (0.1 + 0.25) / 2,
            "worst": 1.0,
            "worst of the second half": 0.25,
            "median with its sign": 0.05,
        }
    )


def test_the_error_of_the_wave_is_that_of_its_run(made):
    figures, folder = made
    (result,) = folder.glob("wave-*/result.json")
    written = json.loads(result.read_text())
    assert figures[9].numbers["relative L2 error"] == written["relative_l2"]


def test_the_liquid_crystal_is_shown_by_three_methods(made):
    figure, numbers = made[0][10].figure, made[0][10].numbers
    assert [ax.get_title() for ax in figure.axes[:3]] == ["FEM", "NTK-PINN", "PINN"]
    for name in ("NTK-PINN", "PINN"):
        assert list(numbers[name]["at times"]) == ["0", "0.5", "2", "all"]
        error = numbers[name]["at times"]["all"]
        assert error == pytest.approx(numbers[name]["relative L2 error"], rel=1e-4)
        assert numbers[name]["without the boundary"].keys() == numbers[name]["at times"].keys()
        # Initial and boundary values disagree at two sides, where only one of them can be met.
        assert numbers[name]["without the boundary"]["0"] < numbers[name]["at times"]["0"]
    assert set(numbers["NTK-PINN"]["weights at the end"].values()) != {1.0}
    assert set(numbers["PINN"]["weights at the end"].values()) == {1.0}
    light = numbers["largest light of the reference"]
    assert light["FEM, sequential"][0] > light["FEM, printed"][0]


def test_finished_runs_are_not_run_again(made, monkeypatch):
    figures, folder = made
    monkeypatch.setattr("keras.Model.fit", pytest.fail)
    ((number, again),) = reproduction.reproduce(cut(), folder, [9], verbose=0)
    assert number == 9
    assert again.numbers == figures[9].numbers


def test_a_figure_that_the_paper_has_not_is_refused(tmp_path, capsys):
    assert cli.main(["reproduce", "3", "11", "--logdir", str(tmp_path)]) == 1
    assert "Figures 1 to 10. Received [11]" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_the_command_line_makes_the_figures_that_it_is_asked_for(tmp_path, capsys, monkeypatch):
    small = cut()
    monkeypatch.setattr(reproduction, "sizes", lambda preset: small)
    assert cli.main(["reproduce", "5", "--logdir", str(tmp_path), "--verbose", "0"]) == 0
    assert capsys.readouterr().out.startswith("Figure 5\n  smallest and largest entry")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["figure05.json", "figure05.png"]


def test_the_paper_preset_has_the_sizes_of_the_paper():
    sizes = reproduction.sizes("paper")
    assert (sizes.wave.width, sizes.wave.depth, sizes.wave.steps) == (500, 3, 80_000)
    assert sum(sizes.wave.points.values()) == 900
    assert sizes.wave.estimator == sizes.liquid_crystal.estimator == "predictor"
    assert sizes.wave.averaging_rate == 1e-3
    assert (sizes.quadratic.steps, sizes.quadratic.averaging_rate) == (100_000, 1e-4)
    assert (sizes.samples, sizes.repeats) == ((1, 2000, 20_000), 100)
    assert sum(sizes.convergence.points.values()) + 2 == 4
    for settings in (sizes.wave, sizes.liquid_crystal, sizes.quadratic, sizes.convergence):
        problems.of(settings)
