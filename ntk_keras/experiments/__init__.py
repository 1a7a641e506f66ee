"""Whole runs: training a problem into a folder, comparing weightings, the paper's figures."""

__all__: list[str] = []
