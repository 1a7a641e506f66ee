"""Where points lie, and how they are drawn.

A :class:`Box` has named axes, time being one of them. A face is a box too, flat along one axis.
Samplers draw new points inside the compiled step, or a fixed set once and for all. A
:class:`GridInterpolator` is a function that is known by a table.
"""

from ntk_keras.domains.boxes import Box, BoxSampler
from ntk_keras.domains.interpolation import GridInterpolator
from ntk_keras.domains.samplers import PeriodicSampler, Sampler, UnionSampler

__all__ = ["Box", "BoxSampler", "GridInterpolator", "PeriodicSampler", "Sampler", "UnionSampler"]
