"""Small valid files of every format, written by code that shares nothing with the readers."""

from __future__ import annotations

import gzip
import io
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from widthwise.data import load
from widthwise.errors import DataError

RNG = np.random.default_rng(7)


def one_line(error: Exception, path: object) -> str:
    """Return the message of an error after checking that it is one line that names the file."""
    message = str(error)
    assert "\n" not in message
    if isinstance(path, Path):
        assert str(path).partition("*")[0] in message
    return message


def refused(spec: object, error: type[Exception] = DataError, **options: object) -> str:
    """Load what cannot be loaded and return the message."""
    with pytest.raises(error) as caught:
        load(spec, **options)
    return one_line(caught.value, spec)


def idx_bytes(array: np.ndarray) -> bytes:
    header = struct.pack(">BBBB", 0, 0, 8, array.ndim) + b"".join(struct.pack(">I", n) for n in array.shape)
    return header + array.astype(np.uint8).tobytes()


def write_idx(folder: Path, n: int = 30, n_test: int = 20, *, packed: bool = False) -> dict[str, np.ndarray]:
    """Four idx files of 5 x 4 images in three classes; returns what they hold."""
    folder.mkdir(parents=True, exist_ok=True)
    arrays = {}
    for part, count in (("train", n), ("t10k", n_test)):
        arrays[f"{part}-images-idx3-ubyte"] = RNG.integers(0, 256, (count, 5, 4))
        arrays[f"{part}-labels-idx1-ubyte"] = np.arange(count) % 3
    for name, array in arrays.items():
        data = idx_bytes(array)
        target = folder / (name + ".gz" if packed else name)
        target.write_bytes(gzip.compress(data) if packed else data)
    return arrays


def cifar_records(n: int, labels: int = 1, classes: int = 10) -> np.ndarray:
    """``n`` records as rows of bytes; the last label byte runs through all classes."""
    records = RNG.integers(0, 256, (n, labels + 3072)).astype(np.uint8)
    records[:, 0] = np.arange(n) % 10
    records[:, labels - 1] = np.arange(n) % classes
    return records


def image_bytes(pixels: np.ndarray, kind: str = "PNG") -> bytes:
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, kind)
    return out.getvalue()
