"""The linear bottleneck: every layer becomes two without an activation between, which bounds its rank."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from typing import Any

from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from widthwise.errors import InputError
from widthwise.weights import prunable
from widthwise.widening.layers import owners, whole_names
from widthwise.widening.sizes import Inner

__all__ = ["LinearBottleneck", "factorise", "inner_of", "ranks"]

_SPLIT = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)


class LinearBottleneck(nn.Sequential):
    """Two layers in the place of one: to ``size`` units as the layer did, then place by place to its outputs.

    Each factor is drawn for its own fan-in, so that their product starts with the variance of the layer that they
    replace; the bias stays. With ``size`` the layer's full rank they can express all that the layer could.

    Args:
        layer: an ``nn.Linear`` or an ungrouped convolution.
        size: number of inner units.

    Example:
        >>> import torch
        >>> layer = LinearBottleneck(nn.Conv2d(8, 8, 3, padding=1), 2)
        >>> layer.narrow.weight.shape, layer.widen.weight.shape, layer(torch.zeros(1, 8, 5, 5)).shape
        (torch.Size([2, 8, 3, 3]), torch.Size([8, 2, 1, 1]), torch.Size([1, 8, 5, 5]))
    """

    def __init__(self, layer: nn.Linear | _ConvNd, size: int) -> None:
        super().__init__()
        like: dict[str, Any] = {"bias": False, "device": layer.weight.device, "dtype": layer.weight.dtype}
        self.narrow: nn.Linear | _ConvNd
        self.widen: nn.Linear | _ConvNd
        if isinstance(layer, nn.Linear):
            self.narrow = nn.Linear(layer.in_features, size, **like)
            self.widen = nn.Linear(size, layer.out_features, **like)
        else:
            kind: Any = type(layer)
            geometry = {name: getattr(layer, name) for name in ("stride", "padding", "dilation", "padding_mode")}
            self.narrow = kind(layer.in_channels, size, layer.kernel_size, **geometry, **like)
            self.widen = kind(size, layer.out_channels, 1, **like)
        self.widen.bias = layer.bias
        self._draw(layer.weight)

    def _draw(self, weight: Tensor) -> None:
        if weight.is_meta:
            return
        gain = math.sqrt(float(weight.detach().double().square().sum()) / len(weight)) ** 0.5
        for part, own in ((self.narrow, gain or 1.0), (self.widen, gain)):  # a layer of zeros starts at zero again
            nn.init.normal_(part.weight, std=own / math.sqrt(part.weight[0].numel()))

    @property
    def weight(self) -> Tensor:
        """The product of the two factors, in the shape of the weight that they replace."""
        inner = self.narrow.weight
        return (self.widen.weight.flatten(1) @ inner.flatten(1)).view(-1, *inner.shape[1:])

    @property
    def bias(self) -> Tensor | None:
        """The bias of the layer that they replace."""
        return self.widen.bias


def ranks(model: nn.Module, whole: Collection[str] = ()) -> dict[str, int]:
    """The full rank of each layer to be split, by the name of its weight: the lesser of its fan-in and its outputs.

    Args:
        model: the network; it may have no memory for its numbers.
        whole: weights, or modules that hold such, to be left as they are.

    Raises:
        InputError: for weights that cannot be split and are not left whole; all are named.
    """
    left, weights = whole_names(model, whole), prunable(model)
    found: dict[str, int] = {}
    odd: list[str] = []
    for name, owning in owners(model).items():
        if name in left:
            continue
        weight = weights[name]
        if len(owning) == 1 and _can_split(*owning[0], weight):
            found[name] = min(len(weight), weight[0].numel())
        else:
            odd.append(f"{name!r} of {' and '.join(type(module).__name__ for _, module in owning)}")
    if odd:
        raise InputError(
            f"build: a linear bottleneck cannot split {', '.join(odd)}; whole=(...) leaves layers as they are"
        )
    return found


def inner_of(before: nn.Module, wide: nn.Module, whole: Collection[str] = ()) -> dict[str, Inner]:
    """The bottlenecks of a wide network, in proportion to the full ranks of the one that is not widened.

    Args:
        before: the network that is not widened.
        wide: the wide one.
        whole: as for :func:`ranks`.
    """
    reference, weights = ranks(before, whole), prunable(wide)
    return {
        name: Inner(reference[name], {name: len(weights[name]) + weights[name][0].numel()}, rank)
        for name, rank in ranks(wide, whole).items()
    }


def factorise(model: nn.Module, inner: Mapping[str, int]) -> None:
    """Split layers in place.

    Args:
        model: the wide network.
        inner: the size of each bottleneck, by the name of the weight that is split.
    """
    owning = owners(model)
    made = {id(owning[name][0][1]): LinearBottleneck(owning[name][0][1], size) for name, size in inner.items()}  # type: ignore[arg-type]
    for parent in list(model.modules()):
        for child, module in list(parent._modules.items()):
            if id(module) in made:
                setattr(parent, child, made[id(module)])


def _can_split(path: str, module: nn.Module, weight: Tensor) -> bool:
    plain = type(module) in _SPLIT and module._parameters.get("weight") is weight
    return bool(plain and path and getattr(module, "groups", 1) == 1)
