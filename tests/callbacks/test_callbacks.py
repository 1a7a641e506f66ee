"""What callbacks write and set: TensorBoard events, history files, checkpoints, NTK weights."""

import json
import re
import shutil
import types

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.custom_scalar import layout_pb2

import ntk_keras as nk
from ntk_keras.callbacks import event_writer as events_module
from ntk_keras.callbacks import history as history_module
from ntk_keras.training.metrics import RelativeL2

X = np.linspace(0, 1, 6)[:, None]
EPOCHS, STEPS = 3, 4

# Sums of float32 in two orders.
SINGLE = 1e-5

# With few samples a sketched trace may be negative, of which the model warns; not the matter here.
pytestmark = pytest.mark.filterwarnings("ignore:The kernel trace of:UserWarning")


def network(*hidden):
    """Hidden layers of eight neurons, the same at every call."""
    widths = dict.fromkeys(hidden, 8) | {"last": 1}
    dense = [
        keras.layers.Dense(
            width,
            None if name == "last" else "tanh",
            kernel_initializer=keras.initializers.GlorotNormal(seed=seed),
            name=name,
        )
        for seed, (name, width) in enumerate(widths.items())
    ]
    return keras.Sequential([keras.Input((1,)), *dense])


def value(u, points):
    return u(points)[:, 0]


def offset(u, points):
    return u(points)[:, 0] - 2


def pinn(weighting="constant", **compiled):
    terms = [nk.Term("equation", offset, X), nk.Term("start", value, X[:2])]
    model = nk.PINNModel(network("first", "second"), terms, weighting, seed=1)
    model.compile(keras.optimizers.SGD(0.01), **{"jit_compile": False, **compiled})
    return model


def fit(model, *callbacks, epochs=EPOCHS, steps=STEPS, **kwargs):
    return model.fit(
        epochs=epochs, steps_per_epoch=steps, callbacks=list(callbacks), verbose=0, **kwargs
    )


# NTKTensorBoard.

SETTINGS = {"problem": "test", "width": 8, "rate": 0.5, "points": {"equation": 6, "start": 2}}
SCALARS = {
    "current_learning_rate",
    "loss/equation",
    "loss/start",
    "loss/total",
    "traces/equation",
    "traces/start",
    "traces/total",
    "traces_standard_error/equation",
    "traces_standard_error/start",
    "validation/relative_l2",
    "weights/equation",
    "weights/start",
    "weights_log10/equation",
    "weights_log10/start",
}
FINAL = {"final/relative_l2"}


@pytest.fixture(scope="module")
def board(tmp_path_factory):
    """The events of a run, beside its model and history."""
    folder = tmp_path_factory.mktemp("board")
    model = pinn(nk.weighting.NTK(num_initial_probes=3, averaging_rate=0.5))
    writer = nk.callbacks.NTKTensorBoard(
        folder, kernel_every_epochs=2, num_kernel_points=4, settings=SETTINGS, max_share=1
    )
    traces = []
    record = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: traces.append(model.kernel_traces)
    )
    history = fit(model, writer, record, validation_data=(X, np.sin(X))).history
    return types.SimpleNamespace(
        events=read(folder), model=model, history=history, traces=traces, folder=folder
    )


def read(folder):
    """All events of a folder, none dropped."""
    kinds = ("scalars", "tensors", "images", "histograms", "compressedHistograms")
    return EventAccumulator(str(folder), dict.fromkeys(kinds, 0)).Reload()


def tags(events, plugin):
    return set(events.summary_metadata_tags(plugin))


def curve(events, tag):
    """Steps and values of a scalar."""
    recorded = events.Tensors(tag)
    return [e.step for e in recorded], [float(tf.make_ndarray(e.tensor_proto)) for e in recorded]


def plugin_tags(events, plugin):
    return set(events.PluginTagToContent(plugin))


def test_the_promised_scalars_are_written(board):
    assert plugin_tags(board.events, "scalars") == SCALARS | FINAL


@pytest.mark.parametrize("tag", sorted(SCALARS))
def test_a_scalar_has_a_point_for_each_epoch_at_the_optimizers_step(board, tag):
    assert curve(board.events, tag)[0] == [STEPS, 2 * STEPS, 3 * STEPS]


IN_HISTORY = {tag: tag for tag in SCALARS if tag.startswith(("loss/", "weights/"))} | {
    "loss/total": "loss",
    "validation/relative_l2": "val_relative_l2",
}


@pytest.mark.parametrize("tag", sorted(IN_HISTORY))
def test_a_scalar_has_the_values_of_the_history(board, tag):
    expected = np.array(board.history[IN_HISTORY[tag]], "float32")
    np.testing.assert_array_equal(np.array(curve(board.events, tag)[1], "float32"), expected)


def test_traces_are_those_of_the_model(board):
    for group in ("equation", "start"):
        expected = np.array([traces[group] for traces in board.traces], "float32")
        np.testing.assert_array_equal(curve(board.events, f"traces/{group}")[1], expected)
    total = [sum(traces.values()) for traces in board.traces]
    np.testing.assert_allclose(curve(board.events, "traces/total")[1], total, rtol=SINGLE)


def test_the_learning_rate_is_written(board):
    rates = curve(board.events, "current_learning_rate")[1]
    np.testing.assert_allclose(rates, [0.01] * 3, rtol=SINGLE)


def test_weights_are_written_as_logarithms_too(board):
    for group in ("equation", "start"):
        weights, logarithms = (
            curve(board.events, f"{kind}/{group}")[1] for kind in ("weights", "weights_log10")
        )
        np.testing.assert_allclose(logarithms, np.log10(weights), atol=1e-6)


def test_the_last_validation_is_written_when_training_ends(board):
    steps, errors = curve(board.events, "final/relative_l2")
    assert steps == [EPOCHS * STEPS]
    assert errors == curve(board.events, "validation/relative_l2")[1][-1:]


def layout(events):
    """The patterns of tags of each chart in the latest layout, by title."""
    event = events.Tensors("custom_scalars__config__")[-1]
    read = layout_pb2.Layout.FromString(tf.make_ndarray(event.tensor_proto).item())
    return {chart.title: chart.multiline.tag for group in read.category for chart in group.chart}


@pytest.mark.parametrize(
    ("title", "prefix"),
    [
        ("loss weights", "weights/"),
        ("loss weights, log10", "weights_log10/"),
        ("kernel traces", "traces/"),
        ("losses", "loss/"),
        ("validation", "validation/"),
    ],
)
def test_the_layout_lays_all_of_a_kind_over_each_other(board, title, prefix):
    charts = layout(board.events)
    assert set(charts) == {
        *("loss weights", "loss weights, log10", "kernel traces", "losses", "validation")
    }
    shown = {tag for tag in SCALARS for pattern in charts[title] if re.match(pattern, tag)}
    assert shown == {tag for tag in SCALARS if tag.startswith(prefix)}


def test_the_settings_are_written_as_text(board):
    (event,) = board.events.Tensors("settings")
    text = tf.make_ndarray(event.tensor_proto).item().decode()
    fenced = re.fullmatch(r"```json\n(.*)\n```", text, re.DOTALL)
    assert json.loads(fenced[1]) == SETTINGS


def test_the_settings_are_written_as_hyperparameters(board):
    assert "_hparams_/session_start_info" in plugin_tags(board.events, "hparams")


def test_kernels_are_written_at_the_interval(board):
    for tag in ("kernel", "eigenvalues/log10"):
        # After the first and the third epoch.
        assert [event.step for event in board.events.Tensors(tag)] == [STEPS, 3 * STEPS]


@pytest.fixture
def few_points(board):
    """The blocks of the last kernel: four points of each term at most."""
    points = {"equation": X[:4], "start": X[:2]}
    return {
        name: nk.Block(block.residual, tf.constant(points[name], "float32"))
        for name, block in board.model.blocks().items()
    }


def last(events, tag):
    return tf.make_ndarray(events.Tensors(tag)[-1].tensor_proto)


def test_the_picture_shows_the_kernel(board, few_points):
    kernel = nk.kernel.matrix(few_points, board.model.trainable_variables)
    expected = nk.plots.to_array(nk.plots.kernel(kernel.numpy(), {"equation": 4, "start": 2}))
    width, height, *pictures = last(board.events, "kernel")
    (picture,) = [tf.io.decode_png(png).numpy() for png in pictures]
    assert (int(height), int(width)) == expected.shape[:2]
    # Rounding may move a few entries to the next colour.
    assert np.mean(picture != expected) < 0.001


def test_the_histogram_holds_the_eigenvalues_of_the_kernel(board, few_points):
    eigenvalues = nk.kernel.eigenvalues(few_points, board.model.trainable_variables)
    histogram = last(board.events, "eigenvalues/log10")  # rows of left and right edge and count
    assert histogram[:, 2].sum() == len(eigenvalues) == 6
    assert histogram[-1, 1] == pytest.approx(float(np.log10(eigenvalues[0])), rel=1e-4)


def test_a_second_fit_goes_on_along_the_steps(tmp_path):
    model, writer = pinn(), nk.callbacks.NTKTensorBoard(tmp_path)
    for _ in range(2):
        fit(model, writer, epochs=1)
    assert curve(read(tmp_path), "loss/total")[0] == [STEPS, 2 * STEPS]


def test_without_traces_validation_or_settings_the_rest_is_written(tmp_path):
    fit(pinn(), nk.callbacks.NTKTensorBoard(tmp_path), epochs=1)
    events = read(tmp_path)
    absent = {"traces/", "traces_standard_error/", "validation/"}
    assert set(layout(events)) == {"loss weights", "loss weights, log10", "losses"}
    assert plugin_tags(events, "scalars") == {
        tag for tag in SCALARS if not tag.startswith(tuple(absent))
    }
    assert "kernel" not in events.Tags()["tensors"]


def test_a_folder_that_cannot_be_made_warns_and_lets_training_finish(tmp_path):
    (tmp_path / "file").write_text("not a folder")
    model = pinn()
    with pytest.warns(UserWarning, match="stops writing to .*file.*Training goes on") as caught:
        fit(model, nk.callbacks.NTKTensorBoard(tmp_path / "file" / "run"))
    assert len(caught) == 1
    assert model.optimizer.iterations.numpy() == EPOCHS * STEPS


@pytest.mark.parametrize(
    "error",
    [OSError("No space left"), tf.errors.ResourceExhaustedError(None, None, "No space left")],
    ids=["system", "tensorflow"],
)
def test_a_writer_that_fails_later_warns_once_and_keeps_what_it_wrote(tmp_path, monkeypatch, error):
    write = tf.summary.scalar
    model = pinn()

    def failing(*args, **kwargs):
        if model.optimizer.iterations.numpy() > STEPS:
            raise error
        return write(*args, **kwargs)

    monkeypatch.setattr(tf.summary, "scalar", failing)
    with pytest.warns(UserWarning, match="No space left. Training goes on") as caught:
        fit(model, nk.callbacks.NTKTensorBoard(tmp_path))
    assert len(caught) == 1
    assert model.optimizer.iterations.numpy() == EPOCHS * STEPS
    assert curve(read(tmp_path), "loss/total")[0] == [STEPS]


@pytest.mark.parametrize(
    "argument", [{"kernel_every_epochs": -1}, {"num_kernel_points": 0}], ids=str
)
def test_tensorboard_refuses_counts_that_are_none(argument):
    with pytest.raises(ValueError, match=f"{next(iter(argument))} must be an integer of at least"):
        nk.callbacks.NTKTensorBoard("unused", **argument)


def test_writing_takes_its_share_of_the_time_and_leaves_out_nothing_rare(tmp_path, monkeypatch):
    """By a clock that stands still but for epochs of 2 s and writes of 1.25 s; 0.1 s are free."""
    now = 0.0
    monkeypatch.setattr(events_module, "time", types.SimpleNamespace(perf_counter=lambda: now))
    scalar = tf.summary.scalar

    def slow(tag, value):
        nonlocal now
        now += 1.25 if tag == "loss/total" else 0.0
        return scalar(tag, value)

    def begin(epoch, logs):
        nonlocal now
        now += 2.0

    def end(epoch, logs):
        logs |= {"gate/sum": 1.0} if epoch == 3 else {}

    monkeypatch.setattr(tf.summary, "scalar", slow)
    tick = keras.callbacks.LambdaCallback(on_epoch_begin=begin, on_epoch_end=end)
    fit(pinn(), tick, nk.callbacks.NTKTensorBoard(tmp_path, max_share=0.1), epochs=13, steps=1)
    # After the first write another would be due at 11.5 s; after that at 9.25 s one is at 24 s.
    assert curve(read(tmp_path), "loss/total")[0] == [1, 4, 11, 13]
    assert curve(read(tmp_path), "gate/sum")[0] == [4]


@pytest.mark.parametrize("share", [0, 1.5, -0.1])
def test_a_share_out_of_range_is_refused(share):
    with pytest.raises(
        ValueError, match=rf"max_share must lie in \(0, 1\].*Received max_share={share}"
    ):
        nk.callbacks.NTKTensorBoard("unused", max_share=share)


def test_keras_own_tensorboard_profiles_steps(tmp_path):
    profile = keras.callbacks.TensorBoard(tmp_path, profile_batch=(2, 3))
    fit(pinn(steps_per_execution=2), profile, nk.callbacks.NTKTensorBoard(tmp_path), steps=8)
    (trace,) = tmp_path.glob("train/plugins/profile/*/*.xplane.pb")
    assert trace.stat().st_size > 0


# SolutionImages.

LINE = nk.domains.Box(x=(0, 1))
SQUARE = nk.domains.Box(t=(0, 2), x=(0, 1))


def pictures(folder, tag="solution"):
    """Steps, and the pictures of each."""
    recorded = read(folder).Tensors(tag)
    decoded = [
        [tf.io.decode_png(png).numpy() for png in tf.make_ndarray(event.tensor_proto)[2:]]
        for event in recorded
    ]
    return [event.step for event in recorded], decoded


def test_the_solution_is_drawn_beside_the_scalars_in_one_file(tmp_path):
    model = pinn()
    images = nk.callbacks.SolutionImages(
        tmp_path, LINE, np.sin, grid=(6,), every_epochs=2, max_share=1
    )
    scalars = nk.callbacks.NTKTensorBoard(tmp_path, max_share=1)
    fit(model, images, scalars, epochs=4)

    assert len(list(tmp_path.glob("events*"))) == 1
    assert curve(read(tmp_path), "loss/total")[0] == [4, 8, 12, 16]
    steps, drawn = pictures(tmp_path)
    assert steps == [4, 12, 16]  # the first and third epoch, and the last
    prediction = model.predict(X, verbose=0)[:, 0]
    figure = nk.plots.solution([X[:, 0]], prediction, np.sin(X)[:, 0], ["x"])
    ((last,),) = drawn[-1:]
    # Rounding may move a few pixels of the error's curve.
    assert np.mean(last != nk.plots.to_array(figure)) < 0.01


def test_a_later_fit_into_a_folder_deleted_meanwhile_is_written(tmp_path):
    model, folder = pinn(), tmp_path / "run"
    fit(model, nk.callbacks.NTKTensorBoard(folder), epochs=1)
    shutil.rmtree(folder)
    fit(model, nk.callbacks.NTKTensorBoard(folder), epochs=1)
    assert curve(read(folder), "loss/total")[0] == [2 * STEPS]


def test_any_keras_model_is_drawn_with_a_picture_for_each_output(tmp_path):
    """On a slice of three dimensions, against values on its grid."""
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    model.compile("sgd", "mse")
    slice_of_time = nk.domains.Box(t=(0, 1), x=(0, 1), y=(0, 1)).face(t=0.5)
    truth = np.ones((1, 5, 4, 2))
    images = nk.callbacks.SolutionImages(tmp_path, slice_of_time, truth, grid=(1, 5, 4))
    model.fit(np.zeros((4, 3)), np.zeros((4, 2)), callbacks=[images], verbose=0)
    steps, ((first, second),) = pictures(tmp_path)
    assert steps == [1]
    assert first.shape == second.shape
    assert not np.array_equal(first, second)


def test_a_figure_and_a_network_of_ones_own_are_drawn(tmp_path):
    shapes = []

    def figure(prediction, truth):
        shapes.append((prediction.shape, truth.shape))
        np.testing.assert_allclose(prediction, truth + 1, rtol=SINGLE)
        return nk.plots.solution([X[:, 0]] * 2, prediction[..., 0], truth[..., 0], ["t", "x"])

    images = nk.callbacks.SolutionImages(
        *(tmp_path, SQUARE, lambda points: points[:, 0]),
        **{"grid": (6, 6), "figure": figure, "network": lambda points: points[:, :1] + 1},
    )
    fit(pinn(), images, epochs=1)
    assert shapes == [((6, 6, 1), (6, 6, 1))]


def test_points_of_a_network_of_several_inputs_are_cut(tmp_path):
    columns = [keras.Input((1,)) for _ in range(2)]
    network = keras.Model(columns, keras.layers.Subtract()(columns))
    images = nk.callbacks.SolutionImages(tmp_path, SQUARE, lambda x: x[:, 0] - x[:, 1])
    images.set_model(network)
    np.testing.assert_allclose(images._prediction(), images.truth, atol=1e-6)


def test_one_of_several_outputs_is_to_be_chosen(tmp_path):
    x = keras.Input((1,))
    network = keras.Model(x, {"u": keras.layers.Dense(1)(x), "k": keras.layers.Dense(1)(x)})
    images = nk.callbacks.SolutionImages(tmp_path, LINE, np.ones(6), grid=(6,))
    images.set_model(network)
    with pytest.raises(ValueError, match=r"network gives several \(dict\).*model\(x\)\['u'\]"):
        images._prediction()


CUBE = nk.domains.Box(x=(0, 1), y=(0, 1), z=(0, 1))
UNDRAWN = {
    "three axes": ((CUBE, np.sin), {}, r"one or two axes.*box.face\(x=0\), or give `figure`"),
    "another grid": ((LINE, np.ones(7)), {"grid": (6,)}, r"m = 6 points.*Received shape \(7,\)"),
    "no epochs": (
        (LINE, np.sin),
        {"every_epochs": 0},
        "every_epochs must be an integer of at least 1",
    ),
    "no time": ((LINE, np.sin), {"max_share": 0}, "max_share must lie in"),
}


@pytest.mark.parametrize("case", UNDRAWN.values(), ids=UNDRAWN)
def test_what_cannot_be_drawn_is_refused_at_once(case):
    arguments, options, message = case
    with pytest.raises(ValueError, match=message):
        nk.callbacks.SolutionImages("unused", *arguments, **options)


def test_outputs_that_do_not_fit_the_solution_are_refused(tmp_path):
    images = nk.callbacks.SolutionImages(tmp_path, LINE, np.ones((6, 2)), grid=(6,))
    model = pinn()
    with pytest.raises(ValueError, match="The network has 1 outputs and the solution 2"):
        fit(model, images, epochs=1)
    assert model.optimizer.iterations.numpy() == 0


# Keras' own callbacks on the validation error.


def test_training_stops_at_the_validation_error_and_keeps_the_best(tmp_path):
    """The residuals pull the network away from the values it is validated by."""
    validation = X, np.zeros_like(X) - 0.5
    monitor = {"monitor": "val_relative_l2", "mode": "min"}
    path = tmp_path / "best.weights.h5"
    stop = keras.callbacks.EarlyStopping(**monitor, patience=2, restore_best_weights=True)
    keep = keras.callbacks.ModelCheckpoint(
        path, **monitor, save_best_only=True, save_weights_only=True
    )
    model = pinn()
    history = fit(model, stop, keep, epochs=50, validation_data=validation).history
    errors = history["val_relative_l2"]
    best = int(np.argmin(errors))
    assert len(errors) == best + 3 < 50

    other = pinn()
    other.load_weights(path)
    for kept in (model, other):
        value = kept.evaluate(*validation, batch_size=len(X), verbose=0)
        assert value == pytest.approx(errors[best], rel=SINGLE)


def test_a_plain_keras_model_stops_at_the_relative_error_unasked_for_a_mode():
    model = network("hidden")
    model.compile("sgd", "mse", metrics=[RelativeL2()])
    stop = keras.callbacks.EarlyStopping("val_relative_l2", patience=0, min_delta=10)
    data = (X, np.sin(X) + 1)
    history = model.fit(*data, validation_data=data, epochs=5, callbacks=[stop], verbose=0).history
    assert len(history["val_relative_l2"]) == 2


# NTKWeighting, on a model that knows nothing of it.


class HandWritten(keras.Model):
    """A network with two residuals, a training step of its own and weights in variables."""

    def __init__(self):
        super().__init__()
        self.network = network("hidden")
        self.built = True
        self.traced = 0
        self.loss_weights = {
            name: keras.Variable(1.0, trainable=False) for name in ("equation", "start")
        }

    def equation(self, points):
        return self.network(points)[:, 0] - 2

    def start(self):
        return self.network(tf.constant([[0.0], [0.5]]))

    def train_step(self, data):
        self.traced += 1
        with tf.GradientTape() as tape:
            residuals = {"equation": self.equation(data), "start": self.start()}
            loss = tf.add_n(
                [
                    weight.value * tf.reduce_sum(residuals[name] ** 2)
                    for name, weight in self.loss_weights.items()
                ]
            )
        variables = self.trainable_variables
        self.optimizer.apply(tape.gradient(loss, [v.value for v in variables]), variables)
        return {"loss": loss}


POINTS = tf.constant(X, "float32")
RESIDUALS = {
    "blocks": lambda model: {
        "equation": nk.Block(model.equation, POINTS),
        "start": nk.Block(model.start),
    },
    "functions": lambda model: {
        "equation": lambda: model.equation(POINTS),
        "start": model.start,
    },
}
by_blocks = RESIDUALS["blocks"]


class Watch(keras.callbacks.Callback):
    """The weights that each execution ran with."""

    def __init__(self):
        super().__init__()
        self.weights = []

    def on_train_batch_end(self, batch, logs=None):
        values = self.model.loss_weights
        self.weights.append([float(values["equation"].value), float(values["start"].value)])


class WatchTraces(Watch):
    """And the exact traces before each execution."""

    def __init__(self):
        super().__init__()
        self.traces = []

    def set_model(self, model):
        super().set_model(model)
        self.compute = tf.function(
            lambda: nk.kernel.traces(by_blocks(model), model.trainable_variables), autograph=False
        )

    def on_train_batch_begin(self, batch, logs=None):
        traces = self.compute()
        self.traces.append([float(traces["equation"]), float(traces["start"])])


def hand_written(**compiled):
    model = HandWritten()
    model.compile(
        keras.optimizers.SGD(0.01), **{"jit_compile": False, "run_eagerly": True, **compiled}
    )
    return model


def train(model, *callbacks, epochs=2, steps=STEPS):
    data = tf.data.Dataset.from_tensors(POINTS).repeat()
    return model.fit(
        data,
        epochs=epochs,
        steps_per_epoch=steps,
        callbacks=list(callbacks),
        shuffle=False,
        verbose=0,
    ).history


def watched(model, watch=Watch, **kwargs):
    """A run under the callback, watched."""
    watch = watch()
    weighting = nk.callbacks.NTKWeighting(**{"residuals": by_blocks(model), **kwargs})
    history = train(model, watch, weighting)
    return watch, weighting, history


def ratios(traces):
    return [sum(traces) / trace for trace in traces]


@pytest.mark.parametrize("kind", RESIDUALS)
def test_weights_are_ratios_of_the_exact_traces_before_each_step(kind):
    model = hand_written()
    residuals = RESIDUALS[kind](model)
    watch, weighting, _ = watched(model, WatchTraces, residuals=residuals, update_every=1)
    assert len(watch.weights) == 8
    assert len({tuple(weights) for weights in watch.weights}) == 8
    np.testing.assert_allclose(watch.weights, [ratios(t) for t in watch.traces], rtol=SINGLE)
    assert list(weighting.weights.values()) == pytest.approx(watch.weights[-1], rel=SINGLE)
    assert list(weighting.traces.values()) == pytest.approx(watch.traces[-1], rel=SINGLE)


def test_weights_are_the_same_however_many_gradients_are_held():
    weights = []
    for chunk_size in None, 2:
        model = hand_written()
        weighting = nk.callbacks.NTKWeighting(by_blocks(model), chunk_size=chunk_size)
        train(model, weighting, epochs=1)
        weights.append(weighting.weights)
    assert weights[0] == pytest.approx(weights[1], rel=SINGLE)


def updates(watch):
    """The executions that began with new weights."""
    changed = [a != b for a, b in zip([[1, 1], *watch.weights[:-1]], watch.weights, strict=True)]
    return [index for index, new in enumerate(changed) if new]


@pytest.mark.parametrize(
    ("update_every", "steps_per_execution", "expected"),
    [
        (3, 1, [0, 3, 6]),
        (1000, 1, [0]),
        # Two steps an execution: those begin at steps 0, 2, 4, 6.
        (1, 2, [0, 1, 2, 3]),
        (4, 2, [0, 2]),
        (3, 2, [0, 2, 3]),  # due at 0, 3 and 6, done at 0, 4 and 6
    ],
)
def test_weights_are_updated_every_n_steps_across_epochs(
    update_every, steps_per_execution, expected
):
    eager = steps_per_execution == 1  # Keras runs several steps in a graph only.
    model = hand_written(steps_per_execution=steps_per_execution, run_eagerly=eager)
    watch, _, _ = watched(model, update_every=update_every)
    assert updates(watch) == expected


def test_the_averaging_rate_averages_traces_over_updates():
    watch, _, _ = watched(hand_written(), WatchTraces, update_every=1, averaging_rate=0.25)
    average = np.array(watch.traces[0])
    for traces, weights in zip(watch.traces, watch.weights, strict=True):
        average = 0.75 * average + 0.25 * np.array(traces)
        np.testing.assert_allclose(weights, ratios(average), rtol=SINGLE)


def test_a_second_fit_goes_on_with_average_and_interval():
    model, watch = hand_written(), Watch()
    weighting = nk.callbacks.NTKWeighting(by_blocks(model), update_every=3)
    for _ in range(2):
        train(model, watch, weighting, epochs=1)
    assert updates(watch) == [0, 3, 6]


@pytest.mark.parametrize(
    ("endless", "expected"),
    [(True, [0, 12, 24, 36]), (False, [0, 12, 24])],
    ids=["rounded up to 8 steps an epoch", "ended after 6 of 8"],
)
def test_intervals_count_the_steps_of_an_execution_that_ends_an_epoch(endless, expected):
    model, updated = hand_written(), []
    model.compile(keras.optimizers.SGD(0.01), jit_compile=False, steps_per_execution=4)

    class Noting(nk.callbacks.NTKWeighting):
        def update(self):
            updated.append(int(self.model.optimizer.iterations))

    data = tf.data.Dataset.from_tensors(tf.ones([2, 1])).repeat(None if endless else 6)
    model.fit(
        data,
        epochs=5,
        steps_per_epoch=6 if endless else None,
        callbacks=[Noting(by_blocks(model), update_every=12)],
        shuffle=False,
        verbose=0,
    )
    assert updated == expected


def test_a_trace_below_the_floor_is_raised_to_it():
    model = hand_written()
    residuals = by_blocks(model) | {"start": lambda: 0 * model.start()}
    _, weighting, _ = watched(model, residuals=residuals, trace_floor=0.01)
    assert weighting.traces["start"] == 0
    assert weighting.weights == pytest.approx({"equation": 1.01, "start": 101}, rel=SINGLE)


def test_weights_can_go_to_a_function():
    model, received = hand_written(), []
    watch, weighting, _ = watched(model, WatchTraces, loss_weights=received.append, update_every=4)
    assert len(received) == 2
    assert received[-1] == weighting.weights
    for weights, traces in zip(received, [watch.traces[0], watch.traces[4]], strict=True):
        assert list(weights) == ["equation", "start"]
        assert list(weights.values()) == pytest.approx(ratios(traces), rel=SINGLE)
    # The model's own weights are left alone.
    assert updates(watch) == []


def test_weights_are_in_the_logs():
    watch, _, history = watched(hand_written(), update_every=2)
    logged = [history["weights/equation"], history["weights/start"]]
    expected = np.transpose([watch.weights[STEPS - 1], watch.weights[-1]])
    np.testing.assert_allclose(logged, expected, rtol=SINGLE)


def test_residuals_of_the_model_are_found():
    model = hand_written()
    model.residuals = by_blocks(model)
    watch = WatchTraces()
    train(model, watch, nk.callbacks.NTKWeighting(), epochs=1)
    assert watch.weights[0] == pytest.approx(ratios(watch.traces[0]), rel=SINGLE)


def test_only_the_variables_given_count():
    model = hand_written()
    last = model.network.layers[-1].trainable_variables
    expected = nk.kernel.traces(by_blocks(model), last)
    weighting = nk.callbacks.NTKWeighting(by_blocks(model), variables=last)
    train(model, weighting, epochs=1)
    assert weighting.traces == pytest.approx({k: float(v) for k, v in expected.items()}, rel=SINGLE)


def test_changed_weights_retrace_nothing():
    model = hand_written(run_eagerly=False)
    watch, _, _ = watched(model, update_every=1)
    assert len({tuple(weights) for weights in watch.weights}) == 8
    assert model.traced == 1


class Plain(HandWritten):
    """Shows neither residuals nor weights."""

    def __init__(self):
        super().__init__()
        del self.loss_weights


NUMBERS = {"equation": 1.0, "start": 1.0}
REFUSED = {
    "names that do not match": (
        lambda model: {"loss_weights": {"equation": keras.Variable(1.0)}},
        r"Residuals: \['equation', 'start'\]; weights: \['equation'\]",
    ),
    "plain numbers": (
        lambda model: {"loss_weights": NUMBERS},
        r"assignable weight.*not assignable: \['equation', 'start'\]",
    ),
    "weights that the optimizer moves": (
        lambda model: {"loss_weights": dict.fromkeys(NUMBERS, model.trainable_variables[0])},
        r"weights of \['equation', 'start'\] are trainable",
    ),
    "residuals of another model": (
        lambda model: {
            "residuals": by_blocks(hand_written()),
            "loss_weights": hand_written().loss_weights,
        },
        r"\['equation', 'start'\] do not depend on the variables that are trained",
    ),
    "residuals that are a method": (
        lambda model: {"residuals": model.call, "loss_weights": NUMBERS},
        "found no `residuals`.*a dict by name",
    ),
    "no residuals": (lambda model: {"residuals": None}, "found no `residuals`.*attribute"),
    "no weights": (lambda model: {}, "found no `loss_weights`.*attribute"),
}


@pytest.mark.parametrize("case", REFUSED.values(), ids=REFUSED)
def test_models_are_refused_before_training(case):
    arguments, message = case
    model = Plain()
    model.compile(jit_compile=False)
    with pytest.raises(ValueError, match=message):
        watched(model, **arguments(model))
    assert model.optimizer.iterations.numpy() == 0


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ({"update_every": 0}, "update_every must be an integer of at least 1. Received 0"),
        ({"update_every": 2.5}, "update_every must be an integer of at least 1. Received 2.5"),
        (
            {"averaging_rate": 0.0},
            r"averaging_rate must lie in \(0, 1\]. Received averaging_rate=0.0",
        ),
        ({"trace_floor": 2.0}, r"trace_floor must lie in \(0, 1\). Received trace_floor=2.0"),
        ({"averaging_rate": 1.5}, r"must lie in \(0, 1\]. Received averaging_rate=1.5"),
        ({"chunk_size": 0}, "chunk_size must be an integer of at least 1. Received 0"),
    ],
)
def test_weighting_refuses_arguments_out_of_range(argument, message):
    with pytest.raises(ValueError, match=message):
        nk.callbacks.NTKWeighting(**argument)


def test_an_update_before_training_says_what_is_missing():
    with pytest.raises(RuntimeError, match="needs the model that `fit` gives it"):
        nk.callbacks.NTKWeighting().update()


def test_traces_that_are_not_finite_stop_training_and_are_named():
    model = hand_written()
    residuals = by_blocks(model) | {"start": lambda: tf.sqrt(-1 - model.start() ** 2)}
    with pytest.raises(ValueError, match=r"trace of \['start'\] is NaN or infinite at step 0"):
        train(model, nk.callbacks.NTKWeighting(residuals))
    assert model.optimizer.iterations.numpy() == 0


# History files.

LOGS = [{"loss": 1 / (3 + k), "weights/a": np.float32(0.1) * k} for k in range(4)]


def write(path, epochs, logs=LOGS):
    """What training over some epochs leaves in a file."""
    writer = nk.callbacks.HistoryFile(path)
    for epoch in epochs:
        writer.on_epoch_end(epoch, logs[epoch])


def test_a_history_file_holds_a_row_for_each_epoch(tmp_path):
    path = tmp_path / "new" / "history.csv"
    write(path, range(4))
    assert nk.callbacks.read_history(path) == [
        {"epoch": k, **{name: float(x) for name, x in logs.items()}} for k, logs in enumerate(LOGS)
    ]


def test_a_history_file_is_complete_after_every_epoch(tmp_path):
    writer = nk.callbacks.HistoryFile(tmp_path / "history.csv")
    for epoch in range(3):
        writer.on_epoch_end(epoch, LOGS[epoch])
        assert len(nk.callbacks.read_history(writer.path)) == epoch + 1


@pytest.mark.parametrize("start", [0, 2, 4])
def test_a_resumed_run_leaves_the_file_of_an_uninterrupted_one(tmp_path, start):
    whole, resumed = tmp_path / "whole.csv", tmp_path / "resumed.csv"
    write(whole, range(4))
    # The run went on to the end, but only what was before `start` is in its checkpoint.
    write(resumed, range(4), [{"loss": -1.0, "weights/a": -1.0}] * 4)
    write(resumed, range(start), LOGS)
    write(resumed, range(start, 4))
    expected = whole if start < 4 else resumed
    assert resumed.read_bytes() == expected.read_bytes()
    assert len(nk.callbacks.read_history(resumed)) == 4


def test_columns_may_come_later(tmp_path):
    path = tmp_path / "history.csv"
    write(path, range(2), [{"loss": 2.0}, {"loss": 1.0, "val_relative_l2": 0.5}])
    assert path.read_text().splitlines()[0] == "epoch,loss,val_relative_l2"
    assert nk.callbacks.read_history(path) == [
        {"epoch": 0, "loss": 2},
        {"epoch": 1, "loss": 1, "val_relative_l2": 0.5},
    ]


def test_a_history_without_a_file_is_empty(tmp_path):
    assert nk.callbacks.read_history(tmp_path / "nothing.csv") == []


def test_a_write_that_fails_leaves_the_old_file(tmp_path):
    path = tmp_path / "history.csv"
    write(path, range(1))
    before = path.read_bytes()
    writer = nk.callbacks.HistoryFile(path)
    with pytest.raises(ValueError, match="could not convert"):
        writer.on_epoch_end(1, {"loss": "not a number"})
    assert path.read_bytes() == before


# Checkpoints and time.


def variables(model):
    every = [*model.network.variables, *model.weighting.variables, *model.optimizer.variables]
    return [v.numpy() for v in every]


def test_a_checkpoint_restores_the_whole_state_and_the_epoch(tmp_path):
    def weighting():
        return nk.weighting.NTK(num_initial_probes=2, averaging_rate=0.5)

    checkpoint = nk.callbacks.Checkpoint(tmp_path / "new" / "state.weights.h5")
    model, fresh = pinn(weighting()), pinn(weighting())
    fit(model, checkpoint, epochs=2)

    assert checkpoint.restore(fresh) == 2
    for a, b in zip(variables(fresh), variables(model), strict=True):
        np.testing.assert_array_equal(a, b)
    assert fresh.kernel_traces == model.kernel_traces


def test_without_a_checkpoint_training_starts_at_the_beginning(tmp_path):
    model = pinn()
    before = variables(model)
    assert nk.callbacks.Checkpoint(tmp_path / "none.weights.h5").restore(model) == 0
    for a, b in zip(variables(model), before, strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_checkpoint_is_never_half_written(tmp_path, monkeypatch):
    checkpoint = nk.callbacks.Checkpoint(tmp_path / "state.weights.h5")
    model = pinn()
    checkpoint.set_model(model)
    checkpoint.on_epoch_end(0)
    before = checkpoint.path.read_bytes()

    def half(path, overwrite):
        path.write_bytes(b"half a file")
        raise KeyboardInterrupt

    monkeypatch.setattr(model, "save_weights", half)
    with pytest.raises(KeyboardInterrupt):
        checkpoint.on_epoch_end(1)
    assert checkpoint.path.read_bytes() == before


def test_a_checkpoint_leaves_no_other_file(tmp_path):
    checkpoint = nk.callbacks.Checkpoint(tmp_path / "state.weights.h5")
    checkpoint.set_model(pinn())
    for epoch in range(2):
        checkpoint.on_epoch_end(epoch)
    assert [path.name for path in tmp_path.iterdir()] == ["state.weights.h5"]


@pytest.mark.parametrize(("validation", "seconds"), [(None, 10.0), (4.0, 4.0)])
def test_the_stopwatch_counts_training_and_not_validation(monkeypatch, validation, seconds):
    now = 100.0
    clock = types.SimpleNamespace(perf_counter=lambda: now)
    monkeypatch.setattr(history_module, "time", clock)
    watch, logs = nk.callbacks.Stopwatch(), {}
    watch.set_model(
        types.SimpleNamespace(optimizer=types.SimpleNamespace(iterations=tf.constant(12)))
    )

    watch.on_epoch_begin(0)
    if validation is not None:
        now = 100 + validation
        watch.on_test_begin()
    now = 110.0
    watch.on_epoch_end(0, logs)

    assert logs == {"step": 12, "seconds": seconds}


def test_the_stopwatch_starts_anew_in_every_epoch():
    watch = nk.callbacks.Stopwatch()
    history = fit(pinn(), watch, validation_data=(X, X)).history
    assert history["step"] == [STEPS, 2 * STEPS, 3 * STEPS]
    # The first epoch compiles.
    assert history["seconds"][0] > history["seconds"][2] > 0
