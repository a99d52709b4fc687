"""Linearized and difference networks: what a network becomes in the limit of width, at any width, of any module."""

from widthwise.linearized.difference import Difference, RoundingWarning
from widthwise.linearized.features import tangent_features
from widthwise.linearized.network import Linearized, linearize
from widthwise.linearized.regressor import LinearizedDifferenceRegressor

__all__ = [
    "Difference",
    "Linearized",
    "LinearizedDifferenceRegressor",
    "RoundingWarning",
    "linearize",
    "tangent_features",
]
