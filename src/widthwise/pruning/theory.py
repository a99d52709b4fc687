r"""What theory says of scores at initialization: how they vary over layers, and when a layer is lost.

Source: Hayou, Ton, Doucet, Teh, "Robust Pruning at Initialization", 2021.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import scipy  # whose parts load when first used
from torch import Tensor

from widthwise.activations import ActivationLike
from widthwise.errors import InputError, check_depth, check_integer, check_number
from widthwise.meanfield import chi

__all__ = ["Bound", "conditioning", "critical_sparsity_bound", "magnitude_bound", "mean_squares"]


def mean_squares(scores: Mapping[str, Tensor]) -> dict[str, float]:
    """m_l, the mean squared score of each layer (Definition 1).

    >>> import torch
    >>> mean_squares({"a": torch.tensor([1.0, 3.0]), "b": torch.tensor([2.0])})
    {'a': 5.0, 'b': 4.0}
    """
    return {name: float(score.detach().double().square().mean()) for name, score in scores.items()}


def conditioning(scores: Mapping[str, Tensor]) -> dict[str, float]:
    """m_l / m_L: a family of networks is well-conditioned if these stay bounded, above and away from 0, as it deepens.

    Raises:
        InputError: if the last layer's scores are all 0.
    """
    squares = mean_squares(scores)
    last = next(reversed(squares.values()), 0.0)
    if not last > 0:
        raise InputError("scores: those of the last layer are all 0, allowed is a layer with some score")
    return {name: square / last for name, square in squares.items()}


@dataclass(frozen=True)
class Bound:
    """Theorem 1's bound on the expected critical sparsity.

    Attributes:
        value: the bound, which says nothing where it is above 1; ``None`` outside the ordered phase.
        kappa: ``|log chi| / 8``.
        chi: below 1 in the ordered phase, 1 on the edge of chaos, above in the chaotic phase.
    """

    value: float | None
    kappa: float
    chi: float


def critical_sparsity_bound(
    activation: ActivationLike, sigma_w: float, sigma_b: float, *, depth: int, width: int
) -> Bound:
    r"""Theorem 1: in the ordered phase :math:`E[s_{cr}] \le (1 + \log(\kappa L N^2) / \kappa) / L`, for SNIP.

    The terms of order :math:`1 / (\kappa^2 \sqrt{L N^2})` are left out, and the theorem needs sigma_b above 0: without
    biases the scores have the same size in every layer. The logarithm is the natural one, as in the proof; the 27 %
    that the paper quotes for L = N = 100 and kappa = 0.2 takes the decimal logarithm.

    Args:
        activation: of the network.
        sigma_w: standard deviation of a weight times the root of its fan-in.
        sigma_b: standard deviation of a bias.
        depth: L, the number of layers.
        width: N, the number of units of each.

    Raises:
        InputError: for an argument out of range, or an activation without a fixed point of the variance.
    """
    check_depth(depth)
    check_integer("width", width, 1)
    slope = chi(activation, sigma_w, sigma_b)
    kappa = abs(math.log(slope)) / 8 if slope > 0 else math.inf
    if not 0 < slope < 1 or kappa * depth * width**2 <= 1:
        return Bound(None, kappa, slope)
    return Bound((1 + math.log(kappa * depth * width**2) / kappa) / depth, kappa, slope)


def magnitude_bound(ratio: float, width: int, zeta: float = 1.0) -> float:
    r"""Proposition 4: a bound on the critical sparsity of magnitude pruning, in the limit of large depth.

    One layer's weights have a standard deviation ``ratio`` times smaller than all others'. With r the ratio,
    :math:`E[s_{cr}] \le \inf_{0 < \epsilon < 2} x + \zeta N^2 (1 - x)^{1 + k} / (1 + k)`, :math:`k = r^{2 - \epsilon}`,
    where x is the least share beyond which :math:`r Q_x > Q_{1 - (1 - x)^k}`, Q the quantiles of a half-normal.
    The paper prints gamma = r^2 in the place of r, and its bound then fails.

    Args:
        ratio: r, above 1.
        width: N, of the odd layer, which has ``zeta * width ** 2`` weights.
        zeta: its number of weights over ``width ** 2``.

    Raises:
        InputError: for an argument out of range.

    >>> round(magnitude_bound(10**0.5, 100), 3)
    0.812
    """
    check_number("ratio", ratio, 1, low_open=True)
    check_integer("width", width, 1)
    check_number("zeta", zeta, 0, low_open=True)

    def bound(log_k: float) -> float:
        k = math.exp(log_k)
        x = _least_share(ratio, k)
        return float(x + zeta * width**2 / (1 + k) * (1 - x) ** (1 + k))

    grid = np.linspace(0, 2 * math.log(ratio), 202)[1:-1]
    best = int(np.argmin([bound(g) for g in grid]))
    around = (grid[max(best - 1, 0)], grid[min(best + 1, len(grid) - 1)])
    return float(min(bound(grid[best]), scipy.optimize.minimize_scalar(bound, bounds=around, method="bounded").fun))


def _least_share(ratio: float, k: float) -> float:
    """The least x from which on P(|Z| > r Q) < P(|Z| > Q)^k at the quantile Q of x."""

    def excess(q: float) -> float:
        return float(
            (math.log(2) + scipy.special.log_ndtr(-ratio * q)) - k * (math.log(2) + scipy.special.log_ndtr(-q))
        )

    if k <= ratio:  # then it holds from 0 on
        return 0.0
    high = 1.0
    while excess(high) >= 0:
        high *= 2
    low = high
    while excess(low) < 0:
        low /= 2
    return float(1 - 2 * math.exp(scipy.special.log_ndtr(-scipy.optimize.brentq(excess, low, high))))
