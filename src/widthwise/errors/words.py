"""How messages name values."""

from __future__ import annotations

import reprlib
from typing import Any

import numpy as np
from torch import Tensor

__all__ = ["outlined", "shown"]

_MOST = 120  # characters of a value in a message


class _Short(reprlib.Repr):
    """Values cut off; whole numbers of hundreds of digits, which Python may refuse to write out, by their size."""

    def __init__(self) -> None:
        super().__init__()
        self.maxstring = self.maxother = _MOST
        self.maxlevel = 2

    def repr_int(self, x: int, level: int) -> str:
        bits = abs(x).bit_length()
        return repr(x) if bits <= 3 * _MOST else f"about {'-' * (x < 0)}2**{bits}"


_SHORT = _Short()


def outlined(got: Any) -> str:
    """What a caller passed, short enough to be read aloud: arrays by shape and dtype, anything else cut off.

    >>> import torch
    >>> outlined(torch.ones(3, 2)), outlined("mlp")
    ('Tensor of shape (3, 2) and dtype torch.float32', "'mlp' of type str")
    """
    if isinstance(got, Tensor | np.ndarray):
        return f"{type(got).__name__} of shape {tuple(got.shape)} and dtype {got.dtype}"
    return f"{shown(got)} of type {type(got).__name__}"


def shown(got: Any) -> str:
    """The ``repr`` of a value, on one line and cut off where it is long: of lists within lists the first few."""
    text = " ".join(_SHORT.repr(got).split())
    return text if len(text) <= _MOST + 40 else f"{text[:_MOST]}..."
