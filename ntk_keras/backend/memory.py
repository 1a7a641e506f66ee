"""The size of the machine's memory."""

import math
import os

__all__ = ["physical_memory"]


def physical_memory() -> float:
    """Returns the bytes of physical memory; infinity if the system does not report them."""
    try:
        return float(os.sysconf("SC_PAGE_SIZE")) * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError):  # Windows
        return math.inf
