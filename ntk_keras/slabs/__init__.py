"""Long times by slabs: trained one after the other, each from where the last one ends."""

from ntk_keras.slabs.march import March
from ntk_keras.slabs.slab import Slab

__all__ = ["March", "Slab"]
