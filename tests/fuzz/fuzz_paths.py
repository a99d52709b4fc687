"""Folders and patterns as a user gives them: which files are there, how they are called, what is in them."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from fuzz_data import _IMAGES, _LABELS, _npz, _records, _table
from fuzz_target import in_file, target
from PIL import Image

from widthwise.data.paths import load_path
from widthwise.errors import DataError, InputError

_NAMES = (
    *(f"{part}-{kind}-ubyte" for part in ("train", "t10k") for kind in ("images-idx3", "labels-idx1")),
    "train.labels-idx1-ubyte.gz", "data_batch_1.bin", "test_batch.bin", "train.bin", "test.bin", "a.csv", "b.tsv",
    "train-0.parquet", "test.parquet", "validation-1.parquet", "data.npz", "labels.txt", ".hidden.csv",
)  # fmt: skip
_OWN = 255  # in place of a number of a name: a name follows, to the next zero
_MOST = 8  # files


def _files(data: bytes) -> Iterator[tuple[str, bytes]]:
    """Each file is the number of a name, two bytes of length, and the content."""
    stream = io.BytesIO(data)
    while kind := stream.read(1):
        name = _NAMES[kind[0] % len(_NAMES)]
        if kind[0] == _OWN:
            own = b"".join(iter(lambda: stream.read(1).strip(b"\0"), b""))
            name = own.decode("utf-8", "surrogateescape").replace("/", "")[:80] or name
        (length,) = struct.unpack("<H", stream.read(2).ljust(2, b"\0"))
        yield name, stream.read(length)


def _emptied(folder: Path) -> Path:
    place = folder / "data"
    place.mkdir(exist_ok=True)
    for path in place.iterdir():
        path.unlink()
    return place


def _in_folder(data: bytes, folder: Path, target: str | None = None) -> object:
    place = _emptied(folder)
    for (name, content), _ in zip(_files(data), range(_MOST), strict=False):
        if name not in (".", ".."):
            in_file(content, place, name)
    return load_path(place, target)


def _in_columns(data: bytes, folder: Path) -> object:
    return _in_folder(data, folder, "y")


def _by_pattern(data: bytes, folder: Path) -> object:
    """A path of the user's own, below a folder with two tables."""
    place = _emptied(folder)
    for name in ("a.csv", "b.tsv"):
        in_file(b"x,y\n1,2\n3,4\n", place, name)
    return load_path(place / data.decode("utf-8", "surrogateescape").replace("..", "").lstrip("/"))


def _packed(*files: tuple[str, bytes]) -> bytes:
    parts = []
    for name, content in files:
        known = name in _NAMES
        head = bytes([_NAMES.index(name)]) if known else bytes([_OWN]) + name.encode() + b"\0"
        parts.append(head + struct.pack("<H", len(content)) + content)
    return b"".join(parts)


@target("folder", _in_folder, _in_columns, _by_pattern, allowed=(DataError, InputError))
def _folder_seeds() -> Sequence[Sequence[bytes]]:
    out = io.BytesIO()
    Image.new("L", (3, 2), 1).save(out, "PNG")
    table = _table([out.getvalue()] * 2, [0, 1], compression="none", write_statistics=False)
    idx = [(name, _IMAGES if "images" in name else _LABELS) for name in _NAMES[:4]]
    folders = [
        _packed(*idx[:2], ("labels.txt", b"no\nyes\n")),
        _packed(*idx),
        _packed(("data_batch_1.bin", _records(1, 1)), ("test_batch.bin", _records(1, 1))),
        _packed(("train-0.parquet", table), ("test.parquet", table)),
        _packed(("data.npz", _npz(x=np.ones((2, 2)), y=np.arange(2)))),
        _packed(("own.csv", b"a,y\n1,0\n2,1\n")),
    ]
    return folders, [_packed(("a.csv", b"a,y\n1,0\n2,1\n"))], [b"a.csv", b"*.tsv", b"*", b"[ab].csv"]
