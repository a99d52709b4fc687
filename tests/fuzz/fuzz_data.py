"""Data sets: idx, CIFAR's binary batches, CSV, npz, parquet, images."""

from __future__ import annotations

import gzip
import io
import lzma
import struct
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from fuzz_target import Dialect, Memory, in_file, target
from PIL import Image

from widthwise.data import cifar, idx, npz, table
from widthwise.data.images import decode
from widthwise.data.paths import load_path
from widthwise.errors import DataError

RNG = np.random.default_rng(3)
Pack = Callable[[bytes], bytes]


def _plain(data: bytes) -> bytes:
    return data


def _gz(data: bytes) -> bytes:
    return gzip.compress(data, 0)


def _xz(data: bytes) -> bytes:
    return lzma.compress(data, preset=0)


def _idx(array: np.ndarray) -> bytes:
    head = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
    return head + array.astype(np.uint8).tobytes()


_IMAGES, _LABELS = _idx(RNG.integers(0, 256, (4, 3, 2))), _idx(np.arange(4) % 2)


def _as_idx(dims: int, pack: Pack = _plain) -> Dialect:
    def load(data: bytes, folder: Path) -> object:
        return idx.read_array(Memory(pack(data), "train"), dims)  # type: ignore[arg-type]

    return load


@target("idx", _as_idx(3), _as_idx(1), _as_idx(3, _gz), _as_idx(1, _gz), allowed=(DataError,))
def _idx_seeds() -> Sequence[Sequence[bytes]]:
    return [_IMAGES, gzip.compress(_IMAGES)], [_LABELS, gzip.compress(_LABELS)], [_IMAGES], [_LABELS]


def _as_cifar(pack: Pack) -> Dialect:
    def load(data: bytes, folder: Path) -> object:
        return cifar.read("batch", [Memory(pack(data), "batch.bin")])  # type: ignore[list-item]

    return load


def _records(n: int, labels: int) -> bytes:
    records = np.tile(np.arange(3072, dtype=np.uint8) * (np.arange(3072) < 8), (n, 1))
    names = np.stack([np.arange(n) % classes for classes in ((10,) if labels == 1 else (20, 100))], 1)
    return np.concatenate([names, records], 1).astype(np.uint8).tobytes()


@target("cifar", _as_cifar(_plain), _as_cifar(_gz), allowed=(DataError,))
def _cifar_seeds() -> Sequence[Sequence[bytes]]:
    ten, hundred = _records(2, 1), _records(2, 2)
    every = [gzip.compress(_records(10, 1)), _xz(_records(10, 1)), gzip.compress(_records(100, 2))]
    return [ten, hundred, _gz(ten), _xz(ten), *every], [ten, hundred]


def _as_csv(target: str | None) -> Dialect:
    def load(data: bytes, folder: Path) -> object:
        return table.read("table", Memory(data, "table.csv"), target)  # type: ignore[arg-type]

    return load


@target("csv", _as_csv("y"), _as_csv("y,z"), _as_csv(None), allowed=(DataError,))
def _csv_seeds() -> Sequence[Sequence[bytes]]:
    table = b"a,y,z\n1,0,.5\n2,1,-3e4\n"
    text = '\ufeffa;"b ""c""";y\r\n1;2;ja\r\n\r\n3;4;nein\r\n'.encode()
    return [table, text, b"y\tx\n1.5\t2\n2.5\t1\n"], [table], [table]


def _npy(array: np.ndarray, version: tuple[int, int] | None = None) -> bytes:
    out = io.BytesIO()
    np.lib.format.write_array(out, array, version, allow_pickle=True)
    return out.getvalue()


def _npz(packing: int = zipfile.ZIP_STORED, **arrays: np.ndarray) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", packing) as archive:
        for name, array in arrays.items():
            archive.writestr(f"{name}.npy", _npy(array))
    return out.getvalue()


def _as_npz(data: bytes, folder: Path) -> object:
    return npz.read("data", Memory(data, "data.npz"))  # type: ignore[arg-type]


def _as_member(name: str, packing: int) -> Dialect:
    """One array of a sound archive."""
    sound = {"x": _npy(np.ones((2, 2))), "y": _npy(np.arange(2))}

    def load(data: bytes, folder: Path) -> object:
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w", packing) as archive:
            for key, content in (sound | {name: data}).items():
                archive.writestr(f"{key}.npy", content)
        return _as_npz(out.getvalue(), folder)

    return load


@target(
    "npz",
    _as_npz,
    _as_member("x", zipfile.ZIP_STORED),
    _as_member("x", zipfile.ZIP_DEFLATED),
    _as_member("y", zipfile.ZIP_STORED),
    allowed=(DataError,),
)
def _npz_seeds() -> Sequence[Sequence[bytes]]:
    x, y = np.arange(6.0).reshape(2, 3), np.arange(2)
    whole = [
        _npz(x=x, y=y),
        _npz(zipfile.ZIP_DEFLATED, x_train=x, y_train=y, x_test=x, y_test=y),
        _npz(x=np.arange(8, dtype=np.uint8).reshape(2, 2, 2), y=np.array(["a", "b"])),
    ]
    arrays = [_npy(x), _npy(x, (2, 0)), _npy(x.astype(">f2"), (3, 0)), _npy(np.asfortranarray(x)), _npy(x > 1)]
    objects = _npy(np.array([None, "a"], dtype=object))
    return whole, [*arrays, objects], arrays[:1], [_npy(y), _npy(np.array(["a", "b"])), _npy(x), objects]


def _image(kind: str, mode: str = "RGB", **options: object) -> bytes:
    out = io.BytesIO()
    Image.new(mode, (3, 2), 1).save(out, kind, **options)
    return out.getvalue()


def _table(images: Sequence[bytes], labels: Sequence[object], **options: object) -> bytes:
    kind = pa.struct({"bytes": pa.binary(), "path": pa.string()})
    struct_of = pa.array([{"bytes": image, "path": None} for image in images], kind)
    table = pa.table({"image": struct_of, "label": pa.array(labels)})
    meta = {b"huggingface": b'{"info": {"features": {"label": {"names": ["no", "yes"]}}}}'}
    out = io.BytesIO()
    pq.write_table(table.replace_schema_metadata(meta), out, store_schema=False, **options)  # type: ignore[arg-type]
    return out.getvalue()


def _as_image(data: bytes, folder: Path) -> object:
    """A cell of a sound table."""
    return decode("row 0", data)


@target("images", _as_image, allowed=(DataError,))
def _image_seeds() -> Sequence[Sequence[bytes]]:
    kinds = [_image("PNG"), _image("PNG", "L"), _image("PNG", "P"), _image("PNG", "1"), _image("JPEG"), _image("BMP")]
    return [[*kinds, _image("WEBP"), _image("JPEG", "L", progressive=True), _image("PNG", "LA"), _image("PNG", "I;16")]]


def _as_parquet(target: str | None) -> Dialect:
    def load(data: bytes, folder: Path) -> object:
        return load_path(in_file(data, folder, "t.parquet"), target)

    return load


def _as_cells(data: bytes, folder: Path) -> object:
    """The image of the first of two rows."""
    return load_path(in_file(_table([data, _image("PNG")], [0, 1]), folder, "t.parquet"))


@target("parquet", _as_parquet(None), _as_parquet("label"), _as_cells, allowed=(DataError,))
def _parquet_seeds() -> Sequence[Sequence[bytes]]:
    image = _image("PNG", "L")
    plain = _table([image, image], [0, 1], compression="none", use_dictionary=False, write_statistics=False)
    text = _table([image, image], ["a", "b"], compression="snappy")
    return [plain, text, _table([image, image], [0, 1], compression="zstd", data_page_version="2.0")], [plain], [image]
