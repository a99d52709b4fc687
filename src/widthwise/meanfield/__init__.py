"""Mean-field theory of wide random networks: how signals and gradients travel with depth."""

from widthwise.meanfield.edge import at_chi, edge_of_chaos
from widthwise.meanfield.maps import Trajectory, correlation_map, covariance_map, propagate, variance_map
from widthwise.meanfield.phases import (
    chi,
    correlation_fixed_point,
    depth_scales,
    fixed_point,
    phase,
    variance_slope,
)

__all__ = [
    "Trajectory",
    "at_chi",
    "chi",
    "correlation_fixed_point",
    "correlation_map",
    "covariance_map",
    "depth_scales",
    "edge_of_chaos",
    "fixed_point",
    "phase",
    "propagate",
    "variance_map",
    "variance_slope",
]
