"""The distance of freshly drawn sparse networks from their infinite-width limit: Figure 8b of the paper, and deeper."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from widthwise.activations import ActivationLike
from widthwise.errors import InputError, check_depth, check_integer, check_number, check_type
from widthwise.kernels._check import check_data
from widthwise.kernels.distances.measured import MeasuredDistance, Net, measure

__all__ = ["sampled_distance"]


def sampled_distance(
    x: Tensor,
    n: int,
    p: float | None = None,
    *,
    weights: int | Sequence[int] | None = None,
    outputs: int = 1,
    last_weights: int | None = None,
    depth: int = 1,
    activation: ActivationLike = "relu",
    sigma_w: float = 1.0,
    pairs: int = 10_000,
    draws: int = 10,
    seed: int = 0,
) -> MeasuredDistance:
    """The distance measured on ``draws`` networks ``N(0, 1/p) / sqrt(d)`` with masks of an exact number of weights.

    Deeper networks are drawn likewise, layer by layer, and no other way to their distance is known here: Theorem 1 and
    all closed forms are of one hidden layer. The kernel is that of the last hidden layer's features.

    Exact counts make the masked weights' positions hypergeometric over the whole layer, where Theorem 1 has them
    independent; the two differ visibly when only few weights live.

    Args:
        x: the data set, ``(rows, d)``.
        n: hidden width, of every layer.
        p: connectivity of each hidden layer, in (0, 1]; of the first ``round(p n d)`` weights live.
        weights: or, in place of ``p``, how many weights live: of the first layer, or of each where there are more.
        outputs: number of outputs, where the last layer is sparse.
        last_weights: how many of the ``outputs * n`` last-layer weights live; all by default.
        depth: number of hidden layers.
        activation: a name, an :class:`~widthwise.activations.Activation`, a module or a function. The limit of one
            without a closed form takes milliseconds a pair and layer.
        sigma_w: a live weight has variance ``sigma_w**2 / (fan_in * connectivity)``. At 1 every ReLU layer halves the
            kernel: compare depths by :attr:`MeasuredDistance.relative`.
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
    depth = check_depth(depth)
    check_number("sigma_w", sigma_w, low=0, low_open=True)
    fans = [d, *[n] * (depth - 1)]
    live = _live_weights(p, weights, [n * fan for fan in fans])
    last = None if last_weights is None else check_integer("last_weights", last_weights, 1, outputs * n)
    if last == outputs * n:
        last = None  # every output sees the same units
    drawn = _draw(n, fans, live, sigma_w, outputs, last, draws, seed)
    return measure(drawn, depth, x, activation, sigma_w, pairs, seed)


def _live_weights(p: float | None, weights: int | Sequence[int] | None, sizes: list[int]) -> list[int]:
    """How many weights of each layer live."""
    if (p is None) == (weights is None):
        raise InputError(f"p, weights: got p={p!r} and weights={weights!r}, allowed is exactly one of the two")
    if weights is not None:
        counts = [weights] if isinstance(weights, int) else list(check_type("weights", weights, (list, tuple)))
        if len(counts) != len(sizes):
            raise InputError(f"weights: got {len(counts)} numbers for {len(sizes)} layers, allowed is one for each")
        return [check_integer("weights", count, 1, size) for count, size in zip(counts, sizes, strict=True)]
    p = check_number("p", p, 0, 1, low_open=True)
    least = min(sizes)
    if round(p * least) == 0:
        raise InputError(f"p: got {p}, which leaves no weight of {least}, allowed is at least {1 / least:.3g}")
    return [round(p * size) for size in sizes]


def _draw(
    n: int, fans: list[int], live: list[int], sigma_w: float, outputs: int, last: int | None, draws: int, seed: int
) -> Iterator[Net]:
    """Networks drawn on the CPU in double precision, so the same on every device and in every dtype."""
    generator = torch.Generator().manual_seed(seed)
    for _ in range(draws):
        layers = [_layer(n, fan, count, sigma_w, generator) for fan, count in zip(fans, live, strict=True)]
        mask = None if last is None else _mask(outputs * n, last, generator).reshape(outputs, n)
        yield layers, mask


def _layer(n: int, fan: int, live: int, sigma_w: float, generator: torch.Generator) -> Tensor:
    """Weights ``(n, fan)``: sigma_w N(0, 1/p) / sqrt(fan) with p = live / (n fan)."""
    weights = torch.zeros(n * fan, dtype=torch.float64)
    values = torch.randn(live, generator=generator, dtype=torch.float64)
    weights[_mask(n * fan, live, generator)] = values * (sigma_w * (n / live) ** 0.5)
    return weights.reshape(n, fan)


def _mask(size: int, live: int, generator: torch.Generator) -> Tensor:
    """A random mask with exactly ``live`` entries."""
    mask = torch.zeros(size, dtype=torch.bool)
    mask[torch.randperm(size, generator=generator)[:live]] = True
    return mask
