"""The binary batches of CIFAR-10 and CIFAR-100: records of label bytes and 3072 pixels.

Source: A. Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009, and its data page.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from widthwise.data.arrays import from_arrays
from widthwise.data.dataset import Dataset
from widthwise.data.files import opened, parts
from widthwise.errors import DataError

__all__ = ["CIFAR10_CLASSES", "PATTERN", "read"]

PATTERN = re.compile(r".+\.bin(\.xz|\.gz)?", re.IGNORECASE)

CIFAR10_CLASSES = (
    "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck",
)  # fmt: skip

_PIXELS = 3 * 32 * 32


@dataclass(frozen=True)
class _Layout:
    """A record: one byte for each kind of label, of which the last is used, then the pixels."""

    labels: tuple[int, ...]
    classes: tuple[str, ...]

    @property
    def size(self) -> int:
        return len(self.labels) + _PIXELS


_LAYOUTS = (
    _Layout((10,), CIFAR10_CLASSES),
    _Layout((20, 100), tuple(str(label) for label in range(100))),
)


def read(name: str, files: Sequence[Path]) -> Dataset:
    """Return the images in CIFAR batches, plain or packed; files with ``test`` in their name are the test set.

    Records of 3073 bytes are CIFAR-10, of 3074 CIFAR-100, of which the 100 fine labels are used.

    Raises:
        DataError: if a file is truncated or holds other records, a label lies outside its range, or the files
            are of both kinds.
    """
    train, test = parts(files)
    layout, x, y = _join(train)
    if not test:
        return from_arrays(name, x, y, classes=layout.classes)
    other, x_test, y_test = _join(test)
    if other != layout:
        raise _mixed(test[0])
    return from_arrays(name, x, y, test=(x_test, y_test), classes=layout.classes)


def _join(files: Sequence[Path]) -> tuple[_Layout, NDArray[Any], NDArray[Any]]:
    read = [_records(file) for file in files]  # Python 3.11 leaks when what is unpacked into a call fails
    layouts, batches = zip(*read, strict=True)
    for file, layout in zip(files, layouts, strict=True):
        if layout != layouts[0]:
            raise _mixed(file)
    records = np.concatenate(batches)
    used = len(layouts[0].labels)
    return layouts[0], records[:, used:].reshape(-1, 3, 32, 32), records[:, used - 1]


def _records(path: Path) -> tuple[_Layout, NDArray[np.uint8]]:
    with opened(path) as source:
        data = source.rest()
    fitting = [layout for layout in _LAYOUTS if data and len(data) % layout.size == 0]
    if not fitting:
        raise DataError(
            f"{path}: {len(data)} bytes are no whole number of CIFAR records (3073 bytes each for CIFAR-10, "
            "3074 for CIFAR-100): truncated or another format; copy the file again"
        )
    for layout in fitting:  # a length may fit both; labels in range decide
        records = np.frombuffer(data, dtype=np.uint8).reshape(-1, layout.size)
        outside = records[:, : len(layout.labels)] >= np.array(layout.labels)
        if not outside.any():
            return layout, records
    place, column = (int(index) for index in np.argwhere(outside)[0])
    raise DataError(
        f"{path}: record {place} has label {records[place, column]}, allowed are 0 to "
        f"{layout.labels[column] - 1}: damaged or another format; copy the file again"
    )


def _mixed(path: Path) -> DataError:
    return DataError(f"{path}: holds CIFAR-10 beside CIFAR-100 in one set; keep each in a folder of its own")
