"""What inputs a network of infinite width can take."""

from __future__ import annotations

import torch
from torch import Tensor

from widthwise.errors import InputError, InputTypeError, check_finite, check_type

__all__ = ["check_inputs", "check_pair"]


def check_inputs(name: str, x: Tensor) -> Tensor:
    """Return ``x`` if it is a batch of vectors or of images with one or two spatial axes.

    Raises:
        InputTypeError: if it is not a tensor of float32 or float64.
        InputError: if it is empty, not finite, or of another shape.
    """
    check_type(name, x, Tensor)
    if x.layout != torch.strided:
        raise InputTypeError(f"{name}: got a tensor of layout {x.layout}, allowed are dense tensors")
    if x.dtype not in (torch.float32, torch.float64):
        raise InputTypeError(f"{name}: got dtype {x.dtype}, allowed are float32 and float64")
    if not 2 <= x.ndim <= 4 or x.numel() == 0:
        raise InputError(
            f"{name}: got shape {tuple(x.shape)}, allowed are (n, d), (n, channels, length) and "
            "(n, channels, height, width), none of them 0"
        )
    return check_finite(name, x)


def check_pair(x1: Tensor, x2: Tensor | None) -> None:
    """Check two batches of inputs, of which the second may be absent, and that they match.

    Raises:
        InputTypeError: as :meth:`Network.kernels`.
        InputError: likewise, or if their shapes, dtypes or devices differ.
    """
    check_inputs("x1", x1)
    if x2 is None:
        return
    check_inputs("x2", x2)
    for what, got, allowed in (
        ("shape", tuple(x2.shape[1:]), tuple(x1.shape[1:])),
        ("dtype", x2.dtype, x1.dtype),
        ("device", x2.device, x1.device),
    ):
        if got != allowed:
            raise InputError(f"x2: got inputs of {what} {got}, allowed is that of x1, {allowed}")
