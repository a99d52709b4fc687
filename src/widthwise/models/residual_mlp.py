"""Residual perceptrons: the networks that the theory of Stable ResNets speaks of."""

from __future__ import annotations

from collections import OrderedDict

from torch import nn

from widthwise import activations
from widthwise.errors import check_depth, check_integer
from widthwise.models.registry import builtin
from widthwise.models.residual import Residual, branch_scale

__all__ = ["residual_mlp"]


@builtin
def residual_mlp(
    in_features: int,
    out_features: int,
    width: int = 128,
    depth: int = 10,
    activation: str = "relu",
    bias: bool = True,
    stable: bool = False,
) -> nn.Sequential:
    """A linear layer, ``depth`` blocks ``y + scale * (W phi(y) + b)``, and a linear readout of ``phi(y)``.

    Args:
        in_features: size of a flattened example.
        out_features: number of outputs.
        width: hidden units a layer.
        depth: number of blocks.
        activation: name of phi, see :func:`widthwise.activations.names`.
        bias: whether the layers have biases.
        stable: scale every branch by ``depth ** -0.5``.

    Raises:
        InputError: for sizes below 1, a negative depth or an unknown activation.

    Source: Hayou, Ton, Doucet, Teh, "Robust Pruning at Initialization", (8) and (9).
    """
    check_integer("in_features", in_features, 1)
    check_integer("out_features", out_features, 1)
    check_integer("width", width, 1)
    check_depth(depth, 0)
    chosen = activations.get(activation)
    scale = branch_scale(depth, stable)
    layers: OrderedDict[str, nn.Module] = OrderedDict(flatten=nn.Flatten(), input=nn.Linear(in_features, width, bias))
    for i in range(1, depth + 1):
        branch = OrderedDict[str, nn.Module](act=chosen.module(), linear=nn.Linear(width, width, bias))
        layers[f"block{i}"] = Residual(nn.Sequential(branch), scale=scale)
    layers |= {"act": chosen.module(), "output": nn.Linear(width, out_features, bias)}
    return nn.Sequential(layers)
