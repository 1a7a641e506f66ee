"""What all adaptive weightings share: when weights may change, by how much, and whose."""

import itertools
import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from ntk_keras.weighting import WEIGHTINGS, Adaptive, Gate, PointWeighting
from tests.support.quadratic import HALVES, quadratic_model, trained
from tests.support.steps import SIZES, SQUARES, stepper, thetas

ADAPTIVE = [name for name, kind in WEIGHTINGS.items() if issubclass(kind, Adaptive)]
POINTWISE = [name for name in ADAPTIVE if issubclass(WEIGHTINGS[name], PointWeighting)]


def make(name, **rules):
    """A strategy by its name, with an update at every step unless the rules say otherwise."""
    samples = {"num_initial_probes": 2} if name == "ntk" else {}
    return WEIGHTINGS[name](**{"update_every": 1, **samples, **rules})


class Script:
    """Proposes the rows of a table, one at each update."""

    def __init__(self, table, **rules):
        super().__init__(**rules)
        self.table = np.asarray(table)

    def build_state(self, sizes):
        super().build_state(sizes)
        self.num_proposals = self.add_state("num_proposals", [], dtype="int64")

    def measure(self, linearization, seed):
        return []

    def propose(self, measured, seed):
        row = tf.gather(tf.constant(self.table, self.state_dtype), self.num_proposals.value)
        self.num_proposals.assign_add(1)
        return row


class Scripted(Script, Adaptive):
    """A weight for every group."""


class ScriptedPoints(Script, PointWeighting):
    """A weight for every residual entry."""


def state(chosen):
    """All that a strategy knows but the time."""
    return [v.numpy().tolist() for v in chosen.state if v is not chosen.num_steps]


# When.


RULES = {
    "every step": ({}, range(12)),
    "every third": ({"update_every": 3}, [0, 3, 6, 9]),
    "from the second on": ({"start_at": 2}, range(2, 12)),
    "up to the eighth": ({"freeze_at": 8}, range(8)),
    "frozen at an update": ({"update_every": 3, "start_at": 2, "freeze_at": 8}, [2, 5]),
    "frozen after an update": ({"update_every": 3, "start_at": 2, "freeze_at": 9}, [2, 5, 8]),
}


def steps_of_change(chosen):
    """Those of twelve at which anything in a strategy changes but the time."""
    step = stepper(chosen)
    states = [state(chosen)]
    for index, theta in enumerate(thetas(12)):
        step(index, theta)
        states.append(state(chosen))
    assert int(chosen.num_steps) == 12
    return [index for index, (a, b) in enumerate(itertools.pairwise(states)) if a != b]


@pytest.mark.parametrize(("rules", "due"), RULES.values(), ids=RULES)
def test_updates_are_due_from_the_start_on_until_the_freeze(rules, due):
    assert steps_of_change(Scripted(np.arange(24.0).reshape(12, 2), **rules)) == list(due)


@pytest.mark.parametrize("name", ADAPTIVE)
def test_between_updates_and_once_frozen_a_strategy_stays_bit_for_bit(name):
    assert steps_of_change(make(name, update_every=3, start_at=2, freeze_at=9)) == [2, 5, 8]


def test_nothing_is_estimated_when_no_update_is_due(staged):
    table = 2.0 ** np.arange(24).reshape(12, 2)
    chosen = Scripted(table, update_every=3, start_at=2, freeze_at=9)
    step = stepper(chosen, staged=staged)
    weights = [step(index, theta) for index, theta in enumerate(thetas(12))]
    kept = [np.ones(2)] * 2 + [table[0]] * 3 + [table[1]] * 3 + [table[2]] * 4
    np.testing.assert_array_equal(weights, kept)
    assert int(chosen.num_proposals) == 3


def test_a_model_keeps_to_the_steps():
    model = quadratic_model("gradient-norm", HALVES)  # every tenth step by default
    weights = [record.weights.tolist() for record in trained(model, 12)]
    changed = [index + 1 for index, (a, b) in enumerate(itertools.pairwise(weights)) if a != b]
    assert changed == [10]


# From where, and how far.


@pytest.mark.parametrize("name", ADAPTIVE)
def test_until_the_first_update_initial_weights_hold(name):
    step = stepper(make(name, initial_weights={"b": 0.1}, start_at=2))
    # The paper of residual-based attention starts at zero.
    start = [0 if name == "residual-attention" else 1, 0.1]
    theta = thetas(3)
    for index in range(2):
        np.testing.assert_array_equal(step(index, theta[index]), start)
    if name not in ("softadapt", "relobralo"):  # which can compare at their second update only
        assert np.any(step(2, theta[2]) != start)


@pytest.mark.parametrize("name", POINTWISE)
def test_every_entry_starts_with_the_initial_weight_of_its_group(name):
    chosen = make(name, initial_weights={"a": 0.3, "b": 0.1})
    stepper(chosen)
    np.testing.assert_array_equal(chosen.entry_weights, [0.3, 0.3, 0.3, 0.1, 0.1])


@pytest.mark.parametrize("kind", [Scripted, ScriptedPoints])
def test_proposals_beyond_the_bounds_are_clipped(kind):
    table = np.array([[0.1, 1, 3, 7, 0.3], [-5, 0, 1e300, np.inf, 0.7]])
    columns = [0, 3] if kind is Scripted else [0, 1, 2, 3, 4]
    chosen = kind(table[:, columns], bounds=(0.3, 3.3))
    step = stepper(chosen)
    for index, row in enumerate(np.clip(table[:, columns], 0.3, 3.3)):
        step(index, thetas(2)[index])
        np.testing.assert_array_equal(chosen.current_weights(), row)


@pytest.mark.parametrize("name", ADAPTIVE)
def test_no_strategy_leaves_its_bounds(name):
    step = stepper(make(name, bounds=(0.375, 0.5)))
    weights = [step(index, theta) for index, theta in enumerate(thetas(2))]
    # A mean of equal weights may round.
    rounding = 4 * np.finfo("float64").eps
    assert np.min(weights) >= 0.375 * (1 - rounding)
    assert np.max(weights) <= 0.5 * (1 + rounding)


# Whose.


@tf.custom_gradient
def untouchable(theta):
    """A residual that is NaN and must not be differentiated."""

    def gradient(upstream):
        raise AssertionError("the gradient of an excluded term was asked for")

    return theta * np.nan, gradient


@pytest.mark.parametrize("name", ADAPTIVE)
def test_excluded_groups_keep_their_weight_cost_nothing_and_do_not_count(name):
    calls = []

    def excluded(theta):
        calls.append(theta)
        return untouchable(theta[:4])

    rules = {"initial_weights": {"b": 2.0}, "gate": Gate(10.0)}
    alone = stepper(make(name, **rules))
    rules["initial_weights"] |= {"out": 0.1}
    chosen = make(name, **rules, exclude=["out"])
    # In the middle, so that a wrong index would hit a neighbour.
    beside = stepper(chosen, {"a": SQUARES["a"], "out": excluded, "b": SQUARES["b"]})
    assert chosen.adapted == ("a", "b")
    calls.clear()
    for index, theta in enumerate(thetas(3)):
        a, out, b = beside(index, theta)
        assert out == 0.1
        np.testing.assert_array_equal([a, b], alone(index, theta))
        assert len(calls) == index + 1  # the recording that the corrector needs anyway


def test_a_single_group_may_be_excluded_by_its_bare_name():
    assert make("softadapt", exclude="out").exclude == ("out",)


# The gate.


def lambda_max(A):
    return np.max(np.linalg.eigvalsh(A))


def rule_11(Lambda_0, predicted, R, h):
    """Corollary 2, line by line: Lambda(theta_t) for t = 0, 1, ..., and the last S.

    ``predicted[t]`` is the diagonal of Lambda~(theta_{t+1}), or None where there is none, and
    ``R[t]`` is R(theta_{t+1}).
    """
    Lambda = [np.diag(Lambda_0)]

    def S(t):
        terms = [
            lambda_max(Lambda[r + 1] - Lambda[r]) * np.linalg.norm(R[r]) ** 2 for r in range(t)
        ]
        return sum(terms) if t > 0 else 0

    for t, diagonal in enumerate(predicted):
        Lambda_tilde = Lambda[t] if diagonal is None else np.diag(diagonal)
        change = lambda_max(Lambda_tilde - Lambda[t]) * np.linalg.norm(R[t]) ** 2
        Lambda.append(Lambda_tilde if S(t) + change <= h(t) else Lambda[t])
    return [np.diag(matrix) for matrix in Lambda], S(len(predicted))


GATES = {
    "default": (Gate(), np.sqrt, None),
    "constant": (Gate(20.1), np.sqrt, 20.1),
    "logarithm": (Gate(30.0, tf.math.log1p), np.log1p, 30.0),
    "slow": (Gate(growth=lambda t: 1 + t**0.25), lambda t: 1 + t**0.25, None),
}
FEW = (Gate(1.1), np.sqrt, 1.1)
NUM_STEPS = 30


@pytest.mark.parametrize("initial", [None, {"a": 2.0, "b": 0.5}], ids=["free", "from initial"])
@pytest.mark.parametrize("kind", [Scripted, ScriptedPoints])
@pytest.mark.parametrize("gate", GATES.values(), ids=GATES)
def test_the_gate_is_rule_11(gate, kind, initial):
    check_gate(gate, kind, initial, {})


def test_an_excluded_group_that_has_a_weight_gives_the_gate_nothing_to_judge():
    table = 1.0 + np.arange(12.0).reshape(12, 1)
    chosen = Scripted(table, gate=Gate(), initial_weights={"b": 9.0}, exclude="b")
    step = stepper(chosen)
    np.testing.assert_array_equal(step(0, np.ones(5)), [1, 9])
    assert (int(chosen.gate_accepted), int(chosen.gate_rejected)) == (1, 0)


@pytest.mark.parametrize("initial", [None, {"a": 2.0, "b": 0.5}], ids=["free", "from initial"])
def test_the_gate_counts_steps_and_not_updates(initial):
    check_gate(FEW, Scripted, initial, {"update_every": 3, "start_at": 4})


def test_the_gate_is_rule_11_in_a_graph_and_under_xla(staged):
    check_gate(FEW, Scripted, None, {"update_every": 2}, staged)


def check_gate(gate, kind, initial, rules, staged=lambda function: function):
    gate, growth, constant = gate
    repeats = SIZES if kind is Scripted else np.ones(5, int)
    table = np.exp(np.random.default_rng(3).normal(size=(NUM_STEPS, len(repeats))))
    theta = thetas(NUM_STEPS) * np.linspace(1, 0.5, NUM_STEPS)[:, np.newaxis]
    chosen = kind(table, gate=gate, initial_weights=initial, **rules)
    step = stepper(chosen, staged=staged)
    present = []
    for index in range(NUM_STEPS):
        step(index, theta[index])
        present.append(np.repeat(chosen.current_weights(), repeats))

    # Time begins with the first update, or after it where nothing is there to judge it by.
    start, every = rules.get("start_at", 0), rules.get("update_every", 1)
    proposals = iter(np.repeat(table, repeats, axis=1))
    predicted = [None if t % every else next(proposals) for t in range(NUM_STEPS - start)]
    R = theta[start:] ** 2
    c = np.sum(R[0] ** 2) if constant is None else constant
    if initial is None:
        Lambda, S = rule_11(predicted[0], predicted[1:], R[1:], lambda t: c * growth(t))
    else:
        Lambda_0 = np.repeat(list(initial.values()), SIZES)
        Lambda, S = rule_11(Lambda_0, predicted, R, lambda t: c * growth(t))
        Lambda = Lambda[1:]

    np.testing.assert_array_equal(present[start:], Lambda)
    # The eigenvalues of a diagonal matrix are exact; a sum of 30 changes is left.
    assert float(chosen.gate_sum) == pytest.approx(S, rel=1e-12)
    accepted = {tuple(diagonal) for diagonal in Lambda} - {tuple(Lambda_0) if initial else ()}
    assert int(chosen.gate_accepted) == len(accepted) >= 3
    assert int(chosen.gate_rejected) == sum(p is not None for p in predicted) - len(accepted) >= 3


def test_a_fall_of_all_weights_makes_room_for_a_later_rise():
    table = [[4, 4], [1, 2], [2, 3], [1, 9]]
    chosen = Scripted(table, gate=Gate(1.0, lambda t: 0 * t))
    step = stepper(chosen)
    weights = [step(index, np.ones(5)).tolist() for index in range(4)]
    # ||R||^2 = 5: S falls by 2 x 5, rises by 1 x 5, and may not rise by 6 x 5.
    assert weights == [[4, 4], [1, 2], [2, 3], [2, 3]]
    assert float(chosen.gate_sum) == -5


@pytest.mark.parametrize("constant", [1e-300, 1e300])
def test_a_gate_at_its_limits_refuses_all_or_nothing(constant):
    table = np.arange(2.0, 22.0).reshape(10, 2)
    chosen = Scripted(table, gate=Gate(constant, lambda t: t**0), initial_weights={"a": 1.5})
    step = stepper(chosen)
    weights = [step(index, theta) for index, theta in enumerate(thetas(10))]
    refused = constant < 1
    np.testing.assert_array_equal(weights, [[1.5, 1]] * 10 if refused else table)
    assert int(chosen.gate_rejected) == 10 * refused
    assert int(chosen.gate_accepted) == 10 * (not refused)


@pytest.mark.parametrize("name", ADAPTIVE)
def test_an_open_gate_changes_nothing(name):
    gated = stepper(make(name, gate=Gate(1e300, lambda t: t**0)))
    free = stepper(make(name))
    for index, theta in enumerate(thetas(2)):
        np.testing.assert_array_equal(gated(index, theta), free(index, theta))


def gated_model():
    table = np.exp(np.random.default_rng(0).normal(size=(9, 2)))
    return quadratic_model(Scripted(table, gate=Gate()), HALVES)


def gate_state(model):
    names = ("gate_sum", "gate_accepted", "gate_rejected", "gate_constant")
    return [float(getattr(model.weighting, name)) for name in names]


def test_the_state_of_a_gate_is_saved_with_the_model_and_logged(tmp_path):
    whole, resumed = gated_model(), gated_model()
    trained(whole, 5)
    whole.save_weights(tmp_path / "5.weights.h5")
    saved = gate_state(whole)
    logs = whole.fit(steps_per_epoch=4, verbose=0).history
    resumed.load_weights(tmp_path / "5.weights.h5")
    assert gate_state(resumed) == saved
    trained(resumed, 4)
    assert gate_state(resumed) == gate_state(whole) != saved
    assert resumed.loss_weights == whole.loss_weights
    assert min(saved) > 0, "each of them must matter here"

    logged = [logs[f"gate/{name}"][0] for name in ("sum", "accepted", "rejected")]
    # Logs may pass through float32.
    assert logged == pytest.approx(gate_state(whole)[:3], rel=1e-6)
    assert logged[1] + logged[2] == 9
    assert {"weights/a", "weights/b"} <= logs.keys()


def test_without_a_gate_nothing_of_one_is_logged():
    chosen = make("softadapt")
    stepper(chosen)
    assert set(chosen.logs()) == {"weights/a", "weights/b"}


# Configurations.


@keras.saving.register_keras_serializable("test_rules")
def cube_root(time):
    return time ** (1 / 3)


ARGUMENTS = {
    "ntk": {"averaging_rate": 0.5, "estimator": "reverse", "num_probes": 2},
    "exact-ntk": {"averaging_rate": 0.5},
    "gradient-norm": {"averaging_rate": 0.5, "reference": "b"},
    "softadapt": {"temperature": -0.2, "normalized": False, "loss_weighted": True},
    "relobralo": {"temperature": 0.2, "decay": 0.5, "memory": 0.75},
    "uncertainty": {"optimizer": keras.optimizers.SGD(0.25, momentum=0.5)},
    "self-adaptive": {"optimizer": keras.optimizers.SGD(0.25), "exponent": 3.0},
    "residual-attention": {"decay": 0.5, "rate": 0.25},
}
GIVEN = {
    "update_every": 3,
    "initial_weights": {"a": 2.0},
    "bounds": (0.25, 8.0),
    "exclude": ("c",),
    "start_at": 2,
    "freeze_at": 50,
}


@pytest.mark.parametrize("gate", [None, Gate(), Gate(0.1, cube_root)])
@pytest.mark.parametrize("name", ADAPTIVE)
def test_a_configuration_gives_the_same_strategy(name, gate):
    chosen = WEIGHTINGS[name](**ARGUMENTS[name], **GIVEN, gate=gate)
    config = chosen.get_config()
    assert config | GIVEN == config
    assert ARGUMENTS[name].keys() <= config.keys()
    stored = json.loads(json.dumps(keras.saving.serialize_keras_object(chosen)))
    for again in (type(chosen).from_config(config), keras.saving.deserialize_keras_object(stored)):
        assert type(again) is type(chosen)
        assert again.get_config() == chosen.get_config()
        assert again.gate == gate
        given = {key: getattr(again, key) for key in GIVEN}
        assert given == GIVEN


# What is refused.


NAN, INF = float("nan"), float("inf")
BAD_RULES = [
    ({"update_every": 0}, "update_every must be an integer of at least 1. Received 0"),
    ({"update_every": 2.5}, "update_every must .* Received 2.5"),
    ({"start_at": -1}, "start_at must be an integer of at least 0. Received -1"),
    ({"freeze_at": 0}, "freeze_at must be an integer of at least 1. Received 0"),
    ({"start_at": 3, "freeze_at": 3}, "freeze_at must come after start_at=3.*freeze_at=3"),
    ({"bounds": (2, 1)}, r"0 <= smallest < largest. Received bounds=\(2, 1\)"),
    ({"bounds": (1, 1)}, r"bounds=\(1, 1\)"),
    ({"bounds": (-1, 1)}, r"bounds=\(-1, 1\)"),
    ({"bounds": (0, NAN)}, r"bounds=\(0, nan\)"),
    ({"bounds": (1,)}, r"bounds must be two numbers.*\(1,\)"),
    ({"bounds": (1, 2, 3)}, r"bounds must be two numbers.*\(1, 2, 3\)"),
    ({"initial_weights": {"a": -1.0}}, "Received -1.0 for group 'a'"),
    ({"initial_weights": {"a": NAN}}, "Received nan for group 'a'"),
    ({"initial_weights": {"a": INF}}, "Received inf for group 'a'"),
]


@pytest.mark.parametrize(("rules", "message"), BAD_RULES)
@pytest.mark.parametrize("name", ADAPTIVE)
def test_rules_out_of_range_are_refused(name, rules, message):
    with pytest.raises(ValueError, match=message):
        WEIGHTINGS[name](**rules)


@pytest.mark.parametrize("gate", [0.5, True, Gate])
def test_a_gate_is_an_object(gate):
    with pytest.raises(TypeError, match=r"as in gate=Gate\(\), or None. Received"):
        make("softadapt", gate=gate)


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ({"exclude": ["c"]}, r"no term belongs to: \['c'\]. The groups are \['a', 'b'\]"),
        ({"initial_weights": {"c": 1}}, r"no term belongs to: \['c'\]"),
        ({"exclude": ["a", "b"]}, r"All groups, \['a', 'b'\], are excluded.*Constant"),
    ],
)
@pytest.mark.parametrize("name", ADAPTIVE)
def test_groups_that_do_not_fit_the_model_are_refused(name, rules, message):
    with pytest.raises(ValueError, match=message):
        stepper(make(name, **rules))


@pytest.mark.parametrize("constant", [0, -1.0, NAN, INF])
def test_the_constant_of_a_gate_is_positive_and_finite(constant):
    with pytest.raises(ValueError, match=f"positive and finite.*constant={constant}"):
        Gate(constant)


@pytest.mark.parametrize(
    ("growth", "message"),
    {
        "negative": (lambda t: t**0.5 - 1, "never negative"),
        "falling": (lambda t: 1 / (1 + t), "never falling"),
        "falling late": (lambda t: tf.minimum(t, 2e6 - t), "never negative and never falling"),
        "infinite": (lambda t: 1 / t, "must be finite"),
        "NaN": (lambda t: t * NAN, "must be finite"),
        "linear": (lambda t: t / 3, "slower than linear.*1000000.0: 333333"),
        "steeper": (lambda t: t**1.5, "slower than linear"),
        "linear and more": (lambda t: 2 * t + 1, "slower than linear"),
        "linear with a root": (lambda t: t + t**0.5, "slower than linear"),
    }.values(),
)
def test_a_growth_that_breaks_corollary_2_is_refused(growth, message):
    with pytest.raises(ValueError, match=message):
        Gate(growth=growth)


@pytest.mark.parametrize("exponent", [0, 0.25, 0.999])
def test_any_power_below_one_may_be_the_growth(exponent):
    gate = Gate(growth=lambda t: t**exponent)
    bound = gate.bound(tf.constant(16), tf.constant(3.0, tf.float64))
    assert float(bound) == pytest.approx(3 * 16**exponent, rel=1e-14)


@pytest.mark.parametrize("growth", [0.5, "sqrt", None])
def test_a_growth_is_a_function(growth):
    with pytest.raises(TypeError, match="growth must be a function of the number of steps"):
        Gate(growth=growth)
