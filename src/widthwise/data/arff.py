"""Dense ARFF, in which OpenML gives its data: columns of numbers and one of labels.

Source: https://waikato.github.io/weka-wiki/formats_and_processing/arff_stable/
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from widthwise.errors import DataError

__all__ = ["read"]

_COLUMN = re.compile(rb"\s*@attribute\s+('(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"|\S+)\s+\S", re.IGNORECASE)
_DATA = re.compile(rb"\s*@data\b", re.IGNORECASE)
_COLUMNS = 2**16
_LINE = 2**20  # bytes


def read(path: Path, target: str, rows: int) -> tuple[NDArray[np.float32], NDArray[Any]]:
    """The numbers ``(n, d)`` and the labels ``(n,)``, as text, of a file.

    Args:
        path: the file.
        target: name of the column of labels.
        rows: at most so many, for which memory is taken.

    Raises:
        DataError: if it has more rows, no such column, or anything but numbers in the others.
        OSError: if it cannot be read.
    """
    labels: list[str] = []
    with path.open("rb") as file:
        columns = _columns(path, file)
        if columns.count(target) != 1:
            raise DataError(f"{path}: has {columns.count(target)} columns {target!r}, allowed is one")
        place, data = columns.index(target), np.empty((rows, len(columns) - 1), dtype=np.float32)
        while line := _line(path, file):
            if not line.strip() or line.startswith(b"%"):
                continue
            cells = line.strip().split(b",")
            if len(cells) != len(columns) or len(labels) == rows:
                raise DataError(
                    f"{path}: row {len(labels)} is one too many or has {len(cells)} of {len(columns)} cells"
                )
            labels.append(cells.pop(place).strip(b" \t'\"").decode("utf-8", "replace"))
            data[len(labels) - 1] = _numbers(path, len(labels), cells)
    return data[: len(labels)], np.array(labels, dtype=object)


def _columns(path: Path, file: IO[bytes]) -> list[str]:
    """Names of the columns, up to where the data begin."""
    names: list[str] = []
    while line := _line(path, file):
        if _DATA.match(line):
            return names
        found = _COLUMN.match(line)
        if found:
            names.append(found[1].strip(b"'\"").decode("utf-8", "replace"))
        if len(names) > _COLUMNS:
            break
    raise DataError(f"{path}: no ARFF file with up to {_COLUMNS} columns and data")


def _line(path: Path, file: IO[bytes]) -> bytes:
    line = file.readline(_LINE)
    if len(line) == _LINE:
        raise DataError(f"{path}: has a line of {_LINE} bytes or more, allowed are shorter ones")
    return line


def _numbers(path: Path, row: int, cells: list[bytes]) -> NDArray[np.float32]:
    try:
        return np.array(cells, dtype=bytes).astype(np.float32)
    except ValueError as error:
        raise DataError(f"{path}: row {row - 1} holds something that is no number") from error
