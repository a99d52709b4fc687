"""VGG16 for small images, and the same with longer runs of convolutions."""

from __future__ import annotations

from collections import OrderedDict

from torch import nn

from widthwise import activations
from widthwise.errors import check_integer, check_number
from widthwise.models.registry import builtin
from widthwise.models.residual import convolution

__all__ = ["vgg16"]

_STAGES = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))


@builtin
def vgg16(
    num_classes: int = 10,
    in_channels: int = 3,
    width: float = 1.0,
    repeat: int = 1,
    activation: str = "relu",
    batch_norm: bool = True,
) -> nn.Sequential:
    """VGG16 as used on 32 x 32 images: its thirteen convolutions, five poolings, and one linear layer.

    Args:
        num_classes: number of outputs.
        in_channels: channels of the image, which may have any size; 32 x 32 is the usual one.
        width: factor of the channels.
        repeat: factor of the number of convolutions between two poolings; 3 is the 3xVGG16 of the paper below.
        activation: name of the activation, see :func:`widthwise.activations.names`.
        batch_norm: whether convolutions are followed by BatchNorm; they have biases if not.

    Raises:
        InputError: for sizes below 1, a width that leaves no channel, or an unknown activation.

    Source: Simonyan, Zisserman, "Very deep convolutional networks", configuration D; Hayou, Ton, Doucet, Teh, "Robust
    Pruning at Initialization", 4.3.
    """
    check_integer("num_classes", num_classes, 1)
    check_integer("in_channels", in_channels, 1)
    check_number("width", width, 1 / _STAGES[0][0])
    check_integer("repeat", repeat, 1)
    chosen = activations.get(activation)
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    fan_in, count = in_channels, 0
    for stage, (channels, convolutions) in enumerate(_STAGES, 1):
        for _ in range(convolutions * repeat):
            count += 1
            fan_out = round(channels * width)
            for name, layer in convolution(fan_in, fan_out, 3, 1, batch_norm).items():
                layers[f"{name}{count}"] = layer
            layers[f"act{count}"] = chosen.module()
            fan_in = fan_out
        layers[f"pool{stage}"] = nn.MaxPool2d(2, ceil_mode=True)
    layers |= {"mean": nn.AdaptiveAvgPool2d(1), "flatten": nn.Flatten(), "output": nn.Linear(fan_in, num_classes)}
    return nn.Sequential(layers)
