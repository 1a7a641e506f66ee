"""The benchmark of natural gradients beside JAX's: what is compared, and how it is told."""

import numpy as np
import pytest

from benchmarks.peers import problem
from benchmarks.peers.environments import DEFAULT_FOLDER, REQUIREMENTS, is_installed
from benchmarks.peers.host import WorkerError, workers
from benchmarks.peers.natural import __main__ as command_line
from benchmarks.peers.natural.curves import follow
from benchmarks.peers.natural.ours import Package
from benchmarks.peers.problem import Setting
from benchmarks.peers.worker import Contender, Server
from ntk_keras import kernel
from ntk_keras.optimizers.step_lengths import LENGTHS
from ntk_keras.problems import wave

TINY = Setting(4, 2, {"equation": 4} | dict.fromkeys(command_line.SIDES, 3), "sin", 1.75, "float64")


def test_the_setting_is_that_of_the_preset():
    preset = wave.PROBLEM.presets["natural-gradient"]
    ours = command_line.WAVE
    assert ours.points == preset.points
    assert (ours.width, ours.depth, ours.dtype) == (preset.width, preset.depth, preset.dtype)
    assert (ours.activation, ours.input_scale) == (preset.activation, preset.input_scale)


def test_errors_are_taken_where_those_of_the_package_are():
    points = problem.grid()
    np.testing.assert_array_equal(points, wave.BOX.grid(*wave.PROBLEM.grid))
    np.testing.assert_allclose(problem.solution(points), wave.solution(points)[:, 0], atol=1e-14)
    assert problem.relative_error(1.5 * problem.solution(points)) == pytest.approx(0.5)


def test_jax_has_as_many_candidates_as_we_have():
    lines = (REQUIREMENTS.parent / "natural" / "rows.py").read_text().splitlines()
    assert any(line.startswith(f"CANDIDATES = {2 * len(LENGTHS)} ") for line in lines)


@pytest.fixture(scope="module")
def package():
    return Package(TINY)


def test_our_kernel_is_that_of_the_rows(package, tmp_path):
    package.save_kernel(str(tmp_path / "ours.npy"))
    blocks = package.model.blocks(problem.fixed_points(TINY))
    rows = kernel.jacobian(blocks, package.model.trainable_variables).numpy()
    np.testing.assert_allclose(np.load(tmp_path / "ours.npy"), rows @ rows.T, rtol=1e-10)


def test_inputs_are_scaled_as_keras_scales_them(package):
    layer = package.model.network.get_layer("standardise")
    points = np.array([[0.3, 0.9]])
    expected = (points - problem.MEAN) * TINY.input_factor
    np.testing.assert_allclose(layer(points).numpy(), expected, rtol=1e-14)


def test_a_kernel_has_no_terms_that_were_left_out():
    values = Package(Setting(4, 2, {"equation": 3, "left": 2}))
    assert list(values.residuals()) == ["equation", "left"]


class Pretender(Contender):
    """Has a kernel, off by a part of one entry."""

    commands = ("save_kernel",)

    def __init__(self, by):
        super().__init__(TINY)
        self.by = by

    def residuals(self):
        return {"equation": [1.0, 2.0 + self.by]}

    def prepare(self, case):
        raise NotImplementedError

    def save_kernel(self, path):
        np.save(path, np.diag([4.0, 1 + self.by]))
        return {}

    def ask(self, command, **arguments):
        return Server(self).answer(command, **arguments)


def test_a_kernel_is_compared_entry_by_entry():
    found = command_line.kernel_differences({"ours": Pretender(0), "jax": Pretender(0.1)})
    assert found == {"ours": 0.0, "jax": pytest.approx(0.025)}


@pytest.mark.parametrize("by", [1e-8, float("nan")])
def test_a_package_that_computes_something_else_is_refused(by):
    command_line.check_equal({"ours": Pretender(0), "jax": Pretender(1e-13)}, TINY)
    with pytest.raises(ValueError, match=r"Residuals differ from ours .*jax"):
        command_line.check_equal({"ours": Pretender(0), "jax": Pretender(by)}, TINY)


def test_a_worker_tells_its_peak_memory():
    assert 0.01 < Pretender(0).ask("peak")["gigabytes"] < 1000


def test_a_curve_ends_when_time_is_over_and_counts_steps():
    taken = []
    rows = follow(lambda: lambda: taken.append(1), lambda: problem.solution(problem.grid()), 0, 3)
    assert [row["steps"] for row in rows] == [3]
    assert len(taken) == 3
    assert rows[0]["error"] == 0


def test_errors_are_told_at_marks():
    rows = [
        {"seconds": 10.0, "steps": 5, "error": 0.5},
        {"seconds": 16.0, "steps": 10, "error": 0.25},
        {"seconds": 29.0, "steps": 15, "error": 0.125},
    ]
    told = command_line.by_seconds(rows, 30)
    assert told["after 15 s"] == "5.0e-01"
    assert told["after 30 s"] == "1.2e-01"
    assert "after 60 s" not in told
    assert told["ms a step"] == "1900"


def test_requirements_are_pinned():
    for peer in command_line.PEERS.values():
        if peer.requirements is not None:
            lines = (REQUIREMENTS / peer.requirements).read_text().splitlines()
            assert all("==" in line for line in lines if not line.startswith("#"))


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in command_line.PEERS if name != "ours"])
def test_a_package_computes_what_we_do(name):
    peers = command_line.PEERS
    if not is_installed(name, DEFAULT_FOLDER, peers):
        pytest.skip(f"{name} is not installed: python -m benchmarks.peers.natural --install-only")
    with workers(["ours", name], DEFAULT_FOLDER, TINY, peers) as running:
        command_line.check_equal(running, TINY)
        if name == "jinns":
            with pytest.raises(WorkerError, match="no function of its own"):
                running[name].ask("prepare", case="step")
        else:
            assert command_line.kernel_differences(running)[name] < 1e-12
        rows = running[name].ask("train", seconds=0, every=1)["rows"]
        assert rows
        assert np.isfinite(rows[-1]["error"])
