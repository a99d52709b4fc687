"""Memory for what a kernel needs only while it runs.

Fresh memory is given by the system page by page, at a price that exceeds that of filling it; a thread therefore keeps
what it once took, the most that one call needed.
"""

from __future__ import annotations

import threading

import torch
from torch import Tensor

__all__ = ["scratch", "scratch_address"]


class _Kept(threading.local):
    def __init__(self) -> None:
        self.buffers: dict[tuple[str, torch.dtype], Tensor] = {}


_KEPT = _Kept()


def scratch(purpose: str, size: int, dtype: torch.dtype) -> Tensor:
    """``size`` numbers on the CPU, valid until this thread asks for the same ``purpose`` again."""
    return _room(purpose, size, dtype)[:size]


def scratch_address(purpose: str, size: int, dtype: torch.dtype) -> int:
    """Where they are."""
    return _room(purpose, size, dtype).data_ptr()


def _room(purpose: str, size: int, dtype: torch.dtype) -> Tensor:
    kept = _KEPT.buffers.get((purpose, dtype))
    if kept is None or kept.numel() < size:
        with torch.inference_mode(False):  # what is made in that mode can't be written to outside
            kept = _KEPT.buffers[purpose, dtype] = torch.empty(size, dtype=dtype, device="cpu")
    return kept
