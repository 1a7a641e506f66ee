"""A gradient that is NaN at a finite residual: the message names the term and the point."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import ntk_keras as nk
from ntk_keras.domains.moving import WeightedPoints
from tests.support.models import START, X, build, fit, network, slope, value

BOX = nk.domains.Box(x=(0, 1))


def root_at_the_left(u, x):
    """1 + sqrt(x u^2) at x = 0: finite, with an infinite slope times zero."""
    return 1 + tf.sqrt(x[:, 0] * u(x)[:, 0] ** 2)


def root_of_an_unknown(u, x):
    return u(x)[:, 0] + tf.sqrt(u.unknowns["k"] - 1)


def five(residual=root_at_the_left, points=X):
    others = {"a": slope, "b": value, "c": slope, "e": value}
    terms = [nk.Term(name, other, X if name < "c" else START) for name, other in others.items()]
    return [*terms[:3], nk.Term("d", residual, points), terms[3]]


@pytest.mark.parametrize(
    ("points", "weighting"),
    [(X, "constant"), (BOX.boundary(6), "ntk")],
    ids=["fixed, constant", "drawn, ntk"],
)
def test_a_root_at_zero_among_five_terms_is_named(weighting, points):
    model = build(five(points=points), weighting, net=network(dtype="float64"))
    message = r"Step 0: the gradient of term 'd' at the point \[0\.\] became NaN or infinite"
    with pytest.raises(nk.TrainingDivergedError, match=message):
        fit(model, steps=3)


def test_a_point_is_told_without_its_importance_weight():
    term, net = nk.Term("d", root_at_the_left, X), network(dtype="float64")
    points = WeightedPoints(tf.constant(X), tf.ones(len(X), "float64"))
    blocks = {"d": nk.Block(lambda at: term.evaluate(net, at), points)}
    (text,) = nk.training.gradient_culprits.describe_bad_gradients(blocks, net.trainable_variables)
    assert text.endswith("at the point [0.]")


def test_the_unknown_is_named_by_which_it_is_infinite():
    terms = [nk.Term("a", slope, X), nk.Term("b", root_of_an_unknown, X)]
    model = build(terms, unknowns={"k": 1.0})
    with pytest.raises(nk.TrainingDivergedError, match="gradient of term 'b' by .*k at the point"):
        fit(model)


def test_where_only_the_sum_overflows_no_term_is_blamed():
    large = 3e38

    def steep(u, x):
        return large * tf.stop_gradient(tf.zeros_like(x[:, 0])) + u(x)[:, 0]

    found = nk.training.gradient_culprits.describe_bad_gradients(
        build([nk.Term("a", steep, X)]).blocks(), network().trainable_variables
    )
    assert found == []


def test_a_residual_that_fails_hides_nothing():
    model = build([nk.Term("a", value, X)])
    blocks = {"a": nk.Block(lambda points: 1 / None, tf.constant(X))}
    assert nk.training.gradient_culprits.describe_bad_gradients(blocks, model.variables) == []


def test_polishing_names_the_term_too():
    model = build(five(), net=network(dtype="float64"))
    with pytest.raises(nk.TrainingDivergedError, match=r"Not finite: the gradient of term 'd' at"):
        nk.polish(model, verbose=0)


def test_many_variables_are_not_all_listed():
    net = network()

    def residual(u, x):  # by the kernels only
        kernels = [v.value for v in net.trainable_variables if "kernel" in v.path]
        zero = tf.add_n([tf.reduce_sum(0.0 * kernel) for kernel in kernels])
        return u(x)[:, 0] + tf.sqrt(zero)

    blocks = {"a": nk.Block(lambda x: residual(net, x), tf.constant(X, tf.float32))}
    (text,) = nk.training.gradient_culprits.describe_bad_gradients(blocks, net.trainable_variables)
    assert text.count("kernel") == 3
    assert "bias" not in text
    np.testing.assert_array_equal(blocks["a"](), net(X)[:, 0])
    assert isinstance(net, keras.Sequential)


def test_points_that_are_drawn_are_drawn_again():
    """A slope that is infinite at the one point of the third step and at no other."""
    model = build([nk.Term("a", value, BOX.interior(1))], "constant")
    drawn = []
    for _ in range(3):
        drawn.append(float(model.blocks()["a"].points[0, 0]))
        fit(model)
    last = drawn[-1]

    def residual(u, x):
        return u(x)[:, 0] + tf.sqrt(tf.abs(x[:, 0] - last) * u(x)[:, 0] ** 2)

    again = build([nk.Term("a", residual, BOX.interior(1))], "constant")
    with pytest.raises(nk.TrainingDivergedError, match="Step 2: the gradient of term 'a' at"):
        fit(again, steps=5)
