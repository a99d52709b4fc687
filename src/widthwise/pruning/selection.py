"""Which weights to keep: exactly so many by score, ties included."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from itertools import accumulate

import torch
from torch import Tensor

from widthwise.errors import InputError, InputTypeError, check_finite, check_integer

__all__ = ["random_masks", "select", "tie_order"]


def select(
    scores: Mapping[str, Tensor],
    keep: int | Mapping[str, int],
    *,
    alive: Mapping[str, Tensor] | None = None,
    seed: int = 0,
) -> dict[str, Tensor]:
    """The best weights: ``keep`` of all of them, or of each layer its own number.

    Equal scores are told apart by :func:`tie_order`: the same scores and seed give the same choice on any
    machine, and a smaller choice lies within a larger one.

    Args:
        scores: a tensor for each layer, larger means keep; every entry finite.
        keep: exact number of weights to keep, over all layers or by layer.
        alive: boolean tensors of the same names and shapes; what is not alive is never kept.
        seed: of the order among equals.

    Returns:
        Boolean tensors of the same names, shapes and devices.

    Raises:
        InputTypeError: if a score is not a tensor of real numbers.
        InputError: if a score is NaN or infinite, or if fewer weights are alive than shall be kept.

    >>> select({"a": torch.tensor([3.0, 1.0]), "b": torch.tensor([2.0])}, 2)
    {'a': tensor([ True, False]), 'b': tensor([True])}
    """
    ranks = {n: _ranks(n, score, None if alive is None else alive[n]) for n, score in scores.items()}
    sizes = [rank.numel() for rank in ranks.values()]
    if isinstance(keep, Mapping):
        order = cache(lambda: tie_order(sum(sizes), seed))
        starts = accumulate(sizes, initial=0)
        kept = [
            _best(name, rank, keep[name], lambda tied, at=at: order()[at + tied])  # type: ignore[misc]
            for (name, rank), at in zip(ranks.items(), starts, strict=False)
        ]
    else:
        device = next(iter(ranks.values())).device
        flat = torch.cat([rank.to(device) for rank in ranks.values()])
        best = _best("all layers together", flat, keep, lambda tied: tie_order(len(tied), seed))
        kept = list(torch.split(best, sizes))
    return {n: k.view(s.shape).to(s.device) for (n, s), k in zip(scores.items(), kept, strict=True)}


def random_masks(shapes: Mapping[str, Sequence[int]], counts: Mapping[str, int], *, seed: int = 0) -> dict[str, Tensor]:
    """Boolean tensors with ``counts`` true entries each, drawn on the CPU; every choice is equally likely."""
    return select({name: torch.zeros(*shape) for name, shape in shapes.items()}, counts, seed=seed)


def tie_order(total: int, seed: int) -> Tensor:
    """A permutation of ``0 .. total - 1`` drawn on the CPU: the places of so many equals, lowest first."""
    check_integer("seed", seed, 0, 2**63 - 1)
    return torch.randperm(total, generator=torch.Generator().manual_seed(seed))


def _ranks(name: str, score: Tensor, alive: Tensor | None) -> Tensor:
    """The flat scores, in single precision at least, with -inf where a weight is not alive."""
    if not isinstance(score, Tensor) or score.is_complex():
        raise InputTypeError(f"scores: {name!r} is not a tensor of real numbers")
    flat = check_finite(f"scores[{name!r}]", score.detach().flatten())
    if not flat.is_floating_point():
        flat = flat.double()
    elif flat.element_size() < 4:
        flat = flat.float()
    return flat if alive is None else flat.masked_fill(~alive.flatten().to(flat.device), -torch.inf)


def _best(where: str, rank: Tensor, keep: int, places: Callable[[Tensor], Tensor]) -> Tensor:
    """Mark the ``keep`` largest; of those equal to the smallest of them, the first by ``places`` of their indices."""
    alive = int((rank > -torch.inf).count_nonzero())
    if keep > alive:
        raise InputError(f"keep: got {keep} weights of {where}, allowed are at most {alive}, those alive")
    if keep == 0:
        return torch.zeros_like(rank, dtype=torch.bool)
    threshold = torch.kthvalue(rank, rank.numel() - keep + 1).values
    chosen = rank > threshold
    tied = (rank == threshold).nonzero().squeeze(1)
    wanted = keep - int(chosen.count_nonzero())
    if wanted < len(tied):
        tied = tied[places(tied.cpu()).argsort()[:wanted].to(tied.device)]
    chosen[tied] = True
    return chosen
