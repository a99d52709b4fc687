"""Where variance and correlation settle in a deep net, and how fast."""

from __future__ import annotations

import math
from collections.abc import Callable

import scipy  # whose parts load when first used
import torch

from widthwise.activations import ActivationLike, get
from widthwise.duals import dual_derivative, second_moment
from widthwise.errors import check_number
from widthwise.meanfield.maps import correlation_map, variance_map

__all__ = ["chi", "correlation_fixed_point", "depth_scales", "fixed_point", "phase", "variance_slope"]

SMALLEST, LARGEST = 1e-12, 1e12
"""Variances beyond these count as 0 and as infinite."""
STEP = 10**0.25
STILL = 1e-13
"""A variance that changes by less than this share is a fixed point."""


def fixed_point(activation: ActivationLike, sigma_w: float, sigma_b: float, *, start: float = 1.0) -> float:
    """Return the variance that the pre-activations tend to, from ``start`` on.

    It is the fixed point of the variance map next to ``start`` in the direction in which the map moves it: itself where
    every variance stays (ReLU on the edge of chaos), 0 if the signal dies, ``inf`` if it explodes.

    Args:
        activation: a name, an :class:`~widthwise.activations.Activation`, a module or a function.
        sigma_w: standard deviation of a weight times the root of the fan-in.
        sigma_b: standard deviation of a bias.
        start: the variance to begin from, above 0.

    Raises:
        InputError: for a negative or NaN argument.

    Example:
        >>> round(fixed_point("relu", 1.0, 0.5), 12)  # sigma_b^2 / (1 - sigma_w^2 / 2)
        0.5
    """
    known, start = get(activation), check_number("start", start, low=0.0, low_open=True)

    def drift(q: float) -> float:
        return float(variance_map(known, q, sigma_w, sigma_b)) - q

    here = drift(start)
    if abs(here) <= STILL * start:
        return start
    factor = STEP if here > 0 else 1 / STEP
    near, far = start, start * factor
    while SMALLEST < far < LARGEST and drift(far) * here > 0:
        near, far = far, far * factor
    if far >= LARGEST:
        return math.inf
    if far <= SMALLEST:
        return 0.0
    return float(scipy.optimize.brentq(drift, near, far, xtol=1e-15 * near, rtol=1e-14))


def chi(activation: ActivationLike, sigma_w: float, sigma_b: float, *, q: float | None = None) -> float:
    """Return chi = sigma_w^2 E[phi'(sqrt(q) Z)^2]: slope of the correlation map at 1, factor on gradients at a layer.

    Args:
        activation: a name, an :class:`~widthwise.activations.Activation`, a module or a function.
        sigma_w: standard deviation of a weight times the root of the fan-in.
        sigma_b: standard deviation of a bias.
        q: the variance; that of :func:`fixed_point` if not given, an infinite one being taken as 1e12.

    Raises:
        InputError: for a negative or NaN argument, or if phi' has no second moment.

    Example:
        >>> round(chi("tanh", 1.3041, 0.2), 4)
        1.0
    """
    sigma_w = check_number("sigma_w", sigma_w, low=0.0)
    at = fixed_point(activation, sigma_w, sigma_b) if q is None else check_number("q", q, low=0.0)
    return sigma_w**2 * float(second_moment(activation, min(at, LARGEST), slope=True))


def variance_slope(activation: ActivationLike, sigma_w: float, sigma_b: float, *, q: float | None = None) -> float:
    """Return the variance map's derivative at ``q``, by default its fixed point, which attracts if this is below 1.

    Args:
        activation: a name, an :class:`~widthwise.activations.Activation`, a module or a function.
        sigma_w: standard deviation of a weight times the root of the fan-in.
        sigma_b: standard deviation of a bias.
        q: where; by default at the fixed point.

    Raises:
        InputError: for a negative or NaN argument.
    """
    at = fixed_point(activation, sigma_w, sigma_b) if q is None else check_number("q", q, low=0.0)
    if at == 0:  # then phi(0) = 0 and the map starts as chi q
        return chi(activation, sigma_w, sigma_b, q=0.0)
    variance = torch.tensor(min(at, LARGEST), dtype=torch.float64, requires_grad=True)
    after = variance_map(activation, variance, sigma_w, sigma_b)
    if not after.requires_grad:  # a constant activation
        return 0.0
    (slope,) = torch.autograd.grad(after, variance)
    return float(slope)


def phase(activation: ActivationLike, sigma_w: float, sigma_b: float, *, tolerance: float = 1e-3) -> str:
    """Return ``"ordered"``, ``"chaotic"`` or ``"edge"``, by chi.

    Args:
        activation: a name, an :class:`~widthwise.activations.Activation`, a module or a function.
        sigma_w: standard deviation of a weight times the root of the fan-in.
        sigma_b: standard deviation of a bias.
        tolerance: how far from 1 chi still counts as the edge; by default correlations then last a thousand layers.

    Raises:
        InputError: for a negative or NaN argument.

    Example:
        >>> [phase("tanh", sigma_w, 0.05) for sigma_w in (0.9, 1.1225, 1.5)]
        ['ordered', 'edge', 'chaotic']
    """
    excess = chi(activation, sigma_w, sigma_b) - 1
    if abs(excess) <= check_number("tolerance", tolerance, low=0.0):
        return "edge"
    return "chaotic" if excess > 0 else "ordered"


def correlation_fixed_point(activation: ActivationLike, sigma_w: float, sigma_b: float) -> float:
    """Return the correlation that any two inputs tend to: 1 in the ordered phase and on the edge, less in the chaotic.

    Args:
        activation: a name, an :class:`~widthwise.activations.Activation`, a module or a function.
        sigma_w: standard deviation of a weight times the root of the fan-in.
        sigma_b: standard deviation of a bias.

    Raises:
        InputError: for a negative or NaN argument.

    Example:
        >>> correlation_fixed_point("tanh", 2.0, 0.0)
        0.0
    """
    q = _settled(activation, sigma_w, sigma_b)

    def drift(c: float) -> float:
        return float(correlation_map(activation, c, q, sigma_w, sigma_b)) - c

    # The map is a power series in c with positive coefficients: convex, so that it has at most one fixed point below 1.
    if _slope_at_one(activation, sigma_w, sigma_b, q) <= 1 + (1e-12 if q < LARGEST else 1e-5):
        return 1.0
    if drift(0.0) <= 1e-15:
        return 0.0
    return _below_one(drift)


def depth_scales(activation: ActivationLike, sigma_w: float, sigma_b: float) -> tuple[float, float]:
    """Return (xi_q, xi_c), the numbers of layers in which variance and correlation come e times closer to their limits.

    xi = -1 / log of the map's slope at its fixed point; ``inf`` where that slope is 1 or more, as on the edge of chaos,
    where correlations approach 1 as a power of depth.

    Args:
        activation: a name, an :class:`~widthwise.activations.Activation`, a module or a function.
        sigma_w: standard deviation of a weight times the root of the fan-in.
        sigma_b: standard deviation of a bias.

    Raises:
        InputError: for a negative or NaN argument.

    Example:
        >>> xi_q, xi_c = depth_scales("relu", 1.0, 0.5)
        >>> round(xi_q, 4), round(xi_c, 4)  # 1 / log 2
        (1.4427, 1.4427)
    """
    q, c = _settled(activation, sigma_w, sigma_b), correlation_fixed_point(activation, sigma_w, sigma_b)
    slope = _slope_at_one(activation, sigma_w, sigma_b, q)
    if c < 1:
        slope = sigma_w**2 * float(dual_derivative(activation, q, q, c)) / _growth(activation, sigma_w, sigma_b, q)
    return _scale(variance_slope(activation, sigma_w, sigma_b)), _scale(slope)


def _growth(activation: ActivationLike, sigma_w: float, sigma_b: float, q: float) -> float:
    """The variance after a layer over that before it: 1 unless the signal explodes or has died."""
    return float(variance_map(activation, q, sigma_w, sigma_b)) / q if q > 0 else 1.0


def _slope_at_one(activation: ActivationLike, sigma_w: float, sigma_b: float, q: float) -> float:
    return chi(activation, sigma_w, sigma_b, q=q) / _growth(activation, sigma_w, sigma_b, q)


def _settled(activation: ActivationLike, sigma_w: float, sigma_b: float) -> float:
    return min(fixed_point(activation, sigma_w, sigma_b), LARGEST)


def _below_one(drift: Callable[[float], float]) -> float:
    """The root in (0, 1) of a convex function that is positive at 0, vanishes at 1 and rises there."""
    gap = 0.5
    while drift(1 - gap) >= 0 and gap > 1e-12:
        gap /= 4
    return float(scipy.optimize.brentq(drift, 0.0, 1 - gap, xtol=1e-14)) if drift(1 - gap) < 0 else 1.0


def _scale(slope: float) -> float:
    size = abs(slope)
    if size >= 1 - 1e-12:
        return math.inf
    return 0.0 if size == 0 else -1 / math.log(size)
