"""What all tests share: no GPU, two devices, no window, one seed, and what tests choose from."""

import gc
import os

os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
os.environ["MPLBACKEND"] = "Agg"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# XLA's kernels run for moments here: to optimize them takes longer.
os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0")

gc.disable()  # imports make a million objects, and no garbage that matters

import keras  # noqa: E402
import pytest  # noqa: E402
import tensorflow as tf  # noqa: E402

STAGES = {
    "eager": lambda function: function,
    "graph": lambda function: tf.function(function, autograph=False),
    "xla": lambda function: tf.function(function, autograph=False, jit_compile=True),
}


# Two devices for tf.distribute; everything else runs on the first.
tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2
)


# What was imported stays, a million objects: the collector need never look through it.
gc.set_threshold(20_000, 20, 50)


def pytest_collection_finish():
    gc.freeze()
    gc.enable()


@pytest.fixture(autouse=True)
def seeded():
    keras.utils.set_random_seed(0)


@pytest.fixture(autouse=True, scope="module")
def shallow_collections():
    """Spares the collector what earlier files left: it takes seconds to look through, many times.

    TensorFlow keeps every graph that was traced, which are millions of objects in the end.
    """
    yield
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True, scope="session")
def own_cache(tmp_path_factory):
    """References computed by tests stay among them."""
    os.environ["NTK_KERAS_CACHE"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(params=["float32", "float64"])
def dtype(request):
    return request.param


@pytest.fixture(params=list(STAGES))
def staged(request):
    """Wraps a function: as it is, as a graph, or compiled by XLA."""
    return STAGES[request.param]
