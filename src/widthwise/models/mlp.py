"""Multilayer perceptrons."""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import Tensor, nn

from widthwise import activations
from widthwise.errors import check_depth, check_integer
from widthwise.models.registry import builtin

__all__ = ["Standardize", "mlp"]


class Standardize(nn.Module):
    """``(x - mean) / scale`` per input feature, so that a trained model takes raw data.

    Args:
        features: number of features of a flattened example.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, features: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("scale", torch.ones(features))

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(..., features)`` to the same shape; a feature of scale 0 becomes 0."""
        return torch.where(self.scale > 0, (x - self.mean) / self.scale.where(self.scale > 0, 1), 0)


@builtin
def mlp(
    in_features: int,
    out_features: int,
    width: int = 128,
    depth: int = 1,
    activation: str = "relu",
    bias: bool = True,
    standardize: bool = False,
) -> nn.Sequential:
    """A multilayer perceptron of ``depth`` hidden layers of equal width.

    Its weights number ``width * (in_features + (depth - 1) * width + out_features)``.

    Args:
        in_features: size of a flattened example.
        out_features: number of outputs.
        width: hidden units a layer.
        depth: number of hidden layers, 0 for a linear map.
        activation: name of the activation, see :func:`widthwise.activations.names`.
        bias: whether the layers have biases.
        standardize: put a :class:`Standardize` layer in front.

    Raises:
        InputError: for sizes below 1, a negative depth or an unknown activation.

    Example:
        >>> sum(p.numel() for p in mlp(64, 10, width=3).parameters() if p.dim() > 1)
        222
    """
    check_integer("in_features", in_features, 1)
    check_integer("out_features", out_features, 1)
    check_integer("width", width, 1)
    check_depth(depth, 0)
    chosen = activations.get(activation)
    layers: OrderedDict[str, nn.Module] = OrderedDict(flatten=nn.Flatten())
    if standardize:
        layers["standardize"] = Standardize(in_features)
    fan_in = in_features
    for i in range(1, depth + 1):
        layers[f"hidden{i}"] = nn.Linear(fan_in, width, bias)
        layers[f"act{i}"] = chosen.module()
        fan_in = width
    layers["output"] = nn.Linear(fan_in, out_features, bias)
    return nn.Sequential(layers)
