"""The idx format of MNIST and its relatives: four files, each a header and bytes.

Source: Y. LeCun, C. Cortes, C. Burges, "The MNIST database of handwritten digits".
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from widthwise.data.arrays import from_arrays
from widthwise.data.dataset import Dataset
from widthwise.data.files import opened
from widthwise.errors import DataError

__all__ = ["PATTERN", "read", "read_array"]

PATTERN = re.compile(r"(train|t10k)-(images|labels)[-.]idx[13]-ubyte(\.gz)?")
"""The four names, packed or not."""

_DIMS = {"images": 3, "labels": 1}


def read(name: str, files: Sequence[Path]) -> Dataset:
    """Return the data set in MNIST's four files; without the two ``t10k`` files it has no official test set.

    Of a file that is there packed and unpacked, the unpacked one is read.

    Raises:
        DataError: if a file is missing, damaged or truncated, or counts do not match.
    """
    found: dict[tuple[str, str], Path] = {}
    for file in sorted(files):
        match = PATTERN.fullmatch(file.name)
        if match:
            found.setdefault((match[1], match[2]), file)
    test = _part(files[0].parent, found, "t10k") if any(part == "t10k" for part, _ in found) else None
    x, y = _part(files[0].parent, found, "train")
    return from_arrays(name, x, y, test=test)


def _part(folder: Path, found: dict[tuple[str, str], Path], part: str) -> tuple[NDArray[Any], NDArray[Any]]:
    for role, dims in _DIMS.items():
        if (part, role) not in found:
            wanted = f"{part}-{role}-idx{dims}-ubyte"
            raise DataError(f"{folder}: {wanted} or {wanted}.gz is missing; put it there and give the folder")
    images, labels = found[part, "images"], found[part, "labels"]
    x, y = read_array(images, 3), read_array(labels, 1)
    if len(x) != len(y):
        raise DataError(f"{images}: {len(x)} images, but {labels.name} has {len(y)} labels; take both from one source")
    return x, y


def read_array(path: Path, ndim: int) -> NDArray[np.uint8]:
    """Return the bytes of one idx file in the shape its header declares.

    Args:
        path: the file, plain or packed.
        ndim: number of dimensions it must have: 3 for images, 1 for labels.

    Raises:
        DataError: if it is no idx file of bytes, has other dimensions, or its length is not the declared one.
    """
    with opened(path) as source:
        magic = bytes(source.take(4, "the idx header"))
        if magic != bytes((0, 0, 8, ndim)):
            raise DataError(
                f"{path}: begins with {magic.hex()}, an idx file of {ndim}-dimensional bytes with "
                f"{bytes((0, 0, 8, ndim)).hex()}; give the right file"
            )
        shape = struct.unpack(f">{ndim}I", source.take(4 * ndim, "the idx header"))
        if not math.prod(shape):
            raise DataError(
                f"{path}: declares {' x '.join(map(str, shape))} bytes, so it is empty; give the right file"
            )
        data = source.take(math.prod(shape), "pixels" if ndim > 1 else "labels")
        source.end()
    return np.frombuffer(data, dtype=np.uint8).reshape(shape)
