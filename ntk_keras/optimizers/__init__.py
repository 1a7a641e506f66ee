"""Optimizers that know more of a loss than its gradient."""

from ntk_keras.optimizers.natural_gradient import NaturalGradient, natural_gradient

__all__ = ["NaturalGradient", "natural_gradient"]
