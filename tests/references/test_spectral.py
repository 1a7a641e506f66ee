"""The Fourier method against exact solutions, its order, and its interpolation in time."""

import dataclasses

import numpy as np
import pytest

from ntk_keras.references import spectral

KDV = spectral.SolverSettings(
    -1.0,
    1.0,
    0.2,
    linear=(0.0, 0.0, 0.0, -(0.022**2)),
    factor=-0.5,
    power=2,
    derivative=1,
    modes=96,
    steps=320,
    frames=41,
)
SPEED = 0.5


def soliton(t, x):
    """u_t + u u_x + 0.022^2 u_xxx = 0; it is 1e-9 where the period ends."""
    return 3 * SPEED / np.cosh(SPEED**0.5 / 0.044 * (x - SPEED * t)) ** 2


def error(settings, t=None):
    x = np.linspace(-1, 1, 65)
    t = settings.final_time if t is None else t
    found = spectral.solve(lambda x: soliton(0, x), settings)
    return np.abs(found(np.stack([t + 0 * x, x], 1))[:, 0] - soliton(t, x)).max()


def test_a_soliton_keeps_its_form_and_the_order_is_four():
    steps = np.array([80, 160, 320])
    errors = [error(dataclasses.replace(KDV, steps=int(n))) for n in steps]
    slope, _ = np.polyfit(np.log(steps), np.log(errors), 1)
    assert slope == pytest.approx(-4, abs=0.2)
    assert errors[-1] < 1e-5


def test_modes_converge_exponentially():
    coarse, fine = (error(dataclasses.replace(KDV, modes=n)) for n in (32, 96))
    assert fine < 1e-3 * coarse


def test_the_solution_is_interpolated_between_times():
    assert error(KDV, t=0.1234) < 3 * error(KDV, t=0.125)


def test_a_constant_follows_the_cubic_equation():
    settings = spectral.SolverSettings(
        0.0, 1.0, 0.5, linear=(5.0, 0.0, 1.0), factor=-5.0, power=3, modes=4, steps=400
    )
    at_end = spectral.solve(lambda x: 0.2 + 0 * x, settings)(np.array([[0.5, 0.3]]))
    growth = np.exp(5 * 0.5)
    expected = 0.2 * growth / np.sqrt(1 - 0.2**2 + (0.2 * growth) ** 2)
    assert at_end[0, 0] == pytest.approx(expected, abs=1e-9)


def test_a_solution_is_kept_on_disk(tmp_path, monkeypatch):
    monkeypatch.setenv("NTK_KERAS_CACHE", str(tmp_path))
    settings = dataclasses.replace(KDV, steps=40)
    first = spectral.solve_cached(np.cos, settings)
    assert len(list(tmp_path.iterdir())) == 1
    monkeypatch.setattr(spectral, "solve", None)
    points = np.array([[0.1, 0.3], [0.0, -0.2]])
    np.testing.assert_array_equal(spectral.solve_cached(np.cos, settings)(points), first(points))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"power": 4}, "power must be 2 or 3"),
        ({"steps": 30}, "frames - 1 a divisor"),
        ({"modes": 0}, "modes must be an integer"),
        ({"upper": -1.0}, "upper must exceed lower"),
    ],
)
def test_settings_out_of_range_are_refused(change, words):
    with pytest.raises(ValueError, match=words):
        dataclasses.replace(KDV, **change)


def test_steps_that_are_too_long_are_an_error():
    settings = dataclasses.replace(KDV, steps=80)
    with pytest.raises(FloatingPointError, match="Take more steps"):
        spectral.solve(lambda x: 1e6 * soliton(0, x), settings)


def test_times_outside_are_refused():
    found = spectral.solve(np.cos, dataclasses.replace(KDV, steps=40))
    with pytest.raises(ValueError, match=r"from t=0.0 to 0.2. Received t=0.3"):
        found(np.array([[0.3, 0.0]]))
