"""Numerical solutions to compare networks with, where no formula is known."""

from ntk_keras.references import cache, liquid_crystal_fem

__all__ = ["cache", "liquid_crystal_fem"]
