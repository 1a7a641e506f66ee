"""How much memory there is."""

import math
import os

__all__ = ["physical_memory"]


def physical_memory() -> float:
    """Bytes of memory of the machine; infinite where the system does not tell."""
    try:
        return float(os.sysconf("SC_PAGE_SIZE")) * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError):  # Windows
        return math.inf
