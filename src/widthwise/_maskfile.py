"""Masks on disk: a safetensors file with eight weights a byte, and the shapes in its metadata."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file
from torch import Tensor

from widthwise._atomic import atomic_path
from widthwise.errors import DataError

__all__ = ["pack", "read_masks", "unpack", "write_masks"]

_KIND = "widthwise.mask"  # the one key of the metadata: safetensors writes several in any order
_VERSION = 1

Path = str | os.PathLike[str]


def write_masks(path: Path, masks: Mapping[str, Tensor]) -> None:
    """Write boolean tensors to ``path``: atomically, and the same bytes for the same masks."""
    packed = {name: pack(mask) for name, mask in masks.items()}
    header = {"version": _VERSION, "shapes": {name: list(mask.shape) for name, mask in masks.items()}}
    with atomic_path(path) as part:
        save_file(packed, part, {_KIND: json.dumps(header)})


def read_masks(path: Path) -> dict[str, Tensor]:
    """Read what :func:`write_masks` wrote, in the same order.

    Raises:
        DataError: if the file is missing, damaged, of another kind or of a version not known here.
    """
    try:
        with safe_open(path, framework="np") as file:
            shapes = _shapes(path, file.metadata() or {})
            if set(shapes) != set(file.keys()):
                raise _damaged(path, "names and shapes disagree")
            return {name: unpack(path, name, file.get_tensor(name), shape) for name, shape in shapes.items()}
    except (SafetensorError, OSError) as error:
        raise DataError(f"{os.fspath(path)}: cannot be read as a mask file ({error})") from error


def _shapes(path: Path, metadata: Mapping[str, str]) -> dict[str, list[int]]:
    if _KIND not in metadata:
        raise _damaged(path, f"its metadata have no {_KIND!r}")
    try:
        header = json.loads(metadata[_KIND])
        version, shapes = header["version"], header["shapes"]
    except (ValueError, TypeError, LookupError) as error:
        raise _damaged(path, f"its {_KIND!r} does not give version and shapes") from error
    if version != _VERSION:
        raise _damaged(path, f"it has version {version!r}, known is {_VERSION}")
    if not isinstance(shapes, dict) or not all(map(_is_shape, shapes.values())):
        raise _damaged(path, "its shapes are not a table of whole numbers")
    return shapes


def _is_shape(shape: Any) -> bool:
    return isinstance(shape, list) and all(type(size) is int and size >= 0 for size in shape)


def pack(mask: Tensor) -> npt.NDArray[np.uint8]:
    """A boolean tensor as bits, the first in the lowest place of the first byte."""
    return np.packbits(mask.cpu().numpy().ravel(), bitorder="little")


def unpack(path: Path, name: str, packed: npt.NDArray[np.uint8], shape: list[int]) -> Tensor:
    """What :func:`pack` packed; ``path`` and ``name`` say where it came from if it is damaged.

    Raises:
        DataError: if the bits are not those of the shape.
    """
    count = math.prod(shape)
    if packed.dtype != np.uint8 or packed.shape != (-(-count // 8),):
        raise _damaged(path, f"{name!r} does not hold the {count} bits of its shape {tuple(shape)}")
    bits = np.unpackbits(packed, bitorder="little")
    if bits[count:].any():
        raise _damaged(path, f"{name!r} has stray bits after its last weight")
    return torch.from_numpy(bits[:count].astype(bool)).reshape(shape)


def _damaged(path: Path, reason: str) -> DataError:
    return DataError(f"{os.fspath(path)}: not a usable mask file, {reason}; write it again with Mask.save")
