"""Kernels of networks: of infinite width, and how far those of finite, sparse networks are from them."""

from widthwise.infinite import (
    MLP,
    AvgPool,
    Conv,
    Dense,
    Ensemble,
    Flatten,
    GlobalAvgPool,
    LayerNorm,
    Network,
    Residual,
    serial,
)
from widthwise.kernels.arccosine import arc_cosine
from widthwise.kernels.distances import (
    Distance,
    MeasuredDistance,
    best_connectivity,
    distance,
    distance_approx,
    distance_approx_diagonal,
    distance_gaussian,
    measured_distance,
    measured_distance_deep,
    random_pairs,
    sampled_distance,
)
from widthwise.kernels.empirical import empirical_nngp, empirical_ntk
from widthwise.kernels.spectrum import Spectrum, chernoff_width, extreme_eigenvalues, prepare_rows

__all__ = [
    "MLP",
    "AvgPool",
    "Conv",
    "Dense",
    "Distance",
    "Ensemble",
    "Flatten",
    "GlobalAvgPool",
    "LayerNorm",
    "MeasuredDistance",
    "Network",
    "Residual",
    "Spectrum",
    "arc_cosine",
    "best_connectivity",
    "chernoff_width",
    "distance",
    "distance_approx",
    "distance_approx_diagonal",
    "distance_gaussian",
    "empirical_nngp",
    "empirical_ntk",
    "extreme_eigenvalues",
    "measured_distance",
    "measured_distance_deep",
    "prepare_rows",
    "random_pairs",
    "sampled_distance",
    "serial",
]
