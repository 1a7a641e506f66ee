"""Files that version 0.1.0 saved load in this one, and training goes on from them as it did there.

``NAME.keras`` and ``NAME.weights.h5`` in ``tests/data/saved-0.1.0`` hold the models of
``tests/support/resumed.py`` after one epoch, ``NAME.npz`` their state and history after one more.
"""

import json
import zipfile
from pathlib import Path

import keras
import numpy as np
import pytest

from tests.support import resumed

pytestmark = pytest.mark.filterwarnings("ignore:The kernel trace of:UserWarning")

FOLDER = Path(__file__).parents[1] / "data" / "saved-0.1.0"
NAMES = sorted(path.stem for path in FOLDER.glob("*.keras"))


def written_by(name):
    """The version of Keras that wrote a model, which an older one need not read."""
    with zipfile.ZipFile(FOLDER / f"{name}.keras") as file:
        return json.loads(file.read("metadata.json"))["keras_version"]


def numbers(version):
    return tuple(int(part) for part in version.split(".")[:2])


# Sums of a few steps in another order, as another processor may take them.
SINGLE = {"rtol": 1e-4, "atol": 1e-6}


@pytest.fixture(scope="module", params=NAMES)
def saved(request):
    name = request.param
    if numbers(keras.__version__) < numbers(written_by(name)):
        pytest.skip(f"a file of Keras {written_by(name)}")
    weights = resumed.build(name)
    weights.load_weights(FOLDER / f"{name}.weights.h5")
    whole = keras.models.load_model(FOLDER / f"{name}.keras")
    return weights, whole, dict(np.load(FOLDER / f"{name}.npz"))


def test_the_files_hold_one_state(saved):
    weights, whole, _ = saved
    assert whole.optimizer.iterations == resumed.STEPS
    for part in ("network", "optimizer", "weighting"):
        pairs = zip(getattr(weights, part).variables, getattr(whole, part).variables, strict=True)
        for one, other in pairs:
            np.testing.assert_array_equal(one.numpy(), other.numpy(), err_msg=one.path)


def test_training_goes_on_as_in_the_version_that_saved(saved):
    _, whole, expected = saved
    actual = resumed.state(whole, resumed.train(whole))
    assert actual.keys() == expected.keys()
    for part, value in expected.items():
        np.testing.assert_allclose(actual[part], value, **SINGLE, err_msg=part)
