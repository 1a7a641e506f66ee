"""The errors of averaged traces, weights and kernels that KernelConvergence finds."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.custom_scalar import layout_pb2

import ntk_keras as nk
from ntk_keras.callbacks import KernelConvergence

# Sums of float64 in two orders.
DOUBLE = 1e-12
EPOCHS, STEPS = 3, 4
INTERVAL = nk.domains.Box(x=(0, 1))
ORDER = ("start", "equation", "end")
GROUPS = {"boundary": ("start", "end"), "equation": ("equation",)}
TRACES = [f"convergence/traces/{group}" for group in GROUPS]
WEIGHTS = [f"convergence/weights/{group}" for group in GROUPS]

# With few samples a sketched trace may be negative, of which the model warns; not the matter here.
pytestmark = pytest.mark.filterwarnings("ignore:The kernel trace of:UserWarning")


def offset(u, points):
    return u(points)[:, 0] - 2


def tripled(u, points):
    return 3 * u(points)[:, 0]


def pinn(weighting, rate=0.01, interior=None, reduction="sum", **compiled):
    """Three terms of two groups, the terms of one apart from each other."""
    keras.utils.set_random_seed(0)  # the same network at every call
    network = keras.Sequential(
        [
            keras.Input((1,), dtype="float64"),
            keras.layers.Dense(8, "tanh", dtype="float64"),
            keras.layers.Dense(1, dtype="float64"),
        ]
    )
    points = np.linspace(0, 1, 6)[:, None] if interior is None else interior
    terms = [
        nk.Term("start", tripled, np.zeros([1, 1]), group="boundary"),
        nk.Term("equation", offset, points),
        nk.Term("end", offset, np.ones([2, 1]), group="boundary"),
    ]
    model = nk.PINNModel(network, terms, weighting, seed=1, reduction=reduction)
    model.compile(keras.optimizers.SGD(rate), jit_compile=False, **compiled)
    return model


def fit(model, *callbacks, epochs=EPOCHS, **kwargs):
    return model.fit(
        epochs=epochs, steps_per_epoch=STEPS, callbacks=list(callbacks), verbose=0, **kwargs
    ).history


def exact_kernel(model):
    """K at the points of the next step, by the tape, and its trace by group."""
    blocks = model.blocks()
    with tf.GradientTape(persistent=True) as tape:
        residuals = [blocks[name]() for name in ORDER]
        stacked = tf.concat(residuals, axis=0)
    variables = [v.value for v in model.trainable_variables]
    parts = tape.jacobian(stacked, variables, experimental_use_pfor=False)
    jacobian = np.concatenate([part.numpy().reshape(len(stacked), -1) for part in parts], axis=1)
    K = jacobian @ jacobian.T
    term_of_row = np.repeat(ORDER, [len(residual) for residual in residuals])
    traces = [np.diag(K)[np.isin(term_of_row, terms)].sum() for terms in GROUPS.values()]
    return K, np.array(traces)


def by_hand(model):
    """Relative errors of the model's present traces and weights."""
    _, traces = exact_kernel(model)
    weights = traces.sum() / traces
    averaged, used = [list(d.values()) for d in (model.kernel_traces, model.loss_weights)]
    errors = [*abs(averaged / traces - 1), *abs(used / weights - 1)]
    return dict(zip(TRACES + WEIGHTS, errors, strict=True))


def compared(model):
    """What a comparison of the model as it is adds to the logs."""
    callback, logs = KernelConvergence(), {"loss": 1.0}
    callback.set_model(model)
    callback.on_train_begin()
    callback.on_epoch_end(0, logs)
    assert {"loss": 1.0, **callback.errors} == logs
    return callback.errors


# Values.


@pytest.mark.parametrize(
    ("arguments", "reduction"),
    [
        ({}, "sum"),
        ({"average": "kernel"}, "mean"),
        ({"exclude_variables": "bias"}, "sum"),
        ({"average": "kernel", "exclude": "equation", "initial_weights": {"equation": 7}}, "sum"),
    ],
    ids=["traces", "kernel", "kernels of layers alone", "one group of two"],
)
def test_exact_weights_have_no_error_while_nothing_moves(arguments, reduction):
    model = pinn(nk.weighting.ExactNTK(**arguments), rate=0.0, reduction=reduction)
    history = fit(model, KernelConvergence(), epochs=1)
    errors = {name: values for name, values in history.items() if name.startswith("convergence/")}
    groups = 1 if "exclude" in arguments else 2
    kernels = {"convergence/kernel"} if "average" in arguments else set()
    assert set(errors) == {*TRACES[:groups], *WEIGHTS[:groups], *kernels}
    np.testing.assert_allclose(list(errors.values()), 0, atol=DOUBLE)


def test_a_wrong_average_has_the_error_it_was_given():
    model = pinn(nk.weighting.ExactNTK())
    _, traces = exact_kernel(model)
    model.weighting.average_traces.assign(traces * [1.25, 0.5])
    model.weighting.loss_weights.assign(traces.sum() / traces * [0.75, 3.0])
    desired = dict(zip(TRACES + WEIGHTS, [0.25, 0.5, 0.25, 2.0], strict=True))
    assert compared(model) == pytest.approx(desired, rel=DOUBLE)


def test_a_wrong_kernel_has_the_frobenius_norm_of_its_error():
    model = pinn(nk.weighting.ExactNTK(average="kernel"))
    K, _ = exact_kernel(model)
    change = np.random.default_rng(0).normal(size=K.shape)
    model.weighting.kernel.assign(K + change)
    desired = np.sqrt(np.sum(change**2) / np.sum(K**2))
    assert compared(model)["convergence/kernel"] == pytest.approx(desired, rel=DOUBLE)


@pytest.mark.parametrize("average", ["traces", "kernel"])
def test_errors_of_a_training_are_those_by_hand(average):
    weighting = nk.weighting.NTK("product", 0.5, num_initial_probes=3, average=average)
    model = pinn(weighting)
    history = fit(model, KernelConvergence())
    desired = by_hand(model)
    if average == "kernel":
        K, _ = exact_kernel(model)
        distance = np.linalg.norm(weighting.kernel.numpy() - K)
        desired["convergence/kernel"] = distance / np.linalg.norm(K)
    assert min(desired.values()) > 1e-5  # a part in a million would tell
    assert {name: history[name][-1] for name in desired} == pytest.approx(desired, rel=1e-6)


def test_a_trace_of_zero_has_an_error_of_nothing_or_infinity():
    model = pinn(nk.weighting.ExactNTK())
    model.blocks = lambda: {
        name: nk.Block(block.residual, block.points, 0.0 if name == "equation" else 1.0)
        for name, block in nk.PINNModel.blocks(model).items()
    }
    for average, error in ((0, 0), (1e-9, np.inf)):
        model.weighting.average_traces.assign([1, average])
        assert compared(model)["convergence/traces/equation"] == error


# Where the values go, and what they leave alone.


@pytest.mark.slow
def test_training_goes_the_same_way_in_steps_of_any_number():
    def run(*callbacks, **compiled):
        weighting = nk.weighting.NTK("reverse", 0.5, num_initial_probes=3)
        model = pinn(weighting, interior=INTERVAL.interior(5), **compiled)
        return model, fit(model, *callbacks)

    _, plain = run()
    model, history = run(KernelConvergence(), steps_per_execution=STEPS)
    assert set(history) - set(plain) == {*TRACES, *WEIGHTS}
    for name, values in plain.items():
        np.testing.assert_allclose(history[name], values, rtol=1e-9)
    for name, error in by_hand(model).items():
        assert history[name][-1] == pytest.approx(error, rel=1e-6)


def test_comparisons_go_to_history_file_and_tensorboard_every_so_many_epochs(tmp_path):
    file = nk.callbacks.HistoryFile(tmp_path / "history.csv")
    board = nk.callbacks.NTKTensorBoard(tmp_path)
    model = pinn(nk.weighting.ExactNTK(update_every=3))
    history = fit(model, KernelConvergence(every_epochs=2), file, board)
    rows = nk.callbacks.read_history(file.path)
    events = EventAccumulator(str(tmp_path), {"tensors": 0}).Reload()
    for name in TRACES + WEIGHTS:
        assert [row.get(name) for row in rows] == [history[name][0], None, history[name][1]]
        curve = events.Tensors(name)
        assert [event.step for event in curve] == [STEPS, 3 * STEPS]
        values = [float(tf.make_ndarray(event.tensor_proto)) for event in curve]
        np.testing.assert_allclose(values, history[name], rtol=1e-6)
    (event,) = events.Tensors("custom_scalars__config__")
    layout = layout_pb2.Layout.FromString(tf.make_ndarray(event.tensor_proto).item())
    charts = {c.title: list(c.multiline.tag) for part in layout.category for c in part.chart}
    assert charts["errors of the averaged kernel"] == ["convergence/.*"]


# Refusals.


def test_a_weighting_without_averages_is_refused():
    with pytest.raises(ValueError, match=r"Received a PINNModel with weighting Constant"):
        fit(pinn("constant"), KernelConvergence())


def test_another_model_is_refused():
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile("sgd", loss="mse")
    with pytest.raises(ValueError, match=r"Received a Sequential with weighting None"):
        model.fit(np.ones([2, 1]), np.ones([2, 1]), callbacks=[KernelConvergence()], verbose=0)


def fed_with_data(weighting):
    network = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    terms = [nk.Term("equation", offset, np.ones([2, 1])), nk.Term("measured", tripled)]
    model = nk.PINNModel(network, terms, weighting, seed=1)
    model.compile(keras.optimizers.SGD(0.0), jit_compile=False)
    return model


def test_a_term_whose_points_are_not_known_is_refused_before_training():
    model = fed_with_data(nk.weighting.ExactNTK())
    with pytest.raises(ValueError, match=r"no points of \['measured'\].*exclude its group"):
        fit(model, KernelConvergence(), x={"measured": np.zeros([3, 1])})
    assert model.optimizer.iterations.numpy() == 0


def test_a_term_whose_points_are_not_known_may_be_excluded():
    model, callback = fed_with_data(nk.weighting.ExactNTK(exclude="measured")), KernelConvergence()
    fit(model, callback, x={"measured": np.zeros([3, 1])})
    # In single precision, unlike the others.
    assert callback.errors == pytest.approx(
        {"convergence/traces/equation": 0, "convergence/weights/equation": 0}, abs=1e-6
    )


@pytest.mark.parametrize("every", [0, 1.5])
def test_an_interval_that_is_none_is_refused(every):
    with pytest.raises(
        ValueError, match=f"every_epochs must be an integer of at least 1. .* {every}"
    ):
        KernelConvergence(every_epochs=every)
