"""A small decoder-only language model."""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import Tensor, nn

from widthwise import activations
from widthwise.errors import InputError, check_integer
from widthwise.models.registry import builtin
from widthwise.models.transformer import blocks

__all__ = ["gpt"]


class _Tokens(nn.Module):
    """Embed each token and add where it stands."""

    def __init__(self, vocabulary: int, context: int, width: int) -> None:
        super().__init__()
        self.embed = nn.Embedding(vocabulary, width)
        self.position = nn.Parameter(0.02 * torch.randn(context, width))
        nn.init.normal_(self.embed.weight, std=0.02)

    def forward(self, tokens: Tensor) -> Tensor:
        if tokens.shape[-1] > len(self.position):
            raise InputError(f"tokens: got {tokens.shape[-1]} in a row, allowed are at most {len(self.position)}")
        embedded: Tensor = self.embed(tokens)
        return embedded + self.position[: tokens.shape[-1]]


@builtin
def gpt(
    vocabulary: int = 256,
    context: int = 128,
    width: int = 128,
    depth: int = 4,
    heads: int = 4,
    activation: str = "gelu",
    stable: bool = False,
) -> nn.Sequential:
    """A GPT-like model: from whole numbers ``(batch, tokens)`` to logits ``(batch, tokens, vocabulary)``.

    Args:
        vocabulary: number of tokens there are.
        context: longest row of tokens.
        width: features of a token.
        depth: number of blocks, each of causal attention and a perceptron.
        heads: attention heads, a divisor of ``width``.
        activation: name of the activation, see :func:`widthwise.activations.names`.
        stable: scale each of the ``2 * depth`` residual branches by ``(2 * depth) ** -0.5``.

    Raises:
        InputError: for sizes below 1, heads that do not divide the width, or an unknown activation; when run, for
            more tokens than ``context``.

    Source: Radford et al., "Language models are unsupervised multitask learners", 2.3.
    """
    check_integer("vocabulary", vocabulary, 1)
    check_integer("context", context, 1)
    middle = blocks(width, depth, heads, activations.get(activation), stable=stable, causal=True)
    layers: OrderedDict[str, nn.Module] = OrderedDict(tokens=_Tokens(vocabulary, context, width))
    layers |= {**middle, "output": nn.Linear(width, vocabulary, bias=False)}
    return nn.Sequential(layers)
