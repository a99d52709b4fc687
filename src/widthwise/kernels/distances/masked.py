r"""Arc-cosine kernels averaged over random masks of the inputs, by enumeration and by quadrature.

.. math:: \tilde K_{l,p}(x, y) = p^{-l} E_s[K_l(x_s, y_s)], \quad s_i \sim \mathrm{Bernoulli}(p)

(formula (2) of the wider-nets paper). A mask enters only through three sums, of ``s_i`` times
``(x_i**2, y_i**2, x_i y_i)``. So a handful of heavy inputs is enumerated, and what the many light ones add is nearly
Gaussian in three dimensions whatever ``d`` is.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor

from widthwise.kernels.arccosine import arc_cosine_from_sums

__all__ = ["MaskedKernels", "enumerate_masks", "in_chunks", "quadrature"]

HEAVY = 5  # inputs enumerated beside the quadrature: 32 masks
NODES = 4  # Gauss-Hermite nodes a dimension; enough to carry cumulants up to the fourth
CHUNK = 2**18  # kernel evaluations held in memory at a time


@dataclass(frozen=True)
class MaskedKernels:
    """Estimates of Kt_1 and Kt_2 for a batch of pairs, ``(pairs,)`` each, and the covariance of their errors.

    Attributes:
        first: Kt_1.
        second: Kt_2.
        noise: by how much ``first**2`` exceeds Kt_1 squared on average.
        covariance: ``(3, pairs)``: of the errors of Kt_1 with itself, of Kt_1 with Kt_2, of Kt_2 with itself.
    """

    first: Tensor
    second: Tensor
    noise: Tensor
    covariance: Tensor


def enumerate_masks(x: Tensor, y: Tensor, p: float) -> MaskedKernels:
    """All ``2**d`` masks of ``x`` and ``y``, ``(pairs, d)`` each: exact."""
    return in_chunks(lambda x, y: _enumerate(x, y, p), x, y, 2 ** x.shape[1])


def quadrature(x: Tensor, y: Tensor, p: float) -> MaskedKernels:
    """Masks of the heaviest inputs one by one, the rest by a rule that matches its first three cumulants: O(d).

    The error is the size of the third and the fourth cumulant's terms: of the order of what is left out, or above,
    where the rest is a sum of many small terms, ``d p >> 1``, and large where the rule fails.
    """
    return in_chunks(lambda x, y: _quadrature(x, y, p), x, y, 2**HEAVY * NODES**3 + 4 * x.shape[1])


def in_chunks(rule: Callable[[Tensor, Tensor], MaskedKernels], x: Tensor, y: Tensor, evaluations: int) -> MaskedKernels:
    """Apply ``rule`` to a batch of pairs in parts, so that few enough kernel evaluations are held at a time."""
    size = max(1, CHUNK // evaluations)
    parts = [rule(*part) for part in zip(torch.split(x, size), torch.split(y, size), strict=True)]
    return MaskedKernels(*(torch.cat([getattr(part, f.name) for part in parts], -1) for f in fields(MaskedKernels)))


def _enumerate(x: Tensor, y: Tensor, p: float) -> MaskedKernels:
    sums, weights = _subset_sums(_products(x, y), p)
    first, second = (kernel @ weights for kernel in arc_cosine_from_sums(*sums.unbind(-1)))
    first, second = first / p, second / p / p
    return MaskedKernels(first, second, torch.zeros_like(first), x.new_zeros(3, len(x)))


def _quadrature(x: Tensor, y: Tensor, p: float) -> MaskedKernels:
    products = _heaviest_first(_products(x, y))
    sums, mask_weights = _subset_sums(products[..., :HEAVY], p)
    points, node_weights = _rest(products[..., HEAVY:], p)
    kernels = arc_cosine_from_sums(*(sums[:, :, None] + points[:, None]).unbind(-1))
    first, second = (torch.einsum("pmn,m,opn->op", k, mask_weights, node_weights) for k in kernels)
    none = torch.zeros_like(first[0])
    covariance = torch.stack([(first[1:].abs().sum(0) / p).square(), none, (second[1:].abs().sum(0) / p / p).square()])
    mean_1 = first[0].clamp(min=0) / p
    mean_2 = torch.maximum(second[0] / p / p, mean_1.square())  # as Jensen's inequality asks
    return MaskedKernels(mean_1, mean_2, none, covariance)


def _products(x: Tensor, y: Tensor) -> Tensor:
    """What each input adds to the three sums, ``(pairs, 3, d)``."""
    return torch.stack([x * x, y * y, x * y], dim=1)


def _heaviest_first(products: Tensor) -> Tensor:
    """Inputs ordered by their share in the variance of the first two sums."""
    shares = products[:, :2].square()
    shares = shares / shares.sum(-1, keepdim=True).clamp(min=torch.finfo(shares.dtype).tiny)
    order = shares.sum(1).argsort(dim=-1, descending=True)
    return products.gather(2, order[:, None].expand_as(products))


def _subset_sums(products: Tensor, p: float) -> tuple[Tensor, Tensor]:
    """The three sums under every mask, ``(pairs, 2**m, 3)``, and the masks' probabilities, ``(2**m,)``."""
    sums = products.new_zeros(len(products), 1, 3)
    weights = products.new_ones(1)
    for column in products.unbind(-1):
        sums = torch.cat([sums, sums + column[:, None]], dim=1)
        weights = torch.cat([weights * (1 - p), weights * p])
    return sums, weights


def _rest(products: Tensor, p: float) -> tuple[Tensor, Tensor]:
    """Points ``(pairs, nodes, 3)`` for the masked sums of many inputs, and weights ``(3, pairs, nodes)``.

    The first set of weights matches three cumulants by an Edgeworth series: the Gaussian weights times
    ``1 + kappa_3 . He_3 / 6`` in whitened coordinates. The other two give the size of the third and the fourth
    cumulant's terms, without the factors ``1 - 2 p`` and ``1 - 6 p (1 - p)`` by which they happen to vanish for some p.
    """
    z, gauss = _gauss_hermite(products)
    variance = p * (1 - p)
    scales, axes = torch.linalg.eigh(variance * products @ products.mT)
    scales = scales.clamp(min=0).sqrt()
    points = p * products.sum(-1)[:, None] + z @ (axes * scales[:, None]).mT
    whiten = torch.where(scales > 1e-6 * scales[:, -1:], 1 / scales, 0)
    white = whiten[..., None] * (axes.mT @ products)
    outer = (white[:, :, None] * white[:, None]).flatten(1, 2)
    skew = variance / 6 * (outer @ white.mT).flatten(1) @ _hermite(z, 3)
    tail = variance / 24 * (outer @ outer.mT).flatten(1) @ _hermite(z, 4)
    return points, gauss * torch.stack([1 + (1 - 2 * p) * skew, skew, tail])


def _gauss_hermite(like: Tensor) -> tuple[Tensor, Tensor]:
    """Nodes ``(nodes, 3)`` and weights of the product rule for the standard normal in three dimensions."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(NODES)
    z = torch.tensor(list(itertools.product(nodes, repeat=3)))
    w = torch.tensor([math.prod(ws) for ws in itertools.product(weights / weights.sum(), repeat=3)])
    return z.to(like), w.to(like)


def _hermite(z: Tensor, order: int) -> Tensor:
    """The Hermite tensor of ``order`` at the nodes ``z``, flattened: ``(3**order, nodes)``."""
    powers = [torch.ones_like(z), z, z**2 - 1, z**3 - 3 * z, z**4 - 6 * z**2 + 3]
    columns = [[power[:, axis] for power in powers] for axis in range(3)]
    indices = itertools.product(range(3), repeat=order)
    return torch.stack([columns[0][i.count(0)] * columns[1][i.count(1)] * columns[2][i.count(2)] for i in indices])
