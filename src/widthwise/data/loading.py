"""``load``: from a name, a path or arrays to a data set."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from widthwise.data.arrays import from_arrays
from widthwise.data.dataset import Dataset
from widthwise.data.parquet import Progress
from widthwise.data.paths import load_path
from widthwise.data.registry import load_named, names
from widthwise.errors import DataError, InputError, InputTypeError, outlined

__all__ = ["load"]


def load(
    spec: str | os.PathLike[str] | tuple[Any, Any] | Dataset,
    target: str | None = None,
    *,
    cache: Path | None = None,
    progress: Progress | None = None,
) -> Dataset:
    """Return the data set that ``spec`` means.

    Args:
        spec: a name out of :func:`names`; or the path of a file or folder: MNIST's idx files, CIFAR's binary
            batches (``.bin``, ``.bin.gz``, ``.bin.xz``), parquet files of images, a CSV, a ``.npz``, or a
            pattern such as ``"folder/*.parquet"``; or a pair ``(x, y)`` of tensors or arrays; or a data set,
            returned as it is. Where a name is also a path, the name wins; write ``./name`` for the path.
        target: the column to predict: needed for a CSV, allowed for parquet. In a CSV a target of text or of
            few different whole numbers means classification, any other regression; several, separated by
            commas, mean regression of them all.
        cache: folder for downloaded sets; the user's cache folder if omitted.
        progress: called with the number of images decoded and the number there are (parquet only).

    Raises:
        InputTypeError: if ``spec`` or ``target`` has another type.
        InputError: if ``target`` is given for data without columns.
        DataError: if there is no such data, or they are damaged, incomplete or ambiguous; one line that says
            which file and how to mend it.

    >>> load("digits").x.shape
    torch.Size([1797, 1, 8, 8])
    """
    if target is not None and not isinstance(target, str):
        raise InputTypeError(
            f"target: got {outlined(target)}, allowed is the name of a column; arrays go in as a pair, load((x, y))"
        )
    if isinstance(spec, os.PathLike) or (isinstance(spec, str) and _is_path(spec)):
        return load_path(Path(spec), target, progress)
    if target is not None:
        raise InputError(f"target: got {target!r}, allowed only for CSV and parquet files, which have columns")
    if isinstance(spec, Dataset):
        return spec
    if isinstance(spec, str):
        return load_named(spec, cache and Path(cache))
    if not isinstance(spec, tuple):
        kind = type(spec).__name__
        raise InputTypeError(f"data: got a {kind}, allowed are a name, a path, a pair (x, y) and a Dataset")
    if len(spec) != 2:
        raise DataError(f"data: got a tuple of {len(spec)}, allowed is a pair (x, y)")
    return from_arrays("data", *spec)


def _is_path(spec: str) -> bool:
    """Tell a path from a name: it has a separator, a dot or a ``*``, or something lies there."""
    if not spec or spec in names():
        return False
    try:
        return any(mark in spec for mark in "/\\.*") or Path(spec).exists()
    except OSError:  # too long for a file name, for one
        return True
