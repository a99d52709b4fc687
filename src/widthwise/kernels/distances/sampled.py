"""The distance of freshly drawn sparse ReLU networks from their infinite-width limit: Figure 8b of the paper."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from widthwise.errors import InputError, check_integer, check_number
from widthwise.kernels._check import check_data
from widthwise.kernels.distances.measured import MeasuredDistance, Net, measure

__all__ = ["sampled_distance"]


def sampled_distance(
    x: Tensor,
    n: int,
    p: float | None = None,
    *,
    weights: int | None = None,
    outputs: int = 1,
    last_weights: int | None = None,
    pairs: int = 10_000,
    draws: int = 10,
    seed: int = 0,
) -> MeasuredDistance:
    """The distance measured on ``draws`` networks ``N(0, 1/p) / sqrt(d)`` with masks of an exact number of weights.

    Exact counts make the masked weights' positions hypergeometric over the whole layer, where Theorem 1 has them
    independent; the two differ visibly when only few weights live.

    Args:
        x: the data set, ``(rows, d)``.
        n: hidden width.
        p: connectivity of the first layer, in (0, 1]; ``round(p n d)`` weights live.
        weights: or, in place of ``p``, how many weights of the first layer live.
        outputs: number of outputs, where the last layer is sparse.
        last_weights: how many of the ``outputs * n`` last-layer weights live; all by default.
        pairs: number of random pairs of different rows, the same for every network and width.
        draws: number of networks.
        seed: of the pairs and the networks.

    Raises:
        InputTypeError: if an argument has the wrong type.
        InputError: if ``x`` is no data set, a number is out of range, or not exactly one of ``p`` and ``weights`` is
            given.

    Example:
        >>> x = torch.randn(100, 50, generator=torch.Generator().manual_seed(0))
        >>> found = sampled_distance(x, n=64, p=0.3)
        >>> abs(found.value - 0.0043) < 3 * found.error
        True
    """
    check_data(x)
    d = x.shape[1]
    n, draws = check_integer("n", n, low=1), check_integer("draws", draws, low=1)
    outputs, seed = check_integer("outputs", outputs, low=1), check_integer("seed", seed)
    live = _live_weights(p, weights, n * d)
    last = None if last_weights is None else check_integer("last_weights", last_weights, 1, outputs * n)
    if last == outputs * n:
        last = None  # every output sees the same units
    return measure(_draw(n, d, live, outputs, last, draws, seed), 1, x, "relu", 1.0, pairs, seed)


def _live_weights(p: float | None, weights: int | None, total: int) -> int:
    if (p is None) == (weights is None):
        raise InputError(f"p, weights: got p={p!r} and weights={weights!r}, allowed is exactly one of the two")
    if weights is not None:
        return check_integer("weights", weights, 1, total)
    live = round(check_number("p", p, 0, 1, low_open=True) * total)
    if live == 0:
        raise InputError(f"p: got {p}, which leaves no weight of {total}, allowed is at least {1 / total:.3g}")
    return live


def _draw(n: int, d: int, live: int, outputs: int, last: int | None, draws: int, seed: int) -> Iterator[Net]:
    """Networks drawn on the CPU in double precision, so the same on every device and in every dtype."""
    generator = torch.Generator().manual_seed(seed)
    for _ in range(draws):
        weights = torch.zeros(n * d, dtype=torch.float64)
        values = torch.randn(live, generator=generator, dtype=torch.float64)
        weights[_mask(n * d, live, generator)] = values * (n / live) ** 0.5  # N(0, 1/p) / sqrt(d), p = live / (n d)
        mask = None if last is None else _mask(outputs * n, last, generator).reshape(outputs, n)
        yield [weights.reshape(n, d)], mask


def _mask(size: int, live: int, generator: torch.Generator) -> Tensor:
    """A random mask with exactly ``live`` entries."""
    mask = torch.zeros(size, dtype=torch.bool)
    mask[torch.randperm(size, generator=generator)[:live]] = True
    return mask
