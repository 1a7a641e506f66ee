"""The rivals of the kernel's weights: their papers' formulas, and whole runs of every strategy."""

import types

import keras
import numpy as np
import pytest
import tensorflow as tf

import ntk_keras as nk
from ntk_keras.backend import seeds
from ntk_keras.weighting import (
    WEIGHTINGS,
    GradientNorm,
    PointWeighting,
    ReLoBRaLo,
    ResidualAttention,
    SelfAdaptive,
    SoftAdapt,
    Uncertainty,
)
from tests.support import transcription
from tests.support import transcription_rivals as paper
from tests.support.models import Disturbance, X, assert_same, build, fit, state, value
from tests.support.quadratic import (
    LEARNING_RATE,
    SEED,
    THETA,
    THIRDS,
    SquaredParameters,
    indices,
    misfit,
)
from tests.support.steps import stepper, thetas

# Few samples may well make a trace negative, of which the model warns.
pytestmark = pytest.mark.filterwarnings("ignore:The kernel trace of:UserWarning")

POINTWISE = [SelfAdaptive, ResidualAttention]
NUM_STEPS = 6
# Sums of few powers of two: Keras rounds what optimizers are told to float32.
RATE = 2.0**-7
BETAS = {"beta_1": 1 - 2.0**-3, "beta_2": 1 - 2.0**-10, "epsilon": 2.0**-24}
# Sums over 50 entries in another order, some steps of a well-conditioned recursion, and the powers
# and roots of Adam: a few hundred roundings of 2^-53.
ROUNDING = 1e-12


# Formulas, step by step, on the regression of Section 5.2.1 in three terms: the first and the last
# make up the group D, the second is the group B.


class Problem:
    """The residuals of the regression, scaled by the convention, and what papers make of them."""

    def __init__(self, reduction):
        R, grad_R = transcription.quadratic_predictor(*transcription.quadratic_data())
        self.terms = [indices(part) for part in THIRDS]
        self.groups = [np.concatenate([self.terms[0], self.terms[2]]), self.terms[1]]
        self.scale = np.ones(50)
        if reduction == "mean":
            for term in self.terms:
                self.scale[term] = 1 / np.sqrt(len(term))
        self.R = lambda theta: self.scale * R(theta)
        self.grad_R = lambda theta: self.scale * grad_R(theta)

    def losses(self, theta):
        return np.array([np.sum(self.R(theta)[group] ** 2) / 2 for group in self.groups])

    def gradients(self, theta):
        return [self.grad_R(theta)[:, group] @ self.R(theta)[group] for group in self.groups]

    def mean_squares(self, theta):
        """Of the residuals themselves, under either convention."""
        residuals = self.R(theta) / self.scale
        return np.array([np.mean(residuals[group] ** 2) for group in self.groups])

    def by_entry(self, lambdas):
        weights = np.empty(50)
        for group, weight in zip(self.groups, lambdas, strict=True):
            weights[group] = weight
        return weights


class Rival:
    """A strategy as its paper has it; ``weights`` takes theta to the weight of every entry."""

    def __init__(self, problem):
        self.problem = problem
        self.lambdas = np.ones(2)
        self.losses = []  # of all steps

    def weights(self, theta, rho):
        self.losses.append(self.problem.losses(theta))
        self.lambdas = self.update(theta, rho)
        return self.problem.by_entry(self.lambdas)


def annealing_paper(alpha, r):
    class AnnealingPaper(Rival):
        def update(self, theta, rho):
            gradients = self.problem.gradients(theta)
            return paper.learning_rate_annealing(self.lambdas, gradients, alpha, r)

    return AnnealingPaper


def softadapt_paper(*arguments):
    class SoftAdaptPaper(Rival):
        def update(self, theta, rho):
            if len(self.losses) == 1:
                return self.lambdas
            return paper.softadapt(*self.losses[:-3:-1], *arguments)

    return SoftAdaptPaper


class ReLoBRaLoPaper(Rival):
    def update(self, theta, rho):
        if len(self.losses) == 1:
            return self.lambdas
        now, before = self.losses[:-3:-1]
        return paper.relobralo(self.lambdas, now, before, self.losses[0], 0.5, 0.75, rho)


class UncertaintyPaper(Rival):
    """Adam descends s, which starts at zero, that is at weights of one."""

    def __init__(self, problem):
        super().__init__(problem)
        self.s = np.zeros(2)
        self.optimizer = paper.Adam(RATE, **BETAS)

    def update(self, theta, rho):
        mean_squares = self.problem.mean_squares(theta)
        gradient = paper.derivative(
            lambda s: paper.negative_log_likelihood(s, mean_squares), self.s
        )
        self.s = self.optimizer.step(self.s, gradient)
        return 1 / np.exp(self.s)


class PointRival(Rival):
    """A strategy with a weight for every entry."""

    def weights(self, theta, rho):
        weights = self.update_points(self.problem.R(theta))
        self.lambdas = [np.mean(weights[group]) for group in self.problem.groups]
        return weights


def self_adaptive_paper(optimizer, q):
    class SelfAdaptivePaper(PointRival):
        """An optimizer ascends the masks, so it descends the negative of the loss."""

        def __init__(self, problem):
            super().__init__(problem)
            self.masks = np.ones(50)
            self.optimizer = optimizer()

        def update_points(self, r):
            gradient = paper.derivative(lambda masks: paper.masked_loss(masks, r, q), self.masks)
            self.masks = self.optimizer.step(self.masks, -gradient)
            return self.masks**q

    return SelfAdaptivePaper


class AttentionPaper(PointRival):
    """The loss of the paper is the sum of (lambda_i r_i)^2, so a weight is a square."""

    def __init__(self, problem):
        super().__init__(problem)
        self.attention = np.zeros(50)

    def update_points(self, r):
        for term in self.problem.terms:
            self.attention[term] = paper.attention(self.attention[term], r[term], 0.75, 0.25)
        return self.attention**2


RIVALS = {
    "gradient norm": (
        lambda: GradientNorm(averaging_rate=0.25, update_every=1),
        annealing_paper(0.25, 0),
    ),
    "gradient norm beside B": (
        lambda: GradientNorm("B", averaging_rate=1.0, update_every=1),
        annealing_paper(1.0, 1),
    ),
    "SoftAdapt": (
        lambda: SoftAdapt(0.1, normalized=False),
        softadapt_paper(0.1, False, False),
    ),
    "SoftAdapt, normalized": (
        lambda: SoftAdapt(-2.0),
        softadapt_paper(-2.0, True, False),
    ),
    "SoftAdapt, loss-weighted": (
        lambda: SoftAdapt(0.5, loss_weighted=True),
        softadapt_paper(0.5, True, True),
    ),
    "ReLoBRaLo": (lambda: ReLoBRaLo(0.5, decay=0.75, memory=0.5), ReLoBRaLoPaper),
    "uncertainty": (lambda: Uncertainty(keras.optimizers.Adam(RATE, **BETAS)), UncertaintyPaper),
    "self-adaptive, Adam": (
        lambda: SelfAdaptive(keras.optimizers.Adam(RATE, **BETAS)),
        self_adaptive_paper(lambda: paper.Adam(RATE, **BETAS), 2),
    ),
    "self-adaptive, cubes by plain ascent": (
        lambda: SelfAdaptive(keras.optimizers.SGD(RATE / 32), exponent=3),
        self_adaptive_paper(lambda: paper.Descent(RATE / 32), 3),
    ),
    "attention": (lambda: ResidualAttention(decay=0.75, rate=0.25), AttentionPaper),
}


def regression(chosen, reduction, jit_compile):
    x, y = transcription.quadratic_data()
    terms = [
        nk.Term(name, misfit, (x[part], y[part]), group=group)
        for name, part, group in zip("abc", THIRDS, "DBD", strict=True)
    ]
    network = SquaredParameters(dtype="float64")
    model = nk.PINNModel(network, terms, chosen, reduction=reduction, seed=SEED)
    model.compile(keras.optimizers.SGD(LEARNING_RATE), jit_compile=jit_compile)
    return model


def lookbacks(jit_compile):
    """rho of every step: one with probability 1/2, from the seed that the model hands on.

    XLA draws other numbers than TensorFlow does.
    """

    @tf.function(jit_compile=jit_compile)
    def draw(step):
        seed = seeds.fold_in(tf.stack([SEED, step]), 0)
        return tf.random.stateless_uniform([], seed, alg="philox") < 0.5

    return [int(draw(step)) for step in tf.range(NUM_STEPS)]


# The other convention once for each strategy, and XLA with what it may compile otherwise: random
# numbers, reverse passes, an optimizer.
CASES = [
    *((name, "sum", False) for name in RIVALS),
    *((name, "mean", False) for name in ("SoftAdapt", "uncertainty", "attention")),
    *((name, "mean", True) for name in ("ReLoBRaLo", "gradient norm", "self-adaptive, Adam")),
]


@pytest.mark.parametrize(("name", "reduction", "jit_compile"), CASES)
def test_training_is_the_papers_step_by_step(name, reduction, jit_compile):
    chosen, rival = RIVALS[name]
    chosen, problem = chosen(), Problem(reduction)
    rival = rival(problem)
    model = regression(chosen, reduction, jit_compile)
    theta = THETA
    for rho in lookbacks(jit_compile):
        model.train_on_batch(np.zeros(()))  # of no use: the terms have their points
        weights = rival.weights(theta, rho)
        theta = theta - LEARNING_RATE * problem.grad_R(theta) @ (weights * problem.R(theta))
        np.testing.assert_allclose(chosen.loss_weights, rival.lambdas, rtol=ROUNDING)
        if isinstance(chosen, PointWeighting):
            entries = np.concatenate([weights[term] for term in problem.terms])
            np.testing.assert_allclose(chosen.entry_weights, entries, rtol=ROUNDING)
        np.testing.assert_allclose(model.trainable_variables[0], theta, rtol=ROUNDING)


@pytest.mark.parametrize("jit_compile", [False, True])
def test_both_outcomes_of_the_lookback_occur_in_the_comparison(jit_compile):
    # The first step has nothing to look back to.
    assert set(lookbacks(jit_compile)[1:]) == {0, 1}


def test_a_group_that_no_parameter_moves_keeps_its_weight():
    chosen = GradientNorm(averaging_rate=0.5, update_every=1, initial_weights={"b": 3.0})
    step = stepper(chosen, {"a": tf.square, "b": lambda theta: 0 * theta + 1})
    for index, theta in enumerate(thetas(3)):
        assert step(index, theta).tolist() == [1, 3]


def test_at_rest_the_weight_is_the_inverse_mean_square():
    # From nearby: far below rest, a step of plain descent throws the weight out of sight.
    start = {"a": 0.03, "b": 0.003}
    step = stepper(Uncertainty(keras.optimizers.SGD(1.0), initial_weights=start))
    for index in range(60):
        weights = step(index, np.arange(1.0, 6.0))
    # A step halves the distance from rest: 2^-60 of it is left, less than rounding.
    mean_squares = [np.mean([1, 2**4, 3**4]), np.mean([4**4, 5**4])]
    np.testing.assert_allclose(weights, 1 / np.array(mean_squares), rtol=1e-14)


# Whole runs of every strategy, on two terms.


def arguments(name):
    """Updates at every step, and moves that a few steps show."""
    return {
        "ntk": {"num_initial_probes": 2, "averaging_rate": 0.5},
        "gradient-norm": {"update_every": 1, "averaging_rate": 0.5},
        "uncertainty": {"optimizer": keras.optimizers.Adam(0.01)},
        "self-adaptive": {"optimizer": keras.optimizers.Adam(0.01)},
    }.get(name, {})


def curve(u, points):
    return value(u, points) - tf.sin(3 * points[:, 0])


class Run:
    """A model whose second term can be spoilt, and how often Python has traced that term."""

    def __init__(self, name):
        self.fault = Disturbance(0, residual=np.nan)
        self.num_traces = 0
        terms = [nk.Term("equation", curve, X), nk.Term("start", self.residual, X[:1])]
        self.chosen = WEIGHTINGS[name](**arguments(name))
        self.model = build(terms, self.chosen, optimizer=keras.optimizers.Adam(0.01))
        own = getattr(self.chosen, "optimizer", None)
        self.variables = [*self.chosen.variables, *(own.variables if own else [])]

    def residual(self, u, points):
        self.num_traces += tf.inside_function()
        return self.fault.residual(u, points)

    def state(self):
        """Everything, the variables of a weighting's own optimizer too."""
        return state(self.model) | {"weighting": [v.numpy() for v in self.variables]}


@pytest.fixture(scope="module", params=WEIGHTINGS)
def run(request, tmp_path_factory):
    """2 steps, a checkpoint, 3 steps, twice; a step that fails, and 200 more in epochs of 20.

    What the checkpoint lacks shows in the same model, because all of the state moves in 3 steps.
    """
    file = tmp_path_factory.mktemp("run") / "2.weights.h5"
    whole = Run(request.param)
    initial = whole.state()
    fit(whole.model, steps=2)
    whole.model.save_weights(file)
    fit(whole.model, steps=3)
    before = whole.state()
    num_traces = whole.num_traces

    whole.model.load_weights(file)
    fit(whole.model, steps=3)
    resumed = whole.state()

    with pytest.raises(nk.TrainingDivergedError, match="'start'"):
        fit(whole.model, callbacks=[whole.fault])
    failed = whole.state()
    history = fit(whole.model, epochs=10, steps=20, callbacks=[whole.fault])
    return types.SimpleNamespace(
        kind=request.param,
        groups=whole.chosen.groups,
        names=[variable.name for variable in whole.variables],
        initial=initial,
        before=before,
        resumed=resumed,
        failed=failed,
        history=history,
        traces=(num_traces, whole.num_traces),
    )


def test_every_part_of_a_strategys_state_moves_in_five_steps(run):
    """Otherwise it would prove nothing that the state is saved, or left alone."""
    staying = {"learning_rate", "num_rejected"}
    if run.names == ["loss_weights"]:  # those of constant weights
        staying.add("loss_weights")
    pairs = zip(run.names, run.initial["weighting"], run.before["weighting"], strict=True)
    assert {name for name, a, b in pairs if np.array_equal(a, b)} <= staying


def test_a_run_resumed_from_its_checkpoint_is_the_whole_run_bit_for_bit(run):
    assert_same(run.resumed, run.before)


def test_a_step_that_is_not_finite_leaves_everything_as_it_was(run):
    assert_same(run.failed, run.before)


def test_the_step_is_traced_once_for_all_weights(run):
    assert 0 < run.traces[0] == run.traces[1]


def test_two_hundred_steps_leave_finite_weights_and_smaller_residuals(run):
    weights = np.array([run.history[f"weights/{name}"] for name in run.groups])
    assert np.all(np.isfinite(weights))
    assert np.all(weights > 0)
    # The residuals without weights: some strategies raise their weights as they go.
    losses = np.sum([run.history[f"loss/{name}"] for name in run.groups], axis=0)
    if run.kind == "gradient-norm":  # whose weights leap to 1e7 here, so that rounding decides
        assert np.min(losses) < losses[0]
    else:
        assert losses[-1] < 0.5 * losses[0]


# Weights point by point.


@pytest.mark.parametrize("kind", POINTWISE)
def test_at_other_points_the_mean_weight_of_the_group_counts(kind):
    model = build(weighting=kind())
    model.weighting.adopt(tf.constant([1.0, 2, 3, 4, 5, 9, 7, 1]))  # of 6 points and of 2
    assert model.loss_weights == {"equation": 4.0, "start": 4.0}
    values = model.evaluate({"equation": X[:4]}, verbose=0, return_dict=True)
    start = model.blocks()["start"]().numpy()
    expected = 4 * values["loss/equation"] + np.sum([7, 1] * start**2) / 2
    # Keras averages logs in float32.
    assert values["loss"] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("points", [nk.domains.Box(x=(0, 1)).interior(5), None])
@pytest.mark.parametrize("kind", POINTWISE)
def test_points_that_change_have_no_weights_of_their_own(kind, points):
    terms = [nk.Term("fixed", value, X), nk.Term("changing", value, points)]
    with pytest.raises(ValueError, match=r"for every point.*\['changing'\].*sampler\.fixed\(seed"):
        nk.PINNModel(build().network, terms, kind())


def test_points_of_an_excluded_group_may_change():
    terms = [nk.Term("fixed", value, X), nk.Term("changing", value)]
    model = build(terms, SelfAdaptive(exclude="changing", initial_weights={"changing": 2.0}))
    # The last batch is smaller, so that the graph knows no size.
    batches = tf.data.Dataset.from_tensor_slices({"changing": X.astype("float32")}).batch(4)
    model.fit(batches, verbose=0)
    assert model.loss_weights["changing"] == 2


@pytest.mark.parametrize("kind", POINTWISE)
def test_training_on_another_number_of_points_is_refused(kind):
    with pytest.raises(ValueError, match=r"6 residual entries of term 'equation'. Received 4"):
        fit(build(weighting=kind()), {"equation": X[:4]})


# Arguments.


NAN = float("nan")


@pytest.mark.parametrize(
    ("kind", "given", "message"),
    [
        (GradientNorm, {"averaging_rate": 0}, r"averaging_rate must lie in \(0, 1\].*=0"),
        (GradientNorm, {"averaging_rate": 1.5}, "averaging_rate=1.5"),
        (GradientNorm, {"averaging_rate": NAN}, "averaging_rate=nan"),
        (ReLoBRaLo, {"temperature": 0}, "temperature must be positive.*temperature=0"),
        (ReLoBRaLo, {"temperature": NAN}, "temperature=nan"),
        (ReLoBRaLo, {"decay": -0.1}, r"decay must lie in \[0, 1\].*decay=-0.1"),
        (ReLoBRaLo, {"memory": 1.1}, r"memory must lie in \[0, 1\].*memory=1.1"),
        (Uncertainty, {"optimizer": "foo"}, "foo"),
        (SelfAdaptive, {"optimizer": "foo"}, "foo"),
        (SelfAdaptive, {"exponent": 0}, "exponent must be positive.*exponent=0"),
        (SelfAdaptive, {"exponent": NAN}, "exponent=nan"),
        (ResidualAttention, {"decay": 1}, r"decay must lie in \[0, 1\).*decay=1"),
        (ResidualAttention, {"decay": -0.5}, "decay=-0.5"),
        (ResidualAttention, {"rate": 0}, "rate must be positive.*rate=0"),
        (ResidualAttention, {"rate": NAN}, "rate=nan"),
    ],
)
def test_an_argument_out_of_range_is_named_with_its_value(kind, given, message):
    with pytest.raises(ValueError, match=message):
        kind(**given)


@pytest.mark.parametrize("given", [{"reference": "c"}, {"reference": "start", "exclude": "start"}])
def test_the_reference_is_a_group_that_is_adapted(given):
    groups = r"\['equation'\]" if "exclude" in given else r"\['equation', 'start'\]"
    with pytest.raises(ValueError, match=f"one of the groups {groups}.*'{given['reference']}'"):
        build(weighting=GradientNorm(**given))
