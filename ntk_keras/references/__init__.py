"""Numerical solutions to compare networks with if no formula is known."""

from ntk_keras.references import cache, cavity_fem, liquid_crystal_fem, spectral

__all__ = ["cache", "cavity_fem", "liquid_crystal_fem", "spectral"]
