"""What a process knows of itself. Needs Python alone."""

import re
from pathlib import Path

__all__ = ["peak_memory"]


def peak_memory() -> float:
    """GB of resident memory at this process' peak, as Linux counts them.

    What ``resource.getrusage`` reports includes the process that forked.
    """
    (kilobytes,) = re.findall(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return int(kilobytes) / 2**20
