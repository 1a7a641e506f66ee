"""Measurements behind the numbers in the documentation; no part of the installed package."""
