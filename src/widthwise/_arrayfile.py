"""NumPy's ``.npy`` files: nothing is unpickled, and nothing allocated that the file does not hold."""

from __future__ import annotations

import math
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from widthwise._atomic import atomic_path
from widthwise.errors import DataError

__all__ = ["check_header", "read_array", "write_array"]

_FIRST = (1, 0)  # the version with a short header


def check_header(stream: IO[bytes], size: int) -> None:
    """Refuse what the header of a stream of ``size`` bytes declares, before NumPy allocates it.

    Raises:
        Exception: whatever NumPy raises, which parses the header as Python text.
        ValueError: if it declares Python objects, or more or less than there is.
    """
    version = npy.read_magic(stream)
    start, width = stream.tell(), 2 if version == _FIRST else 4
    length = int.from_bytes(stream.read(width), "little")
    if length > size:
        raise ValueError(f"its header declares {length} bytes of itself, more than there are")
    stream.seek(start)
    header = npy.read_array_header_1_0 if version == _FIRST else npy.read_array_header_2_0
    shape, _, dtype = header(stream)
    if dtype.hasobject:
        raise ValueError("it holds Python objects")
    if math.prod(shape) * dtype.itemsize != size - stream.tell():
        raise ValueError(f"shape {shape} of {dtype} does not fit its {size} bytes")


def read_array(path: Path, shape: tuple[int | None, ...], dtype: Any, *, mapped: bool = False) -> NDArray[Any]:
    """The array in a file.

    Args:
        path: the file.
        shape: that it must have; ``None`` for any size.
        dtype: that it must have.
        mapped: into memory, copied where it is written to, instead of read.

    Raises:
        DataError: if it is missing, damaged, or another array.
    """
    try:
        with path.open("rb") as file:
            check_header(file, path.stat().st_size)
        array: NDArray[Any] = np.load(path, mmap_mode="c" if mapped else None, allow_pickle=False)
    except Exception as error:  # any that NumPy's parser of headers lets through
        said = " ".join(str(error).split())
        raise DataError(f"{path}: no readable .npy file ({said:.200}); remove it") from error
    fits = len(shape) == array.ndim and all(a in (None, b) for a, b in zip(shape, array.shape, strict=True))
    if array.dtype != dtype or not fits:
        raise DataError(f"{path}: got {array.dtype} {array.shape}, allowed is {np.dtype(dtype)} {shape}; remove it")
    return array


def write_array(path: Path, array: NDArray[Any]) -> None:
    """Write an array to a file, atomically."""
    with atomic_path(path) as part, part.open("wb") as file:
        np.save(file, array, allow_pickle=False)
