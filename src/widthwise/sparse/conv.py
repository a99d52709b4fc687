"""A two-dimensional convolution of which only the nonzero weights exist."""

from __future__ import annotations

import math
from typing import Any, Self

import torch
from torch import Tensor, nn

from widthwise.errors import InputError, InputTypeError, check_integer, check_type
from widthwise.sparse import conv_ops, ops
from widthwise.sparse._fallback_conv import blocks
from widthwise.sparse._geometry import Geometry
from widthwise.sparse.linear import SparseWeight, checked_bias
from widthwise.sparse.pattern import row_pointers

__all__ = ["SparseConv2d"]

Pair = int | tuple[int, int]


class SparseConv2d(SparseWeight):
    """A convolution with a sparse weight: time and memory go with the number of its nonzeros.

    The weight is kept as a matrix with a row for each output channel and a column for each tap of each input channel;
    that of a convolution in groups is block diagonal.

    Args:
        weight: dense weight, shape (out_channels, in_channels / groups, kernel height, kernel width), float; its zeros
            are left out.
        bias: shape (out_channels,), or None.
        stride: of both axes, or of each.
        padding: zeros on both sides of both axes, or of each; or ``"valid"`` or ``"same"``, as in ``nn.Conv2d``.
        dilation: of both axes, or of each.
        groups: into which the channels are cut.
        mask: boolean, of the weight's shape; where it is given it says which weights exist, zeros among them too.

    Attributes:
        batch_last: give the result batch last in memory, as a following sparse convolution likes it: strides
            (1, H W N, W N, N), the same numbers. Such a tensor can't be ``view``-ed as any other; ``sparsify`` sets
            this where it does no harm.
        clip: apply ReLU to the result.

    Raises:
        InputError: if the shapes disagree, or the weight is not a float tensor of four dimensions or not finite.

    >>> weight = torch.zeros(1, 1, 3, 3)
    >>> weight[0, 0, 1, 2] = 2.0
    >>> layer = SparseConv2d(weight, padding=1)
    >>> layer.nnz, layer(torch.tensor([[[[1.0, 10.0, 100.0]]]])).tolist()
    (1, [[[[20.0, 200.0, 0.0]]]])
    """

    def __init__(
        self,
        weight: Tensor,
        bias: Tensor | None = None,
        stride: Pair = 1,
        padding: Pair | str = 0,
        dilation: Pair = 1,
        groups: int = 1,
        *,
        mask: Tensor | None = None,
    ) -> None:
        _check_weight(weight, mask, check_integer("groups", groups, 1))
        taps = (weight.shape[2], weight.shape[3])
        self.out_channels, self.in_channels, self.groups = weight.shape[0], weight.shape[1] * groups, groups
        self.kernel_size, self.stride, self.dilation = taps, _pair("stride", stride, 1), _pair("dilation", dilation, 1)
        self.padding = padding if isinstance(padding, str) else _pair("padding", padding, 0)
        margins = _margins(self.padding, taps, self.stride, self.dilation)
        self.geometry = [*taps, *self.stride, *margins, *self.dilation, groups]
        self.phase_of = Geometry.of((1, 1), self.geometry).phase_of
        places = (weight.detach() != 0) if mask is None else mask.to(weight.device)
        pointers, columns = (part.to(weight.device) for part in row_pointers(_diagonal(places, groups)))
        super().__init__(weight.detach()[places], pointers, columns, self.in_channels * math.prod(taps))
        self.bias = None if bias is None else nn.Parameter(checked_bias(bias, weight))
        self.batch_last = False
        self.clip = False

    @classmethod
    def from_conv2d(cls, layer: nn.Conv2d, mask: Tensor | None = None) -> Self:
        """The same as a dense layer, for its nonzero weights or those under ``mask``.

        Raises:
            InputError: if the layer pads with anything but zeros.
        """
        check_type("layer", layer, nn.Conv2d)
        if layer.padding_mode != "zeros":
            raise InputError(f"layer: got padding_mode {layer.padding_mode!r}, allowed is 'zeros'")
        bias = None if layer.bias is None else layer.bias.detach()
        steps: Any = (layer.stride, layer.padding, layer.dilation, layer.groups)
        return cls(layer.weight.detach(), bias, *steps, mask=mask)

    def forward(self, x: Tensor) -> Tensor:
        """``x`` of shape (N, in_channels, H, W) or (in_channels, H, W) to the same with out_channels.

        Raises:
            InputTypeError: if ``x`` is no tensor, or of another dtype than the weights.
        """
        size = self._checked_size(x)
        if torch.is_autocast_enabled(x.device.type):
            x = x.to(self.values.dtype)
        if x.dtype != self.values.dtype:
            raise InputTypeError(f"x: got {x.dtype}, allowed is {self.values.dtype}, the type of this layer's weights")
        bias = self.values.new_zeros(self.out_channels) if self.bias is None else self.bias
        result = conv_ops.sparse_conv2d(
            x if x.dim() == 4 else x[None], self.values, bias, *self.pattern, self.clip, self.geometry
        )
        if not self.batch_last:
            result = ops.batch_first(result.flatten(1)).view(-1, self.out_channels, *size)
        return result if x.dim() == 4 else result[0]

    @property
    def weight(self) -> Tensor:
        """The dense weight, shape (out_channels, in_channels / groups, kernel height, kernel width), made anew."""
        return blocks(self.dense(), self.groups).view(self.out_channels, -1, *self.kernel_size)

    def to_conv2d(self) -> nn.Conv2d:
        """The dense layer with the same numbers, zeros included."""
        weight = self.weight.detach()
        layer = nn.Conv2d(
            self.in_channels, self.out_channels, self.kernel_size, self.stride, self.padding, self.dilation,
            self.groups, self.bias is not None, device=weight.device, dtype=weight.dtype,
        )  # fmt: skip
        layer.weight.data = weight
        if self.bias is not None and layer.bias is not None:
            layer.bias.data = self.bias.detach().clone()
        return layer

    def extra_repr(self) -> str:
        """Sizes, and the fraction of weights that exist."""
        kept = self.nnz * self.groups / max(1, math.prod(self.shape))
        return (
            f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}, "
            f"padding={self.padding!r}, dilation={self.dilation}, groups={self.groups}, nnz={self.nnz}, "
            f"connectivity={kept:.4g}"
        )

    def _derive(self, pointers: Tensor, columns: Tensor) -> None:
        super()._derive(pointers, columns)
        heights = torch.arange(self.out_channels).repeat_interleave(pointers.cpu().diff())
        groups = self.columns.cpu().long() // (self.shape[1] // self.groups)
        if not torch.equal(heights // max(1, self.out_channels // self.groups), groups):
            raise InputError(f"columns: reach into another of the {self.groups} groups than their row's")

    def _checked_size(self, x: Tensor) -> tuple[int, int]:
        """Height and width of the result."""
        check_type("x", x, Tensor)
        if x.dim() not in (3, 4) or x.shape[-3] != self.in_channels:
            raise InputError(
                f"x: got shape {tuple(x.shape)}, allowed is (N, {self.in_channels}, H, W) or ({self.in_channels}, H, W)"
            )
        size = Geometry.of((x.shape[-2], x.shape[-1]), self.geometry).size
        if min(size) < 1:
            raise InputError(f"x: got pictures of {x.shape[-2]} x {x.shape[-1]}, smaller than the kernel")
        return size


def _check_weight(weight: Tensor, mask: Tensor | None, groups: int) -> None:
    check_type("weight", weight, Tensor)
    if weight.dim() != 4 or not weight.is_floating_point() or 0 in weight.shape:
        raise InputError(
            f"weight: got {weight.dtype} of shape {tuple(weight.shape)}, allowed is float of shape "
            "(out_channels, in_channels / groups, kernel height, kernel width)"
        )
    if weight.shape[0] % groups:
        raise InputError(f"groups: got {groups}, allowed is what divides the {weight.shape[0]} output channels")
    if not weight.isfinite().all():
        raise InputError("weight: holds numbers that are not finite")
    if mask is not None and (mask.shape != weight.shape or mask.dtype != torch.bool):
        raise InputError(
            f"mask: got {mask.dtype} of shape {tuple(mask.shape)}, allowed is bool of {tuple(weight.shape)}"
        )


def _pair(name: str, got: Pair, low: int) -> tuple[int, int]:
    both = got if isinstance(got, tuple | list) else (got, got)
    if len(both) != 2:
        raise InputError(f"{name}: got {got!r}, allowed is a whole number or two")
    return check_integer(name, both[0], low), check_integer(name, both[1], low)


def _margins(
    padding: str | tuple[int, int], taps: tuple[int, int], stride: tuple[int, int], dilation: tuple[int, int]
) -> tuple[int, int, int, int]:
    """Zeros above, to the left, below and to the right."""
    if not isinstance(padding, str):
        return *padding, *padding
    if padding == "valid":
        return 0, 0, 0, 0
    if padding != "same" or stride != (1, 1):
        raise InputError(f"padding: got {padding!r}, allowed is 'valid', 'same' for a stride of 1, or whole numbers")
    height, width = (step * (count - 1) for step, count in zip(dilation, taps, strict=True))
    return height // 2, width // 2, height - height // 2, width - width // 2


def _diagonal(places: Tensor, groups: int) -> Tensor:
    """The matrix of a weight in groups, boolean."""
    rows = places.flatten(1)
    diagonal = rows.new_zeros((groups, len(rows) // groups, groups, rows.shape[1]))
    each = torch.arange(groups, device=rows.device)
    diagonal[each, :, each] = rows.view(groups, -1, rows.shape[1])
    return diagonal.view(len(rows), -1)
