"""Convolutions of equal width without pooling: the network that mean-field theory speaks of."""

from __future__ import annotations

from collections import OrderedDict

from torch import nn

from widthwise import activations
from widthwise.errors import check_integer
from widthwise.models.registry import builtin

__all__ = ["vanilla_cnn"]


@builtin
def vanilla_cnn(
    num_classes: int = 10,
    in_channels: int = 1,
    image_size: int = 28,
    channels: int = 32,
    depth: int = 10,
    stride: int = 1,
    activation: str = "relu",
    bias: bool = True,
) -> nn.Sequential:
    """``depth`` convolutions 3x3 with periodic borders, then a linear readout of all positions.

    Args:
        num_classes: number of outputs.
        in_channels: channels of the image.
        image_size: its height and width.
        channels: of each convolution.
        depth: number of convolutions.
        stride: of the first one; the others have 1.
        activation: name of the activation, see :func:`widthwise.activations.names`.
        bias: whether the layers have biases.

    Raises:
        InputError: for sizes below 1 or an unknown activation.

    Source: Hayou, Ton, Doucet, Teh, "Robust Pruning at Initialization", (3).
    """
    sizes = {"num_classes": num_classes, "in_channels": in_channels, "image_size": image_size}
    for name, value in (sizes | {"channels": channels, "depth": depth, "stride": stride}).items():
        check_integer(name, value, 1)
    chosen = activations.get(activation)
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    for i in range(1, depth + 1):
        fan_in, step = (in_channels, stride) if i == 1 else (channels, 1)
        layers[f"conv{i}"] = nn.Conv2d(fan_in, channels, 3, step, padding=1, bias=bias, padding_mode="circular")
        layers[f"act{i}"] = chosen.module()
    layers["flatten"] = nn.Flatten()
    side = (image_size - 1) // stride + 1
    layers["output"] = nn.Linear(channels * side**2, num_classes, bias)
    return nn.Sequential(layers)
