"""How far a sparse network of finite width is from its infinite-width limit: in theory, and measured."""

from widthwise.kernels.distances.closed_form import (
    best_connectivity,
    distance_approx,
    distance_approx_diagonal,
    distance_gaussian,
)
from widthwise.kernels.distances.measured import MeasuredDistance, measured_distance, measured_distance_deep
from widthwise.kernels.distances.on_pairs import random_pairs
from widthwise.kernels.distances.sampled import sampled_distance
from widthwise.kernels.distances.theorem import Distance, distance

__all__ = [
    "Distance",
    "MeasuredDistance",
    "best_connectivity",
    "distance",
    "distance_approx",
    "distance_approx_diagonal",
    "distance_gaussian",
    "measured_distance",
    "measured_distance_deep",
    "random_pairs",
    "sampled_distance",
]
