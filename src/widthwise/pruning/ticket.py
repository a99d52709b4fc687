"""A random subnetwork on the edge of chaos, in a network that was initialised beyond it."""

from __future__ import annotations

from torch import nn

from widthwise.activations import ActivationLike
from widthwise.errors import InputError
from widthwise.masks import Mask
from widthwise.meanfield import edge_of_chaos
from widthwise.pruning.selection import random_masks
from widthwise.weights import prunable, unwrapped

__all__ = ["winning_ticket"]


def winning_ticket(model: nn.Module, activation: ActivationLike, sigma_b: float = 0.0, *, seed: int = 0) -> Mask:
    r"""Keep weights at random so that every layer's variance is that of the edge of chaos; applied in place.

    A layer of :math:`\sigma_{w,l}` keeps the share :math:`p_l = \sigma_w^2 / \sigma_{w,l}^2`, with :math:`\sigma_w` on
    the edge. :math:`\sigma_{w,l}^2` is measured: fan-in times the mean squared weight.

    Args:
        model: any network with independent weights.
        activation: between its layers.
        sigma_b: standard deviation of its biases.
        seed: of the choice; the same on any machine.

    Raises:
        InputError: if a layer is initialised below the edge, which no pruning can mend; the message names it.

    Source: Hayou, Ton, Doucet, Teh, "Robust Pruning at Initialization", Theorem 4.

    >>> layer = nn.Linear(100, 100)
    >>> mask = winning_ticket(nn.Sequential(nn.init.normal_(layer.weight, std=0.2) is None or layer), "relu")
    >>> round(mask.connectivity, 1)
    0.5
    """
    sigma_w = edge_of_chaos(activation, sigma_b)[0]
    weights = prunable(unwrapped(model))
    counts = {}
    for name, weight in weights.items():
        measured = float(weight.detach().double().square().mean()) * weight[0].numel()
        if measured < sigma_w**2:
            raise InputError(
                f"model: {name!r} has sigma_w = {measured**0.5:.4g}, below the edge of chaos at {sigma_w:.4g}"
            )
        counts[name] = round(weight.numel() * sigma_w**2 / measured)
    shapes = {name: tuple(weight.shape) for name, weight in weights.items()}
    return Mask(random_masks(shapes, counts, seed=seed)).apply(model)
