"""Regions in space and time, and the samplers that draw points from them.

A :class:`Box` has named axes, and time may be one of them. A face is a box too, flat along one
axis. Other shapes are disks, balls, polygons, meshes and bodies, their combinations by ``|``,
``&``, ``-`` and ``*``, and their images under functions. Samplers draw new points inside the
compiled step, or a fixed set once. Those of a :class:`RAD`, :class:`R3` or :class:`RAR` move to
where the residual is large. A :class:`GridInterpolator` is a function given by a table.
"""

from ntk_keras.domains.balls import Ball, Disk
from ntk_keras.domains.boxes import Box, BoxSampler
from ntk_keras.domains.interpolation import GridInterpolator
from ntk_keras.domains.mapped import Mapped
from ntk_keras.domains.meshes import Body, Mesh
from ntk_keras.domains.moving import R3, RAD, RAR, Moved, MovingSampler
from ntk_keras.domains.polygons import Polygon
from ntk_keras.domains.samplers import PeriodicSampler, Sampler, UnionSampler
from ntk_keras.domains.shape_samplers import ShapeSampler
from ntk_keras.domains.shapes import Combination, Product, Shape

__all__ = [
    "R3",
    "RAD",
    "RAR",
    "Ball",
    "Body",
    "Box",
    "BoxSampler",
    "Combination",
    "Disk",
    "GridInterpolator",
    "Mapped",
    "Mesh",
    "Moved",
    "MovingSampler",
    "PeriodicSampler",
    "Polygon",
    "Product",
    "Sampler",
    "Shape",
    "ShapeSampler",
    "UnionSampler",
]
