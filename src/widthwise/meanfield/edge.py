"""The edge of chaos: initialisations at which gradients neither vanish nor explode."""

from __future__ import annotations

import math

import numpy as np
import scipy  # whose parts load when first used
import torch
from torch import Tensor

from widthwise.activations import Activation, ActivationLike, get
from widthwise.duals import second_moment
from widthwise.errors import InputError, check_number
from widthwise.meanfield.phases import LARGEST

__all__ = ["at_chi", "edge_of_chaos"]

REACHES = (1e8, 1e4, 1e2, 10.0, 2.0)
POINTS_A_DECADE = 4
HOMOGENEOUS = 1e-10


def edge_of_chaos(activation: ActivationLike, sigma_b: float = 0.0) -> tuple[float, float]:
    """Return (sigma_w, q): at variance q, chi = 1 and q is a fixed point of the variance map.

    Of several solutions the one of smallest variance is returned; for the activations in common use there is only one.
    For a homogeneous activation (ReLU, leaky ReLU, linear) every q solves it at sigma_b = 0 and none otherwise; q = 1
    is returned. At sigma_b = 0 an activation with phi(0) = 0 has its edge at q = 0.

    The fixed point may repel, as it does for GELU, SiLU and Mish at small sigma_b:
    :func:`~widthwise.meanfield.variance_slope` says so.

    Args:
        activation: a name, an :class:`~widthwise.activations.Activation`, a module or a function.
        sigma_b: standard deviation of a bias.

    Raises:
        InputError: if there is no edge of chaos with this ``sigma_b``, such as for softplus, or for ReLU with biases.

    Example:
        >>> edge_of_chaos("relu", 0), edge_of_chaos("tanh", 0)
        ((1.4142135623730951, 1.0), (1.0, 0.0))
        >>> [round(edge_of_chaos("tanh", sigma_b)[0], 4) for sigma_b in (0.2, 0.05)]
        [1.3041, 1.1225]
    """
    return at_chi(activation, 1.0, sigma_b)


def at_chi(activation: ActivationLike, chi: float, sigma_b: float = 0.0) -> tuple[float, float]:
    """Return (sigma_w, q) with the given chi at a fixed point q: in the ordered phase below 1, the chaotic above.

    Both conditions together leave one equation in q,

        q - chi E[phi(sqrt(q) Z)^2] / E[phi'(sqrt(q) Z)^2] = sigma_b^2,    sigma_w^2 = chi / E[phi'(sqrt(q) Z)^2].

    Args:
        activation: a name, an :class:`~widthwise.activations.Activation`, a module or a function.
        chi: above 0.
        sigma_b: standard deviation of a bias.

    Returns:
        sigma_w, and the smallest q that solves the equation; ``inf`` where variances explode at that chi.

    Raises:
        InputError: if there is no solution.

    Example:
        >>> sigma_w, q = at_chi("relu", 0.5, 0.3)
        >>> round(sigma_w, 6), round(q, 6)  # q = sigma_b^2 / (1 - chi)
        (1.0, 0.18)
    """
    known, sigma_b = get(activation), check_number("sigma_b", sigma_b, low=0.0)
    chi = check_number("chi", chi, low=0.0, low_open=True)
    q = _range(known, sigma_b)
    bias, slope = _bias(known, chi, q)
    sound = torch.isfinite(bias) & (slope > 0)
    if chi == 1 and bool((sound & (bias.abs() <= HOMOGENEOUS * q)).all()):
        if sigma_b > 0:
            raise InputError(f"sigma_b: got {sigma_b:g}, allowed is 0: {known.name} has no edge of chaos with biases")
        return float(slope[0]) ** -0.5, 1.0
    if sigma_b == 0 and chi <= 1 and float(known.phi(torch.zeros(1, dtype=torch.float64))) == 0:
        steepness = float(second_moment(known, 0.0, slope=True))
        if 0 < steepness < math.inf:
            return math.sqrt(chi / steepness), 0.0
    q, excess = q[sound], bias[sound] - sigma_b**2
    if chi > 1 and len(q) and bool((excess < 0).all()) and float(excess[-1]) < -HOMOGENEOUS * float(q[-1]):
        return math.sqrt(chi / float(second_moment(known, LARGEST, slope=True))), math.inf
    at = _first_root(known, chi, q, excess, sigma_b)
    return math.sqrt(chi / float(second_moment(known, at, slope=True))), at


def _bias(activation: Activation, chi: float, q: Tensor) -> tuple[Tensor, Tensor]:
    """The sigma_b^2 with which ``q`` is the fixed point at that chi, and E[phi'^2] there."""
    slope = second_moment(activation, q, slope=True)
    return q - chi * second_moment(activation, q) / slope, slope


def _range(activation: Activation, sigma_b: float) -> Tensor:
    """Variances to search, from the least possible up to where the moments are finite."""
    low = max(sigma_b**2, 1e-10)
    for reach in REACHES:
        high = max(reach, 10 * low)
        q = torch.from_numpy(np.geomspace(low, high, 1 + math.ceil(POINTS_A_DECADE * math.log10(high / low))))
        try:
            second_moment(activation, q)
            second_moment(activation, q, slope=True)
        except InputError:
            continue
        return q
    raise InputError(f"activation: {activation.name} has no finite second moments, without which there is no chi")


def _first_root(activation: Activation, chi: float, q: Tensor, excess: Tensor, sigma_b: float) -> float:
    rises = torch.nonzero((excess[:-1] < 0) & (excess[1:] >= 0)).flatten()
    if not len(rises):
        best = float((excess + sigma_b**2).max()) if len(excess) else -math.inf
        hint = f"; the largest sigma_b that has one is about {math.sqrt(best):.3g}" if 0 < best < sigma_b**2 else ""
        raise InputError(
            f"sigma_b: got {sigma_b:g}, with which chi is {chi:g} at no fixed point of {activation.name}{hint}"
        )
    low, high = (float(q[int(rises[0]) + side]) for side in (0, 1))

    def at(value: float) -> float:
        return float(_bias(activation, chi, torch.tensor(value, dtype=torch.float64))[0]) - sigma_b**2

    return float(scipy.optimize.brentq(at, low, high, xtol=1e-15 * low, rtol=1e-14))
