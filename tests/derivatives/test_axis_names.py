"""Columns by name: in residuals, outside of them, for all functions, with indices as before."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import ntk_keras as nk

D = nk.derivatives
BOX = nk.domains.Box(t=(0, 1), x=(-1, 1), y=(0, 2))
POINTS = tf.constant(BOX.sample(4).fixed(0))
NETWORK = nk.networks.feedforward(BOX, 2, width=5, depth=1, dtype="float64", seed=1)

BOTH = {
    "gradient of all": (lambda u, x: D.gradient(u, x, ["t", "x", "y"]), D.gradient),
    "gradient of some": (
        lambda u, x: D.gradient(u, x, ["y", "t"]),
        lambda u, x: tf.gather(D.gradient(u, x), [2, 0], axis=-1),
    ),
    "gradient of one": (lambda u, x: D.gradient(u, x, "x"), lambda u, x: D.gradient(u, x, 1)),
    "second derivatives of some": (
        lambda u, x: D.hessian_diagonal(u, x, ("x", 2)),
        lambda u, x: D.hessian_diagonal(u, x)[..., 1:],
    ),
    "partial": (
        lambda u, x: D.partial(u, x, "y", "x", "y"),
        lambda u, x: D.partial(u, x, 1, 2, 2),
    ),
    "laplacian": (
        lambda u, x: D.laplacian(u, x, axes=["x", "y"]),
        lambda u, x: D.laplacian(u, x, axes=[1, 2]),
    ),
    "biharmonic": (
        lambda u, x: D.biharmonic(u, x, ["y", "x"]),
        lambda u, x: D.biharmonic(u, x, [1, 2]),
    ),
    "divergence": (
        lambda u, x: D.divergence(u, x, ["x", "y"]),
        lambda u, x: D.divergence(u, x, np.array([1, 2])),
    ),
    "second order": (
        lambda u, x: D.second_order(u, x, {"y": -2.0, "t": 1}),
        lambda u, x: D.second_order(u, x, [1, 0, -2.0]),
    ),
    "second order with tensors": (
        lambda u, x: D.second_order(u, x, {"x": x[:, 0], 0: tf.constant(3.0)}),
        lambda u, x: D.second_order(u, x, [tf.constant(3.0), x[:, 0], 0]),
    ),
}


@pytest.mark.parametrize("mode", ["taylor", "tapes"])
@pytest.mark.parametrize("case", BOTH)
def test_names_give_what_indices_give(case, mode):
    by_name, by_index = BOTH[case]
    u = D.NetworkView(NETWORK, mode, axes=BOX.axes)
    np.testing.assert_allclose(by_name(u, POINTS), by_index(u, POINTS), rtol=1e-11)
    # A plain network knows no names, and its numbers are the same.
    np.testing.assert_allclose(by_index(NETWORK, POINTS), by_name(u, POINTS), atol=1e-12)


def test_an_output_of_several_has_the_names_too():
    points = keras.Input((3,), dtype="float64")
    u = D.NetworkView(keras.Model(points, {"u": NETWORK(points)}), axes=BOX.axes)
    found = D.partial(u["u"], POINTS, "y")
    np.testing.assert_array_equal(found, D.partial(u["u"], POINTS, 2))


def heat(u, x):
    return (D.partial(u, x, "t") - D.laplacian(u, x, ["x", "y"]))[:, 0]


def heat_by_index(u, x):
    return (D.partial(u, x, 0) - D.laplacian(u, x, [1, 2]))[:, 0]


def flux(u, x):
    """A function of one's own in a residual, inside a tf.function of one's own."""

    def squared(at):
        return u(at) ** 2

    return tf.function(lambda at: D.partial(squared, at, "y"))(x)[:, 0]


def flux_by_index(u, x):
    return D.partial(lambda at: u(at) ** 2, x, 2)[:, 0]


def periodic(u, pair):
    return (D.partial(u, pair[0], "x") - D.partial(u, pair[1], "x"))[:, 0]


def periodic_by_index(u, pair):
    return (D.partial(u, pair[0], 1) - D.partial(u, pair[1], 1))[:, 0]


def test_points_drawn_from_a_box_have_its_names():
    samplers = {"heat": BOX.interior(4), "flux": BOX.boundary(6), "periodic": BOX.periodic("x", 3)}
    residuals = {"heat": heat, "flux": flux, "periodic": periodic}
    terms = [nk.Term(name, residuals[name], at) for name, at in samplers.items()]
    assert [term.axes for term in terms] == [("t", "x", "y")] * 3
    model = nk.PINNModel(NETWORK, terms, "constant", seed=0)
    points = {name: sampler.fixed(0) for name, sampler in samplers.items()}
    found = model.residuals(points)
    for name, function in (
        ("heat", heat_by_index),
        ("flux", flux_by_index),
        ("periodic", periodic_by_index),
    ):
        at = tf.nest.map_structure(tf.constant, points[name])
        np.testing.assert_allclose(found[name], function(NETWORK, at), rtol=1e-9)
    # So have functions that are evaluated on arrays.
    found = model.evaluate_function(flux, POINTS.numpy())
    np.testing.assert_allclose(found, flux_by_index(NETWORK, POINTS), rtol=1e-12)


def rows(*terms):
    """The residuals of a model's terms."""
    model = nk.PINNModel(NETWORK, terms, "constant", seed=0)
    return model.residuals({term.name: POINTS for term in terms})


def test_arrays_get_names_from_their_term_or_from_the_others():
    expected = heat_by_index(NETWORK, POINTS)
    for terms in (
        [nk.Term("a", heat, POINTS), nk.Term("b", heat, BOX.interior(2))],
        [nk.Term("a", heat, POINTS), nk.Term("b", heat, POINTS, axes=["t", "x", "y"])],
    ):
        for found in rows(*terms).values():
            np.testing.assert_allclose(found, expected, rtol=1e-9)


def test_the_names_of_a_term_go_before_those_of_its_sampler():
    term = nk.Term("a", heat, BOX.interior(2), axes=("x", "t", "y"))
    swapped = (D.partial(NETWORK, POINTS, 1) - D.laplacian(NETWORK, POINTS, [0, 2]))[:, 0]
    np.testing.assert_allclose(rows(term)["a"], swapped, rtol=1e-9)


def test_a_configuration_keeps_the_names_of_a_term():
    keras.saving.register_keras_serializable("test_axis_names")(heat)
    config = nk.Term("a", heat, POINTS, axes=BOX.axes).get_config()
    assert nk.Term.from_config(config).axes == BOX.axes
    del config["axes"]  # of an earlier version
    assert nk.Term.from_config(config).axes is None
    columns = nk.Term.columns(["a", "b"], heat, POINTS, axes=BOX.axes)
    assert [term.axes for term in columns] == [BOX.axes] * 2


def test_a_union_of_boxes_with_other_names_has_none():
    other = nk.domains.Box(t=(0, 1), x=(0, 1), z=(0, 1)).sample(2)
    assert nk.domains.UnionSampler([BOX.sample(2), other]).axes is None
    assert BOX.periodic("x", 2).axes == BOX.boundary(8).axes == BOX.axes


def test_what_a_sampler_of_ones_own_calls_axes_may_be_no_names():
    sampler = BOX.sample(2)
    for axes, names in (([0, 1], None), (2, None), (["t", "x", "y"], BOX.axes)):
        sampler.axes = axes
        assert nk.Term("a", heat, sampler).axes == names


def test_mistakes_are_refused():
    u = D.NetworkView(NETWORK, axes=BOX.axes)
    with pytest.raises(ValueError, match=r"no axis 'z'. The axes are \['t', 'x', 'y'\]"):
        D.partial(u, POINTS, "x", "z")
    with pytest.raises(ValueError, match="no axis 'xy'"):
        D.laplacian(u, POINTS, axes="xy")
    with pytest.raises(ValueError, match=r"columns of the points have no names.*axes=\(\"t\", \"x"):
        D.partial(NETWORK, POINTS, "x")
    with pytest.raises(ValueError, match="name 3 columns and the points have 2"):
        D.partial(u, POINTS[:, :2], "x")
    with pytest.raises(ValueError, match=r"one coefficient for an axis.*\['x', 1\]"):
        D.second_order(u, POINTS, {"x": 1.0, 1: 2.0})
    with pytest.raises(ValueError, match="Every axis must be an input, 0 to 2"):
        D.second_order(u, POINTS, {3: 1.0})
    with pytest.raises(ValueError, match=r"A gradient needs at least one axis. Received axes=\[\]"):
        D.gradient(u, POINTS, [])
    for names in (("t", "t"), ("t", 0), ()):
        with pytest.raises(ValueError, match="axes are the names of all columns, each once"):
            nk.Term("a", heat, POINTS, axes=names)
    term = nk.Term("a", heat, POINTS)
    with pytest.raises(ValueError, match="Term 'a'.*'t' is given by name, but the columns"):
        nk.PINNModel(NETWORK, [term])
