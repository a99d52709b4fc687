"""Residual blocks, standard and stable."""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import Tensor, nn

from widthwise.activations import Activation

__all__ = ["Residual", "basic_block", "branch_scale", "convolution"]


class Residual(nn.Module):
    """``after(shortcut(x) + scale * branch(x))``.

    Args:
        branch: the residual branch.
        shortcut: what goes around it, the identity by default.
        scale: factor of the branch, 1 in a standard network and ``L ** -0.5`` in a stable one of L blocks.
        after: what follows the sum, nothing by default.
    """

    def __init__(
        self,
        branch: nn.Module,
        *,
        shortcut: nn.Module | None = None,
        scale: float = 1.0,
        after: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.branch = branch
        self.shortcut = nn.Identity() if shortcut is None else shortcut
        self.after = nn.Identity() if after is None else after
        self.scale = scale

    def forward(self, x: Tensor) -> Tensor:
        """Map a tensor through the block."""
        total: Tensor = self.after(torch.add(self.shortcut(x), self.branch(x), alpha=self.scale))
        return total

    def extra_repr(self) -> str:
        """Show the factor of the branch."""
        return f"scale={self.scale:.4g}"


def branch_scale(blocks: int, stable: bool) -> float:
    """The factor of each branch: ``blocks ** -0.5`` in a stable network, else 1.

    Source: Hayou, Ton, Doucet, Teh, "Robust Pruning at Initialization", Proposition 2. There L is the number of
    blocks, not of layers, and the first layer is not scaled.
    """
    return max(blocks, 1) ** -0.5 if stable else 1.0


def convolution(fan_in: int, fan_out: int, size: int, stride: int, norm: bool) -> OrderedDict[str, nn.Module]:
    """A convolution that halves the image at stride 2, and its BatchNorm; without one it has a bias."""
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    layers["conv"] = nn.Conv2d(fan_in, fan_out, size, stride, padding=size // 2, bias=not norm)
    if norm:
        layers["norm"] = nn.BatchNorm2d(fan_out)
    return layers


def basic_block(
    fan_in: int, fan_out: int, stride: int, activation: Activation, scale: float, norm: bool = True
) -> Residual:
    """Two 3x3 convolutions around the identity, or around a 1x1 convolution where the shape changes.

    Source: He, Zhang, Ren, Sun, "Deep residual learning for image recognition", Figure 2 and option B.
    """
    first, second = convolution(fan_in, fan_out, 3, stride, norm), convolution(fan_out, fan_out, 3, 1, norm)
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    layers |= {f"{name}1": layer for name, layer in first.items()}
    layers["act"] = activation.module()
    layers |= {f"{name}2": layer for name, layer in second.items()}
    same = stride == 1 and fan_in == fan_out
    shortcut = None if same else nn.Sequential(convolution(fan_in, fan_out, 1, stride, norm))
    return Residual(nn.Sequential(layers), shortcut=shortcut, scale=scale, after=activation.module())
