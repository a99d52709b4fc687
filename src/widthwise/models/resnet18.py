"""ResNet-18 for small images, its width that of its first convolution."""

from __future__ import annotations

from collections import OrderedDict

from torch import nn

from widthwise import activations
from widthwise.errors import check_integer
from widthwise.models.registry import builtin
from widthwise.models.residual import basic_block, branch_scale, convolution

__all__ = ["resnet18"]


@builtin
def resnet18(
    num_classes: int = 10, in_channels: int = 3, width: int = 64, activation: str = "relu", stable: bool = False
) -> nn.Sequential:
    """ResNet-18 with a 3x3 stem and no pooling before the last, as used on 32 x 32 images.

    Four stages of two blocks, with ``width``, 2, 4 and 8 times ``width`` channels.

    Args:
        num_classes: number of outputs.
        in_channels: channels of the image.
        width: channels of the first convolution; 64 is the usual network.
        activation: name of the activation, see :func:`widthwise.activations.names`.
        stable: scale each of the eight residual branches by ``8 ** -0.5``.

    Raises:
        InputError: for sizes below 1 or an unknown activation.

    Example:
        >>> sum(p.numel() for p in resnet18(width=8).parameters() if p.dim() > 1)
        175192
    """
    check_integer("num_classes", num_classes, 1)
    check_integer("in_channels", in_channels, 1)
    check_integer("width", width, 1)
    chosen = activations.get(activation)
    scale = branch_scale(8, stable)
    layers: OrderedDict[str, nn.Module] = convolution(in_channels, width, 3, 1, True)
    layers["act"] = chosen.module()
    fan_in = width
    for i in range(4):
        fan_out = width * 2**i
        layers[f"stage{i + 1}"] = nn.Sequential(
            basic_block(fan_in, fan_out, 2 if i else 1, chosen, scale), basic_block(fan_out, fan_out, 1, chosen, scale)
        )
        fan_in = fan_out
    layers |= {"pool": nn.AdaptiveAvgPool2d(1), "flatten": nn.Flatten(), "output": nn.Linear(fan_in, num_classes)}
    return nn.Sequential(layers)
