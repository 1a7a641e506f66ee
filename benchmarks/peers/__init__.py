"""Compares this package with others on the wave problem of Section 5.2.2.

Every package has its own virtual environment and worker process. The workers take turns of a few
steps, round after round, so that other load on the machine affects all of them alike::

    python -m benchmarks.peers --install-only    # creates the environments, once
    python -m benchmarks.peers                   # measures

Before anything is timed, every worker evaluates its residuals with the same network at the same
points. They must equal those of this package up to float32 rounding.
"""
