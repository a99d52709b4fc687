"""The distance of networks at hand, as initialised and masked, from their infinite-width limit, on pairs of a data set.

The kernel is that of the last hidden layer's ``n`` features, ``Theta(x, y) = sum_j h_j(x) h_j(y) / n``. For one ReLU
layer of weights ``N(0, 1/p) / sqrt(d)`` it is the kernel of Theorem 1 of the wider-nets paper. Its limit is the NNGP
kernel of the dense network: ``K_1 / d`` in that case, exact instead of the paper's network of width 10^4 (Figure 8b).
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from widthwise.activations import ActivationLike, get
from widthwise.errors import InputError, check_number, check_type
from widthwise.kernels._check import check_data, check_vectors
from widthwise.kernels.distances.on_pairs import nngp_on_pairs, random_pairs

__all__ = ["MeasuredDistance", "Net", "measure", "measured_distance", "measured_distance_deep"]

CHUNK = 2**22  # products of features held in memory at a time

Net = tuple[Sequence[Tensor], Tensor | None]
"""Weights of the hidden layers, ``(n_l, n_{l-1})`` each, and which last-layer weights live, ``(outputs, n)``."""


@dataclass(frozen=True)
class MeasuredDistance:
    """Squared distance between kernels, averaged over pairs of inputs.

    Attributes:
        per_net: one value a network.
        scale: the infinite-width kernel squared, averaged over the same pairs.
    """

    per_net: tuple[float, ...]
    scale: float

    @property
    def value(self) -> float:
        """Mean over networks."""
        return statistics.fmean(self.per_net)

    @property
    def error(self) -> float:
        """Standard error of :attr:`value` over networks, the pairs being given; NaN for a single network."""
        count = len(self.per_net)
        return statistics.stdev(self.per_net) / count**0.5 if count > 1 else float("nan")

    @property
    def relative(self) -> float:
        """:attr:`value` over :attr:`scale`; NaN where the limit vanishes on every pair."""
        return self.value / self.scale if self.scale > 0 else float("nan")


def measured_distance(
    weights: Tensor,
    x: Tensor,
    *,
    sigma_w: float,
    last_layer_mask: Tensor | None = None,
    pairs: int = 10_000,
    seed: int = 0,
) -> MeasuredDistance:
    """The distance from ``K_1 / d`` of ReLU networks with one hidden layer; biases are left aside.

    Args:
        weights: first-layer weights as they are, masked ones zero: ``(nets, n, d)``, or ``(n, d)`` for one network.
        x: the data set, ``(rows, d)``.
        sigma_w: the scale of the weights: with connectivity p a live one has variance ``sigma_w**2 / (d p)``. PyTorch's
            uniform distribution with the bound ``1 / sqrt(d p)`` has ``sigma_w = 1 / sqrt(3)``.
        last_layer_mask: which last-layer weights live, ``(nets, outputs, n)``, or ``(outputs, n)`` for all networks.
            Each output has a kernel of its own, of the units it sees, normalised by their mean number ``n p_last``;
            distances are averaged over outputs.
        pairs: number of random pairs of different rows.
        seed: of these pairs.

    Raises:
        InputTypeError: if an argument has the wrong type.
        InputError: if shapes do not fit, a value is not finite or out of range, or no last-layer weight lives.

    Example:
        Two orthogonal inputs that share no unit have kernel 0 instead of K_1 / 2 = 1 / (4 pi):

        >>> found = measured_distance(torch.eye(2), torch.eye(2), sigma_w=1.0)
        >>> round(found.value * (4 * torch.pi) ** 2, 6), round(found.relative, 6)
        (1.0, 1.0)
    """
    sigma_w = check_number("sigma_w", sigma_w, low=0, low_open=True)
    check_vectors("weights", weights)
    return measured_distance_deep([weights / sigma_w], x, last_layer_mask=last_layer_mask, pairs=pairs, seed=seed)


def measured_distance_deep(
    weights: Sequence[Tensor],
    x: Tensor,
    activation: ActivationLike = "relu",
    *,
    sigma_w: float = 1.0,
    last_layer_mask: Tensor | None = None,
    pairs: int = 1_000,
    seed: int = 0,
) -> MeasuredDistance:
    """The distance of the last hidden layer's kernel from its limit for any depth and activation; biases left aside.

    Features are computed in the dtype and on the device of ``x``, the limit in double precision. The limit of an
    activation without a closed form takes milliseconds a pair and layer, hence fewer pairs by default.

    Args:
        weights: weights of the hidden layers as they are, first to last, ``(nets, n_l, n_{l-1})`` each, or without the
            first dimension for one network.
        x: the data set, ``(rows, d)``.
        activation: a name, an :class:`~widthwise.activations.Activation`, a module or a function.
        sigma_w: the scale of the weights: a live one has variance ``sigma_w**2 / (fan_in * connectivity)``.
        last_layer_mask: as in :func:`measured_distance`.
        pairs: number of random pairs of different rows.
        seed: of these pairs.

    Raises:
        InputTypeError: if an argument has the wrong type.
        InputError: if shapes do not fit, a value is not finite or out of range, or no last-layer weight lives.
    """
    check_number("sigma_w", sigma_w, low=0, low_open=True)
    check_data(x)
    layers = _check_layers(weights, x.shape[1])
    masks = _check_mask(last_layer_mask, len(layers[0]), layers[-1].shape[1])
    nets = [([layer[k] for layer in layers], mask) for k, mask in enumerate(masks)]
    return measure(nets, len(layers), x, activation, sigma_w, pairs, seed)


def measure(
    nets: Iterable[Net], depth: int, x: Tensor, activation: ActivationLike, sigma_w: float, pairs: int, seed: int
) -> MeasuredDistance:
    """The distance of ``nets``, each of ``depth`` hidden layers, taken one by one."""
    phi = get(activation).phi
    used, index = torch.unique(torch.cat(random_pairs(len(x), pairs, seed)).to(x.device), return_inverse=True)
    i, j = index.chunk(2)
    rows = x.detach()[used]
    limit = nngp_on_pairs(rows, i, j, activation, sigma_w, depth)
    per_net = []
    for weights, live in nets:
        features = rows
        for layer in weights:
            features = phi(features @ layer.detach().to(x).mT)
        per_net.append(_mean_square(features, live, i, j, limit))
    return MeasuredDistance(tuple(per_net), float(limit.square().mean()))


def _mean_square(features: Tensor, live: Tensor | None, i: Tensor, j: Tensor, limit: Tensor) -> float:
    """Mean over pairs and outputs of the squared difference between the kernel of ``features`` and ``limit``."""
    n = features.shape[1]
    readout = features.new_ones(n, 1) / n if live is None else len(live) * live.mT.to(features) / live.sum()
    size = max(1, CHUNK // n)
    total = 0.0
    for a, b, k in zip(*(torch.split(each, size) for each in (i, j, limit)), strict=True):
        kernel = (features[a] * features[b]) @ readout
        total += float((kernel.double() - k[:, None]).square().sum())
    return total / (len(limit) * readout.shape[1])


def _check_layers(weights: Sequence[Tensor], d: int) -> list[Tensor]:
    """The layers with their dimension of networks, each fitting the one before."""
    check_type("weights", weights, (list, tuple))
    if not weights:
        raise InputError("weights: got no layer, allowed is at least one")
    layers = [check_vectors("weights", layer) for layer in weights]
    layers = [layer[None] if layer.dim() == 2 else layer for layer in layers]
    for layer in layers:
        if layer.dim() != 3 or layer.shape[2] != d or len(layer) != len(layers[0]):
            wanted = f"({len(layers[0])}, n, {d}) or, for one network, (n, {d})"
            raise InputError(f"weights: got a layer of shape {tuple(layer.shape)}, allowed is {wanted}")
        d = layer.shape[1]
    return layers


def _check_mask(mask: Tensor | None, nets: int, n: int) -> Sequence[Tensor | None]:
    """One last-layer mask a network."""
    if mask is None:
        return [None] * nets
    check_type("last_layer_mask", mask, Tensor)
    masks = mask.expand(nets, *mask.shape) if mask.dim() == 2 else mask
    if masks.dim() != 3 or len(masks) != nets or masks.shape[2] != n:
        wanted = f"({nets}, outputs, {n}) or (outputs, {n})"
        raise InputError(f"last_layer_mask: got shape {tuple(mask.shape)}, allowed is {wanted}")
    if mask.dtype != torch.bool:
        raise InputError(f"last_layer_mask: got dtype {mask.dtype}, allowed is torch.bool")
    if not masks.flatten(1).any(dim=1).all():
        raise InputError("last_layer_mask: got a network without a live weight, allowed is at least one")
    return list(masks)
