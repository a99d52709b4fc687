"""Dual activations: expectations of an activation over two correlated normal variables."""

from widthwise.duals.api import dual, dual_derivative, f, g, hermite_coefficients, mean, second_moment
from widthwise.duals.series import AccuracyWarning, Expansion, expand

__all__ = [
    "AccuracyWarning",
    "Expansion",
    "dual",
    "dual_derivative",
    "expand",
    "f",
    "g",
    "hermite_coefficients",
    "mean",
    "second_moment",
]
