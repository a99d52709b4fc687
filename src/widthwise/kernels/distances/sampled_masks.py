"""Arc-cosine kernels averaged over random masks of the inputs, by drawing masks: right for every d and p."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import scipy  # whose parts load when first used
import torch
from torch import Tensor
from torch.nn.functional import embedding_bag

from widthwise.kernels.arccosine import arc_cosine_from_sums
from widthwise.kernels.distances.masked import MaskedKernels, in_chunks

__all__ = ["sample_masks"]

CHUNK = 2**22  # random numbers held in memory at a time


def sample_masks(x: Tensor, y: Tensor, p: float, masks: int, seed: int) -> MaskedKernels:
    """Kt_1 and Kt_2 of ``(pairs, d)`` vectors from ``masks`` random masks, the same for all pairs.

    Masks with no live input add nothing and those with a single one are summed exactly; masks are drawn among the
    others. That keeps the estimate sharp down to d p << 1. The square of Kt_1 is the mean over products of two
    different masks, hence unbiased: the squared mean less the variance of the mean.
    """
    several = float(scipy.special.bdtrc(1, x.shape[1], p))
    live, counts = _draw(x.shape[1], p, masks if several > 0 else 0, seed)
    live, starts = live.to(x.device), (counts.cumsum(0) - counts).to(x.device)

    def rule(x: Tensor, y: Tensor) -> MaskedKernels:
        # sums in single precision: several times faster, and their rounding is far below the noise of the masks
        tables = (products.mT.float().contiguous() for products in (x * x, y * y, x * y))
        sums = (embedding_bag(live, table, starts, mode="sum").double() for table in tables)
        return _estimate(x, y, p, several, *arc_cosine_from_sums(*sums))

    return in_chunks(rule, x, y, masks)


def _estimate(x: Tensor, y: Tensor, p: float, several: float, first: Tensor, second: Tensor) -> MaskedKernels:
    """Join masks of one live input with K_1 and K_2, ``(masks, pairs)``, under those of more, of chance ``several``."""
    single = torch.relu(x * y)
    alone = float(_chance(0, x.shape[1] - 1, p))  # that a live input has no other beside it
    first = alone * single.sum(-1) / 2 + several / p * first
    second = alone / p * single.square().sum(-1) * 3 / 2 + several / p / p * second
    mean_1, mean_2 = first.mean(0), second.mean(0)
    first, second = first - mean_1, second - mean_2
    products = torch.stack([first.square().sum(0), (first * second).sum(0), second.square().sum(0)])
    covariance = products / (len(first) * (len(first) - 1))
    return MaskedKernels(mean_1, mean_2, covariance[0], covariance)


def _draw(d: int, p: float, masks: int, seed: int) -> tuple[Tensor, Tensor]:
    """Bernoulli(p) masks of at least two live inputs: these inputs, one mask after another, and how many each has.

    The same on every device.
    """
    if masks == 0:
        return torch.zeros(0, dtype=torch.long), torch.zeros(2, dtype=torch.long)  # two masks without any
    generator = torch.Generator().manual_seed(seed)
    chances = torch.from_numpy(_chance(np.arange(2, d + 1), d, p) / scipy.special.bdtrc(1, d, p))
    counts = 2 + torch.multinomial(chances, masks, replacement=True, generator=generator)
    parts = torch.split(counts, max(1, CHUNK // d))
    return torch.cat([_subsets(part, d, generator) for part in parts]), counts


def _subsets(counts: Tensor, d: int, generator: torch.Generator) -> Tensor:
    """A random subset of d inputs for each count, one after another."""
    order = torch.rand(len(counts), d, generator=generator, dtype=torch.float32).argsort(dim=1)
    return order[torch.arange(d) < counts[:, None]]


def _chance(k: npt.ArrayLike, n: int, p: float) -> npt.NDArray[np.float64]:
    """The binomial chance of ``k`` successes out of ``n``."""
    k = np.asarray(k)
    ways = scipy.special.gammaln(n + 1) - scipy.special.gammaln(k + 1) - scipy.special.gammaln(n - k + 1)
    chances: npt.NDArray[np.float64] = np.exp(ways + scipy.special.xlogy(k, p) + scipy.special.xlog1py(n - k, -p))
    return chances
