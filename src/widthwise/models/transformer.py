"""Transformer blocks, normalised before each branch."""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import Tensor, nn

from widthwise.activations import Activation
from widthwise.errors import InputError, check_integer
from widthwise.models.residual import Residual, branch_scale

__all__ = ["SelfAttention", "blocks"]


class SelfAttention(nn.Module):
    """Multi-head self-attention, written out so that scores may differentiate it twice and forward.

    Args:
        width: features of a token.
        heads: number of heads, a divisor of ``width``.
        causal: whether a token sees only itself and those before it.
    """

    def __init__(self, width: int, heads: int, causal: bool) -> None:
        super().__init__()
        self.heads, self.causal = heads, causal
        self.enter = nn.Linear(width, 3 * width)
        self.leave = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(batch, tokens, width)`` to the same shape."""
        q, k, v = self.enter(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)
        logits = q @ k.mT * k.shape[-1] ** -0.5
        if self.causal:
            ones = torch.ones_like(logits, dtype=torch.bool)
            logits = logits.masked_fill(ones.triu(1), -torch.inf)
        mixed = (logits.softmax(-1) @ v).transpose(1, 2).flatten(2)
        leaving: Tensor = self.leave(mixed)
        return leaving


def blocks(
    width: int, depth: int, heads: int, activation: Activation, *, stable: bool, causal: bool
) -> OrderedDict[str, nn.Module]:
    """``depth`` blocks of attention and perceptron, each a residual branch of its own: L is ``2 * depth``.

    Raises:
        InputError: for sizes below 1, or heads that do not divide the width.
    """
    for name, value in (("width", width), ("depth", depth), ("heads", heads)):
        check_integer(name, value, 1)
    if width % heads:
        raise InputError(f"heads: got {heads}, allowed is a divisor of width {width}")
    scale = branch_scale(2 * depth, stable)
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    for i in range(1, depth + 1):
        attention = OrderedDict[str, nn.Module](norm=nn.LayerNorm(width), mix=SelfAttention(width, heads, causal))
        perceptron = OrderedDict[str, nn.Module](
            norm=nn.LayerNorm(width),
            enter=nn.Linear(width, 4 * width),
            act=activation.module(),
            leave=nn.Linear(4 * width, width),
        )
        layers[f"attention{i}"] = Residual(nn.Sequential(attention), scale=scale)
        layers[f"perceptron{i}"] = Residual(nn.Sequential(perceptron), scale=scale)
    layers["norm"] = nn.LayerNorm(width)
    return layers
