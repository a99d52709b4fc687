"""Layers whose nodes carry unequal shares of the output: dense units, channels, attention heads, MLP units.

Where the paper's shallow model multiplies node j by sqrt(lambda_j), these multiply it by sqrt(m * lambda_j): beside
layers initialised as usual, whose weights already shrink with m, equal scalings then change nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn
from torch.nn.modules import batchnorm, dropout

from widthwise import activations
from widthwise.activations import ActivationLike
from widthwise.errors import InputError, InputTypeError, check_integer, check_number, check_type
from widthwise.scaling import check_scaling

__all__ = ["NodeScaled", "NodeScaledAttention", "NodeScaledBlock"]

_SAME_SHAPE = (nn.Identity, dropout._DropoutNd, batchnorm._BatchNorm)
_CHANNEL_DIM = {nn.Conv1d: -2, nn.Conv2d: -3, nn.Conv3d: -4}


class NodeScaled(nn.Module):
    """A layer with its node j multiplied by sqrt(m * lambda_j).

    Args:
        layer: any module whose output has the m nodes along one dimension: a dense layer, a convolution, either
            with its activation in an ``nn.Sequential``, or ``nn.Identity()`` for what comes in.
        lam: the node scalings, ``(m,)``, from :mod:`widthwise.scaling`.
        dim: where the nodes are; if omitted, the channels after a convolution and the last dimension after
            anything else.
        block: how many consecutive entries make a node: the size of a head where attention heads lie side by side.

    Raises:
        InputError: if ``lam`` is no vector of scalings, or the layer has another number of nodes: where that is not
            known before it runs, when called.
        InputTypeError: for other types.

    Example:
        >>> import torch
        >>> from widthwise.scaling import zipf
        >>> layer = NodeScaled(nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU()), zipf(8, alpha=0.5, gamma=0.2))
        >>> layer(torch.randn(2, 3, 5, 5)).shape, layer.dim
        (torch.Size([2, 8, 3, 3]), -3)
    """

    lam: Tensor

    def __init__(self, layer: nn.Module, lam: Tensor | Sequence[float], dim: int | None = None, block: int = 1) -> None:
        super().__init__()
        self.layer = check_type("layer", layer, nn.Module)
        anywhere = next(layer.parameters(), None)
        lam = check_scaling("lam", lam)
        self.register_buffer("lam", lam.to(lam.device if anywhere is None else anywhere.device, copy=True))
        self.dim = _node_dim(layer) if dim is None else _checked_dim(dim)
        self.block = check_integer("block", block, 1)
        _check_nodes(layer, self.dim, self.block, len(self.lam))
        self.nodes = len(self.lam)  # m of the factor: stays what it was when nodes are removed

    def forward(self, *args: object, **kwargs: object) -> Tensor:
        """Return the layer's output, each node times its factor.

        Raises:
            InputTypeError: if the layer inside gives no tensor.
            InputError: if its output has not one node for each factor.
        """
        out = self.layer(*args, **kwargs)
        if not isinstance(out, Tensor):
            raise InputTypeError(f"layer: its output is a {type(out).__name__}, allowed is a tensor")
        entries = self.block * len(self.lam)
        if not -out.dim() <= self.dim < out.dim() or out.shape[self.dim] != entries:
            raise InputError(
                f"lam: got {len(self.lam)} scalings in blocks of {self.block}, but the layer's output has shape "
                f"{tuple(out.shape)}; allowed are {entries} entries along dimension {self.dim}"
            )
        shape = [1] * out.dim()
        shape[self.dim] = -1
        factor = (self.nodes * self.lam).sqrt().to(out.dtype).repeat_interleave(self.block)
        return out * factor.view(shape)

    def extra_repr(self) -> str:
        """Show how many nodes there are and where."""
        return f"nodes={len(self.lam)}, dim={self.dim}" + f", block={self.block}" * (self.block > 1)


class NodeScaledAttention(nn.Module):
    """Self-attention whose head h is multiplied by sqrt(H * lambda_h) before the output projection.

    Args:
        features: size of a token, divisible by the number of heads.
        lam: the scalings of the H heads.
        bias: whether the four projections have biases.
        dropout: probability of dropping an attention weight in training.

    Raises:
        InputError: for sizes that do not fit.
    """

    def __init__(self, features: int, lam: Tensor | Sequence[float], bias: bool = True, dropout: float = 0.0) -> None:
        super().__init__()
        heads = len(check_scaling("lam", lam))
        if check_integer("features", features, 1) % heads:
            raise InputError(f"features: got {features} for {heads} heads, allowed is a multiple of the heads")
        self.query, self.key, self.value = (nn.Linear(features, features, bias) for _ in range(3))
        self.heads = NodeScaled(nn.Identity(), lam, block=features // heads)
        self.output = nn.Linear(features, features, bias)
        self.dropout = check_number("dropout", dropout, 0, 1, high_open=True)

    def forward(self, x: Tensor, mask: Tensor | None = None, causal: bool = False) -> Tensor:
        """Map tokens ``(batch, length, features)`` to the same shape.

        Args:
            x: the tokens.
            mask: as ``attn_mask`` of ``torch.nn.functional.scaled_dot_product_attention``.
            causal: whether a token sees only those before it.
        """
        q, k, v = (layer(x).unflatten(-1, (len(self.heads.lam), -1)).transpose(-2, -3) for layer in self._projections())
        dropout = self.dropout if self.training else 0.0
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=dropout, is_causal=causal)
        out: Tensor = self.output(self.heads(mixed.transpose(-2, -3).flatten(-2)))
        return out

    def _projections(self) -> tuple[nn.Module, nn.Module, nn.Module]:
        return self.query, self.key, self.value


class NodeScaledBlock(nn.Module):
    """A pre-norm transformer block with scaled heads and scaled MLP units.

    ``x + attention(norm1(x))``, then ``x + mlp(norm2(x))``.

    Args:
        features: size of a token.
        heads: the scalings of the attention heads.
        units: the scalings of the MLP's hidden units.
        activation: of the MLP.
        dropout: probability in the attention weights, and in what each part adds.

    Example:
        >>> import torch
        >>> from widthwise.scaling import zipf
        >>> block = NodeScaledBlock(16, heads=zipf(4, 0.5, 0.2), units=zipf(64, 0.5, 0.2))
        >>> block(torch.randn(2, 7, 16)).shape
        torch.Size([2, 7, 16])
    """

    def __init__(
        self,
        features: int,
        heads: Tensor | Sequence[float],
        units: Tensor | Sequence[float],
        activation: ActivationLike = "gelu",
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        width = len(check_scaling("units", units))
        self.norm1, self.norm2 = nn.LayerNorm(features), nn.LayerNorm(features)
        self.attention = NodeScaledAttention(features, check_scaling("heads", heads), dropout=dropout)
        hidden = nn.Sequential(nn.Linear(features, width), activations.get(activation).module())
        self.mlp = nn.Sequential(NodeScaled(hidden, units, dim=-1), nn.Linear(width, features))
        self.drop = nn.Dropout(dropout)

    def forward(self, x: Tensor, mask: Tensor | None = None, causal: bool = False) -> Tensor:
        """Map tokens ``(batch, length, features)`` to the same shape; arguments as in the attention."""
        x = x + self.drop(self.attention(self.norm1(x), mask, causal))
        out: Tensor = x + self.drop(self.mlp(self.norm2(x)))
        return out


def _node_dim(layer: nn.Module) -> int:
    """Dimension of the nodes after the last dense layer or convolution within ``layer``."""
    dims = [
        next((dim for kind, dim in _CHANNEL_DIM.items() if isinstance(module, kind)), -1)
        for module in layer.modules()
        if isinstance(module, (nn.Linear, *_CHANNEL_DIM))
    ]
    return dims[-1] if dims else -1


def _check_nodes(layer: nn.Module, dim: int, block: int, nodes: int) -> None:
    """Refuse scalings for another number of nodes than the layer has, where its last dense or convolutional part tells.

    Raises:
        InputError: naming both.
    """
    parts = list(layer) if type(layer) is nn.Sequential else [layer]
    while parts and (isinstance(parts[-1], _SAME_SHAPE) or activations.of_module(parts[-1]) is not None):
        parts.pop()
    last = parts[-1] if parts else layer
    if not isinstance(last, (nn.Linear, *_CHANNEL_DIM)) or dim != _node_dim(last):
        return
    entries = getattr(last, "out_features", None) or getattr(last, "out_channels", 0)
    if entries != block * nodes:
        raise InputError(
            f"lam: got {nodes} scalings in blocks of {block}, but {type(last).__name__} has {entries} outputs; allowed "
            f"is one scaling for each {'' if block == 1 else f'block of {block} '}of them"
        )


def _checked_dim(dim: object) -> int:
    if isinstance(dim, bool) or not isinstance(dim, int):
        raise InputTypeError(f"dim: got {dim!r}, allowed is a whole number")
    return dim
