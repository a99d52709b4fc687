"""The residual network of 50 layers for ImageNet, standard and stable: Table 8."""

from __future__ import annotations

from collections import OrderedDict

from torch import nn

from widthwise import activations
from widthwise.activations import Activation
from widthwise.models import Residual
from widthwise.models.residual import branch_scale, convolution

__all__ = ["bottleneck_resnet50"]

_STAGES = ((64, 3), (128, 4), (256, 6), (512, 3))
_EXPANSION = 4


def bottleneck_resnet50(
    num_classes: int = 1000, in_channels: int = 3, width: float = 1.0, activation: str = "relu", stable: bool = False
) -> nn.Sequential:
    """Sixteen blocks of a 1x1, a 3x3 and a 1x1 convolution, the stride in the second.

    Args:
        num_classes: number of outputs.
        in_channels: channels of the image, which may have any size; 224 x 224 is the usual one.
        width: factor of the channels.
        activation: its name.
        stable: scale every residual branch by ``16 ** -0.5``, a Stable ResNet.

    Source: He, Zhang, Ren, Sun, "Deep residual learning for image recognition", Table 1.

    Example:
        >>> sum(p.numel() for p in bottleneck_resnet50().parameters())
        25557032
    """
    chosen, fan_in = activations.get(activation), round(64 * width)
    scale = branch_scale(sum(blocks for _, blocks in _STAGES), stable)
    layers: OrderedDict[str, nn.Module] = convolution(in_channels, fan_in, 7, 2, norm=True)
    layers |= {"act": chosen.module(), "pool": nn.MaxPool2d(3, 2, padding=1)}
    for i, (channels, blocks) in enumerate(_STAGES, 1):
        inner = round(channels * width)
        for b in range(blocks):
            layers[f"stage{i}_{b}"] = _block(fan_in, inner, 2 if i > 1 and b == 0 else 1, chosen, scale)
            fan_in = inner * _EXPANSION
    layers |= {"mean": nn.AdaptiveAvgPool2d(1), "flatten": nn.Flatten(), "output": nn.Linear(fan_in, num_classes)}
    model = nn.Sequential(layers)
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight)
    return model


def _block(fan_in: int, inner: int, stride: int, activation: Activation, scale: float) -> Residual:
    fan_out = inner * _EXPANSION
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    shapes = ((fan_in, inner, 1, 1), (inner, inner, 3, stride), (inner, fan_out, 1, 1))
    for i, (a, b, size, step) in enumerate(shapes, 1):
        layers |= {f"{name}{i}": layer for name, layer in convolution(a, b, size, step, norm=True).items()}
        if i < len(shapes):
            layers[f"act{i}"] = activation.module()
    same = stride == 1 and fan_in == fan_out
    shortcut = None if same else nn.Sequential(convolution(fan_in, fan_out, 1, stride, norm=True))
    return Residual(nn.Sequential(layers), shortcut=shortcut, scale=scale, after=activation.module())
