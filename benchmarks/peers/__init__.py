"""The wave problem of Section 5.2.2 on other packages, side by side with this one.

Every package has a virtual environment and a worker process of its own. The workers take turns of
a few steps, round after round, so that the machine's moods fall on all of them alike::

    python -m benchmarks.peers --install-only    # once: makes the environments
    python -m benchmarks.peers                   # measures

Before anything is timed every worker evaluates its residuals at the same points with the same
network; they must equal those of this package to float32 rounding.
"""
