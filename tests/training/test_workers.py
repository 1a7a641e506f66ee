"""Worker processes that share a training, one of which is killed on the way."""

import json
import os
import signal
import subprocess
import sys
import time

import h5py
import numpy as np
import pytest

pytestmark = pytest.mark.slow

EPOCHS = 6


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """An undisturbed run, and one whose second worker was killed after an epoch."""
    calm, disturbed = (tmp_path_factory.mktemp(name) for name in ("calm", "disturbed"))
    finish(start(calm), restarts=0)
    supervisor = start(disturbed)
    wait_for(supervisor, lambda: (disturbed / "state.weights.h5").exists())
    os.kill(int((disturbed / "worker-1.pid").read_text()), signal.SIGKILL)
    finish(supervisor, restarts=1)
    return calm, disturbed


def start(folder):
    command = [sys.executable, "-m", "examples.several_workers"]
    return subprocess.Popen(
        [*command, "--folder", str(folder), "--epochs", str(EPOCHS)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"},
    )


def finish(supervisor, restarts):
    output, _ = supervisor.communicate(timeout=300)
    assert supervisor.returncode == 0, output
    assert f"after {restarts} restarts" in output


def wait_for(process, condition, seconds=300):
    end = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, "it ended before"
        assert time.monotonic() < end, "it took too long"
        time.sleep(0.02)


def results(folder):
    return [json.loads((folder / f"result-{index}.json").read_text()) for index in range(2)]


def test_all_workers_end_with_the_same_weights(folders):
    first, second = results(folders[0])
    assert first == second
    assert 1 / first["equation"] + 1 / first["boundary"] == pytest.approx(1, rel=1e-5)
    assert np.isfinite(first["relative L2"])


def test_a_run_whose_worker_was_killed_ends_where_its_twin_does(folders):
    calm, disturbed = folders
    assert results(disturbed) == results(calm)
    one, two = (arrays(folder / "state.weights.h5") for folder in folders)
    assert one.keys() == two.keys()
    for name, expected in one.items():
        np.testing.assert_array_equal(two[name], expected, err_msg=name)


def arrays(file):
    """All that a weights file holds, by path."""
    found = {}
    with h5py.File(file) as root:
        root.visititems(
            lambda name, item: found.update({name: item[()]}) if hasattr(item, "dtype") else None
        )
    assert found
    return found
