"""Long times in slabs: one model per slab, each continuing where the last one ends."""

from ntk_keras.slabs.march import March
from ntk_keras.slabs.slab import Slab

__all__ = ["March", "Slab"]
