"""The non-linear bottleneck: layers in pairs, of which the units between become fewer while all others become more."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from widthwise.errors import InputError
from widthwise.widening.pairs import Pair, pairs
from widthwise.widening.sizes import Inner

__all__ = ["apart", "inner_of", "shrink"]

_SHAPED = ("weight", "bias", "running_mean", "running_var")


def apart(narrow: nn.Module, wider: nn.Module, wide: nn.Module) -> list[Pair]:
    """The pairs of a wide network that share no layer, each beginning with a layer whose inputs grow with the width.

    Args:
        narrow: a network of the same kind.
        wider: a wider one, which shows what grows.
        wide: the one whose pairs are wanted.

    Raises:
        InputError: if there is none, or the forward pass cannot be followed.
    """
    taken: set[str] = set()
    found = []
    for pair in pairs(wide):
        grows = _weight(narrow, pair.first).shape[1] < _weight(wider, pair.first).shape[1]
        if grows and not taken & {pair.first, pair.second}:
            found.append(pair)
            taken |= {pair.first, pair.second}
    if not found:
        raise InputError(
            "build: a non-linear bottleneck needs two consecutive layers, the inputs of the first growing with the "
            "width and its outputs read by the second alone; the network has none"
        )
    return found


def inner_of(before: nn.Module, wide: nn.Module, chosen: Sequence[Pair]) -> dict[str, Inner]:
    """The bottlenecks by the name of the weight that makes their units, in proportion to those not widened."""
    found = {}
    for pair in chosen:
        enters, leaves = f"{pair.first}.weight", f"{pair.second}.weight"
        spends = {enters: _weight(wide, pair.first)[0].numel(), leaves: _weight(wide, pair.second).numel() // pair.size}
        found[enters] = Inner(len(_weight(before, pair.first)), spends, pair.size)
    return found


def shrink(model: nn.Module, chosen: Sequence[Pair], inner: Mapping[str, int]) -> None:
    """Leave so many units between the layers of each pair, in place.

    The first layer's weights keep their scale, since its fan-in is as before; the second's grow by the root of what
    its fan-in lost.

    Args:
        model: the wide network.
        chosen: pairs that share no layer.
        inner: number of units left, by the name of the weight that makes them.
    """
    for pair in chosen:
        size = inner[f"{pair.first}.weight"]
        first, second = model.get_submodule(pair.first), model.get_submodule(pair.second)
        for module in (first, *map(model.get_submodule, pair.between)):
            _cut_units(module, pair.size, size)
        weight = _weight(model, pair.second)
        with torch.no_grad():
            _replace(second, "weight", weight[:, : size * pair.block] * (pair.size / size) ** 0.5)
        _tell(second, ("in_features", "in_channels"), size * pair.block)


def _cut_units(module: nn.Module, size: int, left: int) -> None:
    for name in _SHAPED:
        tensor = getattr(module, name, None)
        if isinstance(tensor, Tensor) and tensor.dim() and len(tensor) == size:
            _replace(module, name, tensor.detach()[:left].clone())
    if isinstance(module, nn.PReLU) and module.num_parameters == 1:
        return
    _tell(module, ("out_features", "out_channels", "num_features", "num_parameters"), left)
    if isinstance(module, nn.LayerNorm):
        module.normalized_shape = (left,)


def _replace(module: nn.Module, name: str, tensor: Tensor) -> None:
    old = getattr(module, name)
    setattr(module, name, nn.Parameter(tensor, old.requires_grad) if isinstance(old, nn.Parameter) else tensor)


def _tell(module: nn.Module, attributes: tuple[str, ...], value: int) -> None:
    for name in attributes:
        if hasattr(module, name):
            setattr(module, name, value)


def _weight(model: nn.Module, layer: str) -> Tensor:
    weight: Any = model.get_submodule(layer).weight
    return weight  # type: ignore[no-any-return]
