"""Checks that several kernel functions share."""

from __future__ import annotations

import torch
from torch import Tensor

from widthwise.errors import InputError, InputTypeError, check_finite, check_type

__all__ = ["as_float64", "check_data", "check_pairs", "check_vectors"]


def check_vectors(name: str, got: Tensor) -> Tensor:
    """Return ``got`` if it holds finite real vectors along its last dimension, at least one of length >= 1.

    Raises:
        InputTypeError: if it is not a floating-point tensor.
        InputError: if it has no dimension or no element, or holds NaN or infinity.
    """
    check_type(name, got, Tensor)
    if not got.is_floating_point():
        raise InputTypeError(f"{name}: got dtype {got.dtype}, allowed is a floating-point tensor")
    if got.dim() == 0 or got.numel() == 0:
        raise InputError(f"{name}: got shape {tuple(got.shape)}, allowed is (..., d) with at least one vector")
    return check_finite(name, got)


def check_pairs(x: Tensor, y: Tensor) -> None:
    """Check two batches of vectors whose rows belong together.

    Raises:
        InputTypeError: if either is not a floating-point tensor.
        InputError: if they are empty, not finite, of different shape or on different devices.
    """
    check_vectors("x", x)
    check_vectors("y", y)
    if x.shape != y.shape:
        raise InputError(f"y: got shape {tuple(y.shape)}, allowed is the shape of x, {tuple(x.shape)}")
    if x.device != y.device:
        raise InputError(f"y: got device {y.device}, allowed is the device of x, {x.device}")


def check_data(x: Tensor, d: int | None = None) -> Tensor:
    """Return ``x`` if it is a data set of at least two rows, ``(rows, d)``.

    Raises:
        InputTypeError: if it is not a floating-point tensor.
        InputError: if it is empty, not finite, or of another shape.
    """
    check_vectors("x", x)
    if x.dim() != 2 or len(x) < 2 or (d is not None and x.shape[1] != d):
        wanted = "d" if d is None else str(d)
        raise InputError(f"x: got shape {tuple(x.shape)}, allowed is (rows, {wanted}) with at least 2 rows")
    return x


def as_float64(x: Tensor) -> Tensor:
    """``x`` in double precision, in which every kernel here is computed."""
    return x.detach().to(torch.float64)
