"""Which element types the kernels take, and what that means for them."""

from __future__ import annotations

import torch

from widthwise.sparse._processor import is_supported, vector_bytes

__all__ = ["index_dtype", "is_native", "lanes", "suffix"]

_SUFFIXES = {torch.float32: "f32", torch.float64: "f64", torch.uint16: "u16", torch.int32: "i32"}


def is_native(device: torch.device, *dtypes: torch.dtype) -> bool:
    """Whether there is a kernel for tensors of these types on this device."""
    return device.type == "cpu" and all(dtype in _SUFFIXES for dtype in dtypes) and is_supported()


def suffix(*dtypes: torch.dtype) -> str:
    """The end of a kernel's name."""
    return "_".join(_SUFFIXES[dtype] for dtype in dtypes)


def lanes(dtype: torch.dtype) -> int:
    """Elements in one vector register."""
    return vector_bytes() // dtype.itemsize


def index_dtype(count: int) -> torch.dtype:
    """The narrowest type that counts to ``count``: 16 bits where they do."""
    return torch.uint16 if count <= 2**16 else torch.int32 if count <= 2**31 - 1 else torch.int64
