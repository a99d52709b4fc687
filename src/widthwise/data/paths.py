"""What lies at a path: which files, in which format, and who reads them."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from widthwise.data import cifar, idx, npz, parquet, table
from widthwise.data.dataset import Dataset
from widthwise.errors import DataError, InputError

__all__ = ["load_path"]

_FORMATS: dict[str, re.Pattern[str]] = {
    "idx": idx.PATTERN,
    "CIFAR": cifar.PATTERN,
    "parquet": parquet.PATTERN,
    "CSV": table.PATTERN,
    "npz": npz.PATTERN,
}
_SINGLE = ("CSV", "npz")
_KNOWN = "MNIST's idx files, CIFAR's .bin (.gz, .xz), .parquet, .csv, .tsv and .npz"


def load_path(path: Path, target: str | None = None, progress: parquet.Progress | None = None) -> Dataset:
    """Return the data set in a file, a folder, or the files that match a pattern such as ``folder/*.parquet``.

    Subfolders are not searched. The name of the data set is that of the folder, or of the file up to its first
    dot.

    Raises:
        DataError: if nothing readable is there, a folder holds several formats, or the data are damaged.
        InputError: if ``target`` is given for a format without columns.
    """
    kind, files = _format(path, _files(path))
    if target is not None and kind not in ("CSV", "parquet"):
        raise InputError(f"target: got {target!r}, but {path} ({kind}) has no columns; leave it out")
    return replace(_read(str(path), kind, files, target, progress), name=_name(path))


def _files(path: Path) -> list[Path]:
    try:
        if path.is_dir():
            return sorted(file for file in path.iterdir() if file.is_file() and file.name[0] != ".")
        if path.is_file():
            return [path]
        if "*" in path.name and path.parent.is_dir():
            return sorted(path.parent.glob(path.name))
        exists = path.exists()
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}; check the path and its permissions") from error
    except ValueError as error:
        raise DataError(f"{path}: no pattern of file names ({error}); allowed are such as 'folder/*.csv'") from error
    wrong = "is neither a file nor a folder" if exists else "no such file or folder"
    raise DataError(f"{path}: {wrong}; give the path of a data file or of the folder that holds it")


def _format(path: Path, files: list[Path]) -> tuple[str, list[Path]]:
    """Return the one known format among the files, and the files of that format."""
    found: dict[str, list[Path]] = {}
    for file in files:
        for kind, pattern in _FORMATS.items():
            if pattern.fullmatch(file.name):
                found.setdefault(kind, []).append(file)
    if not found:
        what = "is in no known format" if path.is_file() else "holds no data file"
        raise DataError(f"{path}: {what}; the formats are {_KNOWN}")
    (kind, matches), *others = found.items()
    if others:
        listed = " and ".join(f"{kind} ({matches[0].name})" for kind, matches in found.items())
        patterns = " or ".join(repr(str(path / f"*{matches[0].suffix}")) for matches in found.values())
        raise DataError(f"{path}: holds {listed}; choose with the path of one file or a quoted pattern, {patterns}")
    if kind in _SINGLE and len(matches) > 1:
        listed = ", ".join(file.name for file in matches[:9])
        raise DataError(f"{path}: holds {len(matches)} {kind} files, {listed}; give the path of one")
    return kind, matches


def _read(name: str, kind: str, files: list[Path], target: str | None, progress: parquet.Progress | None) -> Dataset:
    match kind:
        case "idx":
            return idx.read(name, files)
        case "CIFAR":
            return cifar.read(name, files)
        case "parquet":
            return parquet.read(name, files, target, progress)
        case "CSV":
            return table.read(name, files[0], target)
        case _:
            return npz.read(name, files[0])


def _name(path: Path) -> str:
    place = path.absolute()
    if path.is_dir():
        return place.name or "data"
    return place.parent.name if "*" in path.name else place.name.split(".")[0]
