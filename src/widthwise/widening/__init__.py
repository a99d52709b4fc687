"""Wider networks of the same number of weights: static sparsity, linear and non-linear bottlenecks."""

from widthwise.widening.counting import Factory, weights_at, width_for
from widthwise.widening.distribution import DISTRIBUTIONS, GRANULARITIES, Distribution, LastLayer
from widthwise.widening.linear import LinearBottleneck
from widthwise.widening.plan import Plan
from widthwise.widening.planning import METHODS, plan
from widthwise.widening.sparse import sparsify_randomly
from widthwise.widening.widen import widen

__all__ = [
    "DISTRIBUTIONS",
    "GRANULARITIES",
    "METHODS",
    "Distribution",
    "Factory",
    "LastLayer",
    "LinearBottleneck",
    "Plan",
    "plan",
    "sparsify_randomly",
    "weights_at",
    "widen",
    "width_for",
]
