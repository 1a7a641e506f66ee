"""Shapes: sizes, normals, what they contain, and how evenly points are drawn."""

import math

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

from ntk_keras.domains import Ball, Body, Box, Disk, Mesh, Polygon, UnionSampler

HOLE = [(0.5, 0.5), (1.0, 0.5), (1.0, 1.5), (0.5, 1.5)]
CORNERS = [(0, 0), (3, 0), (3, 1), (1.5, 1), (1.5, 2), (0, 2)]  # an L
CUBE = np.array([[x, y, z] for x in (0, 1) for y in (0, 1) for z in (0, 2)], float)
CUBE_FACES = [
    *([0, 1, 3], [0, 3, 2], [4, 7, 5], [4, 6, 7], [0, 5, 1], [0, 4, 5]),
    *([2, 3, 7], [2, 7, 6], [0, 2, 6], [0, 6, 4], [1, 7, 3], [1, 5, 7]),
]

SHAPES = {
    "disk": Disk((1, -1), 2.0),
    "ball": Ball((0, 1, 2), 0.5),
    "interval": Ball((1.0,), 2.0),
    "hyperball": Ball(np.zeros(5), 2.0),
    "polygon": Polygon(CORNERS, [HOLE], parts={"inlet": [5]}),
    "clockwise": Polygon(CORNERS[::-1], [HOLE[::-1]]),
    "triangles": Mesh([(0, 0), (2, 0), (2, 1), (0, 1)], [[0, 1, 2], [0, 2, 3]]),
    "body": Body(CUBE, CUBE_FACES),
    "ring": Disk(radius=2) - Disk(radius=1),
    "union": Box(x=(0, 2), y=(0, 1)) | Box(x=(0, 1), y=(0, 2)),
    "lens": Disk() & Disk((1, 0)),
    "plate": Box(x=(-1, 1), y=(-1, 1)) - Disk(radius=0.5),
    "cylinder": Box(t=(0, 3)) * Disk(),
    "prism": Polygon(CORNERS) * Box(t=(0, 2)),
    "cut": Body(CUBE, CUBE_FACES) - Ball((0, 0, 0), 0.5),
}
LENS = 2 * math.pi / 3 - math.sqrt(3) / 2
# Interior, and boundary in all.
SIZES = {
    "disk": (4 * math.pi, 4 * math.pi),
    "ball": (math.pi / 6, math.pi),
    "interval": (4, 2),
    "hyperball": (8 * math.pi**2 / 15 * 2**5, 8 * math.pi**2 / 3 * 2**4),
    "polygon": (4.5 - 0.5, 10 + 3),
    "clockwise": (4.5 - 0.5, 10 + 3),
    "triangles": (2, 6),
    "body": (2, 10),
    "ring": (3 * math.pi, 6 * math.pi),
    "union": (3, 8),
    "lens": (LENS, 4 * math.pi / 3),
    "plate": (4 - math.pi / 4, 8 + math.pi),
    "cylinder": (3 * math.pi, 2 * math.pi + 6 * math.pi),
    "prism": (9, 9 + 20),
    "cut": (2 - math.pi / 48, 10 - 3 * math.pi / 16 + math.pi / 8),
}
ESTIMATED = {"lens", "cut"}  # the rest is of shapes within others, or apart
every_shape = pytest.mark.parametrize("name", list(SHAPES))


def seed_of(number):
    return tf.constant([number, 7], tf.int32)


def boundary_size(shape, part):
    return shape.piece(part).measure


@every_shape
def test_sizes_are_exact_or_estimated_closely(name):
    shape, (size, boundary) = SHAPES[name], SIZES[name]
    tolerance = 2e-3 if name in ESTIMATED else 1e-12
    assert shape.measure() == pytest.approx(size, rel=tolerance)
    whole = sum(boundary_size(shape, part) for part in shape.parts)
    assert whole == pytest.approx(boundary, rel=1e-3 if name in ESTIMATED | {"union"} else 1e-12)


@every_shape
def test_points_are_inside_and_normals_lead_out(name):
    shape = SHAPES[name]
    inner = shape.interior(300).fixed(0)
    assert inner.shape == (300, len(shape.axes))
    assert inner.dtype == np.float64
    assert np.all(shape.contains(inner))
    points, normals = shape.boundary(300, normals=True).fixed(0)
    np.testing.assert_allclose(np.linalg.norm(normals, axis=1), 1, rtol=1e-12)
    assert np.all(shape.contains(points))
    assert not np.any(shape.contains(points + 1e-5 * normals))
    assert np.all(shape.contains(points - 1e-5 * normals))


@every_shape
def test_the_divergence_theorem_holds_for_samples(name):
    """The mean flux of x - c through the boundary is d |interior|, within 5 standard errors."""
    shape = SHAPES[name]
    points, normals = shape.boundary(4096, normals=True).fixed(1)
    flux = np.sum((points - shape.lower) * normals, axis=1)
    size, boundary = SIZES[name]
    error = 5 * boundary * np.std(flux) / math.sqrt(len(flux))
    assert abs(boundary * np.mean(flux) - len(shape.axes) * size) <= error + 2e-3 * size


@every_shape
def test_interiors_are_filled_evenly(name):
    """Counts in cells against an independent fill: points of the box around that are inside."""
    shape = SHAPES[name]
    points = shape.interior(4000).draw(seed_of(3), "float64").numpy()
    box = np.random.default_rng(4).uniform(shape.lower, shape.upper, (20_000, len(shape.axes)))
    box = box[shape.inside(tf.constant(box)).numpy()]
    bins = 4 if len(shape.axes) <= 3 else 2
    cell = [
        np.clip((p - shape.lower) / (shape.upper - shape.lower) * bins, 0, bins - 1e-9)
        for p in (points, box)
    ]
    weights = bins ** np.arange(len(shape.axes))
    counts, expected = (
        np.bincount(c.astype(int) @ weights, minlength=bins ** len(weights)) for c in cell
    )
    assert not np.any(counts[expected == 0])
    # Both are random: a test of two samples, cells with few points left out.
    table = np.stack([counts, expected])[:, expected > 20]
    assert stats.chi2_contingency(table).pvalue > 1e-3


@pytest.mark.parametrize(("name", "part"), [("disk", "circle"), ("ring", "circle_2")])
def test_circles_are_even_in_angle(name, part):
    points = SHAPES[name].boundary(4000, parts=part).fixed(0) - (SHAPES[name].lower + 2)
    angles = np.arctan2(*points.T)
    assert stats.kstest(angles, stats.uniform(-math.pi, 2 * math.pi).cdf).pvalue > 1e-3


def test_radii_of_a_ball_have_their_density():
    radii = np.linalg.norm(SHAPES["hyperball"].interior(4000).fixed(0), axis=1)
    assert stats.kstest(radii / 2, lambda r: r**5).pvalue > 1e-3


def test_segments_and_triangles_are_chosen_by_size():
    """A mesh of cells from 1e-3 to 1 in size."""
    x = np.concatenate([[0], np.cumsum(np.geomspace(1e-3, 1, 12))])
    vertices = np.concatenate([np.stack([x, 0 * x], 1), np.stack([x, 1 + 0 * x], 1)])
    k = np.arange(12)
    lower, upper = np.stack([k, k + 1, k + 14], 1), np.stack([k, k + 14, k + 13], 1)
    mesh = Mesh(vertices, np.concatenate([lower, upper]))
    points = mesh.interior(10_000).draw(seed_of(0), "float64").numpy()
    counts, _ = np.histogram(points[:, 0], x)
    expected = 10_000 * np.diff(x) / x[-1]
    assert (
        stats.chisquare(counts[4:], expected[4:] * counts[4:].sum() / expected[4:].sum()).pvalue
        > 1e-3
    )
    assert stats.kstest(points[:, 1], "uniform").pvalue > 1e-3


@pytest.mark.parametrize("name", ["hyperball", "polygon", "body", "plate", "cylinder"])
def test_one_graph_draws_by_the_seed_it_is_given(name):
    sampler, traces = SHAPES[name].boundary(40, normals=True), []

    @tf.function
    def draw(seed):
        traces.append(seed)
        return (SHAPES[name].interior(16).draw(seed), *sampler.draw(seed))

    first, again, other = (tf.nest.map_structure(np.array, draw(seed_of(k))) for k in (0, 0, 1))
    assert len(traces) == 1
    for a, b, c in zip(first, again, other, strict=True):
        np.testing.assert_array_equal(a, b)
        assert a.dtype == np.float32
        assert a is first[2] or not np.array_equal(a, c)
    eager = SHAPES[name].interior(16).draw(seed_of(0)).numpy()
    np.testing.assert_allclose(first[0], eager, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "method"),
    [("polygon", "sobol"), ("plate", "latin_hypercube"), ("body", "sobol"), ("ball", "uniform")],
)
def test_xla_and_other_methods_draw_inside(name, method):
    shape = SHAPES[name]
    draw = tf.function(shape.interior(50, method).draw, jit_compile=True)
    points = draw(seed_of(1), "float64").numpy()
    assert points.shape == (50, len(shape.axes))
    assert np.all(shape.contains(points))


@every_shape
def test_what_was_saved_draws_the_same_points(name):
    shape = SHAPES[name]
    for sampler in (shape.interior(20, "sobol"), shape.boundary(20, normals=True)):
        config = keras.saving.serialize_keras_object(sampler)
        loaded = keras.saving.deserialize_keras_object(config)
        assert keras.saving.serialize_keras_object(loaded) == config
        for a, b in zip(
            tf.nest.flatten(sampler.draw(seed_of(2))),
            tf.nest.flatten(loaded.draw(seed_of(2))),
            strict=True,
        ):
            np.testing.assert_array_equal(a, b)


def test_names_of_parts():
    parts = {name: shape.parts for name, shape in SHAPES.items()}
    assert parts["polygon"] == ("inlet", "outer", "hole_1")
    assert parts["ring"] == ("circle", "circle_2")
    assert parts["cylinder"] == ("t=0", "t=3", "circle")
    assert parts["union"] == ("x=0", "x=2", "y=0", "y=1", "x=0_2", "x=1", "y=2")
    assert parts["plate"] == ("x=-1", "x=1", "y=-1", "y=1", "circle")


def test_a_part_is_drawn_alone():
    points, normals = SHAPES["polygon"].boundary(9, parts="inlet", normals=True).fixed(0)
    np.testing.assert_array_equal(points[:, 0], np.zeros(9))
    np.testing.assert_array_equal(normals, np.tile([-1.0, 0.0], (9, 1)))
    assert len(SHAPES["polygon"].boundary(9, parts=["inlet", "inlet"]).parts) == 1
    points, normals = SHAPES["cylinder"].boundary(9, parts="t=3", normals=True).fixed(0)
    np.testing.assert_array_equal(points[:, 0], np.full(9, 3.0))
    np.testing.assert_array_equal(normals, np.tile([1.0, 0.0, 0.0], (9, 1)))


def test_what_is_taken_away_has_its_normals_turned():
    points, normals = SHAPES["ring"].boundary(50, parts="circle_2", normals=True).fixed(0)
    np.testing.assert_allclose(normals, -points, atol=1e-12)


def test_faces_of_a_box_have_normals():
    box = Box(t=(0, 1), x=(-1, 2))
    points, normals = box.boundary(64, axes=["x"], normals=True).fixed(0)
    expected = np.where(points[:, 1:] == 2, [[0, 1]], [[0, -1]])
    np.testing.assert_array_equal(normals, expected)
    assert set(points[:, 1]) == {-1, 2}
    np.testing.assert_array_equal(box.boundary(5, parts="x=-1").fixed(0)[:, 1], np.full(5, -1.0))


def test_a_shared_boundary_counts_once():
    """Two boxes that share a face, and a box that covers half of another's edge."""
    joined = Box(x=(0, 1), y=(0, 1)) | Box(x=(1, 2), y=(0, 1))
    assert sum(boundary_size(joined, part) for part in joined.parts) == pytest.approx(6, rel=1e-3)
    assert "x=1" not in joined.parts
    nested = Box(x=(0, 2), y=(0, 1)) | Box(x=(0, 1), y=(0, 1))
    assert nested.measure() == pytest.approx(2)
    assert sum(boundary_size(nested, part) for part in nested.parts) == pytest.approx(6, rel=1e-3)


def test_combinations_are_combined_again():
    shape = (Disk(radius=2) - Disk(radius=1)) & Box(x=(0, 3), y=(0, 3))
    assert shape.measure() == pytest.approx(3 * math.pi / 4, rel=2e-3)
    radii = np.linalg.norm(shape.interior(2000).fixed(0), axis=1)
    assert stats.kstest(radii, lambda r: (r**2 - 1) / 3).pvalue > 1e-3


def test_a_grid_is_blank_outside():
    grid = SHAPES["union"].grid(5, 5)
    blank = np.isnan(grid).any(axis=1).reshape(5, 5)
    desired = np.zeros((5, 5), bool)
    desired[3:, 3:] = True  # the edges belong to it
    np.testing.assert_array_equal(blank, desired)
    kept = ~blank.ravel()
    np.testing.assert_array_equal(grid[kept], Box(x=(0, 2), y=(0, 2)).grid(5, 5)[kept])
    np.testing.assert_array_equal(SHAPES["union"].lines(5, 5)[0], np.linspace(0, 2, 5))


def test_corners_and_edges_of_a_polygon_belong_to_it():
    assert np.all(
        SHAPES["polygon"].contains(np.array([*CORNERS, (1.5, 0), (3, 0.5), *HOLE], float))
    )
    assert Ball((0.7,), 1e-10).contains([[0.7]])  # in double precision
    assert not np.any(SHAPES["polygon"].contains([[0.75, 1.0], [2, 1.5], [-1, 1]]))
    inside = tf.function(SHAPES["polygon"].contains)(tf.constant([[0.1, 0.1], [0.75, 1.0]]))
    np.testing.assert_array_equal(inside, [True, False])


def test_unions_of_samplers_join_normals():
    disk = Disk()
    union = UnionSampler([disk.boundary(3, normals=True), disk.boundary(4, normals=True)])
    points, normals = union.fixed(0)
    assert points.shape == normals.shape == (7, 2)
    assert union.draw(seed_of(0))[1].shape == (7, 2)


def test_a_shape_prints_what_it_is():
    assert repr(SHAPES["ring"]) == "(Disk([0.0, 0.0], radius=2) - Disk([0.0, 0.0], radius=1))"
    assert repr(SHAPES["cylinder"]) == "Box(t=(0, 3)) * Disk([0.0, 0.0], radius=1)"
    assert repr(SHAPES["polygon"]) == "Polygon(6 corners, 1 holes)"
    assert repr(SHAPES["body"]) == "Body(12 triangles)"
