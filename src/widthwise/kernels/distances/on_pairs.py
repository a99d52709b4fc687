"""Random pairs of a data set's rows, and the infinite-width kernel on them alone."""

from __future__ import annotations

import torch
from torch import Tensor

from widthwise import duals
from widthwise.activations import ActivationLike
from widthwise.errors import check_integer
from widthwise.kernels._check import as_float64

__all__ = ["nngp_on_pairs", "random_pairs"]


def random_pairs(rows: int, pairs: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Indices of random pairs of different rows; all pairs, once each, where there are no more than ``pairs``.

    Args:
        rows: number of rows.
        pairs: number of pairs wanted.
        seed: draws them.

    Raises:
        InputTypeError: if an argument is not a whole number.
        InputError: if there are fewer than 2 rows, no pairs are asked for, or ``seed`` is negative.

    Example:
        >>> random_pairs(3, 10)
        (tensor([0, 0, 1]), tensor([1, 2, 2]))
    """
    rows, pairs = check_integer("rows", rows, low=2), check_integer("pairs", pairs, low=1)
    generator = torch.Generator().manual_seed(check_integer("seed", seed))
    if rows * (rows - 1) // 2 <= pairs:
        first, second = torch.triu_indices(rows, rows, offset=1)
        return first, second
    first = torch.randint(rows, (pairs,), generator=generator)
    step = torch.randint(1, rows, (pairs,), generator=generator)
    return first, (first + step) % rows


def nngp_on_pairs(x: Tensor, i: Tensor, j: Tensor, activation: ActivationLike, sigma_w: float, depth: int) -> Tensor:
    """E[phi(u) phi(v)] in the last of ``depth`` hidden layers for the rows ``i`` and ``j``; float64.

    Pre-activations have covariance ``sigma_w**2 x . y / d`` in the first layer and ``sigma_w**2`` times the previous
    layer's result in the others.
    """
    rows = as_float64(x)
    products = torch.cat(
        [(rows[a] * rows[b]).sum(-1) for a, b in zip(torch.split(i, 1024), torch.split(j, 1024), strict=True)]
    )
    variance, covariance = rows.square().sum(-1) / x.shape[1], products / x.shape[1]
    for _ in range(depth):
        variance, covariance = sigma_w**2 * variance, sigma_w**2 * covariance
        norms = (variance[i] * variance[j]).sqrt()
        correlation = torch.where(norms > 0, covariance / norms, 0).clamp(-1, 1)
        covariance = duals.dual(activation, variance[i], variance[j], correlation)
        variance = duals.second_moment(activation, variance)
    return covariance
