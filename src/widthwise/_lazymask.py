"""Masks that stay in their file: a layer is read when it is asked for, and counted without being expanded."""

from __future__ import annotations

import json
import math
import os
import weakref
from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from widthwise.errors import DataError

__all__ = ["Unread"]

Path = str | os.PathLike[str]
Bytes = npt.NDArray[np.uint8]
_CHUNK = 2**22  # bytes read at a time


class Unread(Mapping[str, Tensor]):
    """Boolean tensors by name, in a file of :func:`widthwise._maskfile.write_masks` that has been checked.

    The file is held open and read, not mapped: replaced or deleted it is read all the same, and cut short it is an
    error. A copy, by ``copy`` or ``pickle``, is a dictionary.

    Args:
        path: the file.
        shapes: of the masks.

    Raises:
        DataError: if the file cannot be read, or has bits beyond the last weight of a mask.
    """

    def __init__(self, path: Path, shapes: Mapping[str, list[int]]) -> None:
        self.path, self.shapes = path, {name: tuple(shape) for name, shape in shapes.items()}
        try:
            self._file: BinaryIO = open(path, "rb")  # noqa: SIM115, PTH123  # held as long as this lives
            weakref.finalize(self, self._file.close)
            length = int.from_bytes(self._file.read(8), "little")
            header: dict[str, Any] = json.loads(self._file.read(length))
            self._starts = {name: 8 + length + int(header[name]["data_offsets"][0]) for name in self.shapes}
        except (OSError, ValueError, KeyError, IndexError, TypeError) as error:
            raise DataError(f"{os.fspath(path)}: cannot be read as a mask file ({error})") from error
        for name in self.shapes:
            stray = self.total(name) % 8
            if stray and self._bytes(name, self.total(name) // 8, 1)[0] >> stray:
                said = f"{name!r} has stray bits after its last weight"
                raise DataError(f"{os.fspath(path)}: not a usable mask file, {said}; write it again with Mask.save")

    def total(self, name: str) -> int:
        """Number of entries of a mask."""
        return math.prod(self.shapes[name])

    def kept(self, name: str) -> int:
        """Number of entries that are true."""
        return sum(_ones(part) for part in self._chunks(name))

    def kept_by_unit(self, name: str) -> Tensor:
        """The same for each place of the first dimension, int64."""
        units = self.shapes[name][0]
        size = self.total(name) // max(1, units)
        counts, step = [np.zeros(0, np.int64)], max(1, 8 * _CHUNK // max(1, size))
        for first in range(0, units if size else 0, step):
            last = min(units, first + step)
            start, end = first * size // 8, -(-last * size // 8)
            bits = np.unpackbits(self._bytes(name, start, end - start), bitorder="little")
            lines = bits[first * size - 8 * start :][: (last - first) * size].reshape(last - first, size)
            counts.append(np.count_nonzero(lines, axis=1))
        return torch.from_numpy(np.concatenate(counts)) if size else torch.zeros(units, dtype=torch.int64)

    def __getitem__(self, name: str) -> Tensor:
        found = np.empty(-(-self.total(name) // 8) * 8, dtype=np.uint8)
        at = 0
        for part in self._chunks(name):
            found[at : at + 8 * len(part)] = np.unpackbits(part, bitorder="little")
            at += 8 * len(part)
        return torch.from_numpy(found[: self.total(name)].view(np.bool_)).reshape(self.shapes[name])

    def __iter__(self) -> Iterator[str]:
        return iter(self.shapes)

    def __len__(self) -> int:
        return len(self.shapes)

    def __reduce__(self) -> tuple[type[dict[str, Tensor]], tuple[dict[str, Tensor]]]:
        return dict, (dict(self),)

    def _chunks(self, name: str) -> Iterator[Bytes]:
        size = -(-self.total(name) // 8)
        for start in range(0, size, _CHUNK):
            yield self._bytes(name, start, min(_CHUNK, size - start))

    def _bytes(self, name: str, start: int, count: int) -> Bytes:
        self._file.seek(self._starts[name] + start)
        found = self._file.read(count)
        if len(found) != count:
            raise DataError(f"{os.fspath(self.path)}: has been cut short since it was opened, {name!r} is not whole")
        return np.frombuffer(found, dtype=np.uint8)


def _ones(part: Bytes) -> int:
    if hasattr(np, "bitwise_count"):  # from NumPy 2 on
        return int(np.bitwise_count(part).sum(dtype=np.int64))
    return int(np.unpackbits(part).sum(dtype=np.int64))
