"""What a two-layer network must look like to be compressed."""

from __future__ import annotations

import torch
from torch import Tensor

from widthwise.activations import Activation
from widthwise.errors import InputError, InputTypeError, check_finite, check_type

__all__ = ["check_examples", "check_network", "check_tensor", "check_unit", "is_homogeneous", "unit_rows"]

_UNIT = 1e-5  # how far from 1 a length may be


def check_tensor(name: str, got: Tensor, *shape: int | None) -> Tensor:
    """Return ``got`` in float64 if it is a finite floating tensor of this shape, ``None`` meaning any length >= 1.

    Raises:
        InputTypeError: if it is not a floating-point tensor.
        InputError: if it has another shape or holds NaN or infinity.
    """
    return check_finite(name, _shaped(name, got, *shape)).detach().to(torch.float64)


def check_examples(name: str, got: Tensor, V: Tensor) -> Tensor:
    """Return ``got`` if it holds inputs ``(n, d)`` for rows ``V`` ``(M, d)``, in their dtype.

    Raises:
        InputTypeError: if it is no floating-point tensor, or one of another dtype.
        InputError: if it has another shape.
    """
    _shaped(name, got, None, V.shape[1], least=0)
    if got.dtype != V.dtype:
        raise InputTypeError(f"{name}: got dtype {got.dtype}, allowed is {V.dtype}, as the weights")
    return got


def _shaped(name: str, got: Tensor, *shape: int | None, least: int = 1) -> Tensor:
    _check_floating(name, got)
    fits = got.dim() == len(shape) and all(
        n >= least if m is None else n == m for n, m in zip(got.shape, shape, strict=True)
    )
    if not fits:
        wanted = ", ".join("any" if m is None else str(m) for m in shape)
        raise InputError(f"{name}: got shape {tuple(got.shape)}, allowed is ({wanted})")
    return got


def check_network(W: Tensor, a: Tensor) -> tuple[Tensor, Tensor]:
    """Return W, shape (N, d), and a, shape (N, k) even for one output, in float64.

    Raises:
        InputTypeError: if either is not a floating-point tensor.
        InputError: if either has another shape or holds NaN or infinity.
    """
    rows = check_tensor("W", W, None, None)
    several = isinstance(a, Tensor) and a.dim() == 2
    coefficients = check_tensor("a", a, len(rows), None) if several else check_tensor("a", a, len(rows))
    return rows, coefficients.reshape(len(rows), -1)


def check_unit(name: str, got: Tensor) -> Tensor:
    """Return ``got`` if it holds unit vectors along its last dimension, shape (..., M, d).

    Raises:
        InputTypeError: if it is not a floating-point tensor.
        InputError: if it has fewer than two dimensions, none or other vectors, or NaN.
    """
    _check_floating(name, got)
    if got.dim() < 2 or not got.numel():
        raise InputError(f"{name}: got shape {tuple(got.shape)}, allowed is (..., M, d) with at least one row")
    length = torch.linalg.vector_norm(check_finite(name, got).detach(), dim=-1)
    if float((length - 1).abs().max()) > _UNIT:
        spread = f"{float(length.min()):.6g} to {float(length.max()):.6g}"
        raise InputError(f"{name}: got rows of length {spread}, allowed are rows of length 1")
    return got


def is_homogeneous(activation: Activation) -> bool:
    """Return whether phi(t x) = t phi(x) for t > 0, so that a weight's length can move into its coefficient."""
    x = torch.linspace(-3, 3, 61, dtype=torch.float64)
    return all(torch.allclose(activation(t * x), t * activation(x), rtol=1e-9, atol=1e-12) for t in (0.3, 7.0))


def unit_rows(rows: Tensor, a: Tensor, activation: Activation) -> tuple[Tensor, Tensor]:
    """Return rows of unit length, their lengths moved into the coefficients.

    Raises:
        InputError: if that is needed and the activation does not allow it; the message names the first such row.
    """
    length = torch.linalg.vector_norm(rows, dim=1, keepdim=True)
    if is_homogeneous(activation):
        axis = torch.nn.functional.one_hot(torch.zeros((), dtype=torch.long), rows.shape[1]).to(rows)
        return torch.where(length > 0, rows / length.where(length > 0, torch.ones_like(length)), axis), a * length
    off = (length.flatten() - 1).abs() > _UNIT
    if off.any():
        first = int(off.nonzero()[0])
        raise InputError(
            f"W: got {int(off.sum())} of {len(rows)} rows that are not unit vectors (row {first} has length "
            f"{float(length[first]):.6g}), allowed are unit rows, since {activation.name} is not homogeneous, or with "
            "bias= (zeros will do) rows of any length"
        )
    return rows / length, a


def _check_floating(name: str, got: Tensor) -> None:
    check_type(name, got, Tensor)
    if not got.is_floating_point():
        raise InputTypeError(f"{name}: got dtype {got.dtype}, allowed is a floating-point tensor")
