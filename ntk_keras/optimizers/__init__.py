"""Optimizers that know more of a loss than its gradient."""

from ntk_keras.optimizers.natural_gradient import NaturalGradient

__all__ = ["NaturalGradient"]
