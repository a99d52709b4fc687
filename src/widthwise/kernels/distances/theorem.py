r"""How far the kernel of a sparse network of finite width is from its infinite-width limit: Theorem 1.

For ``f(x) = (n d)**(-1/2) v . relu(U x)`` with every weight ``N(0, 1/p)`` with probability ``p`` and 0 otherwise, the
kernel is ``Theta(x, y) = sum_j relu(u_j x) relu(u_j y) / (n d)``, its limit ``K_1 / d``, and

.. math:: E[(\Theta - \Theta_\infty)^2] = \frac{(\tilde K_1 - K_1)^2}{d^2} + \frac{\tilde K_2 - \tilde K_1^2}{d^2 n}.

The wider-nets paper prints the last bracket as ``[Kt_2 - Kt_1]**2`` in its (1); its proof, (10), has it right.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from widthwise.errors import InputError, check_choice, check_integer, check_number
from widthwise.kernels._check import as_float64, check_pairs
from widthwise.kernels.arccosine import arc_cosine_from_sums
from widthwise.kernels.distances.masked import MaskedKernels, enumerate_masks, quadrature
from widthwise.kernels.distances.sampled_masks import sample_masks

__all__ = ["Distance", "distance"]

ENUMERABLE = 16  # largest d for which all masks are visited
TOLERANCE = 0.02  # quadrature stands where its mean error is within this fraction of the mean distance


@dataclass(frozen=True)
class Distance:
    """Mean squared distance of a sparse network's kernel from its infinite-width limit, for one pair or a batch.

    Attributes:
        value: the distance, ``bias + variance``.
        error: 0 for enumeration, an estimate of the error for quadrature, a standard error for sampling. Sampling uses
            the same masks for all pairs, so ``error.mean()`` bounds the standard error of ``value.mean()``.
        method: ``"enumerate"``, ``"quadrature"`` or ``"sample"``: which was used.
        bias: the squared bias, which no width removes.
        variance: what falls as 1/n.
    """

    value: Tensor
    error: Tensor
    method: str
    bias: Tensor
    variance: Tensor


def distance(
    x: Tensor,
    y: Tensor,
    n: int,
    p: float,
    method: str = "auto",
    *,
    p_last: float = 1.0,
    masks: int = 4096,
    seed: int = 0,
) -> Distance:
    """Theorem 1 for a pair of inputs or a batch of pairs.

    ``"auto"`` enumerates up to d = 16; beyond it takes quadrature where that claims a mean error within 2 % of the mean
    distance, and else samples. Sampling is unbiased, so a very small distance may come out below 0.

    Args:
        x: ``(..., d)``.
        y: the same shape; row by row the partner of ``x``.
        n: hidden width.
        p: connectivity of the first layer, in (0, 1].
        method: ``"auto"``, ``"enumerate"``, ``"quadrature"`` or ``"sample"``.
        p_last: connectivity of the last layer: an output sees each hidden unit with this probability, and its kernel is
            normalised by ``n * p_last``. The paper's theorem is the case 1.
        masks: number of masks that sampling draws.
        seed: of these masks.

    Returns:
        Tensors of shape ``(...)`` in the dtype of ``x``, computed in double precision.

    Raises:
        InputTypeError: if an argument has the wrong type.
        InputError: if shapes differ, a value is not finite or out of range, or ``"enumerate"`` is asked for d > 16.

    Example:
        With d = 1, p = 1 and one unit the kernel at x = y = 1 is ``relu(w)**2``, of variance 3/2 - 1/4:

        >>> one = torch.ones(1)
        >>> distance(one, one, n=1, p=1.0).value
        tensor(1.2500)
    """
    check_pairs(x, y)
    n = check_integer("n", n, low=1)
    p = check_number("p", p, 0, 1, low_open=True)
    p_last = check_number("p_last", p_last, 0, 1, low_open=True)
    check_choice("method", method, ["auto", "enumerate", "quadrature", "sample"])
    masks = check_integer("masks", masks, low=2)
    seed = check_integer("seed", seed)
    if method == "enumerate" and x.shape[-1] > ENUMERABLE:
        raise InputError(f"method: got 'enumerate' for d = {x.shape[-1]}, allowed up to d = {ENUMERABLE}; use 'auto'")
    (rows_x, scale_x), (rows_y, scale_y) = _unit_peak(x), _unit_peak(y)
    scale = (scale_x * scale_y).square()
    for used in _order(method, x.shape[-1]):
        masked = _masked_kernels(rows_x, rows_y, p, used, masks, seed)
        bias, variance, error = (scale * part for part in _theorem(rows_x, rows_y, n, p_last, masked))
        if error.mean() <= TOLERANCE * (bias + variance).mean():
            break
    shape = x.shape[:-1]
    value, error, bias, variance = (t.reshape(shape).to(x.dtype) for t in (bias + variance, error, bias, variance))
    return Distance(value, error, used, bias, variance)


def _order(method: str, d: int) -> tuple[str, ...]:
    """Methods to try, until one is sharp enough; the last stands in any case."""
    if method != "auto":
        return (method,)
    return ("enumerate",) if d <= ENUMERABLE else ("quadrature", "sample")


def _masked_kernels(x: Tensor, y: Tensor, p: float, method: str, masks: int, seed: int) -> MaskedKernels:
    if method == "sample":
        return sample_masks(x, y, p, masks, seed)
    return quadrature(x, y, p) if method == "quadrature" else enumerate_masks(x, y, p)


def _theorem(x: Tensor, y: Tensor, n: int, p_last: float, masked: MaskedKernels) -> tuple[Tensor, Tensor, Tensor]:
    """Squared bias, variance and the standard error of their sum, to first order and for the square of Kt_1 to second.

    A last-layer mask leaves each unit's share of the kernel, relu(u x) relu(u y) / p_last, with probability p_last.
    """
    d = x.shape[-1]
    dense, _ = arc_cosine_from_sums((x * x).sum(-1), (y * y).sum(-1), (x * y).sum(-1))
    bias = (masked.first - dense).square() - masked.noise
    variance = (masked.second / p_last - masked.first.square() + masked.noise) / n
    slope_1, slope_2 = 2 * (masked.first - dense) - 2 * masked.first / n, 1 / (n * p_last)
    var_1, cov, var_2 = masked.covariance
    spread = slope_1.square() * var_1 + 2 * slope_1 * slope_2 * cov + slope_2**2 * var_2
    spread = spread + 2 * ((1 - 1 / n) * var_1).square()
    return bias / d**2, variance / d**2, spread.clamp(min=0).sqrt() / d**2


def _unit_peak(x: Tensor) -> tuple[Tensor, Tensor]:
    """Rows ``(pairs, d)`` scaled to a largest entry of 1, and the scales; the distance is quadratic in each."""
    rows = as_float64(x).reshape(-1, x.shape[-1])
    scale = rows.abs().amax(-1)
    return rows / torch.where(scale > 0, scale, 1)[:, None], scale
