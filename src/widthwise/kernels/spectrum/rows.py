"""Rows of unit norm, prepared as in section 9.3 of the paper on linearized difference networks."""

from __future__ import annotations

import torch
from torch import Tensor

from widthwise.errors import InputError, check_choice
from widthwise.kernels._check import as_float64, check_data

__all__ = ["PREPARATIONS", "prepare_rows", "unit_rows"]

PREPARATIONS = ("normalized", "zero-mean", "whitened", "whitened-centred")


def prepare_rows(x: Tensor, how: str = "normalized") -> Tensor:
    """Rows of unit norm, after one of the paper's preparations.

    ``"normalized"`` only divides by the norm; ``"zero-mean"`` first subtracts each row's own mean; ``"whitened"`` then
    turns to principal directions and divides by their spread, dropping null directions, without subtracting the data's
    mean, ``"whitened-centred"`` with it. Which of the two the paper used it does not say.

    Args:
        x: the data set, ``(n, ...)``.
        how: one of :data:`PREPARATIONS`.

    Returns:
        ``(n, d)`` in float64, less than d columns where whitened.

    Raises:
        InputTypeError: if ``x`` is not a floating-point tensor.
        InputError: for an unknown preparation, data that are no set of rows, or a row that becomes zero.

    Example:
        >>> prepare_rows(torch.tensor([[3.0, 4.0], [1.0, -1.0]]))
        tensor([[ 0.6000,  0.8000],
                [ 0.7071, -0.7071]], dtype=torch.float64)
    """
    check_choice("how", how, PREPARATIONS)
    rows = as_float64(check_data(x.flatten(1) if isinstance(x, Tensor) and x.dim() > 2 else x))
    if how != "normalized":
        rows = rows - rows.mean(1, keepdim=True)
    if how.startswith("whitened"):
        rows = _whitened(rows - rows.mean(0) if how.endswith("centred") else rows)
    return unit_rows(rows)


def unit_rows(x: Tensor) -> Tensor:
    """Rows over their norms.

    Raises:
        InputError: if one is zero.
    """
    norms = x.norm(dim=1, keepdim=True)
    if not bool((norms > 0).all()):
        raise InputError(f"x: row {int((norms == 0).nonzero()[0, 0])} is zero, allowed are rows with a direction")
    unit: Tensor = x / norms
    return unit


def _whitened(x: Tensor) -> Tensor:
    values, directions = torch.linalg.eigh(x.mT @ x / len(x))
    keep = values > 1e-10 * values[-1]
    white: Tensor = x @ (directions[:, keep] * values[keep].rsqrt())
    return white
