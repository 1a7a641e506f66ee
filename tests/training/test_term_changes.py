"""Terms that are given other points or residuals after training began."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import ntk_keras as nk
from tests.support import models

FAR = models.X + 3


def misfit(u, points):
    """The loss of ``slope``, and of ``value`` at the start, at other points is another one."""
    return u(points)[:, 0] - points[:, 0] ** 2


def exact_loss(model, name):
    return float(0.5 * np.sum(model.blocks()[name]().numpy() ** 2))


def built(weighting="constant", residual=misfit, points=models.X, **kwargs):
    terms = [nk.Term("equation", residual, points), nk.Term("start", models.value, models.START)]
    return models.build(terms, weighting, optimizer=models.still(), **kwargs)


class Change(keras.callbacks.Callback):
    """Does something to the model at the beginning of one step, and counts them."""

    def __init__(self, step, change):
        super().__init__()
        self.step, self.change, self.steps = step, change, 0

    def on_train_batch_begin(self, batch, logs=None):
        if self.steps == self.step:
            self.change(self.model)
        self.steps += 1


@pytest.mark.parametrize(
    ("weighting", "jit_compile"), [("constant", False), ("ntk", False), ("ntk", True)]
)
def test_points_set_between_fits_are_trained_on(weighting, jit_compile):
    model = built(weighting, compiled={"jit_compile": jit_compile})
    models.fit(model)
    model.terms[0].points = np.concatenate([models.X, FAR])
    expected = exact_loss(model, "equation")
    assert models.fit(model)["loss/equation"] == [pytest.approx(expected, rel=1e-5)]
    assert model.evaluate(return_dict=True, verbose=0)["loss/equation"] == pytest.approx(expected)


def test_points_set_by_a_callback_are_those_of_the_same_step():
    def move(model):
        model.terms[0].points = FAR

    model, far = built(), built(points=FAR)
    history = models.fit(model, epochs=3, callbacks=Change(1, move))["loss/equation"]
    one, other = exact_loss(built(), "equation"), exact_loss(far, "equation")
    assert history == pytest.approx([one, other, other], rel=1e-5)


def test_a_residual_set_later_is_trained_on():
    model = built()
    models.fit(model)
    model.terms[0].residual = models.slope
    expected = exact_loss(built(residual=models.slope), "equation")
    assert models.fit(model)["loss/equation"] == [pytest.approx(expected, rel=1e-5)]
    assert model.train_on_batch({}, return_dict=True)["loss/equation"] == pytest.approx(expected)


def test_evaluation_alone_follows_too():
    model = built()
    model.evaluate(verbose=0)
    model.terms[0].points = FAR
    losses = model.evaluate(return_dict=True, verbose=0)
    assert losses["loss/equation"] == pytest.approx(exact_loss(built(points=FAR), "equation"))


def test_a_sampler_takes_the_place_of_fixed_points():
    model = built("ntk")
    models.fit(model)
    model.terms[0].points = nk.domains.Box(x=(2, 3)).interior(50)
    expected = exact_loss(model, "equation")  # at the next step's points
    assert models.fit(model)["loss/equation"] == [pytest.approx(expected, rel=1e-5)]


def test_points_in_a_variable_change_without_compiling_anew():
    points = tf.Variable(models.X, dtype="float32")
    calls = []

    def counted(u, p):
        calls.append(p.shape)
        return misfit(u, p)

    model = built(residual=counted, points=points)
    models.fit(model)
    before = len(calls)
    points.assign(FAR)
    expected = exact_loss(built(points=FAR), "equation")
    assert models.fit(model)["loss/equation"] == [pytest.approx(expected, rel=1e-5)]
    assert len(calls) == before


@pytest.mark.parametrize(
    "weighting", ["residual-attention", {"name": "exact-ntk", "average": "kernel"}]
)
def test_another_number_of_points_is_refused_where_each_has_a_weight(weighting):
    model = built(weighting)
    models.fit(model)
    model.terms[0].points = np.concatenate([models.X, FAR])
    with pytest.raises(ValueError, match="each of the 6 residual entries.*'equation'.*now has 12"):
        models.fit(model)
    model.terms[0].points = nk.domains.Box(x=(2, 3)).interior(6)
    with pytest.raises(ValueError, match="now has points that change"):
        models.fit(model)
    model.terms[0].points = FAR
    expected = exact_loss(built(points=FAR), "equation")
    assert models.fit(model)["loss/equation"] == [pytest.approx(expected, rel=1e-5)]


def test_what_does_not_fit_is_refused():
    term = nk.Term("equation", misfit, models.X)
    with pytest.raises(ValueError, match="finite"):
        term.points = models.X * np.nan
    with pytest.raises(TypeError, match="callable"):
        term.residual = None
    for attribute in ("name", "group"):
        with pytest.raises(AttributeError, match=f"keeps its {attribute}"):
            setattr(term, attribute, "other")
    np.testing.assert_array_equal(term.points, models.X)
    model = built()
    models.fit(model)
    model.terms[0].residual = lambda u, points: points[:, 0]
    with pytest.raises(ValueError, match="does not depend on the network"):
        models.fit(model)


def test_an_array_cannot_be_changed_behind_the_back_of_the_model():
    points = models.X.copy()
    term = nk.Term("equation", misfit, {"x": points, "y": points})
    points += 1
    np.testing.assert_array_equal(term.points["x"], models.X)
    with pytest.raises(ValueError, match="read-only"):
        term.points["x"][0] = 2


@pytest.mark.parametrize("weighting", ["constant", "ntk"])
def test_points_are_no_part_of_the_graph(weighting):
    """Constants would be: 2 GB of them at most, and folded when a step is compiled."""
    points = np.linspace(0, 1, 5000)[:, np.newaxis]
    model = models.build([nk.Term("equation", models.slope, points)], weighting)
    step = tf.function(lambda: model.train_step(None), autograph=False).get_concrete_function()
    constants = [node for node in step.graph.as_graph_def().node if node.op == "Const"]
    largest = max(len(node.attr["value"].tensor.tensor_content) for node in constants)
    assert largest < points.size


def test_a_few_of_many_points_are_looked_at_before_training():
    rows = []

    def counted(u, points):
        rows.append(points.shape[0])
        return misfit(u, points)

    points = np.linspace(0, 1, 5000)[:, np.newaxis]
    model = models.build([nk.Term("equation", counted, points)], "ntk")
    assert max(rows) == 256
    assert exact_loss(model, "equation") == pytest.approx(
        0.5 * np.sum((model(points.astype("float32"))[:, 0] - points[:, 0] ** 2) ** 2), rel=1e-5
    )
    models.fit(model)
    rows.clear()
    models.fit(model)  # nothing is looked at twice
    assert not rows


def test_every_point_is_looked_at_for_what_is_not_finite():
    points = np.linspace(1, 2, 40_000)[:, np.newaxis]
    points[39_001] = 0

    def divides(u, p):
        return u(p)[:, 0] / p[:, 0]

    model = models.build([nk.Term("equation", divides, points)])
    with pytest.raises(ValueError, match=r"Received nan at the point \[0\.\]"):
        models.fit(model)


def test_values_held_for_every_point_outside_the_points_still_train():
    points = np.linspace(0, 1, 1000)[:, np.newaxis]
    values = tf.constant(points[:, 0] ** 2, "float32")
    model = models.build([nk.Term("data", lambda u, p: u(p)[:, 0] - values, points)])
    reference = models.build([nk.Term("data", misfit, points)])
    expected = models.fit(reference)["loss/data"]
    assert models.fit(model)["loss/data"] == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("setting", ["averaging_rate", "bounds", "update_every", "trace_floor"])
def test_settings_that_would_be_ignored_are_refused(setting):
    model = built(nk.weighting.NTK(update_every=2))
    before = getattr(model.weighting, setting)
    with pytest.raises(AttributeError, match=f"NTK belongs to a model .* its {setting}"):
        setattr(model.weighting, setting, 0.5)
    assert getattr(model.weighting, setting) == before
    with pytest.raises(AttributeError, match="built with its seed"):
        model.seed = 2


def test_points_put_into_the_dict_of_a_term_are_trained_on():
    def residual(u, points):
        return u(points["x"])[:, 0] - points["y"][:, 0]

    model = built(residual=residual, points={"x": models.X, "y": models.X})
    models.fit(model)
    model.terms[0].points["y"] = np.full_like(models.X, 9.0)
    expected = 0.5 * np.sum((model(models.X.astype("float32"))[:, 0] - 9) ** 2)
    assert models.fit(model)["loss/equation"] == [pytest.approx(expected, rel=1e-5)]
    assert exact_loss(model, "equation") == pytest.approx(expected, rel=1e-5)


def test_a_variable_of_keras_holds_points_too():
    points = keras.Variable(models.X, trainable=False)
    model = built(points=points)
    models.fit(model)
    points.assign(FAR)
    expected = exact_loss(built(points=FAR), "equation")
    assert models.fit(model)["loss/equation"] == [pytest.approx(expected, rel=1e-5)]


def test_a_column_of_a_residual_is_not_exchanged():
    (term,) = nk.Term.columns(["a"], lambda u, x: u(x), models.X)
    with pytest.raises(AttributeError, match="column keeps its residual"):
        term.residual.residual = models.slope


def test_the_exact_kernel_is_that_of_the_points_now():
    def move(model):
        model.terms[0].points = np.concatenate([models.X, FAR])

    model = built("exact-ntk")
    history = models.fit(
        model, epochs=3, callbacks=[Change(1, move), nk.callbacks.KernelConvergence()]
    )
    assert history["convergence/traces/equation"] == pytest.approx([0, 0, 0], abs=1e-4)


def test_a_term_that_changes_ends_a_polish():
    class Later(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            self.model.terms[0].points = FAR

    with pytest.raises(RuntimeError, match="Call `polish` again"):
        nk.polish(built(), epochs=2, iterations_per_epoch=2, callbacks=[Later()], verbose=0)
