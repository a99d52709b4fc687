"""Dual activations: expectations of an activation over two correlated normal variables."""

from widthwise.duals.api import dual, dual_derivative, expand, f, g, hermite_coefficients, mean, second_moment
from widthwise.duals.expansion import Expansion
from widthwise.duals.series import AccuracyWarning

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
