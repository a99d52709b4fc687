"""BatchNorm and pooling of pictures that lie batch last, where they lie.

A batch-last tensor of shape (N, C, H, W) has strides (1, H W N, W N, N). PyTorch's own layers would copy it; these look
at the same numbers in another shape. Any other input they treat as PyTorch does.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from widthwise.errors import InputTypeError
from widthwise.sparse._tiles import is_batch_last

__all__ = [
    "BatchLastAdaptiveAvgPool2d",
    "BatchLastAvgPool2d",
    "BatchLastBatchNorm2d",
    "BatchLastMaxPool2d",
    "batch_last",
]


class BatchLastBatchNorm2d(nn.BatchNorm2d):
    """``nn.BatchNorm2d``; of a batch-last tensor it takes the places and examples of a channel as one long line."""

    def forward(self, input: Tensor) -> Tensor:
        """As ``nn.BatchNorm2d``; batch last if ``input`` is."""
        if input.dim() != 4 or not is_batch_last(input):
            return super().forward(input)
        batch, channels, height, width = input.shape
        lines = input.permute(1, 2, 3, 0).reshape(1, channels, height * width, batch)
        return super().forward(lines).view(channels, height, width, batch).permute(3, 0, 1, 2)


class BatchLastMaxPool2d(nn.MaxPool2d):
    """``nn.MaxPool2d``."""

    def forward(self, input: Tensor) -> Tensor:
        """As ``nn.MaxPool2d``; batch last if ``input`` is."""
        return _exchanged(super().forward, input)


class BatchLastAvgPool2d(nn.AvgPool2d):
    """``nn.AvgPool2d``."""

    def forward(self, input: Tensor) -> Tensor:
        """As ``nn.AvgPool2d``; batch last if ``input`` is."""
        return _exchanged(super().forward, input)


class BatchLastAdaptiveAvgPool2d(nn.AdaptiveAvgPool2d):
    """``nn.AdaptiveAvgPool2d``."""

    def forward(self, input: Tensor) -> Tensor:
        """As ``nn.AdaptiveAvgPool2d``; batch last if ``input`` is."""
        return _exchanged(super().forward, input)


_KINDS: dict[type[nn.Module], type[nn.Module]] = {
    nn.BatchNorm2d: BatchLastBatchNorm2d,
    nn.MaxPool2d: BatchLastMaxPool2d,
    nn.AvgPool2d: BatchLastAvgPool2d,
    nn.AdaptiveAvgPool2d: BatchLastAdaptiveAvgPool2d,
}
_KINDS |= {new: old for old, new in _KINDS.items()}


def batch_last(layer: nn.Module) -> nn.Module:
    """The layer's counterpart here, or PyTorch's for one of these: the same parameters, buffers and state.

    Raises:
        InputTypeError: if it has none.

    >>> batch_last(nn.AdaptiveAvgPool2d(1)), batch_last(batch_last(nn.AdaptiveAvgPool2d(1)))
    (BatchLastAdaptiveAvgPool2d(output_size=1), AdaptiveAvgPool2d(output_size=1))
    """
    kind = _KINDS.get(type(layer))
    if kind is None or getattr(layer, "return_indices", False):
        names = ", ".join(sorted(kind.__name__ for kind in _KINDS))
        raise InputTypeError(f"layer: got {layer}, allowed is one of {names}, without indices")
    result = kind.__new__(kind)
    result.__dict__ = {
        key: dict(value) if key in ("_parameters", "_buffers") else value for key, value in vars(layer).items()
    }
    return result


def _exchanged(pool: Callable[[Tensor], Any], x: Tensor) -> Tensor:
    """Batch last is what PyTorch calls channels last, once examples and channels have changed places."""
    if x.dim() != 4 or not is_batch_last(x):
        result: Tensor = pool(x)
    else:
        result = pool(x.transpose(0, 1)).transpose(0, 1)
    return result
