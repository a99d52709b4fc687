"""Masks on disk: a safetensors file with eight weights a byte, and the shapes in its metadata."""

from __future__ import annotations

import math
import os
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from widthwise._lazymask import Unread
from widthwise._tensorfile import read_sizes, read_tensors, steady, write_tensors
from widthwise.errors import DataError, check_path

__all__ = ["pack", "read_masks", "unpack", "write_masks"]

_KIND, _VERSION = "widthwise.mask", 1
_LARGE = 2**24  # bytes
_MOST_DIMS, _MOST_PLACES = 64, 2**63  # that PyTorch and NumPy work with

Path = str | os.PathLike[str]


def write_masks(path: Path, masks: Mapping[str, Tensor]) -> None:
    """Write boolean tensors to ``path``: atomically, and the same bytes for the same masks."""
    shapes = {name: list(mask.shape) for name, mask in masks.items()}
    packed = {name: torch.from_numpy(pack(mask)) for name, mask in masks.items()}
    write_tensors(path, _KIND, _VERSION, {"shapes": shapes}, packed)


def read_masks(path: Path) -> Mapping[str, Tensor]:
    """Read what :func:`write_masks` wrote, in the same order; a large file layer by layer, when it is asked for.

    Raises:
        DataError: if the file is missing, damaged, of another kind or of a version not known here.
    """
    check_path("path", path)
    if pathlib.Path(path).is_file() and pathlib.Path(path).stat().st_size > _LARGE:
        return steady(path, lambda: _unread(path))
    header, packed = read_tensors(path, _KIND, _VERSION, {"shapes": dict})
    shapes = header["shapes"]
    if not all(map(_is_shape, shapes.values())):
        raise _damaged(path, "its shapes are not a table of whole numbers")
    if set(shapes) != set(packed):
        raise _damaged(path, "names and shapes disagree")
    masks = {name: unpack(path, name, packed[name], shape) for name, shape in shapes.items()}
    if not any(mask.numel() for mask in masks.values()):
        raise _damaged(path, "it has no entries")
    return masks


def _unread(path: Path) -> Unread:
    """The masks of a large file, of which nothing but the header is read."""
    header, sizes = read_sizes(path, _KIND, _VERSION, {"shapes": dict})
    shapes = header["shapes"]
    if not all(map(_is_shape, shapes.values())):
        raise _damaged(path, "its shapes are not a table of whole numbers")
    wanted = {name: ("U8", [-(-math.prod(shape) // 8)]) for name, shape in shapes.items()}
    if wanted != sizes:
        raise _damaged(path, "names and shapes disagree")
    if not any(map(math.prod, shapes.values())):
        raise _damaged(path, "it has no entries")
    return Unread(path, shapes)


def _is_shape(shape: Any) -> bool:
    if not isinstance(shape, list) or len(shape) > _MOST_DIMS:
        return False
    if not all(type(size) is int and size >= 0 for size in shape):
        return False
    return 0 not in shape or math.prod(max(size, 1) for size in shape) < _MOST_PLACES


def pack(mask: Tensor) -> npt.NDArray[np.uint8]:
    """A boolean tensor as bits, the first in the lowest place of the first byte."""
    return np.packbits(mask.cpu().numpy().ravel(), bitorder="little")


def unpack(path: Path, name: str, packed: Tensor, shape: list[int]) -> Tensor:
    """What :func:`pack` packed; ``path`` and ``name`` say where it came from if it is damaged.

    Raises:
        DataError: if the bits are not those of the shape.
    """
    count = math.prod(shape)
    if packed.dtype != torch.uint8 or tuple(packed.shape) != (-(-count // 8),):
        raise _damaged(path, f"{name!r} does not hold the {count} bits of its shape {tuple(shape)}")
    bits = np.unpackbits(packed.numpy(), bitorder="little")
    if bits[count:].any():
        raise _damaged(path, f"{name!r} has stray bits after its last weight")
    return torch.from_numpy(bits[:count].view(np.bool_)).reshape(shape)


def _damaged(path: Path, reason: str) -> DataError:
    return DataError(f"{os.fspath(path)}: not a usable mask file, {reason}; write it again with Mask.save")
