"""Marching through time: slabs that go on from each other, resumed runs, one prediction."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import ntk_keras as nk
from ntk_keras.domains import Box
from tests.support.models import network, state

TIMES = [0.0, 0.5, 1.5]
GRID = np.linspace(0, 1.5, 31)[:, None]


def oscillator(u, t):
    """u'' + u: the cosine."""
    return nk.derivatives.second_order(u, t, [1.0])[:, 0] + u(t)[:, 0]


def at_one(u, t):
    return u(t)[:, 0] - 1


def at_rest(u, t):
    return nk.derivatives.partial(u, t, "t")[:, 0]


@keras.saving.register_keras_serializable("march")
def decay(u, t):
    """u' + u, cheaper than the oscillator."""
    return nk.derivatives.partial(u, t, "t")[:, 0] + u(t)[:, 0]


def oscillating(slab):
    box = Box(t=(slab.start, slab.end))
    start = box.face(t=slab.start).sample(1)
    return [
        nk.Term("equation", oscillator, box.interior(40)),
        nk.Term("start", slab.initial(at_one), start),
        nk.Term("velocity", slab.initial(at_rest), start),
    ]


def terms_of(slab):
    """Of a decay, whose points move."""
    box = Box(t=(slab.start, slab.end))
    return [
        nk.Term("equation", decay, nk.domains.R3(box.interior(4))),
        nk.Term("start", slab.initial(at_one), box.face(t=slab.start).sample(1)),
    ]


def build(slab, *, optimizer=None, terms=terms_of, width=8, weighting="constant"):
    net = nk.networks.feedforward(
        Box(t=(slab.start, slab.end)), width=width, depth=1, dtype="float64"
    )
    model = nk.PINNModel(net, terms(slab), weighting)
    model.compile(optimizer or keras.optimizers.Adam(0.01), run_eagerly=True)
    return model


def build_patient(slab):
    """Under causal weights that grow steeper at every step."""
    steps = nk.weighting.Causal("equation", epsilons=np.arange(1.0, 9.0) / 100, threshold=0.01)
    return build(slab, weighting=nk.weighting.Constant(causal=steps))


def march(**kwargs):
    keras.utils.set_random_seed(0)
    return nk.March(kwargs.pop("build", build), kwargs.pop("times", TIMES), **kwargs)


def fit(chosen, **kwargs):
    return chosen.fit(**{"epochs": 1, "verbose": 0, **kwargs})


def fit_patiently(chosen, **kwargs):
    """Two epochs of the second slab."""
    return fit(chosen, epochs=lambda slab: 1 + slab.index, **kwargs)


def parameters(chosen):
    return [[v.numpy() for v in model.network.variables] for model in chosen.models]


def states(chosen):
    return [state(model) for model in chosen.models]


def assert_same(a, b):
    tf.nest.map_structure(np.testing.assert_array_equal, a, b)


class Begun(keras.callbacks.Callback):
    """Parameters at the start of each slab, its own and those of slabs before."""

    def __init__(self, chosen):
        super().__init__()
        self.chosen, self.own, self.earlier = chosen, [], []

    def on_train_begin(self, logs=None):
        self.own.append([v.numpy() for v in self.model.network.variables])
        self.earlier.append(parameters(self.chosen))


@pytest.fixture(scope="module")
def trained():
    """By natural gradients, in slabs of unequal length."""
    natural = nk.optimizers.NaturalGradient
    settings = {"terms": oscillating, "width": 10, "weighting": "ntk"}
    chosen = march(build=lambda slab: build(slab, optimizer=natural(), **settings))
    keras.utils.set_random_seed(4)
    fit(chosen, steps_per_epoch=20)
    return chosen


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """An uninterrupted run, with its files, its histories and what it began with."""
    chosen = march(build=build_patient, folder=tmp_path_factory.mktemp("march"))
    begun = Begun(chosen)
    return chosen, fit_patiently(chosen, callbacks=begun), begun


def test_slabs_go_on_from_each_other(trained):
    np.testing.assert_allclose(trained.predict(GRID, verbose=0), np.cos(GRID), atol=1e-3)
    slopes = trained.evaluate_function(lambda u, t: nk.derivatives.partial(u, t, "t"), GRID)
    np.testing.assert_allclose(slopes, -np.sin(GRID), atol=1e-2)


def test_one_prediction_takes_points_in_any_order(trained):
    order = np.random.default_rng(0).permutation(len(GRID))
    whole = trained.predict(GRID, verbose=0)
    permuted = trained.predict(GRID[order], verbose=0)
    np.testing.assert_allclose(permuted, whole[order], rtol=1e-12)
    early = GRID[:, 0] <= 0.5  # where two meet the earlier one counts
    for model, part in zip(trained.models, (early, ~early), strict=True):
        np.testing.assert_array_equal(model.predict(GRID[part], verbose=0), whole[part])
    assert trained.predict(GRID[:0], verbose=0).shape == (0, 1)
    rounded = np.nextafter(np.float32([[0.5]]), np.float32(1))  # as 0.4 is in single precision
    first = trained.models[0].predict(rounded, verbose=0)
    np.testing.assert_array_equal(trained.predict(rounded, verbose=0), first)


def test_the_interface_is_a_residual_like_any_other(trained):
    first, second = trained.models
    at = tf.constant([[0.5]], tf.float64)
    blocks = second.blocks()
    jump = second.network(at) - first.network(at)
    np.testing.assert_allclose(blocks["start"](), np.ravel(jump), rtol=1e-6, atol=1e-12)
    found = nk.Linearization(
        {"start": blocks["start"], "u": lambda: second.network(at)[:, 0]},
        second.network.trainable_variables,
    ).diagonal()
    np.testing.assert_allclose(found["start"], found["u"])


def test_a_slab_starts_with_the_parameters_of_the_last_which_stay(saved):
    chosen, _, begun = saved
    assert_same(begun.own[1], parameters(chosen)[0])
    assert_same(begun.earlier[1], parameters(chosen)[:1])


def test_models_are_evaluated_and_trained_further_after_a_march():
    chosen = march()
    fit(chosen)
    last = chosen.models[-1]
    assert np.isfinite(last.evaluate(return_dict=True, verbose=0)["loss"])
    before = parameters(chosen)
    last.fit(verbose=0)
    assert_same(parameters(chosen)[0], before[0])
    assert not np.array_equal(last.network.get_weights()[-1], before[1][-1])


def test_arguments_may_be_functions_of_the_slab(saved):
    chosen, histories, _ = saved
    assert [len(history.history["loss"]) for history in histories] == [1, 2]
    assert fit(chosen) == []


def test_one_network_for_times_that_grow():
    whole = Box(t=(0, 1.5))

    def on_all(slab):
        assert slab.start == 0
        assert slab.previous is None
        box = Box(t=(slab.start, slab.end))
        net = nk.networks.feedforward(whole, width=8, depth=1)
        start = nk.Term("start", slab.initial(at_one), box.face(t=0).sample(1))
        model = nk.PINNModel(net, [start])
        model.compile("adam", run_eagerly=True)
        return model

    chosen = march(build=on_all, growing=True)
    begun = Begun(chosen)
    fit(chosen, callbacks=begun)
    assert_same(begun.own[1], begun.earlier[1][0])
    late = chosen.models[-1].predict(GRID, verbose=0)
    np.testing.assert_array_equal(chosen.predict(GRID, verbose=0), late)


# Runs that are stopped.


class KilledError(RuntimeError):
    """Stands for the end of a process."""


class Kill(keras.callbacks.Callback):
    """Ends a run within the second epoch of the second slab."""

    def __init__(self):
        super().__init__()
        self.epochs = 0

    def on_epoch_begin(self, epoch, logs=None):
        self.epochs += 1

    def on_train_batch_end(self, batch, logs=None):
        if self.epochs == 3:
            raise KilledError


def test_a_run_resumes_bit_for_bit_within_a_slab(saved, tmp_path):
    with pytest.raises(KilledError):
        fit_patiently(march(build=build_patient, folder=tmp_path), callbacks=[Kill()])
    chosen = march(build=build_patient, folder=tmp_path)
    (history,) = fit_patiently(chosen)
    assert len(history.history["loss"]) == 1
    assert_same(states(chosen), states(saved[0]))
    assert_same(chosen.predict(GRID, verbose=0), saved[0].predict(GRID, verbose=0))
    assert int(chosen.models[1].weighting.in_time.stage) == 2


def test_slabs_that_a_callback_has_ended_are_done_and_only_loaded(tmp_path):
    class Stop(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            self.model.stop_training = True

    ended = march(folder=tmp_path, warm_start=False)
    begun = Begun(ended)
    histories = fit(ended, epochs=2, callbacks=[Stop(), begun])
    assert [len(history.history["loss"]) for history in histories] == [1, 1]
    assert not np.array_equal(begun.own[1][0], parameters(ended)[0][0])
    chosen = march(folder=tmp_path, warm_start=False)
    assert fit(chosen, epochs=2) == []
    assert_same(parameters(chosen), parameters(ended))


# Mistakes.


def without_initial(slab):
    return build(slab, terms=lambda slab: terms_of(nk.Slab(0, slab.start, slab.end)))


def shared_network(chosen):
    """Of the first slab."""

    def on_one(slab):
        model = nk.PINNModel(chosen.models[0].network, terms_of(slab), "constant")
        model.compile("adam", run_eagerly=True)
        return model

    return on_one


def uncompiled(slab):
    return nk.PINNModel(network(), [nk.Term("start", at_one, np.zeros((1, 1)))])


MISTAKES = {
    "one time": (lambda: march(times=[1.0]), ValueError, "two or more"),
    "falling times": (lambda: march(times=[0, 2, 1]), ValueError, "larger than the one before"),
    "no function": (lambda: march(build=3), TypeError, "function of a slab"),
    "no model": (lambda: fit(march(build=lambda slab: None)), TypeError, "must return a PINN"),
    "not compiled": (lambda: fit(march(build=uncompiled)), ValueError, "is not compiled"),
    "an unknown axis": (lambda: fit(march(axis="time")), ValueError, "column 'time'.*'t'"),
    "an epoch": (lambda: fit(march(), initial_epoch=1), ValueError, "no initial_epoch"),
    "untrained": (lambda: march().predict(GRID), ValueError, "No slab is trained"),
    "both": (lambda: march(growing=True, warm_start=False), ValueError, "Leave out one"),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_mistakes_are_refused(case):
    attempt, kind, message = MISTAKES[case]
    with pytest.raises(kind, match=message):
        attempt()


SECOND = {
    "one network": (shared_network, "growing=True"),
    "no interface": (lambda chosen: without_initial, "slab.initial"),
    "another network": (lambda chosen: lambda slab: build(slab, width=4), "warm_start=False"),
}


@pytest.mark.parametrize("case", SECOND)
def test_second_slabs_that_cannot_go_on_are_refused(case, saved):
    make, message = SECOND[case]
    chosen = march(build=make(saved[0]))
    chosen.models = saved[0].models[:1]
    with pytest.raises(ValueError, match=message):
        fit(chosen)


def test_points_outside_are_refused(trained):
    with pytest.raises(ValueError, match=r"go from 0 to 1.5.*the time 2"):
        trained.predict(np.array([[1.0], [2.0]]))
    with pytest.raises(ValueError, match="column 0"):
        trained.predict(np.array([1.0, 2.0]))


def test_a_folder_of_other_times_is_refused(saved):
    with pytest.raises(ValueError, match="are those of a march with"):
        fit(march(folder=saved[0].folder, times=[0, 1]))
