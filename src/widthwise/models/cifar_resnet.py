"""Residual networks for small images: three stages of equal depth, ``6 n + 2`` layers."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

from torch import nn

from widthwise import activations
from widthwise.errors import check_integer, check_number
from widthwise.models.registry import builtin
from widthwise.models.residual import Residual, basic_block, branch_scale, convolution

__all__ = ["resnet20", "resnet32", "resnet44", "resnet50", "resnet56", "resnet104"]

_CHANNELS = (16, 32, 64)


def _of_depth(depth: int) -> Callable[..., nn.Module]:
    """The builder of one depth, under its own name."""

    def build(
        num_classes: int = 10,
        in_channels: int = 3,
        width: float = 1.0,
        activation: str = "relu",
        stable: bool = False,
        batch_norm: bool = True,
    ) -> nn.Sequential:
        check_integer("num_classes", num_classes, 1)
        check_integer("in_channels", in_channels, 1)
        check_number("width", width, 1 / _CHANNELS[0])
        chosen = activations.get(activation)
        blocks = (depth - 2) // 6
        scale = branch_scale(3 * blocks, stable)
        stem, *stages = (round(c * width) for c in (_CHANNELS[0], *_CHANNELS))
        layers: OrderedDict[str, nn.Module] = convolution(in_channels, stem, 3, 1, batch_norm)
        layers["act"] = chosen.module()
        fan_in = stem
        for i, fan_out in enumerate(stages, 1):
            stage: list[Residual] = []
            for b in range(blocks):
                stage.append(basic_block(fan_in, fan_out, 2 if i > 1 and b == 0 else 1, chosen, scale, batch_norm))
                fan_in = fan_out
            layers[f"stage{i}"] = nn.Sequential(*stage)
        layers |= {"pool": nn.AdaptiveAvgPool2d(1), "flatten": nn.Flatten(), "output": nn.Linear(fan_in, num_classes)}
        return _kaiming(nn.Sequential(layers))

    build.__name__ = build.__qualname__ = f"resnet{depth}"
    build.__doc__ = f"""The residual network of {depth} layers and {(depth - 2) // 2} blocks for small images.

    Three stages of 16, 32 and 64 channels, the image halved between them; basic blocks with 1x1 convolutions where the
    shape changes; average pooling; weights drawn from Kaiming's normal distribution.

    Args:
        num_classes: number of outputs.
        in_channels: channels of the image.
        width: factor of the channels; 2 is the "doubled filters" of the pruning papers.
        activation: name of the activation, see :func:`widthwise.activations.names`.
        stable: scale every residual branch by ``{(depth - 2) // 2} ** -0.5``, a Stable ResNet.
        batch_norm: whether convolutions are followed by BatchNorm; they have biases if not.

    Raises:
        InputError: for sizes below 1, a width that leaves no channel, or an unknown activation.

    Source: He, Zhang, Ren, Sun, "Deep residual learning for image recognition", 4.2; for ``stable`` Hayou, Ton, Doucet,
    Teh, "Robust Pruning at Initialization", Proposition 2.
    """
    return builtin(build)


def _kaiming(model: nn.Sequential) -> nn.Sequential:
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    return model


resnet20, resnet32, resnet44 = _of_depth(20), _of_depth(32), _of_depth(44)
resnet50, resnet56, resnet104 = _of_depth(50), _of_depth(56), _of_depth(104)
