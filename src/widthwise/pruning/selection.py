"""Which weights to keep: exactly so many by score, ties included."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from itertools import accumulate

import torch
from torch import Tensor

from widthwise.errors import InputError, InputTypeError, check_finite, check_integer

__all__ = ["random_masks", "select", "tie_order"]

_DIGIT = 16  # bits
_CHUNK = 2**20  # numbers looked at together


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
            _best(name, [rank], keep[name], lambda tied, at=at: order()[at + tied[0].cpu()])[0]  # type: ignore[misc]
            for (name, rank), at in zip(ranks.items(), starts, strict=False)
        ]
    else:
        kept = _best(
            "all layers together", _alike(ranks.values()), keep, lambda tied: tie_order(len(torch.cat(tied)), seed)
        )
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
    if alive is None or bool(alive.all()):
        return flat
    return flat.masked_fill(~alive.flatten().to(flat.device), -torch.inf)


def _alike(ranks: Iterable[Tensor]) -> list[Tensor]:
    """In one type, the widest, and on one device."""
    found = list(ranks)
    widest = max((rank.dtype for rank in found), key=lambda dtype: dtype.itemsize)
    return [rank.to(found[0].device, widest) for rank in found]


def _best(where: str, ranks: list[Tensor], keep: int, places: Callable[[list[Tensor]], Tensor]) -> list[Tensor]:
    """Mark the ``keep`` largest; of those equal to the smallest of them, the first by ``places`` of their indices."""
    alive = sum(int((rank > -torch.inf).count_nonzero()) for rank in ranks)
    if keep > alive:
        raise InputError(f"keep: got {keep} weights of {where}, allowed are at most {alive}, those alive")
    if keep == 0:
        return [torch.zeros_like(rank, dtype=torch.bool) for rank in ranks]
    threshold = _largest(ranks, keep)
    chosen = [rank > threshold for rank in ranks]
    tied = [(rank == threshold).nonzero().squeeze(1) for rank in ranks]
    wanted = keep - sum(int(part.count_nonzero()) for part in chosen)
    if wanted < sum(map(len, tied)):
        first = torch.zeros(sum(map(len, tied)), dtype=torch.bool)
        first[places(tied).argsort()[:wanted]] = True
        parts = torch.split(first, [len(part) for part in tied])
        tied = [part[taken.to(part.device)] for part, taken in zip(tied, parts, strict=True)]
    for part, places_of_ties in zip(chosen, tied, strict=True):
        part[places_of_ties] = True
    return chosen


def _largest(ranks: list[Tensor], number: int) -> Tensor:
    """The ``number``-th largest of all, without sorting or copying them: by the digits of their bits, 16 at a time."""
    bits = 8 * ranks[0].element_size()
    prefix, left = 0, number
    for shift in range(bits - _DIGIT, -1, -_DIGIT):
        is_first = shift == bits - _DIGIT
        counts = torch.zeros(2**_DIGIT, dtype=torch.int64, device=ranks[0].device)
        for part in (part for rank in ranks for part in torch.split(rank, _CHUNK)):
            digits = _in_order(part) >> shift
            if is_first:
                digits += 2 ** (_DIGIT - 1)
            else:
                digits = digits[digits >> _DIGIT == prefix] & 2**_DIGIT - 1
            counts += torch.bincount(digits, minlength=len(counts))
        above = counts.flip(0).cumsum(0)
        place = int((above < left).count_nonzero())
        left -= int(above[place - 1]) if place else 0
        digit = len(counts) - 1 - place
        prefix = digit - 2 ** (_DIGIT - 1) if is_first else (prefix << _DIGIT) + digit
    return _from_order(prefix, ranks[0])


def _in_order(numbers: Tensor) -> Tensor:
    """Integers in the order of floating-point numbers: their bits, those behind the sign turned over below zero."""
    kind = torch.int32 if numbers.element_size() == 4 else torch.int64
    whole = numbers.view(kind)
    return (whole ^ (whole >> torch.iinfo(kind).bits - 1 & torch.iinfo(kind).max)).long()


def _from_order(place: int, like: Tensor) -> Tensor:
    """The number of which :func:`_in_order` makes ``place``."""
    kind = torch.int32 if like.element_size() == 4 else torch.int64
    whole = place ^ (torch.iinfo(kind).max if place < 0 else 0)
    return torch.tensor(whole, dtype=kind, device=like.device).view(like.dtype)
