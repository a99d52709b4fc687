"""A CSV with a header: columns of numbers, one or more of which are the target."""

from __future__ import annotations

import csv
import difflib
import math
import re
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from numpy.typing import NDArray

from widthwise.data.arrays import from_arrays
from widthwise.data.dataset import Dataset
from widthwise.data.files import listed, reason
from widthwise.errors import DataError

__all__ = ["MOST_CLASSES", "PATTERN", "read"]

PATTERN = re.compile(r".+\.(csv|tsv)", re.IGNORECASE)

MOST_CLASSES = 20
"""Whole numbers of at most this many different values are taken for classes."""

_MISSING = frozenset({"", "?", "-", "na", "n/a", "nan", "null", "none"})
_DECIMAL_COMMA = re.compile(r"[+-]?\d*,\d+([eE][+-]?\d+)?")
_THOUSANDS = re.compile(r"[+-]?\d{1,3}(,\d{3})+(\.\d*)?")

_LARGEST = float(np.finfo(np.float32).max)


def read(name: str, path: Path, target: str | None) -> Dataset:
    """Return the columns of a CSV (separated by commas, semicolons or tabs) as inputs and target.

    Where semicolons or tabs separate, numbers may have a decimal comma instead of a point, all of them or none.

    The task follows from the target: text, or whole numbers of at most :data:`MOST_CLASSES` different values,
    are classes in alphabetical or numerical order; other numbers are regression. Two or more targets,
    separated by commas, are always regression. All other columns are inputs and must hold numbers.

    Args:
        name: the data set's name.
        path: the file.
        target: the target column's name, or several.

    Raises:
        DataError: if columns are missing, repeated or without name, the target is unknown, or a cell is no
            finite number; the message names line, column and value.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            return _parse(path, file, target).dataset(name)
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: is no UTF-8 text; save the table as UTF-8 CSV") from error
    except csv.Error as error:
        raise DataError(f"{path}: {reason(error)}; save the table as plain CSV") from error
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}; check the path and its permissions") from error


@dataclass
class _Table:
    path: Path
    columns: list[str]
    targets: list[str]
    lines: list[int] = field(default_factory=list)
    values: array[float] = field(default_factory=lambda: array("d"))
    labels: list[list[str]] = field(default_factory=list)
    marks: set[str] = field(default_factory=set)  # decimal marks seen
    comma: bool = False  # whether a comma may be one

    def add(self, line: int, row: Sequence[str]) -> None:
        """Take one row: its inputs as numbers at once, its targets as text until all are known."""
        if len(row) != len(self.columns):
            raise DataError(
                f"{self.path}: line {line} has {len(row)} cells, the header {len(self.columns)}; correct the line"
            )
        cells = dict(zip(self.columns, row, strict=True))
        self.labels.append([cells.pop(target) for target in self.targets])
        self.lines.append(line)
        for column, cell in cells.items():
            value = self._number(cell)
            if value is None:
                raise self._fault(line, column, cell)
            self.values.append(value)
        if len(self.marks) > 1:
            raise DataError(
                f"{self.path}: line {line}: some numbers have a decimal comma, others a point; use one of them"
            )

    def dataset(self, name: str) -> Dataset:
        if not self.labels:
            raise DataError(f"{self.path}: has a header but no rows; give a table with examples")
        if len(self.columns) == len(self.targets):
            raise DataError(f"{self.path}: has no column beside the target; add the inputs")
        x = np.frombuffer(self.values).reshape(len(self.labels), -1)
        numbers = [[self._number(cell) for cell in row] for row in self.labels]
        text = len(self.targets) == 1 and all(row == [None] for row in numbers)
        for line, cells, row in zip(self.lines, self.labels, numbers, strict=True):
            for target, cell, number in zip(self.targets, cells, row, strict=True):
                if not cell if text else number is None:
                    raise self._fault(line, target, cell)
        if text:
            return from_arrays(name, x, [cell for (cell,) in self.labels])
        return _numeric(name, x, np.array(numbers, dtype=np.float64))

    def _number(self, cell: str) -> float | None:
        if self.comma and _DECIMAL_COMMA.fullmatch(cell):
            self.marks.add(",")
            return _number(cell.replace(",", "."))
        if self.comma and "." in cell and _number(cell) is not None:
            self.marks.add(".")
        return _number(cell)

    def _fault(self, line: int, column: str, cell: str) -> DataError:
        got = f"{cell[:40]!r} is no finite number" if cell else "the cell is empty"
        return DataError(f"{self.path}: line {line}, column {column!r}: {got}; {_advice(cell)}")


def _advice(cell: str) -> str:
    if cell.lower() in _MISSING:
        return "fill in what is missing, or remove the row or the column"
    if _THOUSANDS.fullmatch(cell):
        return "write numbers without marks between thousands"
    if not any(character.isdigit() for character in cell):
        return "correct it, give each of the column's words a column of 0 and 1 instead, or remove the column"
    return "correct it, or remove the row or the column"


def _parse(path: Path, file: TextIO, target: str | None) -> _Table:
    first = file.readline()
    delimiter = max(",;\t", key=first.count)
    file.seek(0)
    reader = csv.reader(file, delimiter=delimiter, skipinitialspace=True, strict=True)
    columns = [" ".join(cell.split()) for cell in next(reader, [])]
    _check_header(path, columns)
    table = _Table(path, columns, _targets(path, columns, target), comma=delimiter != ",")
    for row in reader:
        if row:
            table.add(reader.line_num, [cell.strip() for cell in row])
    return table


def _check_header(path: Path, columns: list[str]) -> None:
    if not columns:
        raise DataError(f"{path}: is empty or begins with an empty line; its first line must name the columns")
    if all(_number(column) is not None for column in columns):
        raise DataError(f"{path}: line 1 holds numbers only; put a line that names the columns above it")
    seen: set[str] = set()
    for place, column in enumerate(columns):
        if not column:
            raise DataError(f"{path}: column {place + 1} has no name; give it one in line 1")
        if column in seen:
            raise DataError(f"{path}: two columns are named {column!r}; rename or remove one")
        seen.add(column)


def _targets(path: Path, columns: list[str], target: str | None) -> list[str]:
    if target is None:
        raise DataError(f"{path}: say which column to predict with target (--target); it has {listed(columns)}")
    names = [target] if target in columns else [part.strip() for part in target.split(",")]
    for place, name in enumerate(names):
        if name not in columns:
            near = difflib.get_close_matches(name, columns, n=1, cutoff=0.4)
            hint = f" (did you mean {near[0]!r}?)" if near else ""
            raise DataError(f"{path}: target {name!r} is no column; it has {listed(columns)}{hint}")
        if name in names[:place]:
            raise DataError(f"{path}: target {name!r} is given twice; name it once")
    return names


def _number(cell: str) -> float | None:
    """Return a cell's value, or ``None`` if float32 cannot hold it as a finite number."""
    try:
        value = float(cell)
    except ValueError:
        return None
    return value if "_" not in cell and abs(value) <= _LARGEST and not math.isnan(value) else None


def _numeric(name: str, x: NDArray[Any], y: NDArray[np.float64]) -> Dataset:
    if y.shape[1] == 1 and (y == np.rint(y)).all():
        values, labels = np.unique(y[:, 0], return_inverse=True)
        if len(values) <= MOST_CLASSES:
            return from_arrays(name, x, labels, classes=tuple(str(int(value)) for value in values))
    return from_arrays(name, x, y)
