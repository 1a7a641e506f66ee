"""Images of shapes: sizes, normals and how evenly points are drawn, against exact values."""

import json
import math

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy import special, stats

import ntk_keras as nk
from ntk_keras.domains import Box, Disk, Mapped, Polygon

register = keras.saving.register_keras_serializable("test_mapped")
QUARTER = Box(r=(1, 2), angle=(0, math.pi / 2))


def columns(function):
    """A function of points from one of columns."""
    return lambda points: tf.stack(function(*tf.unstack(points, axis=1)), axis=1)


@register
def polar(points):
    r, angle = tf.unstack(points, axis=1)
    return tf.stack([r * tf.cos(angle), r * tf.sin(angle)], axis=1)


@register
def radius_and_angle(points):
    x, y = tf.unstack(points, axis=1)
    angle = tf.math.floormod(tf.atan2(y, x), 2 * math.pi)
    return tf.stack([tf.sqrt(x**2 + y**2), angle], axis=1)


swapped = columns(lambda x, y: [y, x])
bent = columns(lambda x, y: [x, y + x**2])
straightened = columns(lambda x, y: [x, y - x**2])
squared = columns(lambda x, y: [x**2, y])
rooted = columns(lambda x, y: [tf.sqrt(tf.abs(x)), y])


def peaked(width):
    """A function whose derivatives have a peak, and its inverse."""
    return (lambda p: tf.asinh((p - 0.37) / width)), (lambda p: 0.37 + width * tf.sinh(p))


SQUARE = Box(x=(0, 1), y=(0, 1))
BEND = Mapped(QUARTER, polar, radius_and_angle, axes=("x", "y"))
MIRRORED = Mapped(BEND, swapped, swapped)
TWISTED = Mapped(
    Box(x=(-1, 1), y=(-2, 2), z=(0, 1)),
    columns(lambda x, y, z: [x * tf.cos(z) - y * tf.sin(z), x * tf.sin(z) + y * tf.cos(z), z]),
    columns(lambda x, y, z: [x * tf.cos(z) + y * tf.sin(z), y * tf.cos(z) - x * tf.sin(z), z]),
)


def sizes(shape):
    return {part: shape.piece(part).measure for part in shape.parts}


@pytest.mark.parametrize("shape", [BEND, MIRRORED], ids=["polar", "mirrored"])
def test_area_lengths_and_normals_of_a_bend(shape):
    assert shape.measure() == pytest.approx(3 * math.pi / 4, rel=1e-6)
    ends = "angle=0", "angle=1.5708"
    desired = {"r=1": math.pi / 2, "r=2": math.pi, ends[0]: 1, ends[1]: 1}
    assert sizes(shape) == pytest.approx(desired, rel=1e-6)
    np.testing.assert_allclose([shape.lower, shape.upper], [[0, 0], [2, 2]], atol=1e-6)
    for part, outward in {"r=1": -1, "r=2": 0.5}.items():
        points, normals = shape.boundary(50, parts=part, normals=True).fixed(0)
        np.testing.assert_allclose(normals, outward * points, atol=1e-12)
    for part, normal in zip(ends, ([0, -1], [-1, 0]), strict=True):
        normal = normal[::-1] if shape is MIRRORED else normal
        _, normals = shape.boundary(50, parts=part, normals=True).fixed(0)
        np.testing.assert_allclose(normals, np.tile(normal, (50, 1)), atol=1e-12)


@pytest.mark.parametrize("shape", [BEND, MIRRORED], ids=["polar", "mirrored"])
def test_a_bend_is_filled_evenly(shape):
    points = shape.interior(4000).draw(tf.constant([1, 2]), "float64").numpy()
    assert np.all(shape.contains(points))
    radii, angles = np.linalg.norm(points, axis=1), np.arctan2(*points.T)
    assert stats.kstest(radii, lambda r: (r**2 - 1) / 3).pvalue > 1e-3
    assert stats.kstest(angles, stats.uniform(0, math.pi / 2).cdf).pvalue > 1e-3
    assert abs(stats.pearsonr(radii, angles)[0]) < 0.06


def test_a_curved_edge_is_drawn_by_its_length():
    """The parabola y = x^2, on which points lie by the length of the arc."""
    shape = Mapped(SQUARE, bent, straightened)
    assert shape.measure() == pytest.approx(1, rel=1e-12)
    assert shape.piece().rate == 1  # areas stay as they are

    def arc(x):
        return (2 * x * np.sqrt(1 + 4 * x**2) + np.arcsinh(2 * x)) / 4

    assert sizes(shape)["y=0"] == pytest.approx(arc(1), rel=1e-6)
    points, normals = shape.boundary(4000, parts="y=0", normals=True).fixed(0)
    assert stats.kstest(points[:, 0], lambda x: arc(x) / arc(1)).pvalue > 1e-3
    slope = np.stack([2 * points[:, 0], -np.ones(4000)], axis=1)
    desired = slope / np.linalg.norm(slope, axis=1, keepdims=True)
    np.testing.assert_allclose(normals, desired, atol=1e-12)


def test_an_ellipse_from_a_disk():
    halves = np.array([3.0, 1.0])
    shape = Mapped(Disk(), lambda p: -halves * p, lambda p: -p / halves)
    assert shape.measure() == pytest.approx(3 * math.pi, rel=1e-12)
    assert sizes(shape)["circle"] == pytest.approx(12 * special.ellipe(8 / 9), rel=1e-6)
    points, normals = shape.boundary(50, normals=True).fixed(0)
    slope = points / halves**2
    desired = slope / np.linalg.norm(slope, axis=1, keepdims=True)
    np.testing.assert_allclose(normals, desired, atol=1e-12)


def test_the_divergence_theorem_holds_for_a_twisted_bar():
    assert TWISTED.measure() == pytest.approx(8, rel=1e-12)
    points, normals = TWISTED.boundary(4096, normals=True).fixed(1)
    flux = np.sum(points * normals, axis=1)
    boundary = sum(sizes(TWISTED).values())
    error = 5 * boundary * np.std(flux) / math.sqrt(len(flux))
    assert abs(boundary * np.mean(flux) - 3 * 8) <= error < 4
    assert not np.any(TWISTED.contains(points + 1e-5 * normals))
    assert np.all(TWISTED.contains(points - 1e-5 * normals))


def test_what_a_function_joins_or_shrinks_is_no_boundary():
    """A disk by polar coordinates: a seam at the angle 0, and a face that is the middle."""
    disk = Mapped(Box(r=(0, 2), angle=(0, 2 * math.pi)), polar, radius_and_angle, axes=("x", "y"))
    assert disk.parts == ("r=2",)
    assert disk.measure() == pytest.approx(4 * math.pi, rel=1e-6)
    assert np.all(disk.contains([[1, 0], [1, 1e-9], [1, -1e-9], [0, 0], [2, 0]]))


def test_a_part_that_is_joined_in_part_keeps_the_rest():
    """Half of the start meets the end after a whole turn, which is half as long."""
    corners = [(1, 0), (2, 0), (2, 6), (1.5, 6), (1.5, 2 * math.pi), (1, 2 * math.pi)]
    shape = Polygon(corners, parts={"start": [0], "end": [4]}, axes=("r", "angle"))
    spiral = Mapped(shape, polar, radius_and_angle, axes=("x", "y"))
    assert spiral.parts == ("start", "outer")
    assert sizes(spiral)["start"] == pytest.approx(0.5, rel=1e-3)
    points, normals = spiral.boundary(50, parts="start", normals=True).fixed(0)
    assert 1.5 < points[:, 0].min() < points[:, 0].max() < 2
    np.testing.assert_allclose(normals, np.tile([0, -1], (50, 1)), atol=1e-12)


def test_products_and_combinations():
    tube = Box(t=(0, 3)) * BEND
    assert tube.measure() == pytest.approx(9 * math.pi / 4, rel=1e-6)
    assert tube.parts == ("t=0", "t=3", *BEND.parts)
    points, normals = tube.boundary(50, parts="r=1", normals=True).fixed(0)
    np.testing.assert_allclose(normals[:, 1:], -points[:, 1:], atol=1e-12)
    assert not np.any(normals[:, 0])
    draw = tf.function(tube.interior(500).draw, jit_compile=True)
    assert np.all(tube.contains(draw(tf.constant([1, 2]), "float64").numpy()))
    drilled = BEND - Disk((1, 1), 0.25, part="hole")
    assert drilled.measure() == pytest.approx(3 * math.pi / 4 - math.pi / 16, rel=1e-6)
    assert drilled.parts == (*BEND.parts, "hole")


def test_points_of_another_branch_of_the_inverse_are_outside():
    shape = Mapped(Box(x=(1, 2), y=(0, 1)), squared, rooted)
    found = shape.contains([[1, 0], [2, 0.5], [4, 1], [-2, 0.5], [4.1, 0.5], [2, 1.1]])
    np.testing.assert_array_equal(found, [True, True, True, False, False, False])
    assert np.isnan(BEND.grid(5, 5)).any(axis=1).reshape(5, 5).sum() == 12


def test_the_largest_density_is_found_though_it_is_a_peak():
    shape = Mapped(SQUARE, *peaked(1e-2))  # within 1e-2 of (0.37, 0.37), of 1e4
    area = (np.arcsinh(63) + np.arcsinh(37)) ** 2
    assert shape.measure() == pytest.approx(area, rel=1e-2)
    assert shape.piece().rate == pytest.approx(shape.measure() / (1.05 * 1e4), rel=1e-3)


@register
def edge(u, points):
    return u(points[0])[:, 0]


def test_a_saved_term_draws_the_same_points():
    term = nk.Term("edge", edge, BEND.boundary(8, normals=True))
    config = json.loads(json.dumps(term.get_config()))
    loaded = nk.Term.from_config(config)
    assert repr(loaded.points.shape) == "Mapped(Box(r=(1, 2), angle=(0, 1.5708)), polar)"
    for a, b in zip(term.points.fixed(0), loaded.points.fixed(0), strict=True):
        np.testing.assert_array_equal(a, b)


def test_functions_that_are_not_registered_are_refused_when_saved():
    with pytest.raises(
        ValueError, match=r"(?s)its function cannot be saved: a lambda.*residual\(p"
    ):
        Mapped(Disk(), lambda p: 2 * p, lambda p: p / 2).get_config()


def same(points):
    return points


@pytest.mark.parametrize(
    ("function", "inverse", "message"),
    [
        (
            lambda p: p[:, :1],
            same,
            r"its function .* must map.*16384, 2\] it made \[16384, 1\]",
        ),
        (lambda p: tf.stack([p[:, 0], p[:, 1]]), same, r"axis=1\).*made \[2, 16384\] in float64"),
        (lambda p: tf.cast(p, "float32"), same, "in float32"),
        (lambda p: tf.unstack(p, axis=1), same, "It gave <class 'list'>"),
        (lambda p: np.sin(p), same, "operations of TensorFlow in a graph. It ended in Not"),
        (same, lambda p: p[:, 0], r"its inverse <lambda> must map.*made \[16384\] in"),
        (same, lambda p: p + tf.constant([1e-3, 0], p.dtype), "The largest error is 0.001"),
        (same, lambda p: p * math.nan, "The largest error is nan"),
        (lambda p: tf.math.log(p - 0.1), same, r"finite. At \[.*is \[.*nan"),
        (columns(lambda x, y: [x, x]), same, r"one-to-one. The determinant.*is 0 at.* and 0 at"),
        (columns(lambda x, y: [(x - 0.5) ** 2, y]), same, r"is -1 at \[.* and 1 at \["),
        (*peaked(1e-3), "largest density is.*times the mean.*unite"),
    ],
)
def test_functions_that_do_not_fit_are_refused(function, inverse, message):
    with pytest.raises(ValueError, match=message):
        Mapped(SQUARE, function, inverse)


def test_flat_shapes_and_other_numbers_of_axes_are_refused():
    with pytest.raises(ValueError, match=r"not flat.*flat along \['t'\]"):
        Mapped(Box(t=(0, 0), x=(0, 1)), same, same)
    with pytest.raises(ValueError, match="needs as many names"):
        Mapped(SQUARE, same, same, axes=("x",))
