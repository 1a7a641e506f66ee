import keras
import numpy as np
import pytest
import tensorflow as tf

from ntk_keras import Term
from ntk_keras.domains import Box
from ntk_keras.training.points import check_points, points_by_term
from ntk_keras.training.residual_errors import check_residual
from ntk_keras.training.terms import check_terms, mean_scale

POINTS = np.arange(6.0).reshape(3, 2)
SEED = tf.constant([1, 2])


def residual(u, points):
    return u(points)[:, 0]


def term(name="a", points=POINTS, **options):
    return Term(name, residual, points, **options)


# Construction.


def test_a_term_is_a_group_of_its_own_unless_told():
    assert term("wall").group == "wall"
    assert term("wall", group="boundary").group == "boundary"


def test_a_term_prints_its_name_and_group():
    assert repr(term("wall", group="boundary")) == "Term('wall', group='boundary')"


@pytest.mark.parametrize("name", ["", "a/b", None, 3])
def test_a_name_must_be_fit_for_tensorboard(name):
    with pytest.raises(ValueError, match=f"hold no slash.*Received {name!r}"):
        term(name)


@pytest.mark.parametrize("group", ["", "a/b", 3])
def test_a_group_must_be_fit_for_tensorboard(group):
    with pytest.raises(ValueError, match=f"hold no slash.*Received {group!r}"):
        term(group=group)


def test_a_residual_must_be_callable():
    with pytest.raises(TypeError, match=r"Term 'a': residual must be callable.*Received 'u_t'"):
        Term("a", "u_t", POINTS)


@pytest.mark.parametrize(
    ("points", "redrawn"), [(POINTS, False), (None, True), (Box(x=(0, 1)).sample(3), True)]
)
def test_a_term_knows_whether_its_points_change(points, redrawn):
    assert term(points=points).redrawn is redrawn


# Points.


def test_arrays_of_floats_take_the_dtype_of_the_network(dtype):
    points = term().points_at(SEED, dtype)
    assert points.dtype == dtype
    np.testing.assert_array_equal(points, POINTS)


@pytest.mark.parametrize(
    ("values", "dtype"), [(np.array([3, 1, 2]), "float32"), (np.array([True, False, True]), "bool")]
)
def test_whole_numbers_are_coordinates_and_truth_values_stay(values, dtype):
    points = term(points=values).points_at(SEED, "float32")
    assert points.dtype == dtype
    np.testing.assert_array_equal(points, values)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_tensor_of_floats_takes_the_dtype_of_the_network(dtype):
    points = term(points=tf.constant(POINTS, "float32")).points_at(SEED, dtype)
    assert points.dtype == dtype
    np.testing.assert_array_equal(points, POINTS)


def test_a_nest_keeps_its_structure():
    nest = {"x": POINTS, "pair": (tf.constant([1, 2, 3]), np.ones(3))}
    points = term(points=nest).points_at(SEED, "float32")
    tf.nest.assert_same_structure(points, nest)
    assert points["x"].dtype == points["pair"][1].dtype == "float32"
    assert points["pair"][0] is nest["pair"][0]


def test_a_sampler_draws_by_the_seed_in_the_dtype_of_the_network(dtype):
    sampler = Box(x=(0, 1), y=(2, 3)).sample(5)
    points = term(points=sampler).points_at(SEED, dtype)
    assert points.dtype == dtype
    np.testing.assert_array_equal(points, sampler.draw(SEED, dtype))
    other = term(points=sampler).points_at(SEED + 1, dtype)
    assert not np.any(points == other)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_point_that_is_not_finite_is_named(bad):
    points = POINTS.copy()
    points[1, 0] = bad
    message = rf"Term 'a': points must be finite. Row 1 holds \[{bad} +3\.\]"
    with pytest.raises(ValueError, match=message):
        term(points=points)
    with pytest.raises(ValueError, match=message):
        term(points=(np.zeros(3), tf.constant(points)))


def test_a_list_of_lists_is_no_nest_of_tensors():
    with pytest.raises(ValueError, match=r"Term 'a': points are a nest of 4 single numbers.*array"):
        term(points=[[0.0, 1.0], [2.0, 3.0]])


@pytest.mark.parametrize(
    "points",
    [np.zeros((0, 2)), np.float64(1.0), (np.zeros(3), np.zeros(4)), (np.zeros(3), 1.0), []],
    ids=["empty", "scalar", "unequal", "partly scalar", "no tensor"],
)
def test_points_must_share_a_first_axis(points):
    with pytest.raises(ValueError, match="Term 'a': points must be one tensor, or a nest"):
        check_points("a", points)


# Lists of terms.


def test_terms_may_come_from_any_iterable():
    terms = [term("a"), term("b")]
    assert check_terms(iter(terms)) == tuple(terms)


def test_a_model_needs_a_term():
    with pytest.raises(ValueError, match="at least one term"):
        check_terms([])


def test_what_is_not_a_term_is_named():
    with pytest.raises(TypeError, match=r"must be an ntk_keras.Term, .* Received 'b'"):
        check_terms([term("a"), "b"])


def test_repeated_names_are_named():
    with pytest.raises(ValueError, match=r"more than once: \['a', 'c'\]"):
        check_terms([term(name) for name in "acbca"])


# Residuals.


@pytest.mark.parametrize("shape", [[3], [3, 1], [3, 4]])
def test_a_residual_has_a_row_for_each_point(shape):
    check_residual(term(), tf.ones(shape), tf.constant(POINTS))


@pytest.mark.parametrize("shape", [[], [1], [4], [2, 3], [3, 1, 1], [3, 0]])
def test_a_residual_of_another_shape_is_refused(shape):
    with pytest.raises(ValueError, match=r"Term 'a'.*\[3\] or \[3, k\].*Received shape \["):
        check_residual(term(), tf.ones(shape), tf.constant(POINTS))


@pytest.mark.parametrize("value", [None, 0.0, [tf.ones(3), tf.ones(3)], np.ones(3)])
def test_a_residual_must_be_one_tensor(value):
    with pytest.raises(
        ValueError, match=f"return one tensor of real floats. Received {type(value).__name__}"
    ):
        check_residual(term(), value, tf.constant(POINTS))


def test_a_residual_must_be_real():
    with pytest.raises(ValueError, match="Term 'a'"):
        check_residual(term(), tf.ones(3, tf.complex64), tf.constant(POINTS))


def test_the_points_of_a_residual_may_be_a_nest():
    check_residual(term(), tf.ones([3, 2]), {"x": tf.constant(POINTS), "y": tf.ones(3)})


# Data by name.


def test_data_by_name_completes_the_terms():
    terms, data = [term("a", None), term("b")], {"a": POINTS}
    assert points_by_term(terms, data) is data
    assert points_by_term([term("b")], {}) == {}


def test_data_that_names_no_term_is_refused():
    with pytest.raises(ValueError, match=r"Unknown: \['c', 'd'\]. Terms: \['a', 'b'\]"):
        points_by_term([term("b"), term("a")], {"d": POINTS, "a": POINTS, "c": POINTS})


def test_terms_left_without_points_are_named():
    with pytest.raises(ValueError, match=r"Terms without points: \['a', 'c'\]"):
        points_by_term([term("c", None), term("b"), term("a", None)], {"b": POINTS})


# The mean convention.


@pytest.mark.parametrize("shape", [[3], [3, 1], [3, 4]])
def test_the_mean_convention_makes_the_squared_norm_a_mean(shape, staged, dtype):
    values = tf.constant(np.random.default_rng(0).normal(size=shape), dtype)

    @staged
    def scaled(points):
        return mean_scale(lambda p: values + 0 * tf.reduce_sum(p), points) * values

    squared_norm = np.sum(scaled(tf.constant(POINTS, dtype)).numpy().astype("float64") ** 2)
    # Rounding of the factor and of each product.
    rtol = 10 * np.finfo(dtype).eps
    np.testing.assert_allclose(squared_norm, np.mean(values.numpy() ** 2), rtol=rtol)


@pytest.mark.parametrize(
    "points",
    [
        {"a": tf.ones([4, 2]), "b": tf.ones(4)},
        (tf.range(4), tf.ones([4, 2])),
    ],
    ids=["floats", "integers first"],
)
def test_the_mean_convention_takes_any_nest_of_points(points):
    scale = mean_scale(lambda p: tf.ones([4]), points)
    np.testing.assert_allclose(scale, 0.5, rtol=1e-6)  # a square root in float32


# Components: tuples, and a term for each.


REGISTER = keras.saving.register_keras_serializable("test_terms")


@REGISTER
def pair(u, points):
    """Two components, one of them a column."""
    return points[:, 0], 2 * points[:, 1:]


@REGISTER
def plane(u, points):
    return points


def test_components_of_a_tuple_stand_side_by_side():
    values = Term("a", pair, POINTS).evaluate(None, tf.constant(POINTS))
    np.testing.assert_array_equal(values, POINTS * [1, 2])


@pytest.mark.parametrize(("residual", "scale"), [(pair, 2), (plane, 1)])
def test_every_column_is_a_term(residual, scale):
    first, second = Term.columns(["x", "y"], residual, POINTS, group="plane")
    assert (first.name, first.group, second.name, second.group) == ("x", "plane", "y", "plane")
    np.testing.assert_array_equal(first.evaluate(None, tf.constant(POINTS)), POINTS[:, 0])
    np.testing.assert_array_equal(second.evaluate(None, tf.constant(POINTS)), scale * POINTS[:, 1])


def test_columns_without_a_name_are_told_of():
    with pytest.raises(ValueError, match=r"shape \(3, 2\), but there are names for 3 columns"):
        Term.columns(["x", "y", "z"], pair, POINTS)[0].evaluate(None, tf.constant(POINTS))


def test_columns_are_saved():
    term = Term.columns(["x", "y"], pair, POINTS)[1]
    again = Term.from_config(term.get_config())
    np.testing.assert_array_equal(
        again.evaluate(None, tf.constant(POINTS)), term.evaluate(None, tf.constant(POINTS))
    )


def test_columns_of_what_is_no_function_are_refused():
    with pytest.raises(TypeError, match="residual must be callable. Received 3"):
        Term.columns(["x"], 3)
