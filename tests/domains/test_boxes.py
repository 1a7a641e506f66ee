import numpy as np
import pytest
import tensorflow as tf
from scipy.stats import qmc

from ntk_keras.domains import Box, UnionSampler
from ntk_keras.domains.unit_cube import METHODS

BOX = Box(t=(0, 2), x=(-1, 0.5))
UNIT = Box(x=(0, 1), y=(0, 1))
AWKWARD = Box(t=(0.1, 0.3), x=(-1 / 3, 0.7))  # bounds that no dtype represents exactly

every_method = pytest.mark.parametrize("method", METHODS)


def seed_of(number):
    return tf.constant([number, 7], tf.int32)


# Boxes.


def test_a_box_keeps_the_order_of_its_axes():
    box = Box(y=(0, 1), t=(2, 3), x=(-1, 1))
    assert box.axes == ("y", "t", "x")
    np.testing.assert_array_equal(box.lower, [0, 2, -1])
    np.testing.assert_array_equal(box.upper, [1, 3, 1])


def test_a_box_prints_the_call_that_makes_it():
    assert repr(BOX) == "Box(t=(0, 2), x=(-1, 0.5))"


def test_a_box_needs_an_axis():
    with pytest.raises(ValueError, match="at least one axis"):
        Box()


@pytest.mark.parametrize("bounds", [(1, 0), (0, np.inf), (-np.inf, 0), (np.nan, 1), (0, np.nan)])
def test_a_box_needs_finite_intervals_in_order(bounds):
    with pytest.raises(ValueError, match=r"Axis 'x' needs finite bounds.*Received \("):
        Box(t=(0, 1), x=bounds)


@pytest.mark.parametrize(
    ("box", "measure"),
    [
        (BOX, 3.0),
        (BOX.face(t=0), 1.5),
        (BOX.face(x=0), 2.0),
        (Box(a=(0, 2), b=(0, 3), c=(1, 5)), 24),
    ],
)
def test_the_measure_counts_the_axes_that_are_not_flat(box, measure):
    assert box.measure() == pytest.approx(measure)


def test_a_face_is_flat_along_its_axis_only():
    face = BOX.face(x=0.25)
    assert face.axes == BOX.axes
    np.testing.assert_array_equal(face.lower, [0, 0.25])
    np.testing.assert_array_equal(face.upper, [2, 0.25])


def test_two_fixed_values_give_an_edge():
    edge = Box(t=(0, 1), x=(0, 2), y=(0, 3)).face(t=0, y=3)
    np.testing.assert_array_equal(edge.lower, [0, 0, 3])
    np.testing.assert_array_equal(edge.upper, [0, 2, 3])


def test_a_face_of_an_axis_that_is_not_there_is_refused():
    with pytest.raises(ValueError, match=r"no axis 'y'. Its axes are \['t', 'x'\]"):
        BOX.face(y=0)


@pytest.mark.parametrize("value", [-0.1, 2.1, np.nan])
def test_a_face_outside_the_box_is_refused(value):
    with pytest.raises(ValueError, match="Axis 't' runs from 0 to 2. Received t="):
        BOX.face(t=value)


def test_a_grid_runs_from_end_to_end_in_c_order():
    desired = [[0, -1], [0, -0.25], [0, 0.5], [2, -1], [2, -0.25], [2, 0.5]]
    np.testing.assert_allclose(BOX.grid(2, 3), desired, rtol=0, atol=1e-15)


def test_a_grid_needs_a_number_for_each_axis():
    with pytest.raises(ValueError, match=r"needs 2 numbers of points. Received \(5,\)"):
        BOX.grid(5)


# Samplers: both ways to draw, by every method.


def draw_of(sampler, seed, dtype="float64"):
    return tf.nest.map_structure(lambda x: x.numpy(), sampler.draw(seed_of(seed), dtype))


WAYS = {"drawn": draw_of, "fixed": lambda sampler, seed: sampler.fixed(seed)}
every_way = pytest.mark.parametrize("points_of", list(WAYS.values()), ids=list(WAYS))


@every_method
def test_drawn_points_have_the_dtype_asked_for_and_lie_inside(method, dtype):
    points = draw_of(AWKWARD.sample(64, method), 0, dtype)
    assert points.shape == (64, 2)
    assert points.dtype == dtype
    assert np.all(points >= AWKWARD.lower.astype(dtype))
    assert np.all(points <= AWKWARD.upper.astype(dtype))


@every_method
def test_fixed_points_are_in_float64_and_lie_inside(method):
    points = AWKWARD.sample(64, method).fixed(0)
    assert isinstance(points, np.ndarray)
    assert points.shape == (64, 2)
    assert points.dtype == np.float64
    assert np.all((points >= AWKWARD.lower) & (points <= AWKWARD.upper))


@every_way
@every_method
def test_a_seed_decides_the_points(points_of, method):
    sampler = BOX.sample(8, method)
    np.testing.assert_array_equal(points_of(sampler, 1), points_of(sampler, 1))
    assert not np.any(points_of(sampler, 1) == points_of(sampler, 2))


@every_method
@pytest.mark.parametrize(("jit_compile", "dtype"), [(False, "float64"), (True, "float32")])
def test_one_graph_draws_by_the_seed_it_is_given(method, jit_compile, dtype):
    """The points themselves may differ from those of eager mode: XLA has floats of its own."""
    sampler, traces = AWKWARD.sample(16, method), []

    @tf.function(jit_compile=jit_compile)
    def draw(seed):
        traces.append(seed)
        return sampler.draw(seed, dtype)

    first, again, other = (draw(seed_of(number)).numpy() for number in (0, 0, 1))
    assert len(traces) == 1
    np.testing.assert_array_equal(first, again)
    assert not np.any(first == other)
    assert first.shape == (16, 2)
    assert first.dtype == dtype
    assert np.all(first >= AWKWARD.lower.astype(dtype))
    assert np.all(first <= AWKWARD.upper.astype(dtype))


def test_fixed_points_without_a_seed_are_new_at_every_call():
    sampler = BOX.sample(8)
    assert not np.any(sampler.fixed() == sampler.fixed())


def test_fixed_points_go_on_from_a_generator():
    sampler, generator = BOX.sample(8), np.random.default_rng(0)
    np.testing.assert_array_equal(sampler.fixed(generator), sampler.fixed(0))
    assert not np.any(sampler.fixed(generator) == sampler.fixed(0))


@every_way
@every_method
def test_points_fill_the_box_uniformly(points_of, method):
    """Means of x, x^2 and xy within 5 standard errors of independent points.

    Latin hypercube and Sobol points spread more evenly, so their means err less.
    """
    n = 2**14
    x, y = ((points_of(BOX.sample(n, method), 5) - BOX.lower) / (BOX.upper - BOX.lower)).T
    for sample, mean, variance in [
        (x, 1 / 2, 1 / 12),
        (y, 1 / 2, 1 / 12),
        (x**2, 1 / 3, 4 / 45),
        (y**2, 1 / 3, 4 / 45),
        (x * y, 1 / 4, 7 / 144),
    ]:
        assert abs(sample.mean() - mean) <= 5 * np.sqrt(variance / n)


def compiled_draw_of(sampler, seed):
    return tf.function(sampler.draw, jit_compile=True)(seed_of(seed), "float64").numpy()


@pytest.mark.parametrize("points_of", [*WAYS.values(), compiled_draw_of], ids=[*WAYS, "compiled"])
@pytest.mark.parametrize("n", [1, 50])
def test_a_latin_hypercube_has_one_point_in_every_slice(points_of, n):
    points = points_of(UNIT.sample(n, "latin_hypercube"), 1)
    slices = np.sort(np.floor(points * n), axis=0)
    np.testing.assert_array_equal(slices, np.tile(np.arange(n)[:, None], 2))


@every_way
def test_a_latin_hypercube_matches_its_slices_at_random(points_of):
    """The correlation of n independent columns has standard deviation 1/sqrt(n - 1)."""
    points = points_of(UNIT.sample(1024, "latin_hypercube"), 1)
    assert abs(np.corrcoef(points.T)[0, 1]) <= 5 / np.sqrt(1023)


@every_way
def test_sobol_points_are_more_even_than_uniform_ones(points_of):
    def discrepancies(method):
        return [qmc.discrepancy(points_of(UNIT.sample(256, method), seed)) for seed in range(5)]

    assert max(discrepancies("sobol")) < min(discrepancies("uniform"))


@every_way
def test_a_number_of_sobol_points_need_not_be_a_power_of_two(points_of):
    assert points_of(BOX.sample(300, "sobol"), 0).shape == (300, 2)


@pytest.mark.parametrize("count", [0, -1, 2.5, "8", None, True])
def test_a_number_of_points_must_be_positive(count):
    with pytest.raises(
        ValueError, match=f"num_points must be an integer of at least 1. Received {count!r}"
    ):
        BOX.sample(count)


def test_an_unknown_method_is_refused():
    with pytest.raises(ValueError, match=r"one of \('uniform',.*Received method='halton'"):
        BOX.interior(8, "halton")


# Faces and boundaries.


@every_way
@every_method
def test_points_of_a_face_lie_on_it_exactly(points_of, method):
    points = points_of(AWKWARD.face(x=0.7).sample(8, method), 0)
    np.testing.assert_array_equal(points[:, 1], np.full(8, 0.7))
    assert len(np.unique(points[:, 0])) == 8


def on_faces(box, points):
    """Whether each point lies on the lower and upper face of each axis, ``[n, d, 2]``."""
    bounds = np.stack([box.lower, box.upper], axis=-1).astype(points.dtype)
    return points[..., np.newaxis] == bounds


@every_way
@pytest.mark.parametrize("num_points", [4, 5, 7, 64, 101])
def test_every_boundary_point_lies_on_one_face_and_every_face_has_some(points_of, num_points):
    sampler = AWKWARD.boundary(num_points)
    points = points_of(sampler, 0)
    assert points.shape == (num_points, 2)
    assert sampler.num_points == num_points
    np.testing.assert_array_equal(on_faces(AWKWARD, points).sum((1, 2)), np.ones(num_points))
    assert np.all(on_faces(AWKWARD, points).any(0))


def test_boundary_points_are_in_the_dtype_of_the_faces(dtype):
    points = draw_of(AWKWARD.boundary(16), 0, dtype)
    assert points.dtype == dtype
    assert np.all(on_faces(AWKWARD, points).any((1, 2)))


@pytest.mark.parametrize(
    ("box", "areas"),
    [
        (Box(x=(0, 3), y=(0, 1)), [[1, 1], [3, 3]]),
        (Box(x=(0, 1), y=(0, 2), z=(0, 5)), [[10, 10], [5, 5], [2, 2]]),
        (Box(x=(0, 3)), [[1, 1]]),
    ],
)
def test_faces_have_boundary_points_by_area(box, areas):
    counts = on_faces(box, box.boundary(200).fixed(0)).sum(0)
    share = 200 * np.array(areas) / np.sum(areas)
    assert np.all(np.abs(counts - share) < 1)
    assert counts.sum() == 200


@pytest.mark.parametrize(
    ("height", "num_points", "counts"),
    [(4, 40, [16, 16, 4, 4]), (9, 20, [9, 9, 1, 1]), (99, 10, [4, 4, 1, 1]), (2, 7, [3, 2, 1, 1])],
)
def test_rounding_gives_no_face_more_than_a_point_too_many(height, num_points, counts):
    boundary = Box(x=(0, 1), y=(0, height)).boundary(num_points)
    assert [sampler.num_points for sampler in boundary.samplers] == counts


def test_an_axis_named_twice_has_two_faces():
    boundary = Box(x=(0, 1), y=(0, 1)).boundary(8, axes=["x", "x"])
    assert [sampler.num_points for sampler in boundary.samplers] == [4, 4]


def test_rounding_leads_no_point_out_of_the_box():
    ends = (4.3, 4.7)
    sampler = Box(x=ends).interior(20_000, "latin_hypercube")
    for number in range(20):
        points = sampler.draw(seed_of(number), "float32").numpy()
        assert np.float32(ends[0]) <= points.min()
        assert points.max() <= np.float32(ends[1])


def test_a_boundary_may_be_that_of_some_axes():
    box = Box(t=(0, 1), x=(0, 2), y=(0, 3))
    on = on_faces(box, box.boundary(40, axes=["x", "y"]).fixed(0)).sum(0)
    np.testing.assert_array_equal(on[0], [0, 0])
    np.testing.assert_array_equal(on[1:].sum(), 40)
    np.testing.assert_array_equal(on[1:], [[12, 12], [8, 8]])


def test_a_face_has_a_boundary_of_its_own():
    face = Box(t=(0, 1), x=(0, 2), y=(0, 3)).face(t=0)
    points = face.boundary(20).fixed(0)
    np.testing.assert_array_equal(points[:, 0], np.zeros(20))
    assert np.all(on_faces(face, points)[:, 1:].any((1, 2)))


@every_way
@every_method
def test_faces_do_not_share_their_random_numbers(points_of, method):
    points = points_of(UNIT.boundary(16, method), 0)  # four on each face
    free = np.where((points == 0) | (points == 1), 0, points).sum(1).reshape(4, 4)
    assert len(np.unique(np.round(free, 12))) == 16


def test_compiled_boundary_points_lie_on_the_faces():
    @tf.function(autograph=False, jit_compile=True)
    def draw(seed):
        return AWKWARD.boundary(16, axes=["x"]).draw(seed, "float64")

    assert np.all(on_faces(AWKWARD, draw(seed_of(0)).numpy()).any((1, 2)))


def test_a_boundary_needs_a_point_on_every_face():
    with pytest.raises(ValueError, match="4 faces and needs a point on each.*num_points=3"):
        BOX.boundary(3)


@pytest.mark.parametrize(
    "call",
    [
        lambda: BOX.face(t=0).boundary(8, axes=["t"]),
        lambda: BOX.face(t=0).periodic("t", 8),
        lambda: BOX.face(t=0, x=0).boundary(8),
    ],
)
def test_a_flat_axis_has_no_two_faces(call):
    with pytest.raises(ValueError, match="no two faces along"):
        call()


@pytest.mark.parametrize(
    "call", [lambda: BOX.boundary(8, axes=["z"]), lambda: BOX.periodic("z", 8)]
)
def test_an_axis_that_is_not_there_has_no_faces(call):
    with pytest.raises(ValueError, match="has no axis 'z'"):
        call()


def test_a_union_stacks_the_points_of_its_samplers():
    union = UnionSampler([BOX.face(t=0).sample(3), BOX.face(x=-1).sample(5)])
    points = union.fixed(0)
    assert union.num_points == 8
    np.testing.assert_array_equal(points[:3, 0], np.zeros(3))
    np.testing.assert_array_equal(points[3:, 1], -np.ones(5))


# Periodic pairs.


@every_way
@every_method
def test_a_periodic_pair_differs_along_its_axis_only(points_of, method):
    sampler = BOX.periodic("x", 8, method)
    lower, upper = points_of(sampler, 0)
    assert sampler.num_points == 8
    assert lower.shape == upper.shape == (8, 2)
    np.testing.assert_array_equal(lower[:, 0], upper[:, 0])
    assert len(np.unique(lower[:, 0])) == 8
    np.testing.assert_array_equal(lower[:, 1], np.full(8, -1.0))
    np.testing.assert_array_equal(upper[:, 1], np.full(8, 0.5))


@pytest.mark.parametrize("bounds", [(-1 / 3, 0.7), (0.1, 0.7), (-np.pi, np.pi)])
def test_a_drawn_periodic_pair_lies_on_the_two_faces_exactly(bounds, dtype):
    pair = draw_of(Box(t=(0, 1), x=bounds).periodic("x", 4), 0, dtype)
    for points, bound in zip(pair, bounds, strict=True):
        np.testing.assert_array_equal(points[:, 1], np.full(4, bound, dtype))


def test_compiled_periodic_pairs_lie_on_the_two_faces():
    @tf.function(autograph=False, jit_compile=True)
    def draw(seed):
        return BOX.periodic("x", 8).draw(seed)

    lower, upper = draw(seed_of(0))
    np.testing.assert_array_equal(lower[:, 0], upper[:, 0])
    np.testing.assert_array_equal(lower[:, 1], np.full(8, -1.0))
    np.testing.assert_array_equal(upper[:, 1], np.full(8, 0.5))
