"""Meshes and bodies from arrays, files and other packages."""

import math
import sys

import meshio
import numpy as np
import pytest
import skfem
import tensorflow as tf
import trimesh

from ntk_keras.domains import Body, Disk, Mesh, Polygon, crossings


def test_scikit_fem_gives_cells_and_boundaries():
    square = (
        skfem.MeshTri()
        .refined(2)
        .with_boundaries({"left": lambda x: x[0] == 0, "top": lambda x: x[1] == 1})
    )
    mesh = Mesh.from_skfem(square)
    assert mesh.measure() == pytest.approx(1)
    assert mesh.parts == ("left", "top", "boundary")
    points, normals = mesh.boundary(20, parts="top", normals=True).fixed(0)
    np.testing.assert_array_equal(points[:, 1], np.ones(20))
    np.testing.assert_array_equal(normals, np.tile([0.0, 1.0], (20, 1)))
    assert mesh.piece("boundary").measure == pytest.approx(2)


def test_tetrahedra_of_a_ball_have_its_volume_and_area():
    ball = skfem.MeshTet.init_ball(2)
    mesh = Mesh.from_skfem(ball)
    volumes = np.abs(np.linalg.det((ball.p[:, ball.t[1:]] - ball.p[:, ball.t[:1]]).T)) / 6
    assert mesh.measure() == pytest.approx(np.sum(volumes), rel=1e-12)
    assert mesh.piece("boundary").measure == pytest.approx(4 * math.pi, rel=0.1)
    points, normals = mesh.boundary(200, normals=True).fixed(0)
    assert np.all(np.sum(points * normals, axis=1) > 0.9)


@pytest.mark.parametrize("dims", [2, 3])
def test_meshio_gives_cells_and_named_sides(dims, tmp_path):
    """Two cells of which one vertex is not used, with a physical group on one side."""
    corners = np.array([[9, 9, 9], [0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0], [0.5, 0.5, 1.0]])
    if dims == 2:
        blocks = [("line", [[1, 2], [2, 3]]), ("triangle", [[1, 2, 3], [1, 3, 4]])]
        groups = [[7, 8], [1, 1]]
    else:
        blocks = [("triangle", [[1, 2, 3], [2, 3, 5]]), ("tetra", [[1, 2, 3, 5], [1, 3, 4, 5]])]
        groups = [[7, 8], [1, 1]]
    corners[:, dims:] = 0
    read = meshio.Mesh(
        corners,
        blocks,
        cell_data={"gmsh:physical": [np.array(group) for group in groups]},
        field_data={"floor": np.array([7, dims - 1]), "fluid": np.array([1, dims])},
    )
    mesh = Mesh.from_meshio(read)
    assert mesh.measure() == pytest.approx(1 if dims == 2 else 1 / 3)
    assert mesh.parts == ("floor", "boundary")
    _, normals = mesh.boundary(5, parts="floor", normals=True).fixed(0)
    np.testing.assert_allclose(normals, np.tile(-np.eye(dims)[dims - 1], (5, 1)), atol=1e-15)
    meshio.write(tmp_path / "mesh.vtu", read)
    loaded = Mesh.from_file(tmp_path / "mesh.vtu", parts={"floor": mesh._facets[:1]})
    np.testing.assert_array_equal(loaded.vertices, mesh.vertices)


def test_cell_sets_are_parts():
    sets = {"left": [np.array([1]), np.array([], int)]}
    read = meshio.Mesh(
        [[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]],
        [("line", [[0, 1], [0, 2]]), ("triangle", [[0, 1, 2]])],
        cell_sets=sets,
    )
    assert Mesh.from_meshio(read).parts == ("left", "boundary")
    assert Mesh.from_meshio(read).piece("left").measure == pytest.approx(1)


def test_an_stl_file_gives_a_body(tmp_path):
    """A torus: inside is neither convex nor a star."""
    torus = trimesh.creation.torus(1.0, 0.4, 24, 12)
    torus.export(tmp_path / "torus.stl")
    body = Body.from_file(tmp_path / "torus.stl")
    assert body.measure() == pytest.approx(torus.volume, rel=1e-6)
    assert body.piece("surface").measure == pytest.approx(torus.area, rel=1e-6)
    points = body.interior(2000).fixed(0)
    off_axis = np.linalg.norm(points[:, :2], axis=1)
    assert np.all(np.hypot(off_axis - 1, points[:, 2]) < 0.4)
    points, normals = body.boundary(500, normals=True).fixed(0)
    outwards = points - points * [1, 1, 0] / np.linalg.norm(points[:, :2], axis=1, keepdims=True)
    assert np.all(np.sum(outwards * normals, axis=1) > 0)


def test_triangles_may_turn_either_way():
    sphere = trimesh.creation.icosphere(subdivisions=1)
    faces = np.array(sphere.faces)
    faces[::3] = faces[::3, ::-1]
    body = Body(sphere.vertices, faces, parts={"some": [0, 1, 2]})
    assert body.measure() == pytest.approx(sphere.volume)
    assert body.parts == ("some", "surface")
    points, normals = body.boundary(100, normals=True).fixed(0)
    assert np.all(np.sum(points * normals, axis=1) > 0)


def test_many_points_are_looked_at_in_turn(monkeypatch):
    """And a surface within another one is that of a cavity."""
    outer, inner = (trimesh.creation.icosphere(subdivisions=1, radius=r) for r in (1.0, 0.5))
    faces = np.concatenate([outer.faces, len(outer.vertices) + inner.faces])
    body = Body(np.concatenate([outer.vertices, inner.vertices]), faces)
    assert body.measure() == pytest.approx(outer.volume - inner.volume)
    points = tf.constant(np.random.default_rng(0).uniform(-1, 1, (500, 3)))
    at_once = body.inside(points).numpy()
    monkeypatch.setattr(crossings, "_AT_ONCE", 1000)
    np.testing.assert_array_equal(body.inside(points), at_once)
    drawn = tf.function(body.inside, jit_compile=True)(points)
    np.testing.assert_array_equal(drawn, at_once)
    radii = np.linalg.norm(points, axis=1)
    assert np.all(at_once[(radii > 0.5) & (radii < 0.75)])
    assert not np.any(at_once[(radii < 0.35) | (radii > 1)])


CORNERS = [(0, 0), (1, 0), (1, 1), (0, 1)]
HOLE = [(0.2, 0.1), (0.3, 0.1), (0.3, 0.2)]
SQUARE = Polygon(CORNERS)
TETRAHEDRON = trimesh.creation.icosphere(subdivisions=0)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Polygon([(0, 0), (1, 0), (0, 0)]), "three or more.*Received 2"),
        (lambda: Polygon([(0, 0), (1, 1), (1, 0), (0, 1)]), "cross.*Self-intersection"),
        (lambda: Polygon(CORNERS, [[(2, 2), (3, 2), (3, 3)]]), "holes lie within it.*outside"),
        (lambda: Polygon(CORNERS, HOLE), "Holes are lists of corners: those of hole 1 must be"),
        (lambda: Polygon([(0, 0), (1, 0), (1, 0), (1, 1)]), "two are the same.*number 1"),
        (lambda: Polygon([(0, 0), (1, 0), (2, 0)]), "cross or touch itself"),
        (lambda: Polygon([(0, 0), (1, np.nan), (1, 1)]), r"finite points \[n, 2\]"),
        (lambda: Polygon(CORNERS, parts={"left": [4]}), "Part 'left' needs numbers from 0 to 3"),
        (lambda: Polygon(CORNERS, parts={"a": [1], "b": [1]}), "Part 'b'.*one part only"),
        (lambda: Mesh([(0, 0), (1, 0), (2, 0)], [[0, 1, 2]]), "must not be flat. 1 are.*number 0"),
        (lambda: Mesh(CORNERS, [[0, 1, 4]]), "numbers of vertices, from 0 to 3.*from 0 to 4"),
        (lambda: Mesh(CORNERS, [[0, 1]]), "rows of 3 numbers.*shape"),
        (
            lambda: Mesh(
                [(0, 0), (1, 0), (1, 1), (0, 1), (2, 3)], [[0, 1, 2], [0, 2, 3], [0, 2, 4]]
            ),
            "two cells at most. 1 belong to more",
        ),
        (
            lambda: Mesh(CORNERS, [[0, 1, 2], [0, 2, 3]], parts={"cut": [[0, 2]]}),
            "'cut' must lie on the boundary.*normals on the boundary only",
        ),
        (lambda: Body(TETRAHEDRON.vertices, TETRAHEDRON.faces[1:]), "must be closed.*3 edges do"),
        (lambda: Body([(0, 0, 0), (1, 0, 0), (2, 0, 0)], [[0, 1, 2]]), "triangles of a body.*flat"),
        (lambda: SQUARE & Disk((5, 5)), "is empty.*x from 0 to 1, y from 0 to 1, x from 4 to 6"),
        (lambda: SQUARE - Disk(radius=9), "is empty"),
        (lambda: SQUARE | Disk(axes=("y", "z")), r"the same axes.*\['x', 'y'\].*\['y', 'z'\]"),
        (lambda: SQUARE * Disk(), "multiplied have different axes"),
        (lambda: SQUARE.boundary(9, parts="left"), "no part 'left'. The parts.*'outer'"),
        (lambda: SQUARE.boundary(9, parts=()), "no boundary"),
        (lambda: SQUARE.contains([1, 2]), r"takes points \[n, 2\]. Received shape \(2,\)"),
        (lambda: SQUARE.interior(0), "num_points must be an integer of at least 1"),
        (lambda: SQUARE.interior(9, "halton"), "method must be one of"),
        (lambda: Disk(radius=0), "radius must be positive"),
        (lambda: Disk((0, 0, 0)), "two coordinates.*take a Ball"),
    ],
)
def test_what_is_no_shape_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_surfaces_and_other_cells_are_no_mesh():
    surface = meshio.Mesh(TETRAHEDRON.vertices, [("triangle", TETRAHEDRON.faces)])
    with pytest.raises(ValueError, match=r"a closed surface is a Body"):
        Mesh.from_meshio(surface)
    with pytest.raises(ValueError, match=r"Received a MeshQuad1. Convert"):
        Mesh.from_skfem(skfem.MeshQuad())


def test_normals_of_an_interior_are_refused():
    from ntk_keras.domains import ShapeSampler

    with pytest.raises(ValueError, match="normals on a boundary only"):
        ShapeSampler(SQUARE, 9, normals=True)


@pytest.mark.parametrize(
    ("package", "make"),
    [
        ("shapely", lambda: Polygon(CORNERS)),
        ("trimesh", lambda: Body.from_file("part.stl")),
        ("meshio", lambda: Mesh.from_file("part.msh")),
    ],
)
def test_a_package_that_is_missing_is_named(package, make, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ImportError, match=rf'needs {package}.*"ntk_keras\[geometry\]"'):
        make()
