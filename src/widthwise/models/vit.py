"""A small vision transformer."""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import Tensor, nn

from widthwise import activations
from widthwise.errors import InputError, check_integer
from widthwise.models.registry import builtin
from widthwise.models.transformer import blocks

__all__ = ["vit"]


class _Patches(nn.Module):
    """Cut an image into patches, embed each, and add where it stood."""

    def __init__(self, in_channels: int, patch: int, tokens: int, width: int) -> None:
        super().__init__()
        self.embed = nn.Conv2d(in_channels, width, patch, patch)
        self.position = nn.Parameter(0.02 * torch.randn(tokens, width))

    def forward(self, x: Tensor) -> Tensor:
        tokens: Tensor = self.embed(x).flatten(2).mT
        return tokens + self.position


class _Mean(nn.Module):
    """The mean over tokens."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean(1)


@builtin
def vit(
    num_classes: int = 10,
    in_channels: int = 3,
    image_size: int = 32,
    patch: int = 4,
    width: int = 192,
    depth: int = 6,
    heads: int = 3,
    activation: str = "gelu",
    stable: bool = False,
) -> nn.Sequential:
    """A vision transformer: patches, ``depth`` blocks, the mean over tokens, a linear readout.

    Args:
        num_classes: number of outputs.
        in_channels: channels of the image.
        image_size: its height and width.
        patch: height and width of a patch, a divisor of ``image_size``.
        width: features of a token.
        depth: number of blocks, each of attention and a perceptron.
        heads: attention heads, a divisor of ``width``.
        activation: name of the activation, see :func:`widthwise.activations.names`.
        stable: scale each of the ``2 * depth`` residual branches by ``(2 * depth) ** -0.5``.

    Raises:
        InputError: for sizes below 1, sizes that do not divide, or an unknown activation.

    Source: Dosovitskiy et al., "An image is worth 16x16 words".
    """
    sizes = {"num_classes": num_classes, "in_channels": in_channels, "image_size": image_size, "patch": patch}
    for name, value in sizes.items():
        check_integer(name, value, 1)
    if image_size % patch:
        raise InputError(f"patch: got {patch}, allowed is a divisor of image_size {image_size}")
    middle = blocks(width, depth, heads, activations.get(activation), stable=stable, causal=False)
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    layers["patches"] = _Patches(in_channels, patch, (image_size // patch) ** 2, width)
    layers |= {**middle, "mean": _Mean(), "output": nn.Linear(width, num_classes)}
    return nn.Sequential(layers)
