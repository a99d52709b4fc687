"""Parquet files of encoded images and labels, in the layout that public dataset hubs use."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from widthwise.data.arrays import from_arrays
from widthwise.data.dataset import Dataset
from widthwise.data.files import listed, parts, reason
from widthwise.data.images import check_size, decode_all, stack
from widthwise.errors import DataError, InputError, check_choice

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

__all__ = ["PATTERN", "Progress", "read"]

PATTERN = re.compile(r".+\.parquet", re.IGNORECASE)

Progress = Callable[[int, int], None]
"""Called with the number of images decoded and the number there are."""

_BATCH = 1024  # rows read, after which progress is told
_TASK = 64  # rows decoded by a thread at a time: the decoders leave the interpreter lock only briefly


class _Columns(NamedTuple):
    image: str
    label: str
    classes: tuple[str, ...]


def read(name: str, files: Sequence[Path], target: str | None = None, progress: Progress | None = None) -> Dataset:
    """Return the images in parquet files; files with ``test`` in their name are the test set.

    Images are PNG, JPEG, WebP or BMP bytes, plain or as ``{bytes, path}``, all of one size; a mixture of gray
    and colour becomes colour. The label column is ``target``, else ``label``, else the only one of whole
    numbers or text. Names of classes are taken from the hub's metadata.

    Raises:
        DataError: if a file is damaged, a column is missing or ambiguous, bytes are no image, sizes differ,
            or a label is missing.
    """
    train, test = parts(files)
    columns = _columns(train[0], target)
    ticker = _Ticker(sum(_rows(file) for file in files), progress)
    x, y = _join(train, columns, ticker)
    official = _join(test, columns, ticker) if test else None
    return from_arrays(name, x, y, test=official, classes=columns.classes)


class _Ticker:
    def __init__(self, total: int, progress: Progress | None) -> None:
        self.done, self.total, self._progress = 0, total, progress

    def advance(self, count: int) -> None:
        self.done += count
        if self._progress is not None:
            self._progress(self.done, self.total)


@contextmanager
def _opened(path: Path) -> Iterator[pq.ParquetFile]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            yield file
    except DataError:
        raise
    except (pa.ArrowException, OSError, MemoryError, KeyError, ValueError) as error:
        raise DataError(f"{path}: no readable parquet file ({reason(error)}); copy it again") from error


def _rows(path: Path) -> int:
    with _opened(path) as file:
        return int(file.metadata.num_rows)


def _columns(path: Path, target: str | None) -> _Columns:
    """Find the image and the label column, and the hub's names for the labels."""
    import pyarrow.types as kinds

    with _opened(path) as file:
        schema = file.schema_arrow
        names = schema.names  # fails where one is no text
    images = [field.name for field in schema if _holds_bytes(field.type)]
    labels = [f.name for f in schema if kinds.is_integer(f.type) or _is_text(f.type)]
    if len(images) != 1:
        raise DataError(f"{path}: has {len(images)} columns of image bytes among {listed(names)}; it needs exactly one")
    if target is not None:
        try:
            check_choice("target", target, labels)
        except InputError as error:
            raise DataError(f"{path}: {error}") from None
    elif "label" not in labels and len(labels) != 1:
        raise DataError(f"{path}: has no column 'label'; choose one with target: {listed(labels)}")
    label = target or ("label" if "label" in labels else labels[0])
    return _Columns(images[0], label, _class_names(schema, label))


def _holds_bytes(kind: pa.DataType) -> bool:
    import pyarrow.types as kinds

    if kinds.is_struct(kind):
        place = kind.get_field_index("bytes")
        return place >= 0 and _holds_bytes(kind.field(place).type)
    return bool(kinds.is_binary(kind) or kinds.is_large_binary(kind))


def _is_text(kind: pa.DataType) -> bool:
    import pyarrow.types as kinds

    return bool(kinds.is_string(kind) or kinds.is_large_string(kind))


def _class_names(schema: pa.Schema, label: str) -> tuple[str, ...]:
    """Return the names in the ``huggingface`` metadata, or none where it has none."""
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        return tuple(str(name) for name in features[label]["names"])
    except (KeyError, TypeError, ValueError, RecursionError):
        return ()


def _join(files: Sequence[Path], columns: _Columns, ticker: _Ticker) -> tuple[NDArray[np.uint8], list[Any]]:
    images: list[NDArray[np.uint8]] = []
    labels: list[Any] = []
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        for file in files:
            row = 0
            for blobs, batch_labels in _batches(file, columns):
                places = [(f"{file}: row {row + i}", blob) for i, blob in enumerate(blobs)]
                tasks = [places[i : i + _TASK] for i in range(0, len(places), _TASK)]
                images += chain.from_iterable(pool.map(decode_all, tasks))
                check_size(str(file), images, len(blobs), ticker.total)
                labels += batch_labels
                row += len(blobs)
                ticker.advance(len(blobs))
    if not images:
        raise DataError(f"{files[0]}: has no rows; give a file with examples")
    return stack(images), labels


def _batches(path: Path, columns: _Columns) -> Iterator[tuple[list[Any], list[Any]]]:
    with _opened(path) as file:
        missing = {columns.image, columns.label} - set(file.schema_arrow.names)
        if missing:
            raise DataError(f"{path}: has no column {listed(sorted(missing))} as the files beside it have")
        wanted = [columns.image, columns.label]
        for batch in file.iter_batches(batch_size=_BATCH, columns=wanted):
            image, label = batch.column(columns.image), batch.column(columns.label)
            blobs = image.field("bytes") if hasattr(image, "field") else image
            if image.null_count or blobs.null_count or label.null_count:
                raise DataError(f"{path}: an image or a label is missing; remove its row")
            yield blobs.to_pylist(), label.to_pylist()
