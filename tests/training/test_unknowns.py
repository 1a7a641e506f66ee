"""Unknown coefficients: trained, logged, saved, and in or out of the kernel."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import ntk_keras as nk
from examples import inverse_eikonal, inverse_wave
from ntk_keras.training.unknowns import Unknowns

X = np.linspace(0, 1, 6)[:, None]
REGISTER = keras.saving.register_keras_serializable("test_unknowns")


@REGISTER
def decay(u, points):
    """u' + rate u"""
    slope = nk.derivatives.partial(u, points, 0)
    return (slope + u.unknowns["rate"] * u(points))[:, 0]


@REGISTER
def start(u, points):
    return u(points)[:, 0] - 1


@REGISTER
def mixture(u, points):
    """Two coefficients in one array."""
    a, b = tf.unstack(u.unknowns["pair"])
    return a * u(points)[:, 0] - b


@REGISTER
def prior(u, points):
    """What is believed of the coefficient, without the network."""
    return u.unknowns["rate"] - points


def network(dtype="float64"):
    box = nk.domains.Box(x=(0, 1))
    return nk.networks.feedforward(box, width=6, depth=1, dtype=dtype, seed=0)


def terms():
    return [nk.Term("equation", decay, X), nk.Term("start", start, X[:1])]


def build(unknowns, weighting="constant", optimizer=None, extra=(), dtype="float64"):
    model = nk.PINNModel(network(dtype), [*terms(), *extra], weighting, unknowns=unknowns, seed=1)
    model.compile(optimizer or keras.optimizers.SGD(0.125), jit_compile=False)
    return model


def fit(model, steps=1, epochs=1, **kwargs):
    return model.fit(epochs=epochs, steps_per_epoch=steps, verbose=0, **kwargs).history


def slope_and_value(model):
    u, points = model.network, tf.constant(X)
    return nk.derivatives.partial(u, points, 0)[:, 0], u(points)[:, 0]


def test_a_step_follows_the_gradient_of_the_coefficient():
    model = build({"rate": 0.5})
    slope, value = slope_and_value(model)
    gradient = np.sum((slope + 0.5 * value) * value)  # of 1/2 sum (u' + rate u)^2
    fit(model)
    assert model.unknowns["rate"] == pytest.approx(0.5 - 0.125 * gradient, rel=1e-12)


def test_the_coefficient_is_in_history_logs_and_trainable_variables():
    model = build({"rate": 0.5})
    history = fit(model, epochs=2)
    assert len(set(history["unknowns/rate"])) == 2
    assert history["unknowns/rate"][-1] == pytest.approx(model.unknowns["rate"], rel=1e-6)
    assert [v.name for v in model.trainable_variables].count("rate") == 1


def test_the_coefficient_is_in_the_progress_bar(capsys):
    build({"rate": 0.5}).fit(verbose=2)
    assert "unknowns/rate: 0." in capsys.readouterr().out


def test_the_coefficient_is_in_tensorboard(tmp_path):
    fit(build({"rate": 0.5}), callbacks=[nk.callbacks.NTKTensorBoard(tmp_path)])
    (path,) = tmp_path.glob("events*")
    tags = {v.tag for e in tf.compat.v1.train.summary_iterator(str(path)) for v in e.summary.value}
    assert "unknowns/rate" in tags


def test_entries_of_an_array_are_logged_one_by_one():
    extra = [nk.Term("mixture", mixture, X)]
    model = build({"rate": 0.5, "pair": [2.0, 3.0]}, extra=extra)
    history = fit(model)
    pair = [history[f"unknowns/pair/{k}"][0] for k in (0, 1)]
    np.testing.assert_allclose(model.unknowns["pair"], pair, rtol=1e-6)
    assert not np.any(model.unknowns["pair"] == [2.0, 3.0])


def test_a_long_array_is_trained_and_not_logged():
    coefficients = Unknowns({"many": np.zeros(17)}, "float32")
    assert coefficients.logs() == {}
    assert coefficients.values()["many"].shape == (17,)


def exact_trace(model, variables):
    return nk.kernel.traces(model.blocks(), variables)["equation"].numpy()


@pytest.mark.parametrize("in_kernel", [True, False])
def test_the_kernel_includes_the_coefficient_or_not(in_kernel):
    declared = {"rate": nk.Unknown(0.5, in_kernel=in_kernel)}
    model = build(declared, nk.weighting.ExactNTK(), keras.optimizers.SGD(0.0))
    alone = exact_trace(model, model.network.trainable_variables)
    whole = exact_trace(model, model.trainable_variables)
    # d/d rate of u' + rate u is u.
    assert whole - alone == pytest.approx(np.sum(slope_and_value(model)[1] ** 2), rel=1e-10)
    assert len(model.kernel_variables) == len(model.network.trainable_variables) + in_kernel
    fit(model)
    expected = whole if in_kernel else alone
    assert model.kernel_traces["equation"] == pytest.approx(expected, rel=1e-10)


def test_a_coefficient_outside_the_kernel_is_trained_all_the_same():
    model = build({"rate": nk.Unknown(0.5, in_kernel=False)}, nk.weighting.ExactNTK())
    fit(model)
    assert model.unknowns["rate"] != 0.5


def test_the_weighting_can_leave_it_out_by_name():
    by_name = build({"rate": 0.5}, nk.weighting.ExactNTK(exclude_variables="rate"))
    declared = build({"rate": nk.Unknown(0.5, in_kernel=False)}, nk.weighting.ExactNTK())
    assert fit(by_name) == fit(declared)


def test_its_terms_keep_their_factored_jacobians():
    model = build({"rate": 0.5}, nk.weighting.ExactNTK())
    assert all(block.with_hook is not None for block in model.blocks().values())


def test_a_constraint_holds_after_every_step():
    start = nk.Unknown(1e-3, constraint="non_neg")
    model = build({"rate": start}, optimizer=keras.optimizers.SGD(10.0))
    fit(model)
    assert model.unknowns["rate"] == 0


def test_a_term_may_hold_the_coefficient_alone():
    model = build({"rate": 0.5}, extra=[nk.Term("prior", prior, np.array([0.25]))])
    assert fit(model)["loss/prior"][0] == pytest.approx(0.25**2 / 2)


def test_it_is_saved_with_the_model_and_goes_on(tmp_path):
    unknowns = {"rate": nk.Unknown(0.5, constraint="non_neg", in_kernel=False)}
    whole = build(unknowns, "exact-ntk", keras.optimizers.Adam(0.01))
    fit(whole, epochs=2)
    cut = build(unknowns, "exact-ntk", keras.optimizers.Adam(0.01))
    fit(cut)
    cut.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert loaded.unknowns == cut.unknowns
    assert loaded.coefficients.declared["rate"].in_kernel is False
    fit(loaded)
    assert loaded.unknowns == whole.unknowns
    assert loaded.loss_weights == whole.loss_weights

    cut.save_weights(tmp_path / "model.weights.h5")
    fresh = build(unknowns, "exact-ntk", keras.optimizers.Adam(0.01))
    fresh.load_weights(tmp_path / "model.weights.h5")
    assert fresh.unknowns == cut.unknowns


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_it_has_the_dtype_of_the_network(dtype):
    model = build({"rate": 0.1}, dtype=dtype)
    assert model.unknowns["rate"] == np.dtype(dtype).type(0.1)


@pytest.mark.parametrize("derivatives", ["tapes", "taylor"])
def test_an_unknown_coefficient_of_second_derivatives_is_found(derivatives):
    """-c u'' = pi^2 sin(pi x) with u = sin(pi x) / 2 observed, so c = 2."""
    box, x = nk.domains.Box(x=(0, 1)), np.linspace(0, 1, 21)[:, None]

    def equation(u, points):
        diffusion = nk.derivatives.second_order(u, points, [-u.unknowns["c"]])[:, 0]
        return (diffusion - np.pi**2 * tf.sin(np.pi * points[:, 0])) / 10

    def observed(u, points):
        return 10 * (u(points)[:, 0] - tf.sin(np.pi * points[:, 0]) / 2)

    model = nk.PINNModel(
        nk.networks.feedforward(box, width=20, depth=1, seed=0),
        [nk.Term("equation", equation, x), nk.Term("observed", observed, x)],
        "constant",
        unknowns={"c": 1.0},
        derivatives=derivatives,
    )
    model.compile(keras.optimizers.Adam(0.01), steps_per_execution=100)
    fit(model, steps=1500)
    assert model.unknowns["c"] == pytest.approx(2, rel=0.02)


# What is refused.

REFUSED = {
    "not declared": ({}, "Term 'equation'.*no unknown 'rate' was declared.*unknowns={'rate': 1.0}"),
    "read by nobody": ({"rate": 0.5, "spare": 1.0}, r"no term reads.*\['spare'\].*u.unknowns"),
    "a name with a slash": ({"rate": 0.5, "a/b": 1.0}, "no slash.*'a/b'"),
    "not finite": ({"rate": float("nan")}, "'rate': its initial value must be finite.*nan"),
}


@pytest.mark.parametrize("case", list(REFUSED))
def test_declarations_are_refused(case):
    unknowns, message = REFUSED[case]
    with pytest.raises(ValueError, match=f"(?s){message}"):
        build(unknowns)


# The examples, at a smaller budget than their own.


def test_the_wave_speed_is_recovered_from_noisy_observations():
    model = inverse_wave.main(epochs=5, steps_per_epoch=300, width=30, logdir=None, verbose=0)
    assert len(inverse_wave.observe()[1]) == 200
    assert model.unknowns["speed"] == pytest.approx(inverse_wave.SPEED, rel=0.05)


def test_the_slowness_of_the_eikonal_equation_is_recovered():
    model = inverse_eikonal.main(epochs=5, steps_per_epoch=300, logdir=None, verbose=0)
    assert model.unknowns["slowness"] == pytest.approx(inverse_eikonal.SLOWNESS, rel=0.15)


def test_a_coefficient_is_set_by_assignment():
    model = build({"rate": 0.5, "pair": [1.0, 2.0]}, extra=[nk.Term("mixture", mixture, X)])
    model.unknowns["rate"] = 2.0
    assert model.unknowns["rate"] == float(model.coefficients["rate"]) == 2.0
    model.unknowns.update(pair=[3.0, 4.0])
    np.testing.assert_array_equal(model.unknowns["pair"], [3.0, 4.0])


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"speed": 1.0}, r"No unknown 'speed' was declared. Declared: \['rate'\]"),
        ({"rate": [1.0, 2.0]}, r"'rate' takes finite numbers of shape \(\)"),
        ({"rate": np.nan}, "takes finite numbers.*Received nan"),
    ],
)
def test_what_is_no_value_of_a_coefficient_is_refused(values, message):
    model = build({"rate": 0.5})
    with pytest.raises(ValueError, match=message):
        model.unknowns.update(values)
    assert model.unknowns == {"rate": 0.5}
