"""What a user would try first: keep, cluster or merge the target's own neurons.

Each takes the target, the number M of neurons wanted and a generator, and returns V (M, D) and b (M, k).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from widthwise.compression._check import is_homogeneous
from widthwise.compression.target import Target

__all__ = ["BASELINES", "greedy", "kmeans", "magnitude", "merge", "random"]

Baseline = Callable[[Target, int, torch.Generator], tuple[Tensor, Tensor]]


def magnitude(target: Target, M: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Keep the neurons with the largest ``|a_n| |w_n|``, coefficients as they are."""
    keep = _largest(target, M)
    return target.W[keep], target.a[keep] * (M / len(target.W))


def random(target: Target, M: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Keep a random subset and refit b."""
    V = target.W[torch.randperm(len(target.W), generator=generator)[:M].to(target.W.device)]
    return V, target.coefficients(V)


def kmeans(target: Target, M: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Cluster the rows, each weighing ``|a_n|``, and refit b; unit rows give unit centres."""
    from sklearn.cluster import KMeans  # a heavy import that nothing else here needs

    seed = int(torch.randint(2**31, (), generator=generator))
    weight = target.a.norm(dim=1) + 1e-12 * target.a.norm()
    clusters = KMeans(M, n_init=1, random_state=seed).fit(target.W.cpu().numpy(), sample_weight=weight.cpu().numpy())
    centres = torch.from_numpy(clusters.cluster_centers_).to(target.W)
    size = target.W.norm(dim=1)
    if torch.allclose(size, torch.ones_like(size)):
        centres = torch.nn.functional.normalize(centres, dim=1)
    return centres, target.coefficients(centres)


def greedy(target: Target, M: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Add, one at a time, the neuron that lowers the loss most with all of b refitted (forward selection).

    This is orthogonal matching pursuit. The pivoted Cholesky factor of G_WW, one column a step, keeps what each
    neuron would add: the loss falls by |c_n|^2 / r_n, with r_n its power outside the span of the kept ones and c_n its
    correlation with what they leave unexplained. Holds all of G_WW.
    """
    G, left = target.neurons(target.W).gram(), target.correlation(target.W)
    room = G.diagonal()
    columns, keep = target.W.new_zeros(len(target.W), M), list[int]()
    floor = 1e-12 * room.max()
    for step in range(M):
        gain = torch.where(room > floor, left.square().sum(1) / room.clamp_min(floor), -1.0)
        gain[keep] = -2.0
        best = int(gain.argmax())
        keep.append(best)
        scale = room[best].clamp_min(floor).sqrt()
        column = (G[:, best] - columns @ columns[best]) / scale
        columns[:, step] = column
        left = left - column.unsqueeze(1) * (left[best] / scale)
        room = room - column.square()
    V = target.W[keep]
    return V, target.coefficients(V)


def merge(target: Target, M: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Keep the largest neurons and add each other one's coefficient to the kept one of largest cosine.

    A homogeneous activation also carries over the ratio of the two lengths. This is neuron merging (Kim et al., 2020)
    without its threshold.
    """
    keep = _largest(target, M)
    size = target.W.norm(dim=1).clamp_min(torch.finfo(target.W.dtype).tiny)
    unit = target.W / size.unsqueeze(1)
    nearest = (unit @ unit[keep].T).argmax(1)
    nearest[keep] = torch.arange(M, device=keep.device)
    ratio = size / size[keep][nearest] if is_homogeneous(target.neurons.activation) else torch.ones_like(size)
    share = target.a * ratio.unsqueeze(1)
    b = torch.zeros(M, target.a.shape[1], dtype=target.a.dtype, device=target.a.device)
    return target.W[keep], b.index_add_(0, nearest, share) * (M / len(target.W))


BASELINES: dict[str, Baseline] = {
    "greedy": greedy,
    "kmeans": kmeans,
    "magnitude": magnitude,
    "merge": merge,
    "random": random,
}


def _largest(target: Target, M: int) -> Tensor:
    size: Tensor = target.a.norm(dim=1) * target.W.norm(dim=1)
    return size.argsort(descending=True, stable=True)[:M]
